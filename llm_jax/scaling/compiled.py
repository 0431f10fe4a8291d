"""The steps of a run, compiled for devices that need not be here.

They are the functions that run: `train_step` with pretraining's loss, its
optimiser and its donated state, split as `state_shardings` says; `prefill` and
`decode_step` with a cache, their weights in the compute dtype and layers apart,
as the samplers have them. Only their arguments are shapes.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec
import jax.numpy as jnp

from llm_jax.config import CompileForTpuConfig, ModelConfig
from llm_jax.model.cache import init_cache
from llm_jax.model.decode import decode_step, prefill
from llm_jax.model.params import init_params, param_shardings
from llm_jax.model.transformer import unstack_layers
from llm_jax.sharding import fitting_spec
from llm_jax.training.losses import language_model_loss
from llm_jax.training.memory_errors import told_out_of_memory
from llm_jax.training.optimizers import make_optimizer
from llm_jax.training.train_step import (
    new_train_state, state_shardings, train_step)


@dataclasses.dataclass(frozen=True)
class CompiledStep:
  """A compiled program and what it took.

  Attributes:
    name: train, prefill or decode.
    compiled: `jax.stages.Compiled`.
    tokens: that one run of it reads.
    seconds: of lowering and compiling.
  """
  name: str
  compiled: Any
  tokens: int
  seconds: float


def compile_step(name: str, config: CompileForTpuConfig, mesh: Any
                 ) -> CompiledStep:
  """Lowers and compiles one of the run's steps.

  Args:
    name: train, prefill or decode.
    config: the run; its model has its vocabulary size.
    mesh: of `make_mesh`, over devices of `compile_devices`.

  Raises:
    ConfigError: the compiler found that the devices' memory is too small.
  """
  start = time.monotonic()
  step, arguments, donated, tokens = {
      "train": _train, "prefill": _prefill, "decode": _decode}[name](
          config, mesh)
  kind = mesh.devices.flat[0].device_kind
  # The abstract mesh and not the mesh itself: what is computed while tracing
  # (a kernel's mask) must run here, and these devices run nothing.
  with (jax.sharding.use_abstract_mesh(mesh.abstract_mesh),
        told_out_of_memory(config, config.model, device=kind)):
    compiled = jax.jit(step, donate_argnums=donated).lower(
        *arguments).compile()
  return CompiledStep(name, compiled, tokens, time.monotonic() - start)


def _shaped(tree: Any, specs: Any, mesh: Any) -> Any:
  """`ShapeDtypeStruct`s with the shardings of a tree of PartitionSpecs."""
  return jax.tree.map(
      lambda x, spec: jax.ShapeDtypeStruct(
          x.shape, x.dtype, sharding=NamedSharding(mesh, spec)), tree, specs)


def _train(config, mesh):
  model = config.model
  tx = make_optimizer(config.optimizer, config.num_steps, model)
  ema = config.optimizer.ema_decay > 0
  abstract = jax.eval_shape(
      lambda: new_train_state(jax.random.key(0), tx, model, ema=ema))
  state = _shaped(abstract, state_shardings(tx, model, ema=ema), mesh)
  shape = (config.batch_size, config.seq_len)
  spec = fitting_spec(shape, ("batch", "seq"), model.rules, mesh)
  batch = {name: jax.ShapeDtypeStruct(
      shape, jnp.float32 if name == "loss_mask" else jnp.int32,
      sharding=NamedSharding(mesh, spec))
           for name in ("tokens", "targets", "loss_mask", "segment_ids",
                        "positions")}
  step = functools.partial(
      train_step, loss_fn=functools.partial(
          language_model_loss, config=model, loss=config.loss),
      tx=tx, num_microbatches=config.num_microbatches,
      ema_decay=config.optimizer.ema_decay,
      layer_norms=config.logging.layer_norms)
  return step, (state, None, batch), 0, config.batch_size * config.seq_len


def serving_model(config: CompileForTpuConfig) -> ModelConfig:
  """The model as it is served: weights in the compute dtype."""
  return dataclasses.replace(config.model,
                             param_dtype=config.model.compute_dtype)


def serving_shape(config: CompileForTpuConfig, mesh: Any) -> tuple[int, int]:
  """(rows, slots of the cache) of prefill and decode."""
  ways = 1
  for axis in config.model.rules.batch:
    ways *= mesh.shape[axis]
  return config.serve_batch or ways, config.serve_len or config.seq_len


def _serving(config, mesh):
  """(model, parameters, cache, spec of rows) as shapes."""
  model = serving_model(config)
  rows, slots = serving_shape(config, mesh)
  stacked = _shaped(
      jax.eval_shape(lambda: init_params(jax.random.key(0), model)),
      param_shardings(model), mesh)
  # A layer has the split of its stack, without the stack's own axis.
  flat = jax.eval_shape(unstack_layers, stacked)
  specs = {**param_shardings(model), "layers": [
      tuple(jax.tree.map(lambda s: PartitionSpec(*s[1:]), group)
            for _ in layers)
      for group, layers in zip(param_shardings(model)["layers"],
                               flat["layers"], strict=True)]}
  cache = jax.eval_shape(lambda: init_cache(rows, slots, model))
  cache = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(
          mesh, fitting_spec(x.shape, ("batch", "kv_heads", None, None),
                             model.rules, mesh))), cache)
  row_spec = fitting_spec((rows,), ("batch",), model.rules, mesh)
  return model, _shaped(flat, specs, mesh), cache, row_spec, (rows, slots)


def _prefill(config, mesh):
  model, params, cache, row, (rows, slots) = _serving(config, mesh)
  tokens = jax.ShapeDtypeStruct(
      (rows, slots), jnp.int32,
      sharding=NamedSharding(mesh, PartitionSpec(*row, None)))
  lengths = jax.ShapeDtypeStruct((rows,), jnp.int32,
                                 sharding=NamedSharding(mesh, row))
  def step(params, tokens_BT, lengths_B, cache):
    return prefill(params, tokens_BT, lengths_B, cache, model)
  return step, (params, tokens, lengths, cache), 3, rows * slots


def _decode(config, mesh):
  model, params, cache, row, (rows, _) = _serving(config, mesh)
  column = jax.ShapeDtypeStruct((rows,), jnp.int32,
                                sharding=NamedSharding(mesh, row))
  def step(params, tokens_B, positions_B, cache):
    return decode_step(params, tokens_B, positions_B, cache, model)
  return step, (params, column, column, cache), 3, rows
