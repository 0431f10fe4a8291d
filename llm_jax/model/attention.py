"""Causal attention: one meaning, several ways to compute it.

`self_attention` serves training: queries and keys are the same tokens and
array order is time, so "causal" is a lower triangle, and packed documents are
kept apart by `segment_ids`. `cached_attention` serves prefill and decoding:
slot s of the cache holds position s, and a query sees the slots up to its own
position. In both, a query head reads the key/value head of its group
(grouped-query attention, Ainslie et al. 2023, arXiv:2305.13245).

    softmax(cap(scale · q kᵀ) + mask) v,   softmax and its sums in float32 or
                                           wider; scale is 1/√H unless given

`window` bounds what a query sees to so many tokens, its own included (Beltagy
et al. 2020, arXiv:2004.05150; Mistral, 2310.06825); 0 is no bound. `softcap`
is c of cap(x) = c · tanh(x / c) (Gemma 2, 2408.00118); 0 is none.

Kinds, all with the same numbers up to rounding:
  reference  the formula as it stands; holds [T, T]; the oracle of the tests
  blockwise  blocks of queries against the keys they can see; neither computes
             nor stores the upper triangle, forwards or backwards; for CPU
  jax        `jax.nn.dot_product_attention`; cuDNN's kernel where it applies
  splash     the Pallas kernel for TPU, in `model/splash_attention.py`
  auto       what suits the platform that it runs on: blockwise on CPU, splash
             on TPU, on GPU jax, but blockwise where cuDNN has no kernel and
             [T, T] would be large
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name
import jax.numpy as jnp

from llm_jax.config import Rules
from llm_jax.model.attention_rows import (
    attend_rows, differentiate_rows, group_heads, masked, product, scan_rows,
    ungroup_heads, weighted_dout)
from llm_jax.model.layers import platform, softcap as cap
from llm_jax.model.quantization import Int8
from llm_jax.model.splash_attention import splash_attention

# What `remat=attention` keeps of a layer, by `checkpoint_name`.
SAVED = "attention"
# Up to here [T, T] is small enough to hold, and one product beats many.
_SHORT = 1024
_RULES = Rules()

# Blocks below 64 leave the matrix products too small to run at full speed;
# above 128 too much of the masked triangle is computed.
_MIN_BLOCK = 64
# A longer sequence gets longer blocks, as each block is compiled by itself.
_MAX_BLOCKS = 16


def self_attention(
    q_BTNH: jax.Array, k_BTKH: jax.Array, v_BTKH: jax.Array, *,
    segment_ids_BT: jax.Array | None = None, kind: str = "auto",
    window: int = 0, softcap: float = 0.0, scale: float = 0.0,
    rules: Rules = _RULES,
) -> jax.Array:
  """Causal attention of a sequence to itself.

  Args:
    q_BTNH: queries.
    k_BTKH: keys; K divides N.
    v_BTKH: values; their heads may be of another size than those of q and k.
    segment_ids_BT: tokens attend within their own id only. Padding is a
      segment like any other, so that its rows are finite.
    kind: auto | reference | blockwise | jax | splash.
    window: tokens that a query sees, its own included; 0: all before it.
    softcap: bound of the scores; 0: none. `jax` has none and runs `blockwise`.
    scale: multiplies q kᵀ; 0: 1/√H.
    rules: how a mesh splits rows and heads; `splash` has to know.

  Returns:
    out_BTNH, of the dtype of the queries and the size of the values.

  Raises:
    ValueError: for an unknown kind.
  """
  scale = scale or 1 / math.sqrt(q_BTNH.shape[-1])
  if kind == "auto":
    kind = _suited(q_BTNH, segment_ids_BT, softcap)
  if kind == "jax" and softcap:
    kind = "blockwise"
  if kind == "splash":
    return splash_attention(
        q_BTNH, k_BTKH, v_BTKH, segment_ids_BT=segment_ids_BT, window=window,
        softcap=softcap, scale=scale, rules=rules, saved_name=SAVED)
  if kind == "blockwise":
    return _blockwise(q_BTNH, k_BTKH, v_BTKH, segment_ids_BT, window, softcap,
                      scale)
  if kind == "jax":
    return checkpoint_name(
        _jax_self(q_BTNH, k_BTKH, v_BTKH, segment_ids_BT, window, scale),
        SAVED)
  if kind != "reference":
    raise ValueError(f"Unknown attention kind {kind!r}; choose one of auto, "
                     "reference, blockwise, jax, splash.")
  T = q_BTNH.shape[1]
  mask_BTS = _causal_mask(0, T, 0, T, segment_ids_BT, segment_ids_BT, window)
  out_BTNH = _attend(group_heads(q_BTNH, k_BTKH.shape[2]),
                     k_BTKH.swapaxes(1, 2), v_BTKH.swapaxes(1, 2), mask_BTS,
                     softcap, scale)
  return checkpoint_name(out_BTNH.astype(q_BTNH.dtype), SAVED)


def _suited(q_BTNH, segment_ids_BT, softcap):
  """The kind that `auto` is, on the platform that this will run on."""
  T, where = q_BTNH.shape[1], platform()
  if where == "tpu":
    # The kernel's sums are float32, and its blocks have 128 rows.
    short = T < 128 or q_BTNH.dtype == jnp.float64
    return ("blockwise" if softcap else "jax") if short else "splash"
  if where == "gpu" and (T <= _SHORT or _has_cudnn(q_BTNH, segment_ids_BT)):
    return "jax"
  return "blockwise"


def _has_cudnn(q_BTNH, segment_ids_BT):
  """Whether cuDNN has a kernel: a mask of segments is added to the scores,
  which wants an even number of them."""
  T, H = q_BTNH.shape[1], q_BTNH.shape[3]
  return (platform() == "gpu" and H % 8 == 0 and H <= 128
          and q_BTNH.dtype in (jnp.bfloat16, jnp.float16)
          and (segment_ids_BT is None or T % 2 == 0))


def cached_attention(
    q_BTNH: jax.Array, k_BKSH: Any, v_BKSH: Any, *, positions_BT: jax.Array,
    window: int = 0, softcap: float = 0.0, scale: float = 0.0,
) -> jax.Array:
  """Attention to a cache whose slot s holds position s, for s ≤ the query's.

  Args:
    q_BTNH: queries; T is 1 in decoding, the prompt's length in prefill.
    k_BKSH: cached keys, those of this call's positions already written; an
      array, or `Int8` with one scale per slot.
    v_BKSH: cached values; what is in slots not yet written does not matter,
      as long as it is finite.
    positions_BT: position of each query.
    window: as for `self_attention`.
    softcap: likewise.
    scale: likewise.

  Returns:
    out_BTNH, of the dtype of the queries and the size of the values.
  """
  scale = scale or 1 / math.sqrt(q_BTNH.shape[-1])
  slots_S = jnp.arange(k_BKSH.shape[2])[None, None, :]
  mask_BTS = slots_S <= positions_BT[:, :, None]
  if window:
    mask_BTS &= slots_S > positions_BT[:, :, None] - window
  return _attend(group_heads(q_BTNH, k_BKSH.shape[1]), k_BKSH, v_BKSH,
                 mask_BTS, softcap, scale).astype(q_BTNH.dtype)


def _attend(q_BKGTH, k_BKSH, v_BKSH, mask_BTS, softcap, scale):
  """The formula; `mask_BTS` (B or 1 leading) is true where T sees S."""
  dtype = q_BKGTH.dtype
  if isinstance(k_BKSH, Int8):
    # The scales are one per slot, so they come out of both sums over H: the
    # cache is read as bytes and never held in a wider type.
    scores_BKGTS = product("BKGTH,BKSH->BKGTS", q_BKGTH,
                           k_BKSH.values.astype(dtype))
    scores_BKGTS *= k_BKSH.scales[..., 0][:, :, None, None, :]
  else:
    scores_BKGTS = product("BKGTH,BKSH->BKGTS", q_BKGTH, k_BKSH)
  scores_BKGTS = cap(scores_BKGTS * scale, softcap)
  weights_BKGTS = jax.nn.softmax(masked(scores_BKGTS, mask_BTS), axis=-1)
  if isinstance(v_BKSH, Int8):
    weights_BKGTS *= v_BKSH.scales[..., 0][:, :, None, None, :]
    v_BKSH = v_BKSH.values.astype(dtype)
  return ungroup_heads(product(
      "BKGTS,BKSH->BKGTH", weights_BKGTS.astype(v_BKSH.dtype), v_BKSH))


def _jax_self(q_BTNH, k_BTKH, v_BTKH, segment_ids_BT, window, scale):
  """`jax.nn.dot_product_attention`, with cuDNN where it has a kernel.

  Its softmax is float32 even where the queries are float64. Values of smaller
  heads are padded to the keys' size, which it wants.
  """
  T, H, V = *q_BTNH.shape[1::2], v_BTKH.shape[-1]
  mask_B1TT = None
  if segment_ids_BT is not None:
    # One mask holds all: cuDNN is not asked to have a window beside it.
    mask_B1TT = _causal_mask(0, T, 0, T, segment_ids_BT, segment_ids_BT,
                             window)[:, None]
    window = 0
  if V < H:
    v_BTKH = jnp.pad(v_BTKH, ((0, 0), (0, 0), (0, 0), (0, H - V)))
  return jax.nn.dot_product_attention(
      q_BTNH, k_BTKH, v_BTKH, mask=mask_B1TT, is_causal=True, scale=scale,
      local_window_size=(window - 1, 0) if window else None,
      implementation="cudnn" if _has_cudnn(q_BTNH, segment_ids_BT) else None,
  )[..., :V]


# --- blockwise ---------------------------------------------------------------
# Rows of queries, each against all keys up to its block's last: exact softmax
# rows, no running rescale. The backward pass keeps only the logarithm of each
# row's sum and recomputes the weights (Dao et al. 2022, arXiv:2205.14135,
# alg. 4). Blocks are unrolled, as each has its own number of keys; the rows of
# a long block are taken a few at a time in a scan.


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6))
def _blockwise(q_BTNH, k_BTKH, v_BTKH, segment_ids_BT, window, softcap, scale):
  return _blockwise_fwd(q_BTNH, k_BTKH, v_BTKH, segment_ids_BT, window,
                        softcap, scale)[0]


def _blockwise_fwd(q_BTNH, k_BTKH, v_BTKH, segment_ids_BT, window, softcap,
                   scale):
  q_BKGTH = group_heads(q_BTNH, k_BTKH.shape[2])
  k_BKTH, v_BKTH = k_BTKH.swapaxes(1, 2), v_BTKH.swapaxes(1, 2)
  outs, logsums = [], []
  for start, end, first in _blocks(q_BTNH.shape[1], window):
    k_BKSH, v_BKSH = k_BKTH[:, :, first:end], v_BKTH[:, :, first:end]

    def attend(carry, rows, k_BKSH=k_BKSH, v_BKSH=v_BKSH, seen=(first, end)):
      q_BKGtH, number = rows
      mask_BtS = _mask_of_rows(number, q_BKGtH.shape[3], seen, segment_ids_BT,
                               window)
      out_BKGtH, logsum_BKGt1 = attend_rows(q_BKGtH, k_BKSH, v_BKSH, mask_BtS,
                                            softcap, scale)
      return carry, (out_BKGtH.astype(q_BKGtH.dtype), logsum_BKGt1)

    _, (out_BKGtH, logsum_BKGt1) = scan_rows(
        attend, (), (q_BKGTH[..., start:end, :],), start)
    outs.append(out_BKGtH)
    logsums.append(logsum_BKGt1)
  out_BKGTH = checkpoint_name(jnp.concatenate(outs, axis=3), SAVED)
  logsum_BKGT1 = checkpoint_name(jnp.concatenate(logsums, axis=3), SAVED)
  residuals = (q_BKGTH, k_BKTH, v_BKTH, segment_ids_BT, out_BKGTH,
               logsum_BKGT1)
  return ungroup_heads(out_BKGTH), residuals


def _blockwise_bwd(window, softcap, scale, residuals, dout_BTNH):
  q_BKGTH, k_BKTH, v_BKTH, segment_ids_BT, out_BKGTH, logsum_BKGT1 = residuals
  accumulator = logsum_BKGT1.dtype
  dout_BKGTH = group_heads(dout_BTNH, k_BKTH.shape[1])
  delta_BKGT1 = weighted_dout(dout_BKGTH, out_BKGTH, accumulator)
  dq_blocks = []
  dk_BKTH = jnp.zeros(k_BKTH.shape, accumulator)
  dv_BKTH = jnp.zeros(v_BKTH.shape, accumulator)
  for start, end, first in _blocks(q_BKGTH.shape[3], window):
    rows = (..., slice(start, end), slice(None))
    seen = (..., slice(first, end), slice(None))
    k_BKSH, v_BKSH = k_BKTH[seen], v_BKTH[seen]

    def differentiate(sums, rows, k_BKSH=k_BKSH, v_BKSH=v_BKSH,
                      seen=(first, end)):
      q_BKGtH, dout_BKGtH, logsum_BKGt1, delta_BKGt1, number = rows
      mask_BtS = _mask_of_rows(number, q_BKGtH.shape[3], seen, segment_ids_BT,
                               window)
      dq_BKGtH, *added = differentiate_rows(
          q_BKGtH, k_BKSH, v_BKSH, dout_BKGtH, logsum_BKGt1, delta_BKGt1,
          mask_BtS, softcap, scale)
      return jax.tree.map(jnp.add, sums, tuple(added)), dq_BKGtH

    (dk_BKSH, dv_BKSH), dq_BKGtH = scan_rows(
        differentiate, (dk_BKTH[seen], dv_BKTH[seen]),
        (q_BKGTH[rows], dout_BKGTH[rows], logsum_BKGT1[rows],
         delta_BKGT1[rows]), start)
    dk_BKTH = dk_BKTH.at[seen].set(dk_BKSH)
    dv_BKTH = dv_BKTH.at[seen].set(dv_BKSH)
    dq_blocks.append(dq_BKGtH)
  dq_BTNH = ungroup_heads(jnp.concatenate(dq_blocks, axis=3))
  return (dq_BTNH.astype(q_BKGTH.dtype),
          dk_BKTH.swapaxes(1, 2).astype(k_BKTH.dtype),
          dv_BKTH.swapaxes(1, 2).astype(v_BKTH.dtype), None)


_blockwise.defvjp(_blockwise_fwd, _blockwise_bwd)


def _blocks(T: int, window: int = 0) -> list[tuple[int, int, int]]:
  """Start and end of each block of queries (the last may be shorter), and the
  first key that its window reaches, at the start of a block."""
  block = _MIN_BLOCK * max(1, math.ceil(T / (_MIN_BLOCK * _MAX_BLOCKS)))
  def first(start):
    return max(0, start - window + 1) // block * block if window else 0
  return [(start, min(start + block, T), first(start))
          for start in range(0, T, block)]


def _mask_of_rows(number, length, seen, segment_ids_BT, window):
  """`_causal_mask` of the rows from `number`, which may be traced, on."""
  if segment_ids_BT is None:
    return _causal_mask(number, length, *seen, None, None, window)
  return _causal_mask(
      number, length, *seen,
      jax.lax.dynamic_slice_in_dim(segment_ids_BT, number, length, axis=1),
      segment_ids_BT[:, slice(*seen)], window)


# --- shared pieces -----------------------------------------------------------


def _causal_mask(start, length, first, end, query_ids_BT, key_ids_BS, window):
  """mask_BtS: `length` queries from `start` on see keys first..end before them,
  within the window and the same segment."""
  query_1t1 = start + jnp.arange(length)[None, :, None]
  key_11S = jnp.arange(first, end)[None, None, :]
  mask_1tS = key_11S <= query_1t1
  if window:
    mask_1tS &= key_11S > query_1t1 - window
  if query_ids_BT is None:
    return mask_1tS
  return mask_1tS & (query_ids_BT[:, :, None] == key_ids_BS[:, None, :])
