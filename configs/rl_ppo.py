"""PPO with a critic (Schulman et al. 2017, arXiv:1707.06347).

A second model of the same size foresees the reward at each token, and a
token's advantage is how much better things look after it than before (GAE,
arXiv:1506.02438). The critic learns alone in the first rollouts. The KL to the
initial model is taken off the reward token by token, as in InstructGPT (Ouyang
et al. 2022, arXiv:2203.02155).

Command:   python -m experiments.rl --config=configs/rl_ppo.py
Hardware:  2 CPU cores, after `make quickstart`, whose finetuned model it takes
Time:      eight minutes, on a core shared with other work
Expect:    71.6% -> 98.9% of 1,024 held-out problems (seed 0)
"""

import dataclasses

from configs import quickstart_rl
from llm_jax.config import CriticConfig, ObjectiveConfig, RlConfig


def get_config() -> RlConfig:
  """PPO with a critic on the quickstart's sums."""
  return dataclasses.replace(
      quickstart_rl.get_config(), workdir="runs/rl_ppo",
      updates_per_rollout=2,
      objective=ObjectiveConfig(
          kind="clipped", advantages="gae", normalize_std=True,
          normalization="token", clip_low=0.2, clip_high=0.2,
          kl_coef=0.01, kl_estimator="k1", kl_in="reward",
          critic=CriticConfig(learning_rate=1e-3, value_clip=0.2,
                              discount=1.0, trace=0.95, warmup_steps=2)))
