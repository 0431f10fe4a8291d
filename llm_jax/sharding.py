"""Arrays over devices: a mesh, and rules that say which axis is split over it.

A tensor's axes carry logical names ("embed", "heads", ...); `Rules` maps each
to mesh axes. Changing how a model is split is changing the rules: no model code
moves. The mesh is ambient (`jax.set_mesh`), so that the same functions run in a
notebook without one.

Collectives are inserted by GSPMD, hence `AxisType.Auto`: it is given explicitly
because `jax.make_mesh` defaults to Explicit in recent releases.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
import numpy as np

from llm_jax.config import MeshConfig, Rules, require

MESH_AXES = ("data", "fsdp", "tensor", "context", "expert")


def make_mesh(config: MeshConfig, devices: list[Any] | None = None) -> Mesh:
  """Builds the mesh of `config` over `devices` (default: all of them).

  Raises:
    ConfigError: the sizes do not multiply to the number of devices.
  """
  config.validate()
  devices = jax.devices() if devices is None else devices
  sizes = {axis: getattr(config, axis) for axis in MESH_AXES}
  known = math.prod(s for s in sizes.values() if s != -1)
  for axis, size in sizes.items():
    if size == -1:
      require(len(devices) % known == 0,
              f"mesh.{axis}=-1 cannot be resolved: the other mesh axes need "
              f"{known} devices, which does not divide the {len(devices)} "
              "there are.")
      sizes[axis] = len(devices) // known
  total = math.prod(sizes.values())
  require(total == len(devices),
          "the mesh " + " x ".join(f"{a}={s}" for a, s in sizes.items()) +
          f" wants {total} devices, but there are {len(devices)}; set one axis "
          "to -1 to take the rest.")
  return jax.make_mesh(tuple(sizes.values()), MESH_AXES, devices=devices,
                       axis_types=(AxisType.Auto,) * len(MESH_AXES))


def partition_spec(axes: tuple[str | None, ...], rules: Rules) -> PartitionSpec:
  """PartitionSpec of an array with these logical axes, one per dimension."""
  return PartitionSpec(
      *(getattr(rules, axis) or None if axis else None for axis in axes))


def shard(x: jax.Array, *axes: str | None, rules: Rules) -> jax.Array:
  """Constrains `x` to the rules; returns it unchanged without a mesh."""
  if jax.sharding.get_abstract_mesh().empty:
    return x
  return jax.lax.with_sharding_constraint(x, partition_spec(axes, rules))


def check_rules(rules: Rules) -> None:
  """Raises `ConfigError` where a rule names an axis that no mesh has."""
  for field in dataclasses.fields(rules):
    for axis in getattr(rules, field.name):
      require(axis in MESH_AXES, f"model.rules.{field.name} names the mesh "
              f"axis {axis!r}; the axes are {', '.join(MESH_AXES)}, and an "
              "empty rule splits over none.")


def check_batch(batch_size: int, num_microbatches: int, mesh: Mesh,
                rules: Rules) -> None:
  """Raises `ConfigError` where a microbatch cannot be split over the mesh."""
  ways = math.prod(mesh.shape[axis] for axis in rules.batch)
  rows = batch_size // num_microbatches
  require(rows % ways == 0,
          f"batch_size={batch_size} in {num_microbatches} microbatch(es) gives "
          f"{rows} rows, which are not divisible by the {ways} devices that "
          f"mesh axes {' x '.join(rules.batch)} split them over; choose a "
          f"multiple of {ways * num_microbatches}.")


def check_params(specs: Any, mesh: Mesh, rules: Rules) -> None:
  """Raises `ConfigError` where a tensor cannot be split as the rules say.

  Args:
    specs: tree of `ParamSpec` (anything with `.shape` and `.axes`).
    mesh: the devices.
    rules: logical axis -> mesh axes.
  """
  leaves = jax.tree_util.tree_flatten_with_path(
      specs, is_leaf=lambda s: hasattr(s, "axes"))[0]
  for path, spec in leaves:
    for size, axis in zip(spec.shape, spec.axes):
      ways = math.prod(mesh.shape[a] for a in getattr(rules, axis))
      require(size % ways == 0,
              f"parameter {jax.tree_util.keystr(path)} has {axis}={size}, "
              f"which is not divisible by the {ways} devices of mesh axes "
              f"{' x '.join(getattr(rules, axis))}; change the model, or "
              f"leave this axis whole with --model.rules.{axis}=''.")


def global_batch(batch: dict[str, np.ndarray], mesh: Mesh,
                 rules: Rules) -> dict[str, jax.Array]:
  """Joins each process's rows [b, ...] into global arrays [B, ...]."""
  def put(x):
    spec = PartitionSpec(rules.batch, *([None] * (x.ndim - 1)))
    return jax.make_array_from_process_local_data(NamedSharding(mesh, spec), x)
  return {name: put(x) for name, x in batch.items()}
