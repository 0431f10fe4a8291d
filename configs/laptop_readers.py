"""Stage 9 of the laptop's assistant: ten thousand people to read about.

Command:   python -m experiments.make_biographies \\
               --config=configs/laptop_readers.py
Hardware:  2 CPU cores
Time:      some seconds
Expect:    10,000 people in search.jsonl beside 1,000 that are not used

Of the 750 people that stage 7 looks up, a model learns the facts by heart and
never reads a result (docs/LOG.md). Of these, each is met about twice.
"""

from llm_jax.config import BiographiesConfig, MakeBiographiesConfig


def get_config() -> MakeBiographiesConfig:
  """Other names and other facts than stage 1 has."""
  return MakeBiographiesConfig(
      people=BiographiesConfig(unlearned=10000, invented=0, sentences=1,
                               questions=0, notes=0, seed=1),
      output="runs/laptop/readers")
