"""Causal attention by the Pallas kernel that comes with JAX, for TPU.

"Splash" is sparse flash attention: blocks of scores that the mask leaves out
are neither computed nor read, and [T, T] never exists (Dao et al. 2022,
arXiv:2205.14135; the kernel is `jax.experimental.pallas.ops.tpu`'s). It takes
one row at a time, so it is mapped over the batch; on a mesh it runs under
`shard_map`, each device having its rows and its heads, since GSPMD cannot look
into a kernel. On CPU it is interpreted, which is slow and for tests.
"""

from __future__ import annotations

import math

import jax
from jax.experimental.pallas.ops.tpu import splash_attention as splash
import jax.numpy as jnp
from jax.sharding import AxisType, PartitionSpec

from llm_jax.config import Rules
from llm_jax.model.layers import platform

_LANES = 128  # of the TPU's vector unit: blocks and heads are multiples of it
_BLOCKS = (512, 256, 128)


def splash_attention(
    q_BTNH: jax.Array, k_BTKH: jax.Array, v_BTKH: jax.Array, *,
    segment_ids_BT: jax.Array | None, window: int, softcap: float,
    scale: float, rules: Rules, saved_name: str) -> jax.Array:
  """`attention.self_attention`'s kind `splash`.

  Sums are float32 whatever the dtype. Heads are padded with zeros to a
  multiple of 128 channels, rows to a multiple of 128 tokens at their end, where
  no other token sees them.

  Args:
    q_BTNH: queries.
    k_BTKH: keys; K divides N.
    v_BTKH: values.
    segment_ids_BT: int32 document of each token, or None.
    window: tokens that a query sees; 0: all before it.
    softcap: bound of the scores; 0: none.
    scale: multiplies q kᵀ.
    rules: say which mesh axes split the batch and the heads.
    saved_name: of `jax.ad_checkpoint.checkpoint_name`, given to the output and
      to its log-sums.

  Returns:
    out_BTNH.
  """
  T, H = q_BTNH.shape[1], v_BTKH.shape[-1]
  q, k, v = (_pad(x.swapaxes(1, 2)) for x in (q_BTNH * scale, k_BTKH, v_BTKH))
  segments_BT = segment_ids_BT
  if segments_BT is not None:
    segments_BT = jnp.pad(segments_BT.astype(jnp.int32),
                          ((0, 0), (0, q.shape[2] - T)))

  def attend(q_BNTH, k_BKTH, v_BKTH, *segments):
    kernel = _kernel(q_BNTH.shape[1], q_BNTH.shape[2], window, softcap,
                     saved_name)
    if not segments:
      return jax.vmap(kernel)(q_BNTH, k_BKTH, v_BKTH)
    ids = splash.SegmentIds(q=segments[0], kv=segments[0])
    return jax.vmap(kernel)(q_BNTH, k_BKTH, v_BKTH, ids)

  arrays = [q, k, v] + ([] if segments_BT is None else [segments_BT])
  out_BNTH = _on_each_device(attend, arrays, rules)
  return out_BNTH[:, :, :T, :H].swapaxes(1, 2)


def _kernel(num_heads, T, window, softcap, saved_name):
  """The kernel for rows of T tokens (a multiple of 128)."""
  mask = (splash.LocalMask((T, T), (window - 1, 0), offset=0) if window
          else splash.CausalMask((T, T)))
  block = next(size for size in _BLOCKS if T % size == 0)
  sizes = splash.BlockSizes(
      block_q=block, block_kv=block, block_q_dkv=block, block_kv_dkv=block,
      block_q_dq=block, block_kv_dq=block)
  # Which blocks there are is computed once, not traced.
  with jax.ensure_compile_time_eval():
    return splash.make_splash_mha_single_device(
        splash.MultiHeadMask([mask] * num_heads), block_sizes=sizes,
        attn_logits_soft_cap=softcap or None,
        residual_checkpoint_name=saved_name, interpret=platform() == "cpu")


def _pad(x_BNTH):
  """Zeros up to whole lanes, in time and in the heads."""
  T, H = x_BNTH.shape[2:]
  return jnp.pad(x_BNTH, ((0, 0), (0, 0), (0, -T % _LANES), (0, -H % _LANES)))


def _on_each_device(attend, arrays, rules):
  """`attend` of each device's rows and heads, under `shard_map`."""
  mesh = jax.sharding.get_abstract_mesh()
  free = [axis for axis, kind in zip(mesh.axis_names, mesh.axis_types)
          if kind != AxisType.Manual]
  if math.prod(mesh.shape[axis] for axis in free) == 1:
    return attend(*arrays)

  def split(axes, size):
    """The mesh axes that split an array's axis: none where they do not fit."""
    axes = tuple(axis for axis in axes if axis in free)
    return axes if size % math.prod(mesh.shape[a] for a in axes) == 0 else ()

  q, k, v, *segments = arrays
  batch = split(rules.batch, q.shape[0])
  heads = split(rules.heads, q.shape[1])
  if heads and split(rules.kv_heads, k.shape[1]) != heads:
    # Too few key heads to split: each query head gets its own.
    k, v = (jnp.repeat(x, q.shape[1] // k.shape[1], axis=1) for x in (k, v))
  rows = PartitionSpec(batch or None, heads or None)
  return jax.shard_map(
      attend, in_specs=(rows, rows, rows,
                        *[PartitionSpec(batch or None)] * len(segments)),
      out_specs=rows, axis_names=set(free), check_vma=False,
  )(q, k, v, *segments)
