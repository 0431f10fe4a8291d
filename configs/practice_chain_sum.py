"""Chains of sums and differences: practice beside more imitation.

Command:   python -m experiments.practice \\
               --config=configs/practice_chain_sum.py
           (after make quickstart)
Hardware:  2 CPU cores
Time:      eleven minutes on one core for each seed
Expect:    of 1,024 held-out problems imitation solves 49.3%, as much more of it
           58.4%, practice 92.2%; over the second 31.9, 35.5, 33.9 points for
           seeds 0, 1, 2, each 95% interval within 3.3 of that
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
