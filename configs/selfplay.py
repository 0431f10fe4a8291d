"""Connect Four as text: imitation of a shallow search, then self-play.

Command:   python -m experiments.selfplay --config=configs/selfplay.py
Hardware:  2 CPU cores
Time:      40 minutes on one core (9 of imitation, 30 of self-play)
Expect:    Elo over the teacher of three seeds: imitation -140 to -115 sampled
           and +111 to +127 greedy (-5 to +20 over the search behind the
           teacher's random moves), self-play +270 to +275 and +288 to +310;
           against a search of depth 4 self-play is +137 to +153 greedy
"""

from llm_jax.config import SelfplayConfig


def get_config() -> SelfplayConfig:
  """The defaults are the recipe."""
  return SelfplayConfig()
