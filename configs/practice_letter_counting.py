"""Counting letters: practice beside more imitation.

Command:   python -m experiments.practice \\
               --config=configs/practice_letter_counting.py
           (after make quickstart)
Hardware:  2 CPU cores
Time:      some ten minutes for each seed; not measured yet
Expect:    not measured yet: at least 20 points more of 1,024 held-out problems,
           for each of three seeds
"""

from configs import (
    letter_counting_demonstrate, letter_counting_rl, letter_counting_sft)
from llm_jax.config import PracticeConfig


def get_config() -> PracticeConfig:
  """The three configs of the task, for each seed."""
  return PracticeConfig(
      workdir="runs/practice_letter_counting",
      demonstrate=letter_counting_demonstrate.get_config(),
      sft=letter_counting_sft.get_config(), rl=letter_counting_rl.get_config())
