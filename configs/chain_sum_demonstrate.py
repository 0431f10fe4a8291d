"""Chains of sums and differences: demonstrations to imitate before practice.

Command:   python -m experiments.demonstrate \\
               --config=configs/chain_sum_demonstrate.py
Hardware:  2 CPU cores
Time:      a quarter of a minute
Expect:    20,000 conversations, all of them right, less than half with steps

Chains of four to six numbers of one digit. More than half of the
demonstrations state the answer at once; a small model cannot do what people do
in their heads, and imitates it all the same.
"""

from llm_jax.config import DemonstrateConfig, RlDataConfig

PROBLEMS = RlDataConfig(
    path="gym:chain_sum",
    gym_settings=("min_terms=4", "max_terms=6", "min_digits=1", "max_digits=1"))


def get_config() -> DemonstrateConfig:
  """Steps and answers at once, without tags."""
  return DemonstrateConfig(
      data=PROBLEMS, styles=("steps:0.45", "at_once:0.55"), think=False,
      count=20_000, output="runs/chain_sum/demonstrations")
