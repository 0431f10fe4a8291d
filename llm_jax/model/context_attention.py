"""Attention of a sequence that is split over devices (mesh axis `context`).

Of C devices that share a row, each has two of its 2C chunks: device d has chunk
d and chunk 2C-1-d ("zigzag"). A late query sees more keys than an early one,
and so every device has as much to do as any other: 2C+1 pairs of a chunk of
queries with a chunk of keys, of which the causal mask leaves something, and no
other pair is computed. `to_zigzag` and `from_zigzag` bring a sequence into that
order and back; the model does it once, to the tokens and to the hidden states.

  ring        keys and values go round, a device at a time, and what each part
              of them gives is joined by its log-sums (Liu et al. 2023,
              arXiv:2310.01889; the zigzag order: Brandon et al. 2023,
              2311.09431). The backward pass sends them round again, with their
              gradients. Memory: a device's own share of the sequence.
  all_gather  every device gets all keys and values, as Llama 3's training had
              it (arXiv:2407.21783, section 3.3.2). One collective in place of
              C, but memory for the keys and values of the whole sequence.

Causality and windows are of places in the row, whatever the positions. A pair
of chunks that is wholly outside of the window is left out, too.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name
import jax.numpy as jnp
from jax.sharding import AxisType, PartitionSpec

from llm_jax.config import ModelConfig, Rules
from llm_jax.model.attention import SAVED, self_attention
from llm_jax.model.attention_rows import (
    attend_rows, differentiate_rows, group_heads, scan_rows, ungroup_heads,
    weighted_dout)
from llm_jax.sharding import fitting_spec


def sequence_attention(
    q_BTNH: jax.Array, k_BTKH: jax.Array, v_BTKH: jax.Array, *,
    segment_ids_BT: jax.Array | None, config: ModelConfig, window: int = 0,
    softcap: float = 0.0, scale: float = 0.0) -> jax.Array:
  """Causal attention in training: `self_attention`, or over split rows.

  Args:
    q_BTNH: queries; in zigzag order where `ways_of_context` is more than 1, as
      are all that follow.
    k_BTKH: keys; K divides N.
    v_BTKH: values; their heads may be of another size.
    segment_ids_BT: tokens attend within their own id only; None: to all.
    config: the model.
    window: tokens that a query sees, its own included; 0: all before it.
    softcap: bound of the scores; 0: none.
    scale: multiplies q kᵀ; 0: 1/√H.

  Returns:
    out_BTNH.
  """
  rules = config.rules
  ways = ways_of_context(q_BTNH.shape[1], rules)
  if ways == 1:
    return self_attention(
        q_BTNH, k_BTKH, v_BTKH, segment_ids_BT=segment_ids_BT,
        kind=config.attention, window=window, softcap=softcap, scale=scale,
        rules=rules)
  mesh = jax.sharding.get_abstract_mesh()
  settings = _Settings(
      _context_axes(rules), ways, config.context_attention == "ring", window,
      softcap, scale or 1 / math.sqrt(q_BTNH.shape[-1]))
  query = fitting_spec(q_BTNH.shape, ("batch", "seq", "heads", None), rules,
                       mesh)
  key = fitting_spec(k_BTKH.shape, ("batch", "seq", "kv_heads", None), rules,
                     mesh)
  if key != query:  # too few to split: each query head gets its own
    groups = q_BTNH.shape[2] // k_BTKH.shape[2]
    k_BTKH, v_BTKH = (jnp.repeat(x, groups, axis=2) for x in (k_BTKH, v_BTKH))
  segments = () if segment_ids_BT is None else (segment_ids_BT,)

  def attend(q, k, v, *segments):
    return _attention(q, k, v, segments[0] if segments else None, settings)
  return jax.shard_map(
      attend, in_specs=(query, query, query,
                        *[PartitionSpec(*query[:2])] * len(segments)),
      out_specs=query, check_vma=False)(q_BTNH, k_BTKH, v_BTKH, *segments)


# --- the order of a sequence -------------------------------------------------


def ways_of_context(length: int, rules: Rules) -> int:
  """Devices that the ambient mesh splits rows of so many tokens over: 1 where
  there is none, or where each could not have two chunks."""
  mesh = jax.sharding.get_abstract_mesh()
  ways = math.prod(mesh.shape[axis] for axis in _context_axes(rules))
  return ways if length % (2 * ways) == 0 else 1


def _context_axes(rules):
  mesh = jax.sharding.get_abstract_mesh()
  free = {axis for axis, kind in zip(mesh.axis_names, mesh.axis_types)
          if kind != AxisType.Manual}
  return tuple(axis for axis in rules.seq
               if axis in free and mesh.shape[axis] > 1)


def to_zigzag(x: jax.Array, rules: Rules) -> jax.Array:
  """[B, T, ...] in the order of time -> in that of `sequence_attention`."""
  def exchange(x, axes, C):
    d = jax.lax.axis_index(axes)
    even, odd = (_send(part, axes, [(i, _owner(2 * i + odd, C))
                                    for i in range(C)])
                 for odd, part in enumerate(jnp.split(x, 2, axis=1)))
    # Chunks d and 2C-1-d: one of the two is even.
    return _in_order(d % 2 == 0, even, odd)
  return _exchanged(x, exchange, rules)


def from_zigzag(x: jax.Array, rules: Rules) -> jax.Array:
  """The inverse of `to_zigzag`."""
  def exchange(x, axes, C):
    d = jax.lax.axis_index(axes)
    chunks = _in_order(d % 2 == 0, *jnp.split(x, 2, axis=1))
    return jnp.concatenate(
        [_send(part, axes, [(_owner(2 * i + odd, C), i) for i in range(C)])
         for odd, part in enumerate(jnp.split(chunks, 2, axis=1))], axis=1)
  return _exchanged(x, exchange, rules)


def _exchanged(x, exchange, rules):
  axes = _context_axes(rules)
  mesh = jax.sharding.get_abstract_mesh()
  C = math.prod(mesh.shape[axis] for axis in axes)
  names = ("batch", "seq", "act_embed")[:x.ndim]
  spec = fitting_spec(x.shape, names, rules, mesh)
  return jax.shard_map(lambda x: exchange(x, axes, C), in_specs=spec,
                       out_specs=spec, check_vma=False)(x)


def _owner(chunk, C):
  """The device that has a chunk."""
  return min(chunk, 2 * C - 1 - chunk)


def _in_order(kept, first, second):
  """[first, second] or, where not `kept`, [second, first], along time."""
  return jnp.concatenate([jnp.where(kept, first, second),
                          jnp.where(kept, second, first)], axis=1)


def _send(tree, axes, pairs):
  return jax.tree.map(lambda x: jax.lax.ppermute(x, axes, pairs), tree)


# --- on one of the devices ---------------------------------------------------
# A leading axis of 2 is of this device's chunks, d and 2C-1-d; t tokens each.


@dataclasses.dataclass(frozen=True)
class _Settings:
  """What is known when tracing."""
  axes: tuple[str, ...]
  ways: int  # C
  ring: bool
  window: int
  softcap: float
  scale: float


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _attention(q_BTNH, k_BTKH, v_BTKH, segment_ids_BT, settings):
  return _attention_fwd(q_BTNH, k_BTKH, v_BTKH, segment_ids_BT, settings)[0]


def _attention_fwd(q_BTNH, k_BTKH, v_BTKH, segment_ids_BT, settings):
  queries = _halves(group_heads(q_BTNH, k_BTKH.shape[2]), 3)
  keys = (_halves(k_BTKH.swapaxes(1, 2), 2), _halves(v_BTKH.swapaxes(1, 2), 2))
  ids = None if segment_ids_BT is None else _halves(segment_ids_BT, 1)
  wide = jnp.promote_types(q_BTNH.dtype, jnp.float32)
  lowest = 0.5 * jnp.finfo(wide).min
  found = (jnp.zeros((*queries.shape[:-1], v_BTKH.shape[-1]), wide),
           jnp.full((*queries.shape[:-1], 1), lowest, wide))

  def visit(found, pair, keys):
    """Joins what the pair gives to what was found of the same queries."""
    half, start, key_half, key_start = pair
    here = jax.tree.map(lambda x: x[half], found)
    k_BKSH, v_BKSH, *key_ids = (x[key_half] for x in keys)

    def attend(carry, rows):
      q_BKGtH, number = rows
      mask_BtS = _mask(number, q_BKGtH.shape[3], start, key_start,
                       k_BKSH.shape[2], ids, half, key_ids, settings.window)
      return carry, attend_rows(q_BKGtH, k_BKSH, v_BKSH, mask_BtS,
                                settings.softcap, settings.scale)

    def joined():
      out, logsum = scan_rows(attend, (), (queries[half],), start)[1]
      total = jnp.logaddexp(here[1], logsum)
      return (here[0] * jnp.exp(here[1] - total)
              + out * jnp.exp(logsum - total), total)
    here = _where_seen(joined, here, pair, k_BKSH.shape[2], settings)
    return jax.tree.map(lambda x, new: x.at[half].set(new), found, here), ()

  out, logsum = _over_pairs(visit, found, keys, ids, None, settings)[0]
  out = checkpoint_name(out.astype(q_BTNH.dtype), SAVED)
  logsum = checkpoint_name(logsum, SAVED)
  return (ungroup_heads(_whole(out, 3)),
          (queries, keys, ids, out, logsum))


def _attention_bwd(settings, residuals, dout_BTNH):
  queries, keys, ids, out, logsum = residuals
  dout = _halves(group_heads(dout_BTNH, keys[0].shape[2]), 3)
  delta = weighted_dout(dout, out, logsum.dtype)
  d_queries = jnp.zeros(queries.shape, logsum.dtype)
  d_keys = tuple(jnp.zeros(x.shape, logsum.dtype) for x in keys)

  def visit(d_queries, pair, keys):
    half, start, key_half, key_start = pair
    k_BKSH, v_BKSH, *key_ids = (x[key_half] for x in keys)

    def differentiate(sums, rows):
      q_BKGtH, dout_BKGtH, logsum_BKGt1, delta_BKGt1, number = rows
      mask_BtS = _mask(number, q_BKGtH.shape[3], start, key_start,
                       k_BKSH.shape[2], ids, half, key_ids, settings.window)
      dq_BKGtH, *added = differentiate_rows(
          q_BKGtH, k_BKSH, v_BKSH, dout_BKGtH, logsum_BKGt1, delta_BKGt1,
          mask_BtS, settings.softcap, settings.scale)
      return jax.tree.map(jnp.add, sums, tuple(added)), dq_BKGtH

    zeros = tuple(jnp.zeros(x.shape, logsum.dtype) for x in (k_BKSH, v_BKSH))
    added, dq = _where_seen(
        lambda: scan_rows(differentiate, zeros, tuple(
            x[half] for x in (queries, dout, logsum, delta)), start),
        (zeros, jnp.zeros(queries.shape[1:], logsum.dtype)), pair,
        k_BKSH.shape[2], settings)
    return d_queries.at[half].add(dq), added

  d_queries, d_keys = _over_pairs(visit, d_queries, keys, ids, d_keys,
                                  settings)
  dk, dv = (_whole(d, 2).swapaxes(1, 2).astype(x.dtype)
            for d, x in zip(d_keys, keys))
  return ungroup_heads(_whole(d_queries, 3)).astype(queries.dtype), dk, dv, None


_attention.defvjp(_attention_fwd, _attention_bwd)


def _over_pairs(visit, state, keys, ids, sums, settings):
  """Takes each pair of chunks that this device has to compute.

  Args:
    visit: (state, (half, start, key_half, key_start), keys) -> (state, what is
      added to the sums of that half of the keys).
    state: of this device's queries.
    keys: (k, v), of this device.
    ids: segments of this device's tokens, or None.
    sums: for each of `keys`, or None.
    settings: of this attention.

  Returns:
    (state, the sums of this device's keys).
  """
  C, d = settings.ways, jax.lax.axis_index(settings.axes)
  length = keys[0].shape[3]
  keys = keys if ids is None else (*keys, ids)

  def take(carry, keys, half, chunk, place):
    """Queries of `half` and the keys of `chunk`, which lie at `place`."""
    state, sums = carry
    start = jnp.where(half == 0, d, 2 * C - 1 - d) * length
    state, added = visit(state, (half, start, place, chunk * length), keys)
    if sums is not None:
      sums = jax.tree.map(lambda x, new: x.at[place].add(new), sums, added)
    return state, sums

  if settings.ring:
    around = [(i, (i + 1) % C) for i in range(C)]
    turn = lambda tree: _send(tree, settings.axes, around)  # noqa: E731

    def visit_others(carry, keys, step):
      """The keys of the device `step` places before this one on the ring."""
      source = (d - step) % C
      carry = take(carry, keys, 1, source, 0)
      # Of a device before: its early chunk too, by the early queries. Of one
      # behind: its late chunk, by the late queries.
      behind = (source > d).astype(jnp.int32)
      return take(carry, keys, behind,
                  jnp.where(behind == 1, 2 * C - 1 - source, source), behind)

    def step(carry, number):
      inner, keys = carry
      state, sums = visit_others(inner, keys, number)
      return ((state, turn(sums)), turn(keys)), None

    following = turn(keys)  # while this device's own are computed
    carry = take((state, sums), keys, 0, d, 0)
    carry = take(carry, keys, 1, d, 0)
    state, sums = take(carry, keys, 1, 2 * C - 1 - d, 1)
    carry, _ = jax.lax.scan(step, ((state, turn(sums)), following),
                            jnp.arange(1, C - 1))
    state, sums = visit_others(*carry, C - 1)
    return state, turn(sums)

  # Device i's chunks lie at 2i and 2i+1.
  keys = jax.tree.map(lambda x: jax.lax.all_gather(
      x, settings.axes, axis=0, tiled=True), keys)
  if sums is not None:
    sums = jax.tree.map(lambda x: jnp.zeros((C * x.shape[0], *x.shape[1:]),
                                            x.dtype), sums)

  def step(carry, number):
    half = (number > d).astype(jnp.int32)  # chunks 0..d, then 0..2C-1-d
    chunk = number - half * (d + 1)
    place = jnp.where(chunk < C, 2 * chunk, 2 * (2 * C - 1 - chunk) + 1)
    return take(carry, keys, half, chunk, place), None
  (state, sums), _ = jax.lax.scan(step, (state, sums), jnp.arange(2 * C + 1))
  if sums is not None:
    sums = jax.tree.map(lambda x: jax.lax.psum_scatter(
        x, settings.axes, scatter_dimension=0, tiled=True), sums)
  return state, sums


def _where_seen(compute, otherwise, pair, length, settings):
  """`compute()`, unless a window hides all keys of the pair."""
  if not settings.window:
    return compute()
  _, start, _, key_start = pair
  return jax.lax.cond(start - (key_start + length - 1) < settings.window,
                      compute, lambda: otherwise)


def _mask(number, rows, start, key_start, num_keys, ids, half, key_ids, window):
  """mask_BtS of `rows` queries from place `number` of the row on."""
  query_1t1 = (number + jnp.arange(rows))[None, :, None]
  key_11S = (key_start + jnp.arange(num_keys))[None, None, :]
  mask_BtS = key_11S <= query_1t1
  if window:
    mask_BtS &= key_11S > query_1t1 - window
  if ids is None:
    return mask_BtS
  query_Bt = jax.lax.dynamic_slice_in_dim(ids[half], number - start, rows,
                                          axis=1)
  return mask_BtS & (query_Bt[:, :, None] == key_ids[0][:, None, :])


def _halves(x: Any, axis: int) -> jax.Array:
  """Splits the axis of time in two, and puts these first."""
  shape = (*x.shape[:axis], 2, x.shape[axis] // 2, *x.shape[axis + 1:])
  return jnp.moveaxis(x.reshape(shape), axis, 0)


def _whole(x: jax.Array, axis: int) -> jax.Array:
  """The inverse of `_halves`."""
  x = jnp.moveaxis(x, 0, axis)
  return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2:])
