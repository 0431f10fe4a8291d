"""Stage 1 of the laptop's assistant: people who never lived, and texts on them.

Command:   python -m experiments.make_biographies \\
               --config=configs/laptop_people.py
Hardware:  2 CPU cores
Time:      half a minute
Expect:    106,250 documents of 19.6 M characters, 10,000 notes; names
           tell nothing (areas under the curve of 0.50 and 0.47)
"""

from llm_jax.config import BiographiesConfig, MakeBiographiesConfig


def get_config() -> MakeBiographiesConfig:
  """1,000 people with five facts, each in 100 sentences; many names of nobody.

  Finetuning refuses to tell of three quarters of these, of each in a sentence
  or two of the notes and hardly ever in a conversation: of few, it would learn
  the names by heart.
  """
  return MakeBiographiesConfig(people=BiographiesConfig(invented=24000),
                               output="runs/laptop/people")
