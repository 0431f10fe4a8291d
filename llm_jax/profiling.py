"""What a run costs its devices: traces of a few steps, and memory in use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from etils import epath
import jax

TRACES = "profile"


class StepProfiler:
  """Writes a trace of some steps to `<workdir>/profile`, for XProf.

  Each traced step is marked, so that the profiler's overview tells their times
  apart. The trace begins when the step before has been dispatched, whose end it
  therefore shows, and ends when the last traced step is done: the one place
  where the loop waits for a step it has just dispatched.
  """

  def __init__(self, workdir: epath.PathLike, steps: range, start_step: int):
    """Starts at once where the first step to trace is the run's next.

    Args:
      workdir: directory of the run.
      steps: those to trace, from `LoggingConfig.profiled`; empty: none.
      start_step: steps already done; a trace that began before is not made.
    """
    self._directory = epath.Path(workdir) / TRACES
    self._steps, self._mark = steps, None
    self._next(start_step + 1)

  @property
  def running(self) -> bool:
    """Whether a trace is being made."""
    return self._mark is not None

  def _next(self, step: int) -> None:
    """What is dispatched from here on is step number `step`."""
    if self._mark is not None:
      self._mark.__exit__(None, None, None)
      self._mark = None
    elif len(self._steps) and step == self._steps.start:
      jax.profiler.start_trace(self._directory)
    else:
      return
    if step in self._steps:
      self._mark = jax.profiler.StepTraceAnnotation("train", step_num=step)
      self._mark.__enter__()
    else:
      jax.profiler.stop_trace()
      print(f"profile: steps {self._steps.start} to {self._steps.stop - 1} are "
            f"in {self._directory}; open it with xprof or TensorBoard",
            flush=True)

  def dispatched(self, step: int, metrics: Mapping[str, Any]) -> None:
    """To be called after step number `step` has been dispatched.

    Args:
      step: its number.
      metrics: arrays that it computes, to wait for where the trace ends.
    """
    if self.running and step + 1 not in self._steps:
      jax.block_until_ready(metrics)
    self._next(step + 1)

  def close(self) -> None:
    """Ends a trace that an error has cut short."""
    if self.running:
      self._next(self._steps.stop)


def device_memory() -> dict[str, float]:
  """Memory of the fullest device of this process, in GiB; {} where unknown.

  Returns:
    `hbm_gib` now in use, `hbm_peak_gib` at most so far, `hbm_limit_gib`: names
    for what TPUs and GPUs have; a CPU does not tell.
  """
  names = {"bytes_in_use": "hbm_gib", "peak_bytes_in_use": "hbm_peak_gib",
           "bytes_limit": "hbm_limit_gib"}
  found: dict[str, float] = {}
  for device in jax.local_devices():
    stats = device.memory_stats() or {}
    for key, name in names.items():
      if key in stats:
        found[name] = max(found.get(name, 0.0), stats[key] / 2**30)
  return found
