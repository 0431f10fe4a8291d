"""The one train step: every stage is another `loss_fn`."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from llm_jax.config import LoraConfig, ModelConfig
from llm_jax.model.lora import trained_specs
from llm_jax.model.params import init_tensors, tensor_shardings
from llm_jax.training.averaging import start_average, update_average
from llm_jax.training.losses import Aux, LossFn
from llm_jax.training.norms import layer_norms as norms_of_layers, tree_norm

_COUNTS = ("skipped", "skipped_in_a_row")


@flax.struct.dataclass
class TrainState:
  """All that changes from step to step.

  Attributes:
    step: int32 scalar, optimiser steps done.
    params: model parameters.
    opt_state: the optimiser's.
    extra: what else is carried. `fresh_state` puts in `skipped` and
      `skipped_in_a_row`, int32 scalars that count the steps `train_step` left
      out, and `ema`, an average of the parameters, where it is asked for.
  """
  step: jax.Array
  params: Any
  opt_state: Any
  extra: Any = flax.struct.field(default_factory=dict)

  @property
  def averaged(self) -> Any:
    """What evaluation reads: the average of the parameters, where one is kept,
    else the parameters."""
    return self.extra.get("ema", self.params)


@dataclasses.dataclass(frozen=True)
class Carried:
  """Something else that a state carries in `extra`, saved and restored with it.

  Attributes:
    make: from the model's initial parameters, what is carried; traceable.
    like: specs of these parameters.
    dtype: of those whose spec names none.
    shardings: a tree of `PartitionSpec`, like what is carried.
  """
  make: Callable[[Any], Any]
  like: Any
  dtype: str
  shardings: Any

  def start(self, params: Any) -> Any:
    """What is carried at first, on the ambient mesh where there is one."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
      return jax.jit(self.make)(params)
    return jax.jit(self.make, out_shardings=self.shardings)(params)

  def make_abstract(self) -> Any:
    """`make` of parameters without a meaning, for `jax.eval_shape`."""
    return self.make(init_tensors(jax.random.key(0), self.like, self.dtype))


def fresh_state(params: Any, tx: optax.GradientTransformation, *,
                ema: bool = False) -> TrainState:
  """The state before the first step; traceable.

  Args:
    params: initial parameters, or an adapter's.
    tx: the optimiser.
    ema: keep an average of the parameters, too.
  """
  # Each counter a buffer of its own, since the state is donated.
  step, *counts = (jnp.zeros((), jnp.int32) for _ in range(1 + len(_COUNTS)))
  extra = dict(zip(_COUNTS, counts))
  if ema:
    extra["ema"] = start_average(params)
  return TrainState(step, params, tx.init(params), extra)


def state_shardings(tx: optax.GradientTransformation, config: ModelConfig,
                    lora: LoraConfig | None = None, *,
                    ema: bool = False) -> TrainState:
  """A `TrainState` of PartitionSpecs: each moment is split as its parameter,
  and so is the average of the parameters.

  `jax.jit(tx.init)(params)` would replicate the moments instead, which for Adam
  is twice the memory that FSDP set out to save.
  """
  return shardings_of_specs(tx, trained_specs(config, lora), config, ema=ema)


def shardings_of_specs(tx: optax.GradientTransformation, specs: Any,
                       config: ModelConfig, *, ema: bool = False
                       ) -> TrainState:
  """`state_shardings` of a state whose parameters are a tree of `ParamSpec`.

  Args:
    tx: the optimiser.
    specs: of what is trained.
    config: the model: its rules and the dtype of its parameters.
    ema: whether the state has an average of the parameters.
  """
  shardings = tensor_shardings(specs, config.rules)
  abstract = jax.eval_shape(
      lambda: init_tensors(jax.random.key(0), specs, config.param_dtype))
  replicated = jax.sharding.PartitionSpec()
  # An optimiser that treats parameters in groups (Muon) leaves a MaskedNode
  # where a parameter belongs to another group; it holds nothing to split.
  masked = lambda x: isinstance(x, optax.MaskedNode)  # noqa: E731
  opt_specs = optax.tree_map_params(
      tx, lambda moment, spec, param: (
          moment if masked(moment) else _moment_spec(moment, spec, param)),
      jax.eval_shape(tx.init, abstract), shardings, abstract,
      transform_non_params=lambda _: replicated, is_leaf=masked)
  extra = {"skipped": replicated, "skipped_in_a_row": replicated}
  if ema:
    extra["ema"] = shardings
  return TrainState(step=replicated, params=shardings, opt_state=opt_specs,
                    extra=extra)


def _moment_spec(moment: Any, spec: jax.sharding.PartitionSpec, param: Any
                 ) -> jax.sharding.PartitionSpec:
  """How a moment is split, given its parameter's shape and spec.

  Adafactor keeps means over one axis of a matrix, which are split as the other
  axes are; and a single number where it has nothing to keep.
  """
  if moment.shape == param.shape:
    return spec
  parts = tuple(spec) + (None,) * (param.ndim - len(spec))
  for axis in range(param.ndim):
    if moment.shape == param.shape[:axis] + param.shape[axis + 1:]:
      return jax.sharding.PartitionSpec(*parts[:axis], *parts[axis + 1:])
  return jax.sharding.PartitionSpec()


def new_train_state(key: jax.Array, tx: optax.GradientTransformation,
                    config: ModelConfig, lora: LoraConfig | None = None, *,
                    ema: bool = False) -> TrainState:
  """`fresh_state` of a new model, or of an adapter to one; traceable."""
  params = init_tensors(key, trained_specs(config, lora), config.param_dtype)
  return fresh_state(params, tx, ema=ema)


def init_train_state(key: jax.Array, tx: optax.GradientTransformation,
                     config: ModelConfig, lora: LoraConfig | None = None, *,
                     ema: bool = False) -> TrainState:
  """A fresh state, made in place on the ambient mesh where there is one.

  Args:
    key: a `jax.random.key`.
    tx: the optimiser.
    config: the model.
    lora: with a rank, the state is that of an adapter to the model.
    ema: keep an average of the parameters, too.
  """
  config.validate()

  def make(key):
    return new_train_state(key, tx, config, lora, ema=ema)

  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    return jax.jit(make)(key)
  return jax.jit(make, out_shardings=state_shardings(
      tx, config, lora, ema=ema))(key)


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
               num_microbatches: int = 1, ema_decay: float = 0.0,
               layer_norms: bool = False
               ) -> tuple[TrainState, dict[str, jax.Array]]:
  """One optimiser step on the gradient of loss_sum / weight.

  A step whose loss or gradient norm is not finite is skipped: parameters,
  optimiser state and average stay as they are, bit for bit, the step is counted
  in `state.extra`, and the next batch has its turn. The device decides, so the
  host does not wait; `step_guard.py` stops a run that skips too many.

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
    ema_decay: of the average in `state.extra["ema"]`, where there is one.
    layer_norms: metrics also hold `update_norm` (0 where skipped), `param_norm`
      (after the step), and vectors over layers of the norms of their gradients
      and updates (`norms.layer_norms`).

  Returns:
    (the next state, scalar metrics: `loss`, `grad_norm`, `weight`, the counts
    of skipped steps and those of `Aux`).
    A batch of weight zero leaves the parameters to weight decay alone.
  """
  grad_sums, loss_sum, aux = _sum_gradients(state, frozen, batch, loss_fn,
                                            num_microbatches)
  divisor = jnp.maximum(aux.weight, 1e-8)
  loss, grad_norm = loss_sum / divisor, tree_norm(grad_sums) / divisor
  finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)

  def mean_gradients():
    return jax.tree.map(lambda g: g / divisor.astype(g.dtype), grad_sums)

  def take(state):
    """The state after the update, and norms of it."""
    # Divided here, they need not exist beside the sums.
    updates, opt_state = tx.update(mean_gradients(), state.opt_state,
                                   state.params)
    params = optax.apply_updates(state.params, updates)
    extra = dict(state.extra)
    if "ema" in extra:
      taken = state.step + 1 - extra.get("skipped", 0)
      extra["ema"] = update_average(extra["ema"], params, ema_decay, taken)
    new = state.replace(params=params, opt_state=opt_state, extra=extra)
    new = jax.tree.map(lambda n, o: n.astype(o.dtype), new, state)
    if not layer_norms:  # not for nothing: all updates then exist at once
      return new, {}
    return new, {"update_norm": tree_norm(updates),
                 **norms_of_layers("update_norm", updates)}

  def skip(state):
    return state, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype),
                               jax.eval_shape(take, state)[1])

  # A choice between states, element by element, would copy most of them: 5% of
  # a small model's step on a CPU (docs/LOG.md).
  state, norms = jax.lax.cond(finite, take, skip, state)
  state = state.replace(step=state.step + 1,
                        extra=_counted(state.extra, finite))
  metrics = {"loss": loss, "grad_norm": grad_norm, "weight": aux.weight}
  metrics |= {name: state.extra[name] for name in _COUNTS
              if name in state.extra}
  metrics |= {name: total / jnp.maximum(weight, 1e-8)
              for name, (total, weight) in aux.metrics.items()}
  if layer_norms:
    metrics |= {**norms, "param_norm": tree_norm(state.params),
                **norms_of_layers("grad_norm", mean_gradients())}
  return state, metrics


def _counted(extra: dict[str, Any], finite: jax.Array) -> dict[str, Any]:
  """`extra` with this step counted, where it has counts."""
  if not set(_COUNTS) <= set(extra):
    return dict(extra)
  return {**extra,
          "skipped": extra["skipped"] + ~finite,
          "skipped_in_a_row": jnp.where(
              finite, 0, extra["skipped_in_a_row"] + 1)}
