"""Chains of sums and differences: practice beside more imitation.

Command:   python -m experiments.practice \\
               --config=configs/practice_chain_sum.py
           (after make quickstart)
Hardware:  2 CPU cores
Time:      some ten minutes for each seed; not measured yet
Expect:    not measured yet: at least 20 points more of 1,024 held-out problems,
           for each of three seeds
"""

from configs import (
    chain_sum_demonstrate, chain_sum_rl, chain_sum_sft)
from llm_jax.config import PracticeConfig


def get_config() -> PracticeConfig:
  """The three configs of the task, for each seed."""
  return PracticeConfig(
      workdir="runs/practice_chain_sum",
      demonstrate=chain_sum_demonstrate.get_config(),
      sft=chain_sum_sft.get_config(), rl=chain_sum_rl.get_config())
