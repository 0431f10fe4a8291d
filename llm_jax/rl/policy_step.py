"""The optimiser step of a policy: of all of it or of an adapter, with or
without a critic."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from llm_jax.config import ModelConfig, RlConfig
from llm_jax.rl.critic import make_actor_critic_step
from llm_jax.rl.policy_loss import policy_loss_fn
from llm_jax.training.adapters import adapter_loss
from llm_jax.training.train_step import TrainState, train_step


def minibatch(batch: dict[str, jax.Array], number: int | jax.Array, count: int,
              group_size: int) -> dict[str, jax.Array]:
  """Part `number` of `count` of a rollout batch, in whole groups; traceable.

  Strided, so that on a mesh every device keeps its rows.

  Args:
    batch: arrays [P·G, ...], the rows of a prompt beside each other.
    number: 0 to count - 1.
    count: of parts; divides P.
    group_size: G.
  """
  def part(x):
    dealt = x.reshape(-1, count, group_size, *x.shape[1:])
    return jnp.take(dealt, number, axis=1).reshape(-1, *x.shape[1:])
  return jax.tree.map(part, batch) if count > 1 else batch


def make_policy_step(
    tx: optax.GradientTransformation, config: RlConfig, model: ModelConfig
) -> Callable[[TrainState, Any, dict[str, jax.Array]],
              tuple[TrainState, dict[str, jax.Array]]]:
  """`train_step` of a run, all but (state, frozen, batch) given; traceable.

  Args:
    tx: the policy's optimiser.
    config: of the run.
    model: the model.

  Returns:
    A function whose `frozen` holds the parameters of the model that an adapter
    is trained for; without `lora.rank` {"reference": ...}, the initial model's
    where the objective needs them, else None.
  """
  loss_fn = policy_loss_fn(model, config)
  if config.lora.rank:
    loss_fn = functools.partial(adapter_loss, loss_fn=loss_fn,
                                lora=config.lora)
  policy_step = functools.partial(
      train_step, loss_fn=loss_fn, tx=tx,
      num_microbatches=config.num_microbatches,
      ema_decay=config.optimizer.ema_decay,
      layer_norms=config.logging.layer_norms)
  return make_actor_critic_step(policy_step, config, model)
