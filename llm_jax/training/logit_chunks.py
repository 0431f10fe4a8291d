"""Logits of a chunk of every row at a time, and the products that make them.

What `chunked_loss.py` and `chunked_logprobs.py` share: rows cut into chunks,
the head's table as all chunks read it, its product with hidden states, and the
two products of the backward pass.

On a mesh the batch stays where it is, and where time is split each device takes
chunks of its own part. The table is gathered once for all chunks, in the
compute dtype; its gradient is added up in float32, split as the table is, so
that each chunk ends in one reduce-scatter of the table's size: few, large
chunks cost less communication, many small ones less memory.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from llm_jax.config import ModelConfig, Rules
from llm_jax.model import layers
from llm_jax.model.params import Params
from llm_jax.sharding import shard


@dataclasses.dataclass(frozen=True)
class HeadSettings:
  """What is known of the head and of the chunks when tracing."""
  chunk: int  # tokens of a row; of each device's part, where time is split
  softcap: float
  tied: bool  # the table is [V, D], not [D, V]
  rules: Rules


def head_of(params: Params, config: ModelConfig, dtype: Any, chunk: int
            ) -> tuple[Any, HeadSettings]:
  """(table, its settings).

  Args:
    params: of the model: the embedding where the head is tied to it.
    config: the model.
    dtype: of the hidden states. A table that is quantised or has a low-rank
      update is made whole, in float32 or wider.
    chunk: tokens of a row whose logits exist at once.
  """
  table = (params["embed"]["tokens"] if config.tie_embeddings
           else params["head"]["kernel"])
  if not isinstance(table, jax.Array | np.ndarray):
    table = table.astype(wide(dtype))
  return table, HeadSettings(chunk, config.logit_softcap,
                             config.tie_embeddings, config.rules)


# --- chunks ------------------------------------------------------------------


def cutters(T: int, settings: HeadSettings
            ) -> tuple[Callable[[jax.Array], jax.Array],
                       Callable[[jax.Array], jax.Array]]:
  """(cut, join): [B, T, ..] <-> [n, B, C, c, ..], C the devices that time is
  split over and c tokens of each one's part in a chunk; cut pads with zeros."""
  mesh = jax.sharding.get_abstract_mesh()
  C = math.prod(mesh.shape.get(axis, 1) for axis in settings.rules.seq)
  C = C if T % C == 0 else 1
  n = -(-T // (C * (settings.chunk or T)))
  c = -(-T // (C * n))  # of equal length, so that little is padding
  padding = C * n * c - T

  def on_mesh(x, *between):
    rest = (None,) * (x.ndim - 3 - len(between))
    return shard(x, *between, "batch", "seq" if C > 1 else None, None, *rest,
                 rules=settings.rules)

  def cut(x):
    x = x.reshape(x.shape[0], C, T // C, *x.shape[2:])
    x = jnp.pad(x, ((0, 0), (0, 0), (0, padding // C))
                + ((0, 0),) * (x.ndim - 3))
    x = x.reshape(*x.shape[:2], n, c, *x.shape[3:])
    return on_mesh(jnp.moveaxis(x, 2, 0), None)

  def join(x):
    x = jnp.moveaxis(x, 0, 2)
    x = x.reshape(*x.shape[:2], n * c, *x.shape[4:])[:, :, :T // C]
    return on_mesh(x).reshape(x.shape[0], T, *x.shape[3:])

  return cut, join


def scan_chunks(body: Callable[[Any, Any], tuple[Any, Any]], carry: Any,
                chunks: Any) -> tuple[Any, Any]:
  """`lax.scan` over the chunks that `cut` makes; no loop around a single one.
  """
  if jax.tree.leaves(chunks)[0].shape[0] > 1:
    return jax.lax.scan(body, carry, chunks)
  carry, found = body(carry, jax.tree.map(lambda x: x[0], chunks))
  return carry, jax.tree.map(lambda x: x[None], found)


# --- products ----------------------------------------------------------------
# On one device they are of two matrices, and a tied table is turned to [D, V]
# once, behind a barrier: XLA:CPU makes the gradient of [D, V] up to twice as
# fast as that of [V, D]. On a mesh the axes stay as they are.


def is_turned(settings: HeadSettings) -> bool:
  """Whether the kernel is the table transposed."""
  return settings.tied and layers.on_one_device()


def kernel_of(table: jax.Array, dtype: Any, settings: HeadSettings
              ) -> jax.Array:
  """The table for all chunks: whole but for the vocabulary's own split."""
  kernel = table.astype(dtype)
  if is_turned(settings):
    return jax.lax.optimization_barrier(kernel.T)
  axes = ("act_vocab", None) if settings.tied else (None, "act_vocab")
  return shard(kernel, *axes, rules=settings.rules)


def split_as_table(d_table: jax.Array, settings: HeadSettings) -> jax.Array:
  """A gradient of the kernel, split as the table is."""
  axes = ("vocab", "embed") if settings.tied else ("embed", "vocab")
  return shard(d_table, *axes, rules=settings.rules)


def logits_of(x_BCcD: jax.Array, kernel: jax.Array, settings: HeadSettings
              ) -> jax.Array:
  """logits_BCcV of hidden states, not capped; float32 or wider."""
  dtype = wide(x_BCcD.dtype)
  if layers.on_one_device():
    B, C, c, D = x_BCcD.shape
    return jnp.matmul(x_BCcD.reshape(B * C * c, D), kernel,
                      preferred_element_type=dtype).reshape(B, C, c, -1)
  equation = "bxcd,vd->bxcv" if settings.tied else "bxcd,dv->bxcv"
  return _split_logits(jnp.einsum(equation, x_BCcD, kernel,
                                  preferred_element_type=dtype), settings)


def logits_backward(x_BCcD: jax.Array, d_capped_BCcV: jax.Array,
                    capped_BCcV: jax.Array, kernel: jax.Array,
                    settings: HeadSettings) -> tuple[jax.Array, jax.Array]:
  """(d hidden of the chunk, its share of d kernel, float32 or wider).

  Args:
    x_BCcD: hidden states.
    d_capped_BCcV: cotangent of the logits, after their soft cap.
    capped_BCcV: these logits.
    kernel: of `kernel_of`.
    settings: of the head.
  """
  if settings.softcap:  # d cap(x) / dx = 1 - tanh²
    d_capped_BCcV *= 1 - jnp.square(capped_BCcV / settings.softcap)
  d_logits_BCcV = d_capped_BCcV.astype(x_BCcD.dtype)
  if layers.on_one_device():
    x_MD = x_BCcD.reshape(-1, x_BCcD.shape[-1])
    d_logits_MV = d_logits_BCcV.reshape(-1, d_logits_BCcV.shape[-1])
    return ((d_logits_MV @ kernel.T).reshape(x_BCcD.shape),
            jnp.matmul(x_MD.T, d_logits_MV,
                       preferred_element_type=wide(x_MD.dtype)))
  d_logits_BCcV = _split_logits(d_logits_BCcV, settings)
  d_x_BCcD = jnp.einsum(
      "bxcv,vd->bxcd" if settings.tied else "bxcv,dv->bxcd", d_logits_BCcV,
      kernel)
  # Devices' shares travel in the compute dtype, as other gradients' do.
  added = jnp.einsum(
      "bxcv,bxcd->vd" if settings.tied else "bxcd,bxcv->dv",
      *((d_logits_BCcV, x_BCcD) if settings.tied
        else (x_BCcD, d_logits_BCcV)))
  added = split_as_table(added, settings)
  return (shard(d_x_BCcD, "batch", "seq" if d_x_BCcD.shape[1] > 1 else None,
                None, "act_embed", rules=settings.rules),
          added.astype(wide(x_BCcD.dtype)))


def _split_logits(logits_BCcV, settings):
  return shard(logits_BCcV, "batch",
               "seq" if logits_BCcV.shape[1] > 1 else None, None, "act_vocab",
               rules=settings.rules)


# --- scores of targets -------------------------------------------------------


def nll_and_normaliser(logits: jax.Array, targets: jax.Array
                       ) -> tuple[jax.Array, jax.Array]:
  """(-log softmax(logits)[target], logsumexp(logits)) over the last axis."""
  highest = jnp.max(logits, axis=-1, keepdims=True)
  z = jnp.log(jnp.sum(jnp.exp(logits - highest), -1)) + highest[..., 0]
  if layers.platform() == "cpu" and layers.on_one_device():
    target = jnp.take_along_axis(logits, targets[..., None], -1)[..., 0]
  else:  # no gather along an axis that may be split
    target = jnp.sum(jnp.where(is_target(targets, logits), logits, 0), -1)
  return z - target, z


def is_target(targets: jax.Array, logits: jax.Array) -> jax.Array:
  """Bool, shaped as the logits: true at each target."""
  vocabulary = jax.lax.broadcasted_iota(targets.dtype, logits.shape,
                                        logits.ndim - 1)
  return vocabulary == targets[..., None]


def wide(dtype: Any) -> Any:
  """float32, or `dtype` where that is wider."""
  return jnp.promote_types(dtype, jnp.float32)
