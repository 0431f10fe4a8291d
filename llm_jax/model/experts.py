"""Experts' MLPs: each multiplies the rows that were routed to it.

Dropless (MegaBlocks, Gale et al. 2022, arXiv:2211.15841): rows are sorted by
expert and each expert multiplies its own, however many they are, in one
`jax.lax.ragged_dot`. On one device nothing is padded and no token is lost.

Over a mesh the experts are split over the axes of `rules.experts`, the width of
each over those of `rules.mlp`. Two ways bring rows and experts together:

  gather      each device sees the tokens of all devices of the expert axes,
              multiplies those that chose experts it holds, and the parts are
              summed; what decoding does, where there are few tokens
  all_to_all  each device sends a token's row to the devices that hold its
              experts, and has the results sent back (GShard, Lepikhin et al.
              2020, arXiv:2006.16668); needs tokens that are split over the
              expert axes too, as the default rules have it

Rows travel in one slot per pair of devices. With capacity_factor=0 a slot has
room for all that can be sent, which is exact; else for so many times the rows
of an even load, and what comes beyond is left out, later choices first. On TPU
only filled rows are sent (`jax.lax.ragged_all_to_all`); elsewhere the slots go
as they are (`jax.lax.all_to_all`). Both give the same numbers.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from llm_jax.config import ModelConfig, require
from llm_jax.model import layers
from llm_jax.sharding import fitting_spec, partition_spec


def run_experts(x_BTD: jax.Array, weights_BTe: jax.Array,
                experts_BTe: jax.Array, kernels: tuple[jax.Array, ...],
                config: ModelConfig) -> tuple[jax.Array, jax.Array]:
  """Σ over a token's experts of weight · MLP(x).

  Args:
    x_BTD: tokens.
    weights_BTe: how much each chosen expert counts.
    experts_BTe: int32, which they are, all different.
    kernels: (gate_EDF, up_EDF, down_EFD).
    config: the model.

  Returns:
    (output_BTD, share of the visits that were left out: 0 unless
    `moe.capacity_factor` bounds the load).
  """
  if layers.on_one_device():
    D, visits = x_BTD.shape[-1], experts_BTe.shape[-1]
    out_ND = _visit(x_BTD.reshape(-1, D), weights_BTe.reshape(-1, visits),
                    experts_BTe.reshape(-1, visits), kernels, config)
    return out_ND.reshape(x_BTD.shape), jnp.zeros(())
  return _over_mesh(x_BTD, weights_BTe, experts_BTe, kernels, config)


def _over_mesh(x_BTD, weights_BTe, experts_BTe, kernels, config):
  """`run_experts` on each device of the ambient mesh."""
  rules = config.rules
  mesh = jax.sharding.get_abstract_mesh()
  tokens = fitting_spec(x_BTD.shape, ("batch", "seq", None), rules, mesh)
  axes = [(names,) if isinstance(names, str) else names or ()
          for names in tokens]
  holders = tuple(a for a in rules.experts if mesh.shape[a] > 1)
  require(not set(rules.mlp) & set(sum(axes, ())), f"model.rules.mlp is "
          f"{', '.join(rules.mlp)}, over which tokens are split as well; an "
          "expert's width needs a mesh axis of its own.")
  # (dimension, axis) of the holders over which tokens are split as well.
  split = [(dim, a) for dim, names in enumerate(axes) for a in names
           if a in holders]
  sent = (config.moe.dispatch != "gather" and holders
          and len(split) == len(holders))

  def part(x_btD, weights_bte, experts_bte, *kernels):
    arrays = (x_btD, weights_bte, experts_bte)
    if not sent:
      for dim, axis in split:
        arrays = [jax.lax.all_gather(a, axis, axis=dim, tiled=True)
                  for a in arrays]
    flat = [a.reshape(-1, a.shape[-1]) for a in arrays]
    if sent:
      out_ND, dropped = _send(*flat, kernels, config, holders)
      dropped = jax.lax.pmean(dropped, mesh.axis_names)
    else:
      held = kernels[0].shape[0]
      first = jax.lax.axis_index(holders) * held if holders else 0
      out_ND = _visit(flat[0], flat[1], flat[2] - first, kernels, config)
      dropped = jnp.zeros(())
    out_btD = out_ND.reshape(arrays[0].shape)
    if not sent:
      for dim, axis in reversed(split):
        out_btD = jax.lax.psum_scatter(out_btD, axis, scatter_dimension=dim,
                                       tiled=True)
    joined = {a for _, a in split}
    summed = (*rules.mlp, *(a for a in holders if a not in joined))
    return (jax.lax.psum(out_btD, summed) if summed else out_btD), dropped

  up = partition_spec(("experts", None, "mlp"), rules)
  down = partition_spec(("experts", "mlp", None), rules)
  return jax.shard_map(
      part, in_specs=(tokens, tokens, tokens, up, up, down),
      out_specs=(tokens, jax.sharding.PartitionSpec()), check_vma=False,
  )(x_BTD, weights_BTe, experts_BTe, *kernels)


def _visit(x_ND, weights_Ne, experts_Ne, kernels, config):
  """Of the experts whose kernels are given, counted from 0; the others that a
  token chose are elsewhere and add nothing."""
  visits = experts_Ne.shape[-1]
  order_R, sizes_E = _by_expert(experts_Ne.reshape(-1), kernels)
  out_RD = _products(x_ND[order_R // visits], sizes_E, kernels, config)
  out_RD *= weights_Ne.reshape(-1)[order_R][:, None].astype(x_ND.dtype)
  return jnp.zeros_like(x_ND).at[order_R // visits].add(out_RD)


def _by_expert(expert_R, kernels):
  """(order_R, sizes_E): rows sorted by expert, those of none at the end."""
  E = kernels[0].shape[0]
  expert_R = jnp.where((expert_R >= 0) & (expert_R < E), expert_R, E)
  sizes_E = jnp.bincount(expert_R, length=E + 1)[:E].astype(jnp.int32)
  return jnp.argsort(expert_R, stable=True), sizes_E


def _products(x_RD, sizes_E, kernels, config):
  """The MLPs of sorted rows; zero behind the last group.

  What stands there is undefined, in `ragged_dot` and in its gradient: no
  product with zero clears it, hence `where` at both ends.
  """
  gate_EDF, up_EDF, down_EFD = kernels
  here_R1 = (jnp.arange(x_RD.shape[0]) < sizes_E.sum())[:, None]
  product = functools.partial(jax.lax.ragged_dot, group_sizes=sizes_E)
  x_RD = jnp.where(here_R1, x_RD, 0)
  hidden_RF = layers.activate(product(x_RD, up_EDF), product(x_RD, gate_EDF),
                              config)
  return jnp.where(here_R1, product(hidden_RF, down_EFD), 0)


def slot_rows(num_tokens: int, devices: int, held: int,
              config: ModelConfig) -> int:
  """Rows that one device may send to another.

  Args:
    num_tokens: tokens of a device.
    devices: that the experts are split over.
    held: experts of a device.
    config: the model.
  """
  moe = config.moe
  # All of a token's experts are different.
  most = num_tokens * min(moe.experts_per_token, held)
  if not moe.capacity_factor:
    return most
  even = num_tokens * moe.experts_per_token / devices
  return min(most, math.ceil(moe.capacity_factor * even))


def _send(x_ND, weights_Ne, experts_Ne, kernels, config, axes):
  """(output_ND, share left out) of this device's tokens, by all-to-all.

  R rows are (token, choice) pairs in order of the device they go to, P devices
  have M rows of a slot each.
  """
  N, visits = experts_Ne.shape
  held, P = kernels[0].shape[0], jax.lax.axis_size(axes)
  M = slot_rows(N, P, held, config)
  # First choices of all tokens come before second ones.
  expert_R = experts_Ne.T.reshape(-1)
  order_R = jnp.argsort(expert_R // held, stable=True)
  expert_R, token_R = expert_R[order_R], order_R % N
  owner_R = expert_R // held
  counts_P = jnp.bincount(owner_R, length=P).astype(jnp.int32)
  starts_P = jnp.cumsum(counts_P) - counts_P
  sizes_P = jnp.minimum(counts_P, M)
  # What each device will find in its slots, and where results go back to.
  told_P2 = jax.lax.all_to_all(jnp.stack([sizes_P, starts_P], axis=1), axes, 0,
                               0, tiled=True)
  received_P, origins_P = told_P2[:, 0], told_P2[:, 1]
  forth = functools.partial(_to_slots, starts_P=starts_P, sizes_P=sizes_P,
                            received_P=received_P, M=M, axes=axes)
  back = functools.partial(_from_slots, starts_P=starts_P, sizes_P=sizes_P,
                           received_P=received_P, origins_P=origins_P,
                           owner_R=owner_R, M=M, axes=axes)

  rows_SD = forth(x_ND[token_R])  # S = P · M
  expert_S = forth((expert_R % held)[:, None])[:, 0]
  filled_S = (jnp.arange(M)[None, :] < received_P[:, None]).reshape(-1)
  order_S, sizes_E = _by_expert(jnp.where(filled_S, expert_S, held), kernels)
  sorted_SD = _products(rows_SD[order_S], sizes_E, kernels, config)
  out_RD = back(jnp.zeros_like(rows_SD).at[order_S].set(
      sorted_SD, unique_indices=True))
  weight_R = weights_Ne.T.reshape(-1)[order_R]
  out_RD *= weight_R[:, None].astype(x_ND.dtype)
  return (jnp.zeros_like(x_ND).at[token_R].add(out_RD),
          1 - sizes_P.sum().astype(jnp.float32) / (N * visits))


def _to_slots(x_RD: Any, *, starts_P, sizes_P, received_P, M, axes):
  """Rows sorted by owner -> slots [P · M, D] of what was sent here; zeros
  where a slot is not filled."""
  P, D = len(sizes_P), x_RD.shape[-1]
  if layers.platform() == "tpu":
    mine_P = jnp.full((P,), jax.lax.axis_index(axes) * M, jnp.int32)
    return jax.lax.ragged_all_to_all(
        x_RD, jnp.zeros((P * M, D), x_RD.dtype), starts_P, sizes_P, mine_P,
        received_P, axis_name=axes)
  place_PM = jnp.arange(M)[None, :]
  rows_PM = jnp.minimum(starts_P[:, None] + place_PM, len(x_RD) - 1)
  slots_PMD = jnp.where((place_PM < sizes_P[:, None])[..., None],
                        x_RD[rows_PM], 0)
  return jax.lax.all_to_all(slots_PMD.reshape(P * M, D), axes, 0, 0,
                            tiled=True)


def _from_slots(x_SD, *, starts_P, sizes_P, received_P, origins_P, owner_R, M,
                axes):
  """The way back: rows [R, D] as they were; zeros for those left out."""
  P, R, D = len(sizes_P), len(owner_R), x_SD.shape[-1]
  if layers.platform() == "tpu":
    return jax.lax.ragged_all_to_all(
        x_SD, jnp.zeros((R, D), x_SD.dtype), jnp.arange(P, dtype=jnp.int32) * M,
        received_P, origins_P, sizes_P, axis_name=axes)
  x_SD = jax.lax.all_to_all(x_SD, axes, 0, 0, tiled=True)
  place_R = jnp.arange(R) - starts_P[owner_R]
  slot_R = owner_R * M + jnp.minimum(place_R, M - 1)
  return jnp.where((place_R < sizes_P[owner_R])[:, None], x_SD[slot_R], 0)
