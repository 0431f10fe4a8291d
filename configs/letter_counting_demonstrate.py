"""Counting letters: demonstrations to imitate before practice.

Command:   python -m experiments.demonstrate \\
               --config=configs/letter_counting_demonstrate.py
Hardware:  2 CPU cores
Time:      half a minute
Expect:    40,000 conversations, all of them right, less than half with steps

A letter in four to six words, which are spelt before they are counted. More
than half of the demonstrations state the answer at once; a small model cannot
do what people do in their heads, and imitates it all the same.
"""

from llm_jax.config import DemonstrateConfig, RlDataConfig

PROBLEMS = RlDataConfig(
    path="gym:letter_counting",
    gym_settings=("min_words=4", "max_words=6"))


def get_config() -> DemonstrateConfig:
  """Steps and answers at once, without tags."""
  return DemonstrateConfig(
      data=PROBLEMS, styles=("steps:0.4", "at_once:0.6"), think=False,
      count=40_000, output="runs/letter_counting/demonstrations")
