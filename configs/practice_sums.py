"""The quickstart's practice beside as much more imitation, three seeds.

Command:   python -m experiments.practice --config=configs/practice_sums.py
           (after make quickstart)
Hardware:  2 CPU cores
Time:      about seven minutes for each seed, of which one to two are practice
Expect:    of the quickstart's seed: sums solved by imitation about 71%, by
           practice above 95%; three seeds are not measured yet
"""

from configs import quickstart_rl, quickstart_sft
from llm_jax.config import DemonstrateConfig, PracticeConfig


def get_config() -> PracticeConfig:
  """The quickstart's two stages, whose demonstrations are its own."""
  return PracticeConfig(
      workdir="runs/practice_sums", demonstrate=DemonstrateConfig(count=0),
      sft=quickstart_sft.get_config(), rl=quickstart_rl.get_config())
