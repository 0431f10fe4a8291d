"""Connect Four as text: imitation of a shallow search, then self-play.

Command:   python -m experiments.selfplay --config=configs/selfplay.py
Hardware:  2 CPU cores
Time:      to be measured
Expect:    self-play at least 100 Elo above the teacher
"""

from llm_jax.config import SelfplayConfig


def get_config() -> SelfplayConfig:
  """The defaults are the recipe."""
  return SelfplayConfig()
