"""What a step has to do, from the settings alone: operations and memory moved.

Lower bounds, for the roofline. Operations are those of `flops.py`, which says
how they are counted, and those of the layers that are done again backwards.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from llm_jax.config import ModelConfig, TrainRunConfig
from llm_jax.flops import flops_per_token, matmul_parameters
from llm_jax.model.params import is_spec, param_specs
from llm_jax.training.memory_estimate import MemoryEstimate


@dataclasses.dataclass(frozen=True)
class Workload:
  """Of one device in one step.

  Attributes:
    flops: the model's operations, each counted once.
    executed_flops: with those that are done again.
    hbm_bytes: that must be read or written.
  """
  flops: float
  executed_flops: float
  hbm_bytes: float

  def __add__(self, other: Workload) -> Workload:
    return Workload(*(a + b for a, b in zip(
        dataclasses.astuple(self), dataclasses.astuple(other))))

  def __mul__(self, times: float) -> Workload:
    return Workload(*(times * a for a in dataclasses.astuple(self)))


def train_workload(config: TrainRunConfig, model: ModelConfig,
                   estimate: MemoryEstimate, mesh: Any) -> Workload:
  """A training step.

  Memory: the state is read and written, gradients written and read; weights,
  once gathered, are written and read forwards and backwards (and once more
  where layers are done again) in every microbatch; kept activations are written
  and read.

  Args:
    config: the run; batch_size counts rows.
    model: the model.
    estimate: of `estimate_memory`.
    mesh: the devices.
  """
  tokens = config.batch_size * config.seq_len / mesh.size
  per_token = flops_per_token(model, config.seq_len)
  passes = 2 + (model.remat in ("full", "offload", "attention"))
  weights = _weight_bytes(model, mesh)
  moved = (2 * (estimate.params + estimate.optimizer + estimate.gradients)
           + config.num_microbatches * (2 * passes * weights
                                        + 2 * estimate.activations))
  return Workload(per_token * tokens,
                  (per_token + _again_per_token(model, config.seq_len))
                  * tokens, moved)


def serve_workload(name: str, model: ModelConfig, rows: int, slots: int,
                   mesh: Any) -> Workload:
  """Prefill of a batch of prompts, or one token more of each row.

  Memory: weights are read once, the cache is written (prefill) or read whole
  (decode, the last token).

  Args:
    name: prefill or decode.
    model: as it is served.
    rows: prompts, or rows.
    slots: of the cache: tokens of a prompt, or those to look back at.
    mesh: the devices.
  """
  # Training counts half of the keys, as causal attention sees so many on
  # average; the last token sees them all.
  if name == "prefill":
    flops = flops_per_token(model, slots) / 3 * rows * slots
  else:
    flops = flops_per_token(model, 2 * slots) / 3 * rows
  flops /= mesh.size
  return Workload(flops, flops,
                  _weight_bytes(model, mesh)
                  + cache_bytes(model, rows, slots, mesh))


def cache_bytes(model: ModelConfig, rows: int, slots: int, mesh: Any) -> float:
  """Of one device's part of the keys and values."""
  cached = 2 * model.num_kv_heads * model.head_dim
  if model.latent.kv_rank:
    cached = model.latent.kv_rank + model.latent.rope_dim
  dtype = model.cache_dtype or model.compute_dtype
  split = math.prod(mesh.shape[axis] for axis in {
      *model.rules.batch, *model.rules.kv_heads})
  return (cached * model.num_layers * rows * slots
          * jnp.dtype(dtype).itemsize / split)


def _again_per_token(model: ModelConfig, seq_len: int) -> float:
  """Operations of the forward pass that the backward pass repeats."""
  weights = matmul_parameters(model)
  attention = (flops_per_token(model, seq_len) - 6 * weights) / 3
  layers = 2 * (weights - model.vocab_size * model.embed_dim)
  return {"none": 0.0, "dots": attention, "attention": layers,
          "full": layers + attention,
          "offload": layers + attention}[model.remat]


def _weight_bytes(model: ModelConfig, mesh: Any) -> float:
  """Of all matrices in the compute dtype, as a device multiplies with them."""
  total = 0.0
  for spec in jax.tree.leaves(param_specs(model), is_leaf=is_spec):
    split = {axis for name in spec.axes
             for axis in getattr(model.rules, name)}
    split -= set(model.rules.batch)  # gathered
    total += (math.prod(spec.shape)
              / math.prod(mesh.shape[axis] for axis in split))
  return total * jnp.dtype(model.compute_dtype).itemsize
