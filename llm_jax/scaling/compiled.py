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
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec
import jax.numpy as jnp

from llm_jax.config import (
    CompileForTpuConfig, ModelConfig, Rules, TrainRunConfig)
from llm_jax.model.cache import KVCache, init_cache
from llm_jax.model.decode import decode_step, prefill
from llm_jax.model.params import init_params, param_shardings
from llm_jax.model.quantization import Int8, quantize_weights
from llm_jax.model.transformer import unstack_layers
from llm_jax.sharding import fitting_spec
from llm_jax.training.losses import language_model_loss
from llm_jax.training.memory_errors import told_out_of_memory
from llm_jax.training.optimizers import make_optimizer
from llm_jax.training.train_step import (
    new_train_state, state_shardings, train_step)


@dataclasses.dataclass(frozen=True)
class Program:
  """A function that a run compiles, with shapes in place of its arguments.

  Attributes:
    step: the function.
    arguments: `jax.ShapeDtypeStruct`s with shardings.
    donated: numbers of the arguments that are given up.
    tokens: that one run of it reads.
  """
  step: Callable[..., Any]
  arguments: tuple[Any, ...]
  donated: tuple[int, ...]
  tokens: int


@dataclasses.dataclass(frozen=True)
class CompiledStep:
  """A compiled program and what it took.

  Attributes:
    name: train, prefill, ...
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
  """Lowers and compiles one of a pretraining run's steps.

  Args:
    name: train, prefill or decode.
    config: the run; its model has its vocabulary size.
    mesh: of `make_mesh`, over devices of `compile_devices`.

  Raises:
    ConfigError: the compiler found that the devices' memory is too small.
  """
  program = {"train": _train, "prefill": _prefill, "decode": _decode}[name](
      config, mesh)
  return compile_program(name, program, config, config.model, mesh)


def compile_program(name: str, program: Program, config: TrainRunConfig,
                    model: ModelConfig, mesh: Any) -> CompiledStep:
  """Lowers and compiles a program.

  Args:
    name: what it is called.
    program: the function and its arguments.
    config: the run that it is of; for what would lower the need for memory.
    model: the model, likewise.
    mesh: of `make_mesh`, over devices of `compile_devices`.

  Raises:
    ConfigError: the compiler found that the devices' memory is too small.
  """
  start = time.monotonic()
  kind = mesh.devices.flat[0].device_kind
  # The abstract mesh and not the mesh itself: what is computed while tracing
  # (a kernel's mask) must run here, and these devices run nothing.
  with (jax.sharding.use_abstract_mesh(mesh.abstract_mesh),
        told_out_of_memory(config, model, device=kind)):
    compiled = jax.jit(program.step, donate_argnums=program.donated).lower(
        *program.arguments).compile()
  return CompiledStep(name, compiled, program.tokens,
                      time.monotonic() - start)


def shaped(tree: Any, specs: Any, mesh: Any) -> Any:
  """`ShapeDtypeStruct`s with the shardings of a tree of PartitionSpecs."""
  return jax.tree.map(
      lambda x, spec: jax.ShapeDtypeStruct(
          x.shape, x.dtype, sharding=NamedSharding(mesh, spec)), tree, specs)


def shaped_rows(shape: tuple[int, ...], dtype: Any, rules: Rules, mesh: Any
                ) -> jax.ShapeDtypeStruct:
  """An array [B, T] of a batch, or [B], split as batches are."""
  spec = fitting_spec(shape, ("batch", "seq")[:len(shape)], rules, mesh)
  return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, spec))


def shaped_params(model: ModelConfig, mesh: Any) -> Any:
  """A model's parameters."""
  return shaped(jax.eval_shape(lambda: init_params(jax.random.key(0), model)),
                param_shardings(model), mesh)


def sampler_params(model: ModelConfig, mesh: Any, *, int8: bool = False) -> Any:
  """A model's parameters as samplers have them: layers apart.

  Args:
    model: the model.
    mesh: the devices.
    int8: matrices are quantised.
  """
  # A layer has the split of its stack, without the stack's own axis.
  flat = jax.eval_shape(unstack_layers, shaped_params(model, mesh))
  stacked = param_shardings(model)
  specs = {**stacked, "layers": [
      tuple(jax.tree.map(lambda s: PartitionSpec(*s[1:]), group)
            for _ in layers)
      for group, layers in zip(stacked["layers"], flat["layers"], strict=True)]}
  if not int8:
    return shaped(flat, specs, mesh)
  quantized = jax.eval_shape(quantize_weights, flat)

  def specs_of(x, spec):
    if not isinstance(x, Int8):
      return spec
    parts = (*spec, *(None,) * (x.ndim - len(spec)))
    return Int8(spec, PartitionSpec(*(
        None if size == 1 else part
        for size, part in zip(x.scales.shape, parts, strict=True))))
  return shaped(quantized, jax.tree.map(
      specs_of, quantized, specs, is_leaf=lambda x: isinstance(x, Int8)), mesh)


def shaped_cache(rows: int, slots: int, model: ModelConfig, mesh: Any
                 ) -> KVCache:
  """Keys and values of `rows` rows, rows and heads split as the rules say."""
  cache = jax.eval_shape(lambda: init_cache(rows, slots, model))
  return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(
          mesh, fitting_spec(x.shape, ("batch", "kv_heads", None, None),
                             model.rules, mesh))), cache)


def _train(config, mesh):
  model = config.model
  tx = make_optimizer(config.optimizer, config.num_steps, model)
  ema = config.optimizer.ema_decay > 0
  abstract = jax.eval_shape(
      lambda: new_train_state(jax.random.key(0), tx, model, ema=ema))
  state = shaped(abstract, state_shardings(tx, model, ema=ema), mesh)
  batch = {name: shaped_rows(
      (config.batch_size, config.seq_len),
      jnp.float32 if name == "loss_mask" else jnp.int32, model.rules, mesh)
           for name in ("tokens", "targets", "loss_mask", "segment_ids",
                        "positions")}
  step = functools.partial(
      train_step, loss_fn=functools.partial(
          language_model_loss, config=model, loss=config.loss),
      tx=tx, num_microbatches=config.num_microbatches,
      ema_decay=config.optimizer.ema_decay,
      layer_norms=config.logging.layer_norms)
  return Program(step, (state, None, batch), (0,),
                 config.batch_size * config.seq_len)


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


def _prefill(config, mesh):
  model = serving_model(config)
  rows, slots = serving_shape(config, mesh)
  row = fitting_spec((rows,), ("batch",), model.rules, mesh)
  tokens = jax.ShapeDtypeStruct(
      (rows, slots), jnp.int32,
      sharding=NamedSharding(mesh, PartitionSpec(*row, None)))
  lengths = shaped_rows((rows,), jnp.int32, model.rules, mesh)
  def step(params, tokens_BT, lengths_B, cache):
    return prefill(params, tokens_BT, lengths_B, cache, model)
  return Program(step, (sampler_params(model, mesh), tokens, lengths,
                        shaped_cache(rows, slots, model, mesh)), (3,),
                 rows * slots)


def _decode(config, mesh):
  model = serving_model(config)
  rows, slots = serving_shape(config, mesh)
  column = shaped_rows((rows,), jnp.int32, model.rules, mesh)
  def step(params, tokens_B, positions_B, cache):
    return decode_step(params, tokens_B, positions_B, cache, model)
  return Program(step, (sampler_params(model, mesh), column, column,
                        shaped_cache(rows, slots, model, mesh)), (3,), rows)
