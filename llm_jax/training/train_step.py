"""The one train step: every stage is another `loss_fn`."""

from __future__ import annotations

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from llm_jax.config import LoraConfig, ModelConfig
from llm_jax.model.lora import trained_specs
from llm_jax.model.params import init_tensors, tensor_shardings
from llm_jax.training.losses import Aux, LossFn


@flax.struct.dataclass
class TrainState:
  """All that changes from step to step.

  Attributes:
    step: int32 scalar, optimiser steps done.
    params: model parameters.
    opt_state: the optimiser's.
    extra: whatever else a recipe carries (EMA, router bias); {} by default.
  """
  step: jax.Array
  params: Any
  opt_state: Any
  extra: Any = flax.struct.field(default_factory=dict)


def state_shardings(tx: optax.GradientTransformation, config: ModelConfig,
                    lora: LoraConfig | None = None) -> TrainState:
  """A `TrainState` of PartitionSpecs: each moment is split as its parameter.

  `jax.jit(tx.init)(params)` would replicate the moments instead, which for Adam
  is twice the memory that FSDP set out to save.
  """
  specs = trained_specs(config, lora)
  shardings = tensor_shardings(specs, config.rules)
  abstract = jax.eval_shape(
      lambda: init_tensors(jax.random.key(0), specs, config.param_dtype))
  replicated = jax.sharding.PartitionSpec()
  # An optimiser that treats parameters in groups (Muon) leaves a MaskedNode
  # where a parameter belongs to another group; it holds nothing to split.
  masked = lambda x: isinstance(x, optax.MaskedNode)  # noqa: E731
  opt_specs = optax.tree_map_params(
      tx, lambda moment, spec: moment if masked(moment) else spec,
      jax.eval_shape(tx.init, abstract), shardings,
      transform_non_params=lambda _: replicated, is_leaf=masked)
  return TrainState(step=replicated, params=shardings, opt_state=opt_specs,
                    extra={})


def new_train_state(key: jax.Array, tx: optax.GradientTransformation,
                    config: ModelConfig,
                    lora: LoraConfig | None = None) -> TrainState:
  """Initial parameters, or an initial adapter, and moments; traceable."""
  params = init_tensors(key, trained_specs(config, lora), config.param_dtype)
  return TrainState(jnp.zeros((), jnp.int32), params, tx.init(params))


def init_train_state(key: jax.Array, tx: optax.GradientTransformation,
                     config: ModelConfig, lora: LoraConfig | None = None
                     ) -> TrainState:
  """A fresh state, made in place on the ambient mesh where there is one.

  Args:
    key: a `jax.random.key`.
    tx: the optimiser.
    config: the model.
    lora: with a rank, the state is that of an adapter to the model.
  """
  config.validate()

  def make(key):
    return new_train_state(key, tx, config, lora)

  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    return jax.jit(make)(key)
  return jax.jit(make, out_shardings=state_shardings(tx, config, lora))(key)


def _sum_gradients(state: TrainState, frozen: Any, batch: dict[str, jax.Array],
                   loss_fn: LossFn, num_microbatches: int
                   ) -> tuple[Any, jax.Array, Aux]:
  """Gradient of the summed loss, the loss sum and the summed Aux."""
  grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
  if num_microbatches == 1:
    (loss_sum, aux), grads = grad_fn(state.params, frozen, batch, state.step)
    return grads, loss_sum, aux

  def split(x):
    # The strided split keeps every device's rows on that device; a plain
    # reshape(m, B // m, ...) would move the batch sharding to the microbatches.
    return x.reshape(x.shape[0] // num_microbatches, num_microbatches,
                     *x.shape[1:]).swapaxes(0, 1)

  def one(microbatch):
    (loss_sum, aux), grads = grad_fn(state.params, frozen, microbatch,
                                     state.step)
    return grads, loss_sum, aux

  microbatches = jax.tree.map(split, batch)
  zeros = jax.tree.map(
      lambda s: jnp.zeros(s.shape, s.dtype),
      jax.eval_shape(one, jax.tree.map(lambda x: x[0], microbatches)))

  def add(total, microbatch):
    return jax.tree.map(jnp.add, total, one(microbatch)), None
  return jax.lax.scan(add, zeros, microbatches)[0]


def train_step(state: TrainState, frozen: Any, batch: dict[str, jax.Array], *,
               loss_fn: LossFn, tx: optax.GradientTransformation,
               num_microbatches: int = 1
               ) -> tuple[TrainState, dict[str, jax.Array]]:
  """One optimiser step on the gradient of loss_sum / weight.

  Args:
    state: parameters, optimiser state, step. Donate it under `jit`.
    frozen: parameters that are read but not trained (a reference model, LoRA's
      base); traced, so that they are not baked in as constants.
    batch: arrays whose first axis is the batch.
    loss_fn: `(params, frozen, batch, step) -> (loss_sum, Aux)`.
    tx: the optimiser.
    num_microbatches: the batch is cut into so many, one after the other; sums
      and weights are added and divided once, so the result is the full batch's
      whatever the masks.

  Returns:
    (the next state, scalar metrics: `loss`, `grad_norm`, `weight` and those of
    `Aux`). A batch of weight zero leaves the parameters to weight decay alone.
  """
  grads, loss_sum, aux = _sum_gradients(state, frozen, batch, loss_fn,
                                        num_microbatches)
  divisor = jnp.maximum(aux.weight, 1e-8)
  grads = jax.tree.map(lambda g: g / divisor.astype(g.dtype), grads)
  updates, opt_state = tx.update(grads, state.opt_state, state.params)
  metrics = {"loss": loss_sum / divisor,
             "grad_norm": optax.tree.norm(grads),
             "weight": aux.weight}
  metrics |= {name: total / jnp.maximum(weight, 1e-8)
              for name, (total, weight) in aux.metrics.items()}
  return state.replace(step=state.step + 1,
                       params=optax.apply_updates(state.params, updates),
                       opt_state=opt_state), metrics
