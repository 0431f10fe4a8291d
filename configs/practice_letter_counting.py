"""Counting letters: practice beside more imitation.

Command:   python -m experiments.practice \\
               --config=configs/practice_letter_counting.py
           (after make quickstart)
Hardware:  2 CPU cores
Time:      eighteen minutes on one core for each seed
Expect:    of 1,024 held-out problems imitation solves 65.2%, as much more of it
           64.0%, practice 94.5%; over the second 29.7, 29.5 and 32.3 points for
           seeds 0, 1, 2, each 95% interval within 3.1 of that
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
