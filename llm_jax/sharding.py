"""Arrays over devices: a mesh, and rules that say which axis is split over it.

A tensor's axes carry logical names ("embed", "heads", ...); `Rules` maps each
to mesh axes. Changing how a model is split is changing the rules: no model code
moves. The mesh is ambient (`jax.set_mesh`), so that the same functions run in a
notebook without one.

Collectives are inserted by GSPMD, hence `AxisType.Auto`: it is given explicitly
because `jax.make_mesh` defaults to Explicit in recent releases.

Where devices are joined by two networks (TPU slices, or processes, over the
data-centre network; the chips of one over their own) the mesh is hybrid: its
data and fsdp axes are longer by the number of slices, and neighbours on the
other axes are always of one slice.

Which rows of a batch a process reads follows from the mesh: those that its
devices hold. Processes that share rows, as under a tensor axis longer than a
process, read the same ones.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
import numpy as np

from llm_jax.config import MeshConfig, Rules, require

MESH_AXES = ("data", "fsdp", "tensor", "context", "expert")


def make_mesh(config: MeshConfig, devices: list[Any] | None = None) -> Mesh:
  """Builds the mesh of `config` over `devices` (default: all of them).

  Raises:
    ConfigError: the sizes do not multiply to the number of devices, or the
      devices are not in as many slices as `config` says.
  """
  config.validate()
  devices = jax.devices() if devices is None else devices
  dcn_sizes = tuple(getattr(config, f"dcn_{axis}", 1) for axis in MESH_AXES)
  slices = math.prod(dcn_sizes)
  sizes = {axis: getattr(config, axis) for axis in MESH_AXES}
  known = slices * math.prod(s for s in sizes.values() if s != -1)
  for axis, size in sizes.items():
    if size == -1:
      require(len(devices) % known == 0,
              f"mesh.{axis}=-1 cannot be resolved: the other mesh axes need "
              f"{known} devices, which does not divide the {len(devices)} "
              "there are.")
      sizes[axis] = len(devices) // known
  total = slices * math.prod(sizes.values())
  require(total == len(devices),
          "the mesh " + " x ".join(f"{a}={s}" for a, s in sizes.items()) +
          (f" in {slices} slices" if slices > 1 else "") +
          f" wants {total} devices, but there are {len(devices)}; set one axis "
          "to -1 to take the rest.")
  return Mesh(_device_array(tuple(sizes.values()), dcn_sizes, devices),
              MESH_AXES, axis_types=(AxisType.Auto,) * len(MESH_AXES))


def _device_array(sizes: tuple[int, ...], dcn_sizes: tuple[int, ...],
                  devices: list[Any]) -> np.ndarray:
  """Devices at their places: [dcn * size of each axis]."""
  slices = math.prod(dcn_sizes)
  found = len({getattr(d, "slice_index", 0) for d in devices})
  processes = len({d.process_index for d in devices})
  if slices == 1:
    require(found == 1, f"the devices are in {found} slices; set "
            f"--mesh.dcn_data={found} (or mesh.dcn_fsdp), so that only these "
            "axes cross the data-centre network.")
    # A torus of 8 x 8 has no whole axis for a mesh axis of 4: part of one does.
    return mesh_utils.create_device_mesh(sizes, devices,
                                         allow_split_physical_axes=True)
  if slices in (found, processes):
    return mesh_utils.create_hybrid_device_mesh(
        sizes, dcn_sizes, devices, process_is_granule=slices != found,
        allow_split_physical_axes=True)
  require(found == 1 and devices[0].platform == "cpu",
          f"mesh.dcn_data x mesh.dcn_fsdp is {slices}, but the devices are in "
          f"{found} slice(s) of {processes} process(es); set it to the number "
          "of slices.")
  # No network is between the parts of one host: blocks stand for slices.
  blocks = np.empty(slices, object)
  for i, block in enumerate(np.split(np.array(devices), slices)):
    blocks[i] = block.reshape(sizes)
  return np.block(blocks.reshape(dcn_sizes).tolist())


def partition_spec(axes: tuple[str | None, ...], rules: Rules) -> PartitionSpec:
  """PartitionSpec of an array with these logical axes, one per dimension."""
  return PartitionSpec(
      *(getattr(rules, axis) or None if axis else None for axis in axes))


def fitting_spec(shape: tuple[int, ...], axes: tuple[str | None, ...],
                 rules: Rules, mesh: Any) -> PartitionSpec:
  """`partition_spec`, where a dimension that its mesh axes do not divide stays
  whole: a single token under a context axis, a batch of one."""
  def whole(size, axis):
    return axis is None or size % math.prod(
        mesh.shape[name] for name in getattr(rules, axis))
  return partition_spec(tuple(
      None if whole(size, axis) else axis
      for size, axis in zip(shape, axes, strict=True)), rules)


def shard(x: jax.Array, *axes: str | None, rules: Rules) -> jax.Array:
  """Constrains `x` to the rules; returns it unchanged without a mesh.

  A dimension that is not divisible stays whole, as `fitting_spec` has it.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    return x
  return jax.lax.with_sharding_constraint(
      x, fitting_spec(x.shape, axes, rules, mesh))


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


def check_context(seq_len: int, mesh: Mesh, rules: Rules) -> None:
  """Raises `ConfigError` where rows cannot be split over the context axis.

  Every device of the axis has two pieces of a row, one from its beginning and
  one from its end, as later tokens attend to more (model/context_attention.py).
  """
  ways = math.prod(mesh.shape[axis] for axis in rules.seq)
  require(ways == 1 or seq_len % (2 * ways) == 0,
          f"seq_len={seq_len} is not divisible by {2 * ways}, twice the "
          f"{ways} devices that mesh axes {' x '.join(rules.seq)} split a row "
          f"over; choose a multiple of {2 * ways}.")


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


def process_rows(mesh: Mesh, rules: Rules, batch_size: int) -> np.ndarray:
  """Numbers, ascending, of the rows of a global batch that this process reads.

  Those that its devices hold; other processes may hold the same.

  Args:
    mesh: the devices.
    rules: logical axis -> mesh axes.
    batch_size: rows of the global batch (B).
  """
  sharding = NamedSharding(mesh, PartitionSpec(rules.batch or None))
  held = sharding.addressable_devices_indices_map((batch_size,)).values()
  return np.unique(np.concatenate(
      [np.arange(batch_size)[index] for index in held]))


def global_batch(batch: dict[str, np.ndarray], mesh: Mesh, rules: Rules, *,
                 whole: bool = False) -> dict[str, jax.Array]:
  """Makes global arrays [B, ...] of the rows that this process has read.

  The second axis, where there is one, is time and split by the rules for it.

  Args:
    batch: arrays [b, ...] of the rows `process_rows`, in that order.
    mesh: the devices.
    rules: logical axis -> mesh axes.
    whole: `batch` has all B rows instead, the same in every process.
  """
  ways = math.prod(mesh.shape[axis] for axis in rules.batch)
  ways_held = len(process_rows(mesh, rules, ways))

  def put(x):
    num_rows = len(x) if whole else len(x) * ways // ways_held
    rows = (np.arange(num_rows) if whole
            else process_rows(mesh, rules, num_rows))
    shape = (num_rows, *x.shape[1:])
    axes = ("batch", "seq")[:x.ndim] + (None,) * (x.ndim - 2)
    spec = fitting_spec(shape, axes, rules, mesh)

    def read(index):
      first, end, _ = index[0].indices(num_rows)
      here = slice(*np.searchsorted(rows, (first, end)))
      return x[(here, *index[1:])]
    return jax.make_array_from_callback(shape, NamedSharding(mesh, spec), read)
  return {name: put(x) for name, x in batch.items()}
