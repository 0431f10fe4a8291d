"""Devices to compile for: slices of TPUs that are not here, or this host's CPU.

libtpu, which comes with the `tpu` extra, has the compiler of every generation
and needs no chip for it: `jax.experimental.topologies` makes devices that
programs can be lowered and compiled for, but not run on.
"""

from __future__ import annotations

import importlib.util
import math
import os
import re
from typing import Any

import jax

from llm_jax.config import ConfigError, require
from llm_jax.scaling.chips import CHIPS, Chip

# What libtpu would otherwise ask a TPU host's metadata for. It is asked once,
# when it is loaded; which slice is compiled for is said later.
_ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    # No chip is taken, so several compilations may go on at once.
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


def compile_devices(topology: str, slices: int = 1) -> list[Any]:
  """Devices of `topology`, to make a mesh of and to compile for.

  Args:
    topology: KIND:SHAPE, such as v5p:4x4x4, or cpu:8.
    slices: how many slices of that shape.

  Raises:
    ConfigError: no such kind or shape, libtpu is missing, or this process has
      begun with fewer CPU devices.
  """
  kind, _, shape = topology.partition(":")
  if kind == "cpu":
    require(slices == 1, f"topology={topology} is one host; leave slices at 1.")
    return _cpu_devices(math.prod(int(n) for n in shape.split("x")))
  require(kind in CHIPS, f"topology is {topology!r}; its kind is one of "
          f"{', '.join(CHIPS)} and cpu.")
  require(len(shape.split("x")) == CHIPS[kind].torus_dims,
          f"topology={topology}: slices of {kind} are "
          + ("rectangles, such as v5e:8x8." if CHIPS[kind].torus_dims == 2
             else "blocks, such as v5p:4x4x4."))
  _require_libtpu(topology)
  for name, value in _ENVIRONMENT.items():
    os.environ.setdefault(name, value)
  from jax.experimental import topologies
  try:
    described = topologies.get_topology_desc(
        platform="tpu", topology_name=topology, num_slices=slices,
        # A v4 chip's two cores are one device, as its users have it.
        chip_config_name="megacore" if kind == "v4" else "default")
  except Exception as error:  # libtpu's own classes differ by release
    reason = re.sub(r"\s+", " ", str(error)).strip().rstrip(".")
    raise ConfigError(f"topology={topology} cannot be had: {reason}.") from None
  return list(described.devices)


def chip_of(topology: str) -> Chip | None:
  """Figures of the topology's chip; None for a CPU."""
  return CHIPS.get(topology.partition(":")[0])


def torus_of(topology: str) -> tuple[int, ...]:
  """Lengths of a slice's axes: (4, 4, 4) of v5p:4x4x4."""
  return tuple(int(n) for n in topology.partition(":")[2].split("x"))


def _require_libtpu(topology: str) -> None:
  path = os.environ.get("TPU_LIBRARY_PATH", "")
  require(os.path.exists(path)
          or importlib.util.find_spec("libtpu") is not None,
          f"topology={topology} needs TPU's compiler, libtpu, which is not "
          "installed; run pip install -e '.[tpu]' (no TPU is needed), or take "
          "--topology=cpu:8.")


def _cpu_devices(number: int) -> list[Any]:
  """So many fake devices; made, where JAX has not yet begun."""
  try:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", number)
  except (RuntimeError, ValueError):  # it has: they are as they are
    pass
  devices = jax.devices("cpu")
  require(len(devices) >= number, f"topology=cpu:{number}, but this process "
          f"has begun with {len(devices)} device(s); start it anew, or with "
          f"XLA_FLAGS=--xla_force_host_platform_device_count={number}.")
  return devices[:number]
