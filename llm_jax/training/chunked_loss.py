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
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from llm_jax.config import ModelConfig
from llm_jax.model import layers
from llm_jax.model.params import Params
from llm_jax.training.logit_chunks import (
    cutters, head_of, is_target, is_turned, kernel_of, logits_backward,
    logits_of, nll_and_normaliser, scan_chunks, split_as_table, wide)


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
  table, settings = head_of(params, config, hidden_BTD.dtype, chunk)
  with jax.named_scope("chunked_loss"):
    return _loss(hidden_BTD, table, targets_BT, loss_mask_BT, settings, z_coef)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _loss(hidden_BTD, table, targets_BT, loss_mask_BT, settings, z_coef):
  return _sums(hidden_BTD, table, targets_BT, loss_mask_BT, settings, z_coef,
               gradients=False)[0]


def _loss_fwd(hidden_BTD, table, targets_BT, loss_mask_BT, settings, z_coef):
  return _sums(hidden_BTD, table, targets_BT, loss_mask_BT, settings, z_coef,
               gradients=True)


def _loss_bwd(settings, z_coef, gradients, cotangents):
  del settings, z_coef
  # The mask's gradient would be each token's loss; nothing trains a mask.
  return *(g * cotangents[0].astype(g.dtype) for g in gradients), None, None


_loss.defvjp(_loss_fwd, _loss_bwd)


def _sums(hidden_BTD, table, targets_BT, loss_mask_BT, settings, z_coef, *,
          gradients):
  """((loss, Σ mask z²), (dloss/dhidden, dloss/dtable) or ())."""
  cut, join = cutters(hidden_BTD.shape[1], settings)
  kernel = kernel_of(table, hidden_BTD.dtype, settings)
  dtype = wide(hidden_BTD.dtype)
  zero = jnp.zeros((), dtype)
  # Held as the products make it; turned to the table's own axes at the end.
  d_kernel = (split_as_table(jnp.zeros(kernel.shape, dtype), settings)
              if gradients else ())

  def one(carry, chunk):
    loss, z_sum, d_kernel = carry
    x, targets, mask = chunk
    capped = layers.softcap(logits_of(x, kernel, settings), settings.softcap)
    nll, z = nll_and_normaliser(capped, targets)
    loss += jnp.sum(mask * (nll + z_coef * jnp.square(z)))
    z_sum += jnp.sum(mask * jnp.square(z))
    if not gradients:
      return (loss, z_sum, ()), ()
    scale = mask * (1 + 2 * z_coef * z)
    d_capped = jnp.exp(capped - z[..., None]) * scale[..., None]
    d_capped -= jnp.where(is_target(targets, capped), mask[..., None], 0)
    d_x, added = logits_backward(x, d_capped, capped, kernel, settings)
    return (loss, z_sum, split_as_table(d_kernel + added, settings)), d_x

  (loss, z_sum, d_kernel), d_x = scan_chunks(
      one, (zero, zero, d_kernel),
      (cut(hidden_BTD), cut(targets_BT), cut(loss_mask_BT)))
  if not gradients:
    return (loss, z_sum), ()
  if is_turned(settings):
    d_kernel = d_kernel.T
  return (loss, z_sum), (join(d_x), d_kernel.astype(table.dtype))
