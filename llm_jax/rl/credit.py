"""From the rewards of responses to the advantages of their tokens.

What stands between a rollout and the first update on it, on the device: the
log-probabilities that the loss compares with, the KL where it is part of the
reward, the critic's values, and the advantages.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from llm_jax.config import ModelConfig, RlConfig
from llm_jax.model.heads import scores
from llm_jax.rl.advantages import (
    generalized_advantages, sample_advantages, whiten)
from llm_jax.rl.critic import explained_variance
from llm_jax.rl.kl import kl_estimate
from llm_jax.rl.policy_logprobs import by_parts, policy_logprobs


def rewards_of_tokens(rewards_B: jax.Array, mask_BT: jax.Array) -> jax.Array:
  """The reward of a response at the last token that was generated of it."""
  places_1T = jnp.arange(mask_BT.shape[1])[None, :]
  last_B1 = jnp.max(jnp.where(mask_BT > 0, places_1T, -1), axis=1,
                    keepdims=True)
  return jnp.where(places_1T == last_B1, rewards_B[:, None], 0.0)


def assign_credit(
    batch: dict[str, jax.Array], rewards_B: jax.Array, params: Any,
    critic_params: Any, reference: Any, model: ModelConfig, config: RlConfig,
    valid_B: jax.Array | None = None
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
  """A rollout's batch with all that the losses read; traceable.

  Args:
    batch: `tokens`, `targets`, `loss_mask`, `sampler_logprobs` [B, T]; rows of
      a prompt beside each other, `config.group_size` of them.
    rewards_B: of each row.
    params: the policy's, whole (an adapter attached), as at the rollout.
    critic_params: the critic's, for `advantages="gae"`; else not read.
    reference: the initial model's, where the KL is part of the reward; else not
      read.
    model: the model.
    config: objective, group_size, sampling, num_microbatches, minibatches.
    valid_B: rows that count; None: all. Others have no advantage, and are to be
      left out of `loss_mask`, too.

  Returns:
    (the batch with `old_logprobs`, `advantages`, and of a critic `values` and
    `returns`, metrics: `kl_ref` where it is part of the reward, and of a critic
    `explained_variance`).
  """
  objective, mask_BT = config.objective, batch["loss_mask"]
  parts = config.num_microbatches * config.minibatches
  metrics, batch = {}, dict(batch)

  def logprobs_under(params):
    return policy_logprobs(
        params, batch, model, config.sampling.temperature,
        chunk=config.loss.chunk, num_microbatches=parts)[0]

  # Where sampler and trainer are taken to be one policy, what was sampled says
  # it; an importance weight needs both.
  batch["old_logprobs"] = (logprobs_under(params) if objective.importance_cap
                           else batch["sampler_logprobs"])
  penalty_BT = jnp.zeros_like(mask_BT)
  if objective.needs_reference and objective.kl_in == "reward":
    penalty_BT = kl_estimate(batch["old_logprobs"], logprobs_under(reference),
                             mask_BT, objective.kl_estimator)
    metrics["kl_ref"] = (jnp.sum(penalty_BT)
                         / jnp.maximum(jnp.sum(mask_BT), 1))
    penalty_BT *= objective.kl_coef

  if objective.needs_critic:
    critic = objective.critic
    values_BT = jnp.where(mask_BT > 0, by_parts(
        lambda part: scores(critic_params, part["tokens"], model),
        {"tokens": batch["tokens"]}, parts), 0.0)
    advantages_BT, returns_BT = generalized_advantages(
        rewards_of_tokens(rewards_B, mask_BT) - penalty_BT, values_BT, mask_BT,
        discount=critic.discount, trace=critic.trace)
    batch |= {"values": values_BT, "returns": returns_BT}
    metrics["explained_variance"] = explained_variance(values_BT, returns_BT,
                                                       mask_BT)
    if objective.normalize_std:
      advantages_BT = whiten(advantages_BT, mask_BT)
  else:
    grouped = (-1, config.group_size)
    advantages_PG = sample_advantages(
        (rewards_B - jnp.sum(penalty_BT, axis=1)).reshape(grouped),
        None if valid_B is None else valid_B.reshape(grouped), objective)
    advantages_BT = advantages_PG.reshape(-1, 1) * (mask_BT > 0)
  return batch | {"advantages": advantages_BT}, metrics
