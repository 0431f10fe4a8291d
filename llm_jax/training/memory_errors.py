"""Too little memory, told with what would lower the need for it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import jax

from llm_jax.config import ConfigError, ModelConfig, TrainRunConfig

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
