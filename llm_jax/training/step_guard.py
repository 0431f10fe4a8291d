"""Tells of skipped steps, and stops a run that skips too many in a row.

`train_step` leaves out a step whose loss or gradient is not finite. One such
step is an accident (a bad batch, an overflow); ten in a row are a run that will
not come back, and should not burn its budget.
"""

from __future__ import annotations

from collections.abc import Mapping
import math
from typing import Any

import jax
import optax

from llm_jax.config import ConfigError, TrainRunConfig


class StepGuard:
  """Watches `skipped_in_a_row` of each step; an `on_step` of `MetricLogger`.

  The logger calls it when the step after has been dispatched, so reading the
  count waits for nothing.

  Args:
    config: of the run: `optimizer.max_skipped`, and what the message names.
    schedule: learning rate of each optimiser step, from 0.
    updates_per_step: optimiser steps in one step of the loop.
  """

  def __init__(self, config: TrainRunConfig, schedule: optax.Schedule,
               updates_per_step: int = 1):
    self._config, self._schedule = config, schedule
    self._updates = updates_per_step
    self._stopped = False

  def __call__(self, step: int, metrics: Mapping[str, Any]) -> None:
    """Raises `ConfigError` where `max_skipped` steps in a row were skipped.

    Once only: closing the logger, which the error leads to, ends in peace.
    """
    in_a_row = int(metrics.get("skipped_in_a_row", 0))
    if not in_a_row or self._stopped:
      return
    if jax.process_index() == 0:
      print(f"step {step}: skipped, since the loss or the norm of the gradient "
            f"is not finite ({in_a_row} in a row)", flush=True)
    if in_a_row < self._config.optimizer.max_skipped:
      return
    self._stopped = True
    first = max(1, step - math.ceil(in_a_row / self._updates) + 1)
    raise ConfigError(
        f"stopped at step {step}: the loss or the norm of the gradient was not "
        f"finite {in_a_row} times in a row, in steps {first} to {step} "
        f"(batches {first - 1} to {step - 1} of seed {self._config.seed}, "
        "learning rate "
        f"{float(self._schedule(step * self._updates - 1)):.3g}), which were "
        f"skipped; what {self._config.workdir} saved last is sound. Go on from "
        "there with more of --optimizer.max_skipped if the data is to blame, "
        "or start anew with a lower --optimizer.learning_rate, a longer "
        "--optimizer.warmup_steps, a smaller --optimizer.clip_norm, or "
        "--model.compute_dtype=float32.")
