"""RLOO: REINFORCE, leave-one-out (Ahmadian et al. 2024, arXiv:2402.14740).

A sample's baseline is the mean reward of the prompt's other samples (Kool et
al. 2019), which keeps the gradient unbiased, and the KL to the initial model is
taken off the reward of a response, not added to the loss.

Command:   python -m experiments.rl --config=configs/rl_rloo.py
Hardware:  2 CPU cores, after `make quickstart`, whose finetuned model it takes
Time:      100 s on one core
Expect:    71.6% -> 99.3% of 1,024 held-out problems (seed 0)
"""

import dataclasses

from configs import quickstart_rl
from llm_jax.config import ObjectiveConfig, RlConfig


def get_config() -> RlConfig:
  """REINFORCE with leave-one-out baselines on the quickstart's sums."""
  return dataclasses.replace(
      quickstart_rl.get_config(), workdir="runs/rl_rloo",
      objective=ObjectiveConfig(
          kind="reinforce", advantages="rloo", normalization="constant",
          kl_coef=0.01, kl_estimator="k1", kl_in="reward"))
