"""A run that is told to stop saves and ends, so that the same command goes on.

Clusters send SIGTERM before they take a machine away, or when a job's time is
over; a terminal sends SIGINT. The loop then finishes its step, saves, and the
process ends with exit code 75 (EX_TEMPFAIL of sysexits.h: try again), which no
other ending of a run has. docs/surviving.md shows how a scheduler uses it.

With several processes the signal may come to one of them alone, or to each at
another step. Then JAX's preemption service hears it, and all processes agree
on the step to stop at (`multihost_utils.reached_preemption_sync_point`).
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

import jax
from jax.experimental import multihost_utils

EXIT_CODE = 75


class Preempted(SystemExit):
  """Ends the process: the run has been saved and is to be started again."""

  def __init__(self, step: int):
    """Tells that `step` is saved."""
    super().__init__(EXIT_CODE)
    if jax.process_index() == 0:
      print(f"stopped at step {step}, which is saved; the same command goes on "
            f"from there (exit code {EXIT_CODE})", flush=True)


class StopSignals:
  """Takes SIGTERM, and the first SIGINT, as a wish to stop after a step.

  A second SIGINT interrupts at once, as ever. Outside of the `with`, and in
  threads other than the main one, which cannot have handlers, signals do what
  they did before.

    with StopSignals() as signals:
      for step in ...:
        ...
        if signals.stop_after(step):
          break
  """

  def __init__(self) -> None:
    self._wished = False
    self._before: dict[int, object] = {}
    # Its own handler, in C++, must stay; SIGINT is passed on to it.
    self._service = jax.distributed.is_initialized()

  def __enter__(self) -> StopSignals:
    if threading.current_thread() is threading.main_thread():
      heard = ((signal.SIGINT,) if self._service else
               (signal.SIGINT, signal.SIGTERM))
      self._before = {number: signal.signal(number, self._hear)
                      for number in heard}
    return self

  def __exit__(self, *exc_info: object) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)

  def _hear(self, number: int, frame: FrameType | None) -> None:
    interrupt = number == signal.SIGINT
    if interrupt:
      signal.signal(signal.SIGINT, self._before[signal.SIGINT])
    if interrupt or not self._wished:
      print(f"{signal.Signals(number).name}: this step is finished and saved, "
            "then the run stops"
            + (" (a second one stops at once)" if interrupt else ""),
            flush=True)
    if self._service:
      os.kill(os.getpid(), signal.SIGTERM)
    self._wished = True

  def stop_after(self, step: int) -> bool:
    """Whether the run is to stop after `step`, the same in all processes.

    Every process must call it at each step, in the order of the steps.
    """
    if self._service:
      return multihost_utils.reached_preemption_sync_point(step)
    return self._wished
