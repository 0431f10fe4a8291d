"""Cross-entropy a part of the vocabulary at a time: the head is never whole.

`chunked_loss.py` cuts rows, and so bounds the logits; but all of the head is
gathered on every device, and its gradient made there before it is split again:
at 128 k words of 4,096 numbers a gibibyte of bfloat16 each. Here a scan gathers
one part of the vocabulary after the other, for all tokens:

    forwards   m, s ← running maximum and Σ exp(logit - m)   (Milakov and
               Gimelshein 2018, arXiv:1805.02867), and the target's logit
    backwards  the part's logits once more, its dL/dlogit (as in
               `chunked_loss.py`), and from it the part's own gradient, which is
               reduced and split before the next part begins

so a device holds [B, T, V/n] of logits and two [D, V/n] of weights. The price
is that logits are computed twice: 2·D·V operations a token, some 2% of a step
of an 8 B model.
"""

from __future__ import annotations

import dataclasses
import functools

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
  parts: int
  z_coef: float
  softcap: float
  tied: bool  # the table is [V, D], not [D, V]
  rules: Rules


def vocab_chunked_loss(params: Params, hidden_BTD: jax.Array,
                       targets_BT: jax.Array, loss_mask_BT: jax.Array,
                       config: ModelConfig, *, parts: int, z_coef: float = 0.0
                       ) -> tuple[jax.Array, jax.Array]:
  """The sums of `losses.next_token_loss`, straight from the hidden states.

  Args:
    params: of the model, for the head: the embedding where they are tied. A
      head that is quantised or has a low-rank update is made whole.
    hidden_BTD: of `backbone`.
    targets_BT: int32 tokens, already shifted by one.
    loss_mask_BT: float32 weights of the targets.
    config: the model.
    parts: of the vocabulary, at most: as many as divide it.
    z_coef: weight of the squared log-normaliser.

  Returns:
    (Σ mask · (-log softmax(logits)[target] + z_coef · z²), Σ mask · z²),
    float32 or wider. The second has no gradient.
  """
  table = (params["embed"]["tokens"] if config.tie_embeddings
           else params["head"]["kernel"])
  if not isinstance(table, jax.Array | np.ndarray):
    table = table.astype(jnp.promote_types(hidden_BTD.dtype, jnp.float32))
  parts = next(n for n in range(min(parts, config.vocab_size), 0, -1)
               if config.vocab_size % n == 0)
  with jax.named_scope("vocab_chunked_loss"):
    return _loss(hidden_BTD, table, targets_BT, loss_mask_BT, _Settings(
        parts, z_coef, config.logit_softcap, config.tie_embeddings,
        config.rules))


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _loss(hidden_BTD, table, targets_BT, loss_mask_BT, settings):
  return _loss_fwd(hidden_BTD, table, targets_BT, loss_mask_BT, settings)[0]


def _loss_fwd(hidden_BTD, table, targets_BT, loss_mask_BT, settings):
  wide = jnp.promote_types(hidden_BTD.dtype, jnp.float32)

  def one(carry, part):
    highest_BT, sum_BT, target_BT = carry
    number, piece = part
    logits_BTv = _logits(hidden_BTD, piece, settings)
    new_BT = jnp.maximum(highest_BT, logits_BTv.max(-1))
    sum_BT = (sum_BT * jnp.exp(highest_BT - new_BT)
              + jnp.exp(logits_BTv - new_BT[..., None]).sum(-1))
    target_BT += jnp.sum(jnp.where(
        _is_target(targets_BT, number, logits_BTv, settings), logits_BTv, 0),
                         -1)
    return (new_BT, sum_BT, target_BT), None

  zero_BT = jnp.zeros(targets_BT.shape, wide)
  (highest_BT, sum_BT, target_BT), _ = jax.lax.scan(
      one, (jnp.full_like(zero_BT, -jnp.inf), zero_BT, zero_BT),
      _parts(table, settings))
  z_BT = highest_BT + jnp.log(sum_BT)
  square_BT = jnp.square(z_BT)
  sums = (jnp.sum(loss_mask_BT * (z_BT - target_BT
                                  + settings.z_coef * square_BT)),
          jnp.sum(loss_mask_BT * square_BT))
  return sums, (hidden_BTD, table, targets_BT, loss_mask_BT, z_BT)


def _loss_bwd(settings, residuals, cotangents):
  hidden_BTD, table, targets_BT, loss_mask_BT, z_BT = residuals
  weight_BT = loss_mask_BT * cotangents[0]
  scale_BT = weight_BT * (1 + 2 * settings.z_coef * z_BT)
  wide = z_BT.dtype

  def one(d_hidden_BTD, part):
    number, piece = part
    logits_BTv = _logits(hidden_BTD, piece, settings)
    d_BTv = jnp.exp(logits_BTv - z_BT[..., None]) * scale_BT[..., None]
    d_BTv -= jnp.where(_is_target(targets_BT, number, logits_BTv, settings),
                       weight_BT[..., None], 0)
    if settings.softcap:  # d cap(x) / dx = 1 - tanh²
      d_BTv *= 1 - jnp.square(logits_BTv / settings.softcap)
    d_BTv = d_BTv.astype(hidden_BTD.dtype)
    d_piece = (jnp.einsum("btv,btd->vd", d_BTv, hidden_BTD) if settings.tied
               else jnp.einsum("btd,btv->dv", hidden_BTD, d_BTv))
    # Devices' shares travel in the compute dtype, as other gradients' do.
    d_piece = _split(d_piece, settings).astype(table.dtype)
    d_hidden_BTD += jnp.einsum(
        "btv,vd->btd" if settings.tied else "btv,dv->btd", d_BTv,
        _whole(piece, hidden_BTD.dtype, settings), preferred_element_type=wide)
    return d_hidden_BTD, d_piece

  d_hidden_BTD, d_pieces = jax.lax.scan(
      one, jnp.zeros(hidden_BTD.shape, wide), _parts(table, settings))
  # [n, V/n, D] or [n, D, V/n], back to the table's own order.
  d_table = (jnp.moveaxis(d_pieces, 0, 1) if settings.tied
             else jnp.moveaxis(d_pieces, 0, 2)).reshape(table.shape)
  # The mask's gradient would be each token's loss; nothing trains a mask.
  return (d_hidden_BTD.astype(hidden_BTD.dtype), d_table.astype(table.dtype),
          None, None)


_loss.defvjp(_loss_fwd, _loss_bwd)


def _parts(table, settings):
  """(numbers, pieces) to scan over: piece i has the words v with v % n = i, so
  that a split of the vocabulary over devices is one of each piece."""
  n = settings.parts
  if settings.tied:
    pieces = jnp.moveaxis(table.reshape(-1, n, table.shape[1]), 1, 0)
  else:
    pieces = jnp.moveaxis(table.reshape(table.shape[0], -1, n), 2, 0)
  return jnp.arange(n), pieces


def _is_target(targets_BT, number, logits_BTv, settings):
  place = jax.lax.broadcasted_iota(targets_BT.dtype, logits_BTv.shape, 2)
  return place * settings.parts + number == targets_BT[..., None]


def _whole(piece, dtype, settings):
  """A piece as it is multiplied: whole but for the vocabulary's own split."""
  axes = ("act_vocab", None) if settings.tied else (None, "act_vocab")
  return shard(piece.astype(dtype), *axes, rules=settings.rules)


def _split(piece, settings):
  """A piece as its table is kept."""
  axes = ("vocab", "embed") if settings.tied else ("embed", "vocab")
  return shard(piece, *axes, rules=settings.rules)


def _logits(hidden_BTD, piece, settings):
  """[B, T, V/n], float32 or wider."""
  logits_BTv = jnp.einsum(
      "btd,vd->btv" if settings.tied else "btd,dv->btv", hidden_BTD,
      _whole(piece, hidden_BTD.dtype, settings),
      preferred_element_type=jnp.promote_types(hidden_BTD.dtype, jnp.float32))
  return shard(layers.softcap(logits_BTv, settings.softcap), "batch", "seq",
               "act_vocab", rules=settings.rules)
