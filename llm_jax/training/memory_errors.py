"""Too little memory, told with what would lower the need for it."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any

import jax
import optax

from llm_jax.config import ConfigError, ModelConfig, TrainRunConfig, require
from llm_jax.training.memory_estimate import estimate_memory

# What XLA says first, on a device and while compiling for one.
_SIGNS = ("RESOURCE_EXHAUSTED", "Ran out of memory", "out of memory")


def memory_remedies(config: TrainRunConfig, model: ModelConfig) -> str:
  """Settings that would lower the memory of a step, those not yet in use.

  In the order in which they should be tried: what costs least comes first.

  Args:
    config: the run's settings.
    model: the model.
  """
  remedies = []
  if not config.loss.chunk:
    remedies.append("--loss.chunk=512 (logits of so many tokens of a row at "
                    "once)")
  if model.compute_dtype != "bfloat16":
    remedies.append("--model.compute_dtype=bfloat16")
  if model.remat in ("none", "dots", "attention"):
    remedies.append("--model.remat=full (layers are computed again backwards)")
  if not model.scan_layers:
    remedies.append("--model.scan_layers")
  rows = config.batch_size // config.num_microbatches
  if rows > 1:
    remedies.append(f"--num_microbatches={2 * config.num_microbatches} (half "
                    f"of the {rows} rows at once)")
  if config.optimizer.moments_dtype != "bfloat16":
    remedies.append("--optimizer.moments_dtype=bfloat16")
  remedies.append("a longer --mesh.fsdp, over more devices")
  return "; ".join(remedies)


def check_memory(config: TrainRunConfig, model: ModelConfig, mesh: Any,
                 tx: optax.GradientTransformation) -> str:
  """What a device will hold, for the console; with a warning if it is too much.

  Args:
    config: the run's settings.
    model: the model, its vocabulary size filled in.
    mesh: the devices.
    tx: the optimiser.

  Raises:
    ConfigError: the train state alone, whose size is known exactly, is larger
      than a device's memory.
  """
  estimate = estimate_memory(config, model, mesh, tx)
  limit = device_memory()
  state = estimate.params + estimate.optimizer
  remedies = memory_remedies(config, model)
  require(not limit or state <= limit,
          f"parameters and the optimiser's state are {_gib(state)} on each of "
          f"{mesh.size} devices, and a device has {_gib(limit)}; try, in this "
          f"order, {remedies}.")
  told = (f"{_gib(estimate.total)} on each device: parameters "
          f"{_gib(estimate.params)}, optimiser {_gib(estimate.optimizer)}, "
          f"at a step's peak some {_gib(estimate.temporary)} (activations "
          f"{_gib(estimate.activations)}, gradients "
          f"{_gib(estimate.gradients)}, logits {_gib(estimate.logits)})")
  if limit:
    told += f"; there are {_gib(limit)}"
    if estimate.total > limit:
      told += ("\nwarning: this will hardly fit; should it not, try, in this "
               f"order, {remedies}")
  return told


def device_memory() -> int:
  """Bytes that a program may have on one of this process's devices.

  Fake devices of a CPU share the machine's memory. 0 where nobody knows.
  """
  device = jax.local_devices()[0]
  if device.platform == "cpu":
    try:
      return (os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
              // jax.local_device_count())
    except (ValueError, OSError):  # not on this system
      return 0
  return (device.memory_stats() or {}).get("bytes_limit", 0)


def _gib(size: int) -> str:
  return f"{size / 2**30:,.2f} GiB"


@contextlib.contextmanager
def told_out_of_memory(config: TrainRunConfig, model: ModelConfig, *,
                       device: str = "") -> Iterator[None]:
  """Turns XLA's out-of-memory errors into a `ConfigError` with remedies.

  Args:
    config: the run's settings.
    model: the model.
    device: the kind of device; default: this process's.

  Raises:
    ConfigError: what is run within needed more memory than there is.
  """
  try:
    yield
  except jax.errors.JaxRuntimeError as error:
    if not any(sign in str(error) for sign in _SIGNS):
      raise
    raise ConfigError(
        f"a step needs more memory than "
        f"{device or jax.devices()[0].device_kind} has"
        f"{_amount(str(error))}; try, in this order, "
        f"{memory_remedies(config, model)}.") from error


def _amount(message: str) -> str:
  """" (…)" with the line of XLA's message that has the numbers, if any."""
  for line in message.splitlines():
    if re.search(r"\d+(\.\d+)?\s?[KMGT]i?B?\b|\d{6,} bytes", line):
      return f" ({line.strip()[:300].rstrip('.')})"
  return ""
