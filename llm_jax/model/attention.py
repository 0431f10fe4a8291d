"""Causal attention: one meaning, several ways to compute it.

`self_attention` serves training: queries and keys are the same tokens and
array order is time, so "causal" is a lower triangle, and packed documents are
kept apart by `segment_ids`. `cached_attention` serves prefill and decoding:
slot s of the cache holds position s, and a query sees the slots up to its own
position. In both, a query head reads the key/value head of its group
(grouped-query attention, Ainslie et al. 2023, arXiv:2305.13245).

    softmax(q kᵀ / √H + mask) v,    softmax and its sums in float32 or wider

Kinds, all with the same numbers up to rounding:
  reference  the formula as it stands; holds [T, T]; the oracle of the tests
  blockwise  blocks of queries against the keys they can see; neither computes
             nor stores the upper triangle, forwards or backwards; for CPU
  jax        `jax.nn.dot_product_attention`; cuDNN's kernel where it applies
  auto       blockwise on CPU, jax elsewhere
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

# Blocks below 64 leave the matrix products too small to run at full speed;
# above 128 too much of the masked triangle is computed.
_MIN_BLOCK = 64
# A longer sequence gets longer blocks, as each block is compiled by itself.
_MAX_BLOCKS = 16


def self_attention(
    q_BTNH: jax.Array, k_BTKH: jax.Array, v_BTKH: jax.Array, *,
    segment_ids_BT: jax.Array | None = None, kind: str = "auto",
) -> jax.Array:
  """Causal attention of a sequence to itself.

  Args:
    q_BTNH: queries.
    k_BTKH: keys; K divides N.
    v_BTKH: values.
    segment_ids_BT: tokens attend within their own id only. Padding is a
      segment like any other, so that its rows are finite.
    kind: auto | reference | blockwise | jax.

  Returns:
    out_BTNH, of the dtype of the queries.

  Raises:
    ValueError: for an unknown kind.
  """
  if kind == "auto":
    kind = "blockwise" if jax.default_backend() == "cpu" else "jax"
  if kind == "blockwise":
    return _blockwise(q_BTNH, k_BTKH, v_BTKH, segment_ids_BT)
  if kind == "jax":
    return _jax_self(q_BTNH, k_BTKH, v_BTKH, segment_ids_BT)
  if kind != "reference":
    raise ValueError(f"Unknown attention kind {kind!r}; choose one of auto, "
                     "reference, blockwise, jax.")
  mask_BTS = _causal_mask(0, q_BTNH.shape[1], segment_ids_BT)
  return _reference(q_BTNH, k_BTKH, v_BTKH, mask_BTS)


def cached_attention(
    q_BTNH: jax.Array, k_BKSH: jax.Array, v_BKSH: jax.Array, *,
    positions_BT: jax.Array,
) -> jax.Array:
  """Attention to a cache whose slot s holds position s, for s ≤ the query's.

  Args:
    q_BTNH: queries; T is 1 in decoding, the prompt's length in prefill.
    k_BKSH: cached keys, those of this call's positions already written.
    v_BKSH: cached values; what is in slots not yet written does not matter,
      as long as it is finite.
    positions_BT: position of each query.

  Returns:
    out_BTNH, of the dtype of the queries.
  """
  slots_S = jnp.arange(k_BKSH.shape[2])
  mask_BTS = slots_S[None, None, :] <= positions_BT[:, :, None]
  q_BKGTH = _group_heads(q_BTNH, k_BKSH.shape[1])
  scores_BKGTS = _einsum("BKGTH,BKSH->BKGTS", q_BKGTH, k_BKSH)
  scores_BKGTS /= math.sqrt(q_BTNH.shape[-1])
  weights_BKGTS = jax.nn.softmax(
      _masked(scores_BKGTS, mask_BTS), axis=-1).astype(v_BKSH.dtype)
  out_BKGTH = _einsum("BKGTS,BKSH->BKGTH", weights_BKGTS, v_BKSH)
  return _ungroup_heads(out_BKGTH).astype(q_BTNH.dtype)


def _reference(q_BTNH, k_BSKH, v_BSKH, mask_BTS):
  """The formula; `mask_BTS` (B or 1 leading) is true where T sees S."""
  B, T, N, H = q_BTNH.shape
  q_BTKGH = q_BTNH.reshape(B, T, k_BSKH.shape[2], -1, H)
  scores_BKGTS = _einsum("BTKGH,BSKH->BKGTS", q_BTKGH, k_BSKH) / math.sqrt(H)
  weights_BKGTS = jax.nn.softmax(
      _masked(scores_BKGTS, mask_BTS), axis=-1).astype(v_BSKH.dtype)
  out_BTKGH = _einsum("BKGTS,BSKH->BTKGH", weights_BKGTS, v_BSKH)
  return out_BTKGH.reshape(B, T, N, H).astype(q_BTNH.dtype)


def _jax_self(q_BTNH, k_BTKH, v_BTKH, segment_ids_BT):
  """`jax.nn.dot_product_attention`, with cuDNN where it has a kernel.

  Its softmax is float32 even where the queries are float64.
  """
  H = q_BTNH.shape[-1]
  cudnn = (jax.default_backend() == "gpu" and H % 8 == 0 and H <= 128
           and q_BTNH.dtype in (jnp.bfloat16, jnp.float16))
  mask_B1TT = None
  if segment_ids_BT is not None:
    mask_B1TT = _same_segment(segment_ids_BT, segment_ids_BT)[:, None]
  return jax.nn.dot_product_attention(
      q_BTNH, k_BTKH, v_BTKH, mask=mask_B1TT, is_causal=True,
      implementation="cudnn" if cudnn else None)


# --- blockwise ---------------------------------------------------------------
# Blocks of queries, each against all keys up to its last: exact softmax rows,
# no running rescale. The backward pass keeps only the logarithm of each row's
# sum and recomputes the weights (Dao et al. 2022, arXiv:2205.14135, alg. 4).


@jax.custom_vjp
def _blockwise(q_BTNH, k_BTKH, v_BTKH, segment_ids_BT):
  return _blockwise_fwd(q_BTNH, k_BTKH, v_BTKH, segment_ids_BT)[0]


def _blockwise_fwd(q_BTNH, k_BTKH, v_BTKH, segment_ids_BT):
  T, H = q_BTNH.shape[1], q_BTNH.shape[3]
  q_BKGTH = _group_heads(q_BTNH, k_BTKH.shape[2])
  k_BKTH, v_BKTH = k_BTKH.swapaxes(1, 2), v_BTKH.swapaxes(1, 2)
  outs, logsums = [], []
  for start, end in _blocks(T):
    mask_BtS = _causal_mask(start, end, segment_ids_BT)
    scores_BKGtS = _einsum("BKGtH,BKSH->BKGtS", q_BKGTH[..., start:end, :],
                           k_BKTH[:, :, :end]) / math.sqrt(H)
    scores_BKGtS = _masked(scores_BKGtS, mask_BtS)
    max_BKGt1 = scores_BKGtS.max(axis=-1, keepdims=True)
    exp_BKGtS = jnp.exp(scores_BKGtS - max_BKGt1)
    sum_BKGt1 = exp_BKGtS.sum(axis=-1, keepdims=True)
    out_BKGtH = _einsum("BKGtS,BKSH->BKGtH", exp_BKGtS.astype(v_BKTH.dtype),
                        v_BKTH[:, :, :end]) / sum_BKGt1
    outs.append(out_BKGtH.astype(q_BTNH.dtype))
    logsums.append(max_BKGt1 + jnp.log(sum_BKGt1))
  out_BKGTH = jnp.concatenate(outs, axis=3)
  logsum_BKGT1 = jnp.concatenate(logsums, axis=3)
  residuals = (q_BKGTH, k_BKTH, v_BKTH, segment_ids_BT, out_BKGTH,
               logsum_BKGT1)
  return _ungroup_heads(out_BKGTH), residuals


def _blockwise_bwd(residuals, dout_BTNH):
  q_BKGTH, k_BKTH, v_BKTH, segment_ids_BT, out_BKGTH, logsum_BKGT1 = residuals
  T, H = q_BKGTH.shape[-2:]
  accumulator = logsum_BKGT1.dtype
  dout_BKGTH = _group_heads(dout_BTNH, k_BKTH.shape[1])
  # Σ_s weight · dweight, the term that softmax's gradient subtracts.
  delta_BKGT1 = jnp.sum(
      dout_BKGTH.astype(accumulator) * out_BKGTH.astype(accumulator), axis=-1,
      keepdims=True)
  dq_blocks = []
  dk_BKTH = jnp.zeros(k_BKTH.shape, accumulator)
  dv_BKTH = jnp.zeros(v_BKTH.shape, accumulator)
  for start, end in _blocks(T):
    rows = (..., slice(start, end), slice(None))
    q_BKGtH, dout_BKGtH = q_BKGTH[rows], dout_BKGTH[rows]
    k_BKSH, v_BKSH = k_BKTH[:, :, :end], v_BKTH[:, :, :end]
    mask_BtS = _causal_mask(start, end, segment_ids_BT)
    scores_BKGtS = _einsum("BKGtH,BKSH->BKGtS", q_BKGtH, k_BKSH)
    scores_BKGtS = _masked(scores_BKGtS / math.sqrt(H), mask_BtS)
    weights_BKGtS = jnp.exp(scores_BKGtS - logsum_BKGT1[rows])
    dweights_BKGtS = _einsum("BKGtH,BKSH->BKGtS", dout_BKGtH, v_BKSH)
    dscores_BKGtS = (weights_BKGtS * (dweights_BKGtS - delta_BKGT1[rows])
                     / math.sqrt(H)).astype(k_BKTH.dtype)
    dq_blocks.append(
        _einsum("BKGtS,BKSH->BKGtH", dscores_BKGtS, k_BKSH))
    dk_BKTH = dk_BKTH.at[:, :, :end].add(
        _einsum("BKGtS,BKGtH->BKSH", dscores_BKGtS, q_BKGtH))
    dv_BKTH = dv_BKTH.at[:, :, :end].add(
        _einsum("BKGtS,BKGtH->BKSH", weights_BKGtS.astype(v_BKTH.dtype),
                dout_BKGtH))
  dq_BTNH = _ungroup_heads(jnp.concatenate(dq_blocks, axis=3))
  return (dq_BTNH.astype(q_BKGTH.dtype),
          dk_BKTH.swapaxes(1, 2).astype(k_BKTH.dtype),
          dv_BKTH.swapaxes(1, 2).astype(v_BKTH.dtype), None)


_blockwise.defvjp(_blockwise_fwd, _blockwise_bwd)


def _blocks(T: int) -> list[tuple[int, int]]:
  """Start and end of each block of queries; the last may be shorter."""
  block = _MIN_BLOCK * max(1, math.ceil(T / (_MIN_BLOCK * _MAX_BLOCKS)))
  return [(start, min(start + block, T)) for start in range(0, T, block)]


# --- shared pieces -----------------------------------------------------------


def _einsum(equation, x, y):
  """Einsum that accumulates and returns at least float32."""
  accumulator = jnp.promote_types(x.dtype, jnp.float32)
  return jnp.einsum(equation, x, y, preferred_element_type=accumulator)


def _causal_mask(start, end, segment_ids_BT):
  """mask_BtS: queries start..end see keys ..end before them, same segment."""
  mask_1tS = (jnp.arange(end)[None, None, :]
              <= jnp.arange(start, end)[None, :, None])
  if segment_ids_BT is None:
    return mask_1tS
  return mask_1tS & _same_segment(segment_ids_BT[:, start:end],
                                  segment_ids_BT[:, :end])


def _same_segment(query_BT, key_BS):
  return query_BT[:, :, None] == key_BS[:, None, :]


def _masked(scores_BKGTS, mask_BTS):
  """A finite lowest score where masked: a row that sees nothing is no NaN."""
  lowest = 0.5 * jnp.finfo(scores_BKGTS.dtype).min
  return jnp.where(mask_BTS[:, None, None], scores_BKGTS, lowest)


def _group_heads(x_BTNH, K):
  """[B,T,N,H] -> [B,K,G,T,H]: the layout of batched matrix products."""
  B, T, N, H = x_BTNH.shape
  return x_BTNH.reshape(B, T, K, N // K, H).transpose(0, 2, 3, 1, 4)


def _ungroup_heads(x_BKGTH):
  B, K, G, T, H = x_BKGTH.shape
  return x_BKGTH.transpose(0, 3, 1, 2, 4).reshape(B, T, K * G, H)
