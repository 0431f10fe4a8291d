"""Weights from a file, piece by piece, onto the devices they belong to.

A tensor of ours is a stack over layers (and experts); files have the pieces.
Only the shards that this process's devices hold are made in host memory, each
is filled as pieces are read, and goes to its device when it is whole. On a
CPU the device takes the very buffer, so the host never holds a tensor twice.
"""

from __future__ import annotations

import math

import jax
from jax.sharding import NamedSharding, SingleDeviceSharding
import jax.numpy as jnp
import numpy as np

from llm_jax.config import ConfigError, Rules
from llm_jax.model.params import ParamSpec
from llm_jax.sharding import partition_spec

_ALIGNMENT = 64  # bytes, from which XLA takes a host buffer without a copy


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
  size = math.prod(shape) * dtype.itemsize
  raw = np.empty(size + _ALIGNMENT, np.uint8)
  start = -raw.ctypes.data % _ALIGNMENT
  return raw[start:start + size].view(dtype).reshape(shape)


def _copy(values: np.ndarray, target: np.ndarray) -> None:
  """`target[...] = values`, fast where `values` is a transposed view.

  Going down all of a matrix's columns at once misses the caches; a strip of
  columns at a time is three to five times as fast.
  """
  if values.ndim < 2 or values.strides[0] != values.itemsize:
    target[...] = values
    return
  step = max(1, 128 // math.prod(values.shape[2:]))
  for i in range(0, values.shape[1], step):
    target[:, i:i + step] = values[:, i:i + step]


class Placed:
  """A tensor that is filled piece by piece, then put on devices.

  Args:
    spec: its shape and logical axes.
    dtype: of the result; pieces are cast to it.
    rules: how its axes are split over the ambient mesh, if there is one.
  """

  def __init__(self, spec: ParamSpec, dtype: str, rules: Rules):
    mesh = jax.sharding.get_mesh()
    self._shape = spec.shape
    self._sharding = (SingleDeviceSharding(jax.devices()[0]) if mesh.empty else
                      NamedSharding(mesh, partition_spec(spec.axes, rules)))
    dtype = np.dtype(jnp.dtype(spec.dtype or dtype))
    self._devices = self._sharding.addressable_devices_indices_map(spec.shape)
    self._buffers = {}  # bounds of a shard -> its values
    for index in self._devices.values():
      bounds = self._bounds(index)
      if bounds not in self._buffers:
        self._buffers[bounds] = _aligned(
            tuple(stop - start for start, stop in bounds), dtype)

  def _bounds(self, index: tuple[slice, ...]) -> tuple[tuple[int, int], ...]:
    return tuple(s.indices(n)[:2] for s, n in zip(index, self._shape))

  def fill(self, prefix: tuple[int, ...], values: np.ndarray) -> None:
    """Sets `tensor[prefix]`, as far as it is in this process's shards."""
    for bounds, buffer in self._buffers.items():
      if all(start <= i < stop
             for i, (start, stop) in zip(prefix, bounds)):
        place = tuple(i - start for i, (start, _) in zip(prefix, bounds))
        _copy(values[tuple(slice(*b) for b in bounds[len(prefix):])],
              buffer[place])

  def finish(self) -> jax.Array:
    """The tensor on its devices; the host's buffers are let go."""
    shards = [jax.device_put(self._buffers[self._bounds(index)], device)
              for device, index in self._devices.items()]
    self._buffers = {}
    array = jax.make_array_from_single_device_arrays(
        self._shape, self._sharding, shards)
    return jax.block_until_ready(array)


def pieces_of(array: jax.Array | np.ndarray, index: tuple[int, ...]
              ) -> np.ndarray:
  """`array[index]` on the host, without the rest of the array."""
  if isinstance(array, jax.Array):
    if not array.is_fully_addressable:
      raise ConfigError("these parameters are spread over several processes; "
                        "export them from a single process: save a checkpoint "
                        "and run experiments.convert on it.")
    if len(array.sharding.device_set) > 1:
      for axis_index in index:
        array = jax.lax.dynamic_index_in_dim(array, axis_index, 0,
                                             keepdims=False)
      return np.asarray(array)
    array = np.asarray(array) if jax.default_backend() == "cpu" else array
  return np.asarray(array[index])
