"""Cross-entropy whose logits are never whole: a chunk of every row at a time.

At 128 k words the logits of one row of 4,096 tokens are 2 GiB in float32, and a
plain loss holds them several times over: scores, softmax, gradient. Here a scan
makes the logits of `chunk` tokens of each row, their loss and, as the gradient
of a sum of losses is known as soon as its logits are,

    dL/dlogit_v = mask · ((1 + 2 ζ z) softmax_v - [v = target]),   z = logsumexp

(ζ: z-loss, PaLM, Chowdhery et al. 2022, arXiv:2204.02311, section 5) also its
share of the gradients of hidden states and table, at once; the backward pass
has only to multiply both by the loss's own cotangent. So logits are computed
once, not again in the backward pass as a rematerialised scan would, and what is
kept has the size of the hidden states and the table (as in Liger kernels, Hsu
et al. 2024, arXiv:2410.10989, and in Cut Your Losses, Wijmans et al. 2024,
arXiv:2411.09009).

On a mesh the batch stays where it is, and where time is split each device takes
chunks of its own part. The table is gathered once for all chunks, in the
compute dtype; its gradient is added up in float32, split as the table is, so
that each chunk ends in one reduce-scatter of the table's size: few, large
chunks cost less communication, many small ones less memory.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from llm_jax.config import ModelConfig, Rules
from llm_jax.model import layers
from llm_jax.model.params import Params
from llm_jax.sharding import shard


@dataclasses.dataclass(frozen=True)
class _Settings:
  """What is known when tracing."""
  chunk: int
  z_coef: float
  softcap: float
  tied: bool  # the table is [V, D], not [D, V]
  rules: Rules


def chunked_loss(params: Params, hidden_BTD: jax.Array, targets_BT: jax.Array,
                 loss_mask_BT: jax.Array, config: ModelConfig, *, chunk: int,
                 z_coef: float = 0.0) -> tuple[jax.Array, jax.Array]:
  """The sums of `losses.next_token_loss`, straight from the hidden states.

  Args:
    params: of the model, for the head: the embedding where they are tied. A
      head that is quantised or has a low-rank update is made whole.
    hidden_BTD: of `backbone`.
    targets_BT: int32 tokens, already shifted by one.
    loss_mask_BT: float32 weights of the targets.
    config: the model.
    chunk: tokens of a row whose logits exist at once. Where time is split over
      devices they are of each device's part.
    z_coef: weight of the squared log-normaliser.

  Returns:
    (Σ mask · (-log softmax(logits)[target] + z_coef · z²), Σ mask · z²),
    float32 or wider. The second has no gradient.
  """
  table = (params["embed"]["tokens"] if config.tie_embeddings
           else params["head"]["kernel"])
  if not isinstance(table, jax.Array | np.ndarray):
    table = table.astype(_wide(hidden_BTD.dtype))
  with jax.named_scope("chunked_loss"):
    return _loss(hidden_BTD, table, targets_BT, loss_mask_BT, _Settings(
        chunk, z_coef, config.logit_softcap, config.tie_embeddings,
        config.rules))


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _loss(hidden_BTD, table, targets_BT, loss_mask_BT, settings):
  return _sums(hidden_BTD, table, targets_BT, loss_mask_BT, settings,
               gradients=False)[0]


def _loss_fwd(hidden_BTD, table, targets_BT, loss_mask_BT, settings):
  return _sums(hidden_BTD, table, targets_BT, loss_mask_BT, settings,
               gradients=True)


def _loss_bwd(settings, gradients, cotangents):
  del settings
  # The mask's gradient would be each token's loss; nothing trains a mask.
  return *(g * cotangents[0].astype(g.dtype) for g in gradients), None, None


_loss.defvjp(_loss_fwd, _loss_bwd)


def _sums(hidden_BTD, table, targets_BT, loss_mask_BT, settings, *, gradients):
  """((loss, Σ mask z²), (dloss/dhidden, dloss/dtable) or ())."""
  cut, join = _cutters(hidden_BTD.shape[1], settings)
  kernel = _gathered(table, hidden_BTD.dtype, settings)
  wide = _wide(hidden_BTD.dtype)
  zero = jnp.zeros((), wide)
  # Held as the products make it; turned to the table's own axes at the end.
  d_table = jnp.zeros(kernel.shape, wide) if gradients else ()
  chunks = (cut(hidden_BTD), cut(targets_BT), cut(loss_mask_BT))

  def one(carry, chunk):
    loss, z_sum, d_table = carry
    x, targets, mask = chunk
    logits = _product(x, kernel, settings)
    capped = layers.softcap(logits, settings.softcap)
    nll, z = _nll(capped, targets)
    loss += jnp.sum(mask * (nll + settings.z_coef * jnp.square(z)))
    z_sum += jnp.sum(mask * jnp.square(z))
    if not gradients:
      return (loss, z_sum, ()), ()
    scale = mask * (1 + 2 * settings.z_coef * z)
    d_logits = jnp.exp(capped - z[..., None]) * scale[..., None]
    d_logits -= jnp.where(_is_target(targets, capped), mask[..., None], 0)
    if settings.softcap:  # d cap(x) / dx = 1 - tanh²
      d_logits *= 1 - jnp.square(capped / settings.softcap)
    d_logits = d_logits.astype(x.dtype)
    d_x, added = _products_backward(x, d_logits, kernel, settings)
    return (loss, z_sum, _like_table(d_table + added, settings)), d_x

  if chunks[0].shape[0] == 1:
    (loss, z_sum, d_table), d_x = one(
        (zero, zero, d_table), jax.tree.map(lambda x: x[0], chunks))
    d_x = jax.tree.map(lambda x: x[None], d_x)
  else:
    (loss, z_sum, d_table), d_x = jax.lax.scan(
        one, (zero, zero, _like_table(d_table, settings)), chunks)
  if not gradients:
    return (loss, z_sum), ()
  if _turned(settings):
    d_table = d_table.T
  return (loss, z_sum), (join(d_x), d_table.astype(table.dtype))


# --- chunks ------------------------------------------------------------------


def _cutters(T, settings):
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


# --- products ----------------------------------------------------------------
# On one device they are of two matrices, and a tied table is turned to [D, V]
# once, behind a barrier: XLA:CPU makes the gradient of [D, V] up to twice as
# fast as that of [V, D]. On a mesh the axes stay as they are.


def _turned(settings):
  return settings.tied and layers.on_one_device()


def _gathered(table, dtype, settings):
  """The table for all chunks: whole but for the vocabulary's own split."""
  kernel = table.astype(dtype)
  if _turned(settings):
    return jax.lax.optimization_barrier(kernel.T)
  axes = ("act_vocab", None) if settings.tied else (None, "act_vocab")
  return shard(kernel, *axes, rules=settings.rules)


def _like_table(d_table, settings):
  axes = ("vocab", "embed") if settings.tied else ("embed", "vocab")
  return shard(d_table, *axes, rules=settings.rules)


def _product(x_BCcD, kernel, settings):
  """logits_BCcV, float32 or wider."""
  wide = _wide(x_BCcD.dtype)
  if layers.on_one_device():
    B, C, c, D = x_BCcD.shape
    return jnp.matmul(x_BCcD.reshape(B * C * c, D), kernel,
                      preferred_element_type=wide).reshape(B, C, c, -1)
  equation = "bxcd,vd->bxcv" if settings.tied else "bxcd,dv->bxcv"
  return _split_logits(jnp.einsum(equation, x_BCcD, kernel,
                                  preferred_element_type=wide), settings)


def _products_backward(x_BCcD, d_logits_BCcV, kernel, settings):
  """(d hidden of the chunk, its share of d table)."""
  if layers.on_one_device():
    x_MD = x_BCcD.reshape(-1, x_BCcD.shape[-1])
    d_logits_MV = d_logits_BCcV.reshape(-1, d_logits_BCcV.shape[-1])
    return ((d_logits_MV @ kernel.T).reshape(x_BCcD.shape),
            jnp.matmul(x_MD.T, d_logits_MV,
                       preferred_element_type=_wide(x_MD.dtype)))
  d_logits_BCcV = _split_logits(d_logits_BCcV, settings)
  d_x_BCcD = jnp.einsum(
      "bxcv,vd->bxcd" if settings.tied else "bxcv,dv->bxcd", d_logits_BCcV,
      kernel)
  # Devices' shares travel in the compute dtype, as other gradients' do.
  added = jnp.einsum(
      "bxcv,bxcd->vd" if settings.tied else "bxcd,bxcv->dv",
      *((d_logits_BCcV, x_BCcD) if settings.tied
        else (x_BCcD, d_logits_BCcV)))
  added = _like_table(added, settings)
  return (shard(d_x_BCcD, "batch", "seq" if d_x_BCcD.shape[1] > 1 else None,
                None, "act_embed", rules=settings.rules),
          added.astype(_wide(x_BCcD.dtype)))


def _split_logits(logits_BCcV, settings):
  return shard(logits_BCcV, "batch",
               "seq" if logits_BCcV.shape[1] > 1 else None, None, "act_vocab",
               rules=settings.rules)


def _nll(logits, targets):
  """(-log softmax(logits)[target], logsumexp(logits)) over the last axis."""
  highest = jnp.max(logits, axis=-1, keepdims=True)
  z = jnp.log(jnp.sum(jnp.exp(logits - highest), -1)) + highest[..., 0]
  if layers.platform() == "cpu" and layers.on_one_device():
    target = jnp.take_along_axis(logits, targets[..., None], -1)[..., 0]
  else:  # no gather along an axis that may be split
    target = jnp.sum(jnp.where(_is_target(targets, logits), logits, 0), -1)
  return z - target, z


def _is_target(targets, logits):
  vocabulary = jax.lax.broadcasted_iota(targets.dtype, logits.shape,
                                        logits.ndim - 1)
  return vocabulary == targets[..., None]


def _wide(dtype: Any) -> Any:
  return jnp.promote_types(dtype, jnp.float32)
