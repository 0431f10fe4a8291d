"""DAPO (Yu et al. 2025, arXiv:2503.14476).

GRPO without KL; the upper bound of the ratio further off than the lower, so
that unlikely tokens can become likely (section 3.1); each token counts alike
(section 3.3); and problems whose answers are all right or all wrong replaced by
others (section 3.2). A rollout is trained on in four minibatches, or no ratio
would reach a bound.

Command:   python -m experiments.rl --config=configs/rl_dapo.py
Hardware:  2 CPU cores, after `make quickstart`, whose finetuned model it takes
Time:      three minutes, two cores shared with other work
Expect:    71.6% -> 99.9% of 1,024 held-out problems (seed 0)
"""

import dataclasses

from configs import quickstart_rl
from llm_jax.config import ObjectiveConfig, RlConfig


def get_config() -> RlConfig:
  """DAPO's objective on the quickstart's sums."""
  return dataclasses.replace(
      quickstart_rl.get_config(), workdir="runs/rl_dapo",
      minibatches=4, refill_rounds=4,
      objective=ObjectiveConfig(
          kind="clipped", advantages="group", normalize_std=True,
          normalization="token", clip_low=0.2, clip_high=0.28))
