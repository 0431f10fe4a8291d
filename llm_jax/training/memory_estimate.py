"""Bytes of one device in a training step, from settings alone.

Arithmetic over the tensors' shapes and their splits; nothing is compiled. What
stays from step to step (parameters, the optimiser's moments) is exact. What
comes and goes is a model of what XLA does, some three quarters of its own
analysis of compiled steps (docs/scaling.md has both). A step has its peak in
one of three phases, each on top of the activations that are kept:

  loss      logits, the head's weights gathered, and their gradient
  backward  a layer's weights gathered, its inner activations, its gradient,
            and the gradients of the layers that are done
  update    all gradients beside the moments
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from llm_jax.config import ModelConfig, Rules, TrainRunConfig
from llm_jax.model.params import ParamSpec, is_spec, param_specs
from llm_jax.training.train_step import new_train_state, state_shardings


@dataclasses.dataclass(frozen=True)
class MemoryEstimate:
  """Bytes of one device.

  Attributes:
    params: parameters.
    optimizer: all else of the train state: moments, an average, counters.
    batch: the step's tokens.
    gradients: of all parameters, as they are when the last layer is done.
    activations: kept from the forward pass for the backward pass.
    layer: work of the layer that is at work: weights, activations, gradient.
    logits: work of the loss: logits and the head's weights and gradient.
  """
  params: int
  optimizer: int
  batch: int
  gradients: int
  activations: int
  layer: int
  logits: int

  @property
  def temporary(self) -> int:
    """What a step needs beside its arguments, at its peak."""
    return self.activations + max(self.logits, self.gradients + self.layer)

  @property
  def total(self) -> int:
    """Of a step, at its peak; its state is updated in place."""
    return self.params + self.optimizer + self.batch + self.temporary


def estimate_memory(config: TrainRunConfig, model: ModelConfig, mesh: Any,
                    tx: optax.GradientTransformation) -> MemoryEstimate:
  """Bytes of one device of `mesh` in a training step.

  Args:
    config: the run: rows, tokens of a row, microbatches, loss, EMA.
    model: the model, its vocabulary size filled in.
    mesh: a Mesh or an AbstractMesh; only its shape is looked at.
    tx: the optimiser, for the shape of its state.
  """
  sizes, rules = dict(mesh.shape), model.rules
  specs = param_specs(model)
  params = _tensor_bytes(jax.tree.leaves(specs, is_leaf=is_spec), rules, sizes,
                         model.param_dtype)
  tokens = (config.batch_size // config.num_microbatches * config.seq_len
            / _ways(rules.batch, sizes) / _ways(rules.seq, sizes))
  width = jnp.dtype(model.compute_dtype).itemsize
  layers = [jax.tree.leaves(group, is_leaf=is_spec)
            for group in specs["layers"]]
  # The scan reads a copy of all layers' weights in the compute dtype, made
  # once before it, still split.
  copies = 0
  if width < jnp.dtype(model.param_dtype).itemsize and model.scan_layers:
    copies = _tensor_bytes(sum(layers, []), rules, sizes, model.compute_dtype,
                           only_matrices=True)
  kept = _kept_per_token(model, sizes) * width * model.num_layers * tokens
  return MemoryEstimate(
      params=params,
      optimizer=_state_bytes(config, model, tx, sizes) - params,
      batch=int(5 * 4 * config.batch_size * config.seq_len
                / _ways(rules.batch, sizes) / _ways(rules.seq, sizes)),
      gradients=params * (1 + (config.num_microbatches > 1)),
      activations=int(kept) + copies,
      layer=_layer_bytes(layers, model, sizes, tokens, width),
      logits=_logits_bytes(config, model, specs, sizes, tokens, width))


def _ways(axes: Iterable[str], sizes: dict[str, int]) -> int:
  return math.prod(sizes.get(axis, 1) for axis in axes)


def _tensor_bytes(specs: list[ParamSpec], rules: Rules, sizes: dict[str, int],
                  dtype: str, only_matrices: bool = False,
                  gathered: bool = False) -> int:
  """Bytes on a device of tensors split by the rules; with `gathered` not over
  the axes that also split the batch, as when they are multiplied."""
  total = 0.0
  for spec in specs:
    # A stacked norm is [layers, D]; whatever has more axes is a matrix.
    if only_matrices and len(spec.shape) < 3:
      continue
    split = {axis for name in spec.axes for axis in getattr(rules, name)}
    if gathered:
      split -= set(rules.batch)
    total += (math.prod(spec.shape) / _ways(split, sizes)
              * jnp.dtype(spec.dtype or dtype).itemsize)
  return int(total)


def _state_bytes(config, model, tx, sizes):
  ema = config.optimizer.ema_decay > 0
  options = {"ema": True} if ema else {}
  abstract = jax.eval_shape(
      lambda: new_train_state(jax.random.key(0), tx, model, **options))
  specs = state_shardings(tx, model, **options)
  is_partition = lambda x: isinstance(x, jax.sharding.PartitionSpec)  # noqa: E731
  total = 0.0
  for array, spec in zip(jax.tree.leaves(abstract),
                         jax.tree.leaves(specs, is_leaf=is_partition),
                         strict=True):
    axes = [axis for entry in spec if entry is not None
            for axis in ((entry,) if isinstance(entry, str) else entry)]
    total += (math.prod(array.shape) * array.dtype.itemsize
              / _ways(axes, sizes))
  return int(total)


def _widths(model: ModelConfig, sizes: dict[str, int]) -> dict[str, float]:
  """Numbers per token that a layer makes, on one device."""
  rules = model.rules
  heads = model.num_heads * model.head_dim / _ways(rules.heads, sizes)
  keys = model.num_kv_heads * model.head_dim / _ways(rules.kv_heads, sizes)
  hidden = model.mlp_dim / _ways(rules.mlp, sizes)
  if model.moe.num_experts:
    # Where tokens travel to their experts, a device has as many rows as it
    # sends; where they do not, those of all experts are its own.
    hidden = (model.moe.mlp_dim * model.moe.experts_per_token
              + model.moe.shared_dim) / _ways(rules.mlp, sizes)
  return {"stream": model.embed_dim / _ways(rules.act_embed, sizes),
          "heads": heads, "keys": keys, "hidden": hidden,
          "routed": (model.embed_dim * model.moe.experts_per_token
                     if model.moe.num_experts else 0)}


def _kept_per_token(model: ModelConfig, sizes: dict[str, int]) -> float:
  """Numbers per token and layer that wait for the backward pass."""
  w = _widths(model, sizes)
  gates = 2 if model.mlp in ("swiglu", "geglu") else 1
  products = w["heads"] + 2 * w["keys"] + w["stream"] + gates * w["hidden"]
  return {
      "full": w["stream"],
      "offload": 0.0,
      "attention": w["stream"] + w["heads"],
      "dots": 2 * w["stream"] + products + w["heads"],
      # Inputs of norms and products, both sides of what is not linear.
      "none": 4 * w["stream"] + 2 * products + w["heads"] + w["hidden"]
              + 2 * w["routed"],
  }[model.remat]


def _layer_bytes(layers, model, sizes, tokens, width):
  """Of one layer at work in the backward pass."""
  largest = max(_tensor_bytes(group, model.rules, sizes, model.compute_dtype,
                              gathered=True) / group[0].shape[0]
                for group in layers)
  w = _widths(model, sizes)
  inner = (4 * w["stream"] + 4 * (w["heads"] + w["keys"]) + 4 * w["hidden"]
           + 3 * w["routed"])
  # Weights are gathered ahead of their use and again for the gradient, whose
  # shares wait whole until they are summed.
  return int(2 * largest + inner * tokens * width)


def _logits_bytes(config, model, specs, sizes, tokens, width):
  """Of the loss: logits in float32, their gradient, the head and its own."""
  parts = max(1, config.loss.vocab_parts)
  vocab = model.vocab_size / _ways(model.rules.act_vocab, sizes) / parts
  chunk = config.loss.chunk
  at_once = tokens if not chunk else min(
      tokens, tokens / config.seq_len * _ways(model.rules.seq, sizes) * chunk)
  head = (specs["embed"]["tokens"] if model.tie_embeddings
          else specs["head"]["kernel"])
  gathered = _tensor_bytes([head], model.rules, sizes, model.compute_dtype,
                           gathered=True)
  return int(2 * gathered / parts + at_once * vocab * (4 + width)
             + 4 * math.prod(head.shape) / _ways(
                 {axis for name in head.axes
                  for axis in getattr(model.rules, name)}, sizes))
