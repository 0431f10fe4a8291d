"""PPO's critic: a second model that foresees the reward of a response.

It begins as a copy of the policy with a head of one number (`model/heads.py`)
that says 0 everywhere. Its own `TrainState` lies in the policy's,
`state.extra["critic"]`, so that it is saved, restored and split over a mesh
with it.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from llm_jax.config import ModelConfig, RlConfig
from llm_jax.model.heads import score_specs, scores, with_score_head
from llm_jax.model.params import param_specs
from llm_jax.training.losses import Aux, LossFn
from llm_jax.training.optimizers import make_optimizer
from llm_jax.training.train_step import (
    Carried, TrainState, fresh_state, shardings_of_specs, train_step)

CRITIC = "critic"  # its name in `TrainState.extra`


def make_critic_optimizer(config: RlConfig, model: ModelConfig
                          ) -> optax.GradientTransformation:
  """The run's optimiser, with the critic's learning rate."""
  return make_optimizer(
      dataclasses.replace(
          config.optimizer,
          learning_rate=config.objective.critic.learning_rate),
      config.num_steps * config.steps_per_rollout, model)


def carried_critic(config: RlConfig, model: ModelConfig
                   ) -> dict[str, Carried]:
  """What `startup.start_or_resume` is to add to the policy's state.

  Args:
    config: of the run.
    model: the model, policy and critic alike.

  Returns:
    {"critic": how it begins and lies on a mesh}; {} where no advantages of it
    are asked for.
  """
  if not config.objective.needs_critic:
    return {}
  tx = make_critic_optimizer(config, model)

  def make(params):
    # A copy: both states are donated.
    return fresh_state(jax.tree.map(jnp.copy, with_score_head(params)), tx)
  return {CRITIC: Carried(
      make, param_specs(model), model.param_dtype,
      shardings_of_specs(tx, score_specs(model), model))}


def value_loss(values_BT: jax.Array, old_values_BT: jax.Array,
               returns_BT: jax.Array, mask_BT: jax.Array, *,
               value_clip: float = 0.2) -> tuple[jax.Array, Aux]:
  """Squared error of the values, clipped as PPO's ratio is.

  L = Σ ½ max((V - R)², (clip(V, V_old ± value_clip) - R)²)

  The sum is over generated tokens. Once a value has come further than
  `value_clip` from what it was at the rollout, towards the return, it has no
  gradient (Schulman et al. 2017's implementation; Engstrom et al. 2020,
  arXiv:2005.12729, section 3).

  Args:
    values_BT: the critic's, before each token.
    old_values_BT: the same at the rollout.
    returns_BT: what is foreseen, of `generalized_advantages`.
    mask_BT: 0 on prompt, tool and padding tokens.
    value_clip: see above; 0: no clipping.

  Returns:
    (loss_sum, Aux), whose weight counts the tokens. Metrics: `value`, `return`,
    `value_error` (V - R)², and `value_clip_fraction`, the share of tokens
    without gradient.
  """
  chex.assert_equal_shape((values_BT, old_values_BT, returns_BT, mask_BT))
  used_BT = mask_BT > 0
  values_BT, old_values_BT, returns_BT = (
      jnp.where(used_BT, x_BT, 0.0) for x_BT in (
          values_BT, old_values_BT, returns_BT))
  error_BT = jnp.square(values_BT - returns_BT)
  worst_BT, clipped_BT = error_BT, jnp.zeros_like(error_BT)
  if value_clip:
    near_BT = old_values_BT + jnp.clip(values_BT - old_values_BT, -value_clip,
                                       value_clip)
    near_error_BT = jnp.square(near_BT - returns_BT)
    worst_BT = jnp.maximum(error_BT, near_error_BT)
    clipped_BT = (near_error_BT > error_BT).astype(error_BT.dtype)
  tokens = jnp.sum(used_BT).astype(jnp.float32)
  metrics = {name: (jnp.sum(x_BT), tokens) for name, x_BT in (
      ("value", values_BT), ("return", returns_BT), ("value_error", error_BT),
      ("value_clip_fraction", clipped_BT))}
  return 0.5 * jnp.sum(worst_BT), Aux(tokens,
                                      jax.lax.stop_gradient(metrics))


def value_loss_fn(model: ModelConfig, config: RlConfig) -> LossFn:
  """The critic's `LossFn`; its batch has `tokens`, `loss_mask`, `values` and
  `returns`, all [B, T]."""
  def loss_fn(params, frozen, batch, step):
    del frozen, step
    return value_loss(
        scores(params, batch["tokens"], model), batch["values"],
        batch["returns"], batch["loss_mask"],
        value_clip=config.objective.critic.value_clip)
  return loss_fn


def explained_variance(values_BT: jax.Array, returns_BT: jax.Array,
                       mask_BT: jax.Array) -> jax.Array:
  """1 - Var(R - V) / Var(R) over the mask: 1 is foreseen, 0 no better than
  their mean. 0 where all returns are alike."""
  def variance(x_BT):
    return jnp.var(x_BT, where=mask_BT > 0)
  spread = variance(returns_BT)
  unforeseen = variance(returns_BT - values_BT)
  return jnp.where(spread > 0, 1 - unforeseen / jnp.maximum(spread, 1e-30),
                   0.0)


def actor_critic_step(
    state: TrainState, frozen: Any, batch: dict[str, jax.Array], *,
    policy_step: Callable[..., tuple[TrainState, dict[str, jax.Array]]],
    critic_step: Callable[..., tuple[TrainState, dict[str, jax.Array]]],
    warmup: int = 0) -> tuple[TrainState, dict[str, jax.Array]]:
  """One optimiser step of both, each on its own loss.

  Args:
    state: the policy's, with the critic's in `extra`.
    frozen: what the policy's loss reads.
    batch: what both losses read.
    policy_step: `train_step` of the policy, all but (state, frozen, batch)
      given.
    critic_step: the critic's.
    warmup: first optimiser steps in which the policy stays as it is: neither
      parameters nor moments change. Its metrics are reported all the same.

  Returns:
    (state, the policy's metrics and the critic's, as `critic_...`).
  """
  extra = dict(state.extra)
  critic = extra.pop(CRITIC)
  before = state.replace(extra=extra)
  state, metrics = policy_step(before, frozen, batch)
  if warmup:
    hold = critic.step < warmup
    state = jax.tree.map(lambda new, old: jnp.where(hold, old, new), state,
                         before).replace(step=state.step)
  critic, told = critic_step(critic, {}, batch)
  metrics |= {f"critic_{name}": value for name, value in told.items()
              if not name.startswith("skipped") and name != "weight"}
  return state.replace(extra={**state.extra, CRITIC: critic}), metrics


def make_actor_critic_step(
    policy_step: Callable[..., tuple[TrainState, dict[str, jax.Array]]],
    config: RlConfig, model: ModelConfig
) -> Callable[..., tuple[TrainState, dict[str, jax.Array]]]:
  """`actor_critic_step` of a run.

  Args:
    policy_step: `train_step` of the policy, all but (state, frozen, batch)
      given.
    config: of the run.
    model: the model.

  Returns:
    `policy_step` itself where no critic is asked for.
  """
  if not config.objective.needs_critic:
    return policy_step
  critic_step = functools.partial(
      train_step, loss_fn=value_loss_fn(model, config),
      tx=make_critic_optimizer(config, model),
      num_microbatches=config.num_microbatches)
  return functools.partial(
      actor_critic_step, policy_step=policy_step, critic_step=critic_step,
      warmup=config.objective.critic.warmup_steps * config.steps_per_rollout)
