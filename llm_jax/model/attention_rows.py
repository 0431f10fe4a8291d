"""Rows of attention: some queries against some keys, and the gradients.

What `attention.py` does a block of queries at a time and `context_attention.py`
a chunk of the sequence at a time. The logarithm of a row's sum is all that the
backward pass needs to have the weights again, and all that joins results for
different keys (Dao et al. 2022, arXiv:2205.14135).
"""

from __future__ import annotations

from collections.abc import Callable
import math
from typing import Any

import jax
import jax.numpy as jnp

from llm_jax.model.layers import softcap as cap

# Rows whose scores exist at once.
MAX_ROWS = 128


def attend_rows(q_BKGtH: jax.Array, k_BKSH: jax.Array, v_BKSH: jax.Array,
                mask_BtS: jax.Array, softcap: float, scale: float
                ) -> tuple[jax.Array, jax.Array]:
  """(out_BKGtH, logsum_BKGt1), both float32 or wider.

  Args:
    q_BKGtH: queries.
    k_BKSH: keys.
    v_BKSH: values.
    mask_BtS: true where a query sees a key.
    softcap: bound of the scores; 0: none.
    scale: multiplies q kᵀ.
  """
  scores_BKGtS = product("BKGtH,BKSH->BKGtS", q_BKGtH, k_BKSH) * scale
  scores_BKGtS = masked(cap(scores_BKGtS, softcap), mask_BtS)
  max_BKGt1 = scores_BKGtS.max(axis=-1, keepdims=True)
  exp_BKGtS = jnp.exp(scores_BKGtS - max_BKGt1)
  sum_BKGt1 = exp_BKGtS.sum(axis=-1, keepdims=True)
  out_BKGtH = product("BKGtS,BKSH->BKGtH", exp_BKGtS.astype(v_BKSH.dtype),
                      v_BKSH) / sum_BKGt1
  return out_BKGtH, max_BKGt1 + jnp.log(sum_BKGt1)


def differentiate_rows(
    q_BKGtH: jax.Array, k_BKSH: jax.Array, v_BKSH: jax.Array,
    dout_BKGtH: jax.Array, logsum_BKGt1: jax.Array, delta_BKGt1: jax.Array,
    mask_BtS: jax.Array, softcap: float, scale: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """(dq_BKGtH, dk_BKSH, dv_BKSH) of these rows and keys, float32 or wider.

  Args:
    q_BKGtH: queries.
    k_BKSH: keys.
    v_BKSH: values.
    dout_BKGtH: cotangent of the output.
    logsum_BKGt1: over all keys that the queries see, here or elsewhere.
    delta_BKGt1: `weighted_dout`.
    mask_BtS: true where a query sees a key.
    softcap: bound of the scores; 0: none.
    scale: multiplies q kᵀ.
  """
  scores_BKGtS = cap(
      product("BKGtH,BKSH->BKGtS", q_BKGtH, k_BKSH) * scale, softcap)
  weights_BKGtS = jnp.exp(masked(scores_BKGtS, mask_BtS) - logsum_BKGt1)
  dweights_BKGtS = product("BKGtH,BKSH->BKGtS", dout_BKGtH, v_BKSH)
  dscores_BKGtS = weights_BKGtS * (dweights_BKGtS - delta_BKGt1)
  if softcap:  # d cap(x) / dx = 1 - tanh²
    dscores_BKGtS *= 1 - jnp.square(scores_BKGtS / softcap)
  dscores_BKGtS = (dscores_BKGtS * scale).astype(k_BKSH.dtype)
  return (product("BKGtS,BKSH->BKGtH", dscores_BKGtS, k_BKSH),
          product("BKGtS,BKGtH->BKSH", dscores_BKGtS, q_BKGtH),
          product("BKGtS,BKGtH->BKSH", weights_BKGtS.astype(v_BKSH.dtype),
                  dout_BKGtH))


def weighted_dout(dout: jax.Array, out: jax.Array, dtype: Any) -> jax.Array:
  """Σ_s weight · dweight, the term that softmax's gradient subtracts."""
  return jnp.sum(dout.astype(dtype) * out.astype(dtype), axis=-1,
                 keepdims=True)


def scan_rows(body: Callable[[Any, Any], Any], carry: Any,
              arrays: tuple[jax.Array, ...], start: Any) -> tuple[Any, Any]:
  """Scans `body(carry, (*rows of each array, number of the first row))` over a
  block whose first row has the number `start`; arrays are [B,K,G,rows,..]."""
  length = arrays[0].shape[3]
  size = math.gcd(length, MAX_ROWS) if length > MAX_ROWS else length
  if size in (length, 1):
    return body(carry, (*arrays, start))
  def cut(x):
    x = x.reshape(*x.shape[:3], length // size, size, x.shape[-1])
    return jnp.moveaxis(x, 3, 0)
  def join(x):
    x = jnp.moveaxis(x, 0, 3)
    return x.reshape(*x.shape[:3], length, x.shape[-1])
  numbers = start + size * jnp.arange(length // size)
  carry, found = jax.lax.scan(
      body, carry, (*(cut(x) for x in arrays), numbers))
  return carry, jax.tree.map(join, found)


def product(equation: str, x: jax.Array, y: jax.Array) -> jax.Array:
  """Einsum that accumulates and returns at least float32."""
  accumulator = jnp.promote_types(x.dtype, jnp.float32)
  return jnp.einsum(equation, x, y, preferred_element_type=accumulator)


def masked(scores_BKGTS: jax.Array, mask_BTS: jax.Array) -> jax.Array:
  """A finite lowest score where masked: a row that sees nothing is no NaN."""
  lowest = 0.5 * jnp.finfo(scores_BKGTS.dtype).min
  return jnp.where(mask_BTS[:, None, None], scores_BKGTS, lowest)


def group_heads(x_BTNH: jax.Array, K: int) -> jax.Array:
  """[B,T,N,H] -> [B,K,G,T,H]: the layout of batched matrix products."""
  B, T, N, H = x_BTNH.shape
  return x_BTNH.reshape(B, T, K, N // K, H).transpose(0, 2, 3, 1, 4)


def ungroup_heads(x_BKGTH: jax.Array) -> jax.Array:
  """[B,K,G,T,H] -> [B,T,N,H]."""
  B, K, G, T, H = x_BKGTH.shape
  return x_BKGTH.transpose(0, 3, 1, 2, 4).reshape(B, T, K * G, H)
