"""CISPO (MiniMax 2025, MiniMax-M1, arXiv:2506.13585).

The ratio is a bounded weight of each token's gradient, so that no token is
left out, as those are that PPO clips. It is bounded above only (section 3.1),
here at 5. A rollout is trained on in four minibatches, or all weights would
be 1.

Command:   python -m experiments.rl --config=configs/rl_cispo.py
Hardware:  2 CPU cores, after `make quickstart`, whose finetuned model it takes
Time:      111 s on one core
Expect:    71.6% -> 99.7% of 1,024 held-out problems (seed 0)
"""

import dataclasses

from configs import quickstart_rl
from llm_jax.config import ObjectiveConfig, RlConfig


def get_config() -> RlConfig:
  """CISPO on the quickstart's sums."""
  return dataclasses.replace(
      quickstart_rl.get_config(), workdir="runs/rl_cispo",
      minibatches=4,
      objective=ObjectiveConfig(
          kind="cispo", advantages="group", normalize_std=True,
          normalization="token", clip_low=1.0, clip_high=4.0))
