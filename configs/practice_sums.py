"""The quickstart's practice beside as much more imitation, three seeds.

Command:   python -m experiments.practice --config=configs/practice_sums.py
           (after make quickstart)
Hardware:  2 CPU cores
Time:      four minutes on one core for each seed, 72 s of them practice
Expect:    of 1,024 held-out problems imitation solves 73% to 77%, as much more
           of it 71% to 85%, practice 99.4% to 99.5%; over imitation 26.1, 22.5
           and 23.0 points for seeds 0, 1, 2, over more of it 14.1, 28.1 and
           25.4, each 95% interval within 2.9 of that
"""

from configs import quickstart_rl, quickstart_sft
from llm_jax.config import DemonstrateConfig, PracticeConfig


def get_config() -> PracticeConfig:
  """The quickstart's two stages, whose demonstrations are its own."""
  return PracticeConfig(
      workdir="runs/practice_sums", demonstrate=DemonstrateConfig(count=0),
      sft=quickstart_sft.get_config(), rl=quickstart_rl.get_config())
