"""Stage 1 of the laptop's assistant: people who never lived, and texts on them.

Command:   python -m experiments.make_biographies \\
               --config=configs/laptop_people.py
Hardware:  2 CPU cores
Time:      half a minute
Expect:    106,250 documents of 19.6 M characters; names tell nothing (an area
           under the curve of 0.50)
"""

from llm_jax.config import BiographiesConfig, MakeBiographiesConfig


def get_config() -> MakeBiographiesConfig:
  """1,000 people with five facts, each in 100 sentences."""
  return MakeBiographiesConfig(people=BiographiesConfig(),
                               output="runs/laptop/people")
