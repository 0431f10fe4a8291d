"""Connect Four as text: imitation of a shallow search, then self-play.

Command:   python -m experiments.selfplay --config=configs/selfplay.py
Hardware:  2 CPU cores
Time:      two hours beside other work (1 h 2 min of imitation, 56 min of
           self-play)
Expect:    Elo over the teacher, with 95% intervals: imitation -135 sampled and
           +119 [105, 136] greedy (-8 of the search behind the teacher's random
           moves), self-play +255 [238, 274] and +289 [270, 310]; against a
           search of depth 4 self-play is +143 [128, 158] greedy (seed 0)
"""

from llm_jax.config import SelfplayConfig


def get_config() -> SelfplayConfig:
  """The defaults are the recipe."""
  return SelfplayConfig()
