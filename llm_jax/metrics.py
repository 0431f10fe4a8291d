"""Weighted means, and the logger that the loops of the experiments call.

Reading a metric waits for the step that computes it. The logger therefore holds
each step's metrics back until the next step has been dispatched, so that the
device always has work while the host reads, and the host is never more than
one step ahead.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from etils import epath
import jax
import numpy as np

from llm_jax.config import LoggingConfig
from llm_jax.flops import peak_flops
from llm_jax.metric_writers import (
    JsonlWriter, TensorBoardWriter, WandbWriter, format_line)
from llm_jax.profiling import StepProfiler, device_memory

Scalar = jax.Array | float
# Layers that a vector of metrics is of, in its name (`norms.layer_norms`).
_LAYERS = re.compile(r"layers\.(\d+)-(\d+)\.")
Batch = TypeVar("Batch")

# What two runs of the same thing do not share: how long it took, and on what.
TIMINGS = ("seconds", "step_seconds", "data_wait_seconds", "tokens_per_second",
           "mfu", "hbm_gib", "hbm_peak_gib", "hbm_limit_gib")
# A share of waiting above this is told on the console.
_NOTED_WAIT = 0.02


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
  """Metrics as the files hold them; waits for those still being computed.

  A vector whose name says of which layers it is, "grad_norm/layers.0-2.mlp.up",
  becomes a number for each: "grad_norm/layers.0.mlp.up" and so on.
  """
  found = {}
  for name, value in jax.device_get(dict(metrics)).items():
    if np.ndim(value) == 0:
      found[name] = float(value)
      continue
    first = int(_LAYERS.search(name)[1])
    for i, number in enumerate(value):
      found[_LAYERS.sub(f"layers.{first + i}.", name)] = float(number)
  return found


class WeightedMeans:
  """Σ sums / Σ weights over batches, e.g. of a validation.

  Takes what losses return (`Aux.metrics`), so batches count by their tokens,
  and a padded last batch is exact. Sums in float64 on the host, reading each
  batch when the next has been dispatched.
  """

  def __init__(self) -> None:
    self._totals: dict[str, tuple[float, float]] = {}
    self._pending: Mapping[str, tuple[Scalar, Scalar]] = {}

  def add(self, metrics: Mapping[str, tuple[Scalar, Scalar]]) -> None:
    """Adds one batch's name -> (sum, weight), scalars."""
    pending, self._pending = self._pending, metrics
    for name, (value, weight) in jax.device_get(dict(pending)).items():
      old_value, old_weight = self._totals.get(name, (0.0, 0.0))
      self._totals[name] = (old_value + float(value),
                            old_weight + float(weight))

  def result(self) -> dict[str, float]:
    """name -> weighted mean; nan where all weights are zero."""
    self.add({})
    return {name: value / weight if weight else math.nan
            for name, (value, weight) in self._totals.items()}


class MetricLogger:
  """Writes metrics of one run to `workdir`; process 0 writes, others only wait.

  `metrics.jsonl` holds one record for each logged step and one for each
  `write`: the metrics given, and `seconds` (wall-clock time in the run,
  earlier starts included), `step_seconds` (of a step, on average since the last
  record), `data_wait_seconds` (of these, how long the loop waited for its
  batch), `tokens_per_second`, `mfu` (share of the peak operations of the
  devices) and `hbm_gib`, `hbm_peak_gib` (memory of the fullest device), where
  they are known. `samples.jsonl` holds texts.

  The loop takes its batches through `next`, calls `log` after each dispatched
  step, and `flush` before a checkpoint, so that no step of the checkpoint is
  missing in the files:

    with MetricLogger(workdir, config.logging, num_steps=...) as logger:
      for step in range(start_step + 1, num_steps + 1):
        state, metrics = train_step(state, logger.next(batches))
        logger.log(step, metrics)

  With `logging.profile_steps` it also writes a trace of these steps. With
  `logging.examples`, `examples.jsonl` holds for every step the numbers of the
  rows of its global batch, where the batches are numbered (`pipeline.py`).
  """

  def __init__(self, workdir: epath.PathLike, config: LoggingConfig,
               num_steps: int, start_step: int = 0, tokens_per_step: int = 0,
               flops_per_token: float | None = None, *,
               console: Iterable[str] = ("loss",),
               run_config: Mapping[str, Any] | None = None,
               on_step: Callable[[int, Mapping[str, Scalar]], None]
               | None = None):
    """Opens the files, dropping what is past `start_step`.

    Args:
      workdir: directory of the run.
      config: how often, and to which writers.
      num_steps: last step; always logged, as is the first.
      start_step: step of the restored checkpoint; 0 begins the files anew.
      tokens_per_step: tokens of a global batch; 0: no rate is given.
      flops_per_token: training operations per token, for `mfu`.
      console: metrics of `log` that are shown on the console.
      run_config: the resolved config, for Weights & Biases.
      on_step: called with each step and its metrics as soon as they are there
        (`step_guard.StepGuard`), in every process.

    Raises:
      ConfigError: a writer that was asked for is not installed.
    """
    self._every, self._num_steps = max(config.every, 1), num_steps
    self._tokens_per_step, self._on_step = tokens_per_step, on_step
    self._console = tuple(console)
    peak = peak_flops(jax.devices()[0].device_kind)
    self._flops_share = (flops_per_token / (peak * jax.device_count())
                         if peak and flops_per_token else None)
    self._pending: tuple[int, Mapping[str, Scalar], Any] | None = None
    self._read: np.ndarray | None = None  # rows of the batch last taken, [B]
    # (step, time) since when steps followed each other undisturbed, and since
    # the first step: compiling counts in neither, evaluations in the second.
    self._undisturbed: tuple[int, float] | None = None
    self._first: tuple[int, float] | None = None
    self._data_wait = 0.0  # seconds, since `_undisturbed`
    traced = config.profiled()
    self._profiler = StepProfiler(
        workdir, range(0) if jax.process_index() else
        range(traced.start, min(traced.stop, num_steps + 1)), start_step)
    self._writers, self._samples, self._text = [], None, None
    self._examples = None
    self._started = time.monotonic()
    if jax.process_index():
      return
    workdir = epath.Path(workdir)
    jsonl = JsonlWriter(workdir / "metrics.jsonl", start_step)
    if jsonl.kept:
      self._started -= jsonl.kept[-1].get("seconds", 0.0)
    self._writers.append(jsonl)
    self._samples = JsonlWriter(workdir / "samples.jsonl", start_step)
    if config.examples:
      self._examples = JsonlWriter(workdir / "examples.jsonl", start_step)
    if config.tensorboard:
      self._text = TensorBoardWriter(workdir / "tensorboard", start_step)
      self._writers.append(self._text)
    if config.wandb_project:
      self._writers.append(WandbWriter(config.wandb_project, workdir,
                                       start_step, run_config))

  def __enter__(self) -> MetricLogger:
    return self

  def __exit__(self, *exc_info: object) -> None:
    self.close()

  def next(self, batches: Iterator[Batch]) -> Batch:
    """`next(batches)`; the time that it takes is `data_wait_seconds`.

    The field `examples` of numbered batches is taken out: see `log`.
    """
    began = time.monotonic()
    batch = next(batches)
    self._data_wait += time.monotonic() - began
    if isinstance(batch, Mapping) and "examples" in batch:
      batch = dict(batch)
      self._read = batch.pop("examples")
    return batch

  def log(self, step: int, metrics: Mapping[str, Scalar]) -> None:
    """Takes the metrics of a step just dispatched; does not wait for it.

    Waits for the step before, and writes it if its turn has come (the first,
    the last, every `config.every`). The rows of the batch last taken count as
    read by `step`.
    """
    pending, self._pending = self._pending, (step, metrics, self._read)
    self._profiler.dispatched(step, metrics)
    if pending:
      self._finish(*pending)

  def _finish(self, step: int, metrics: Mapping[str, Scalar],
              examples: np.ndarray | None) -> None:
    jax.block_until_ready(metrics)
    now = time.monotonic()
    if self._examples and examples is not None:
      self._examples.write(step, {"rows": examples.tolist()})
    due = step in (1, self._num_steps) or step % self._every == 0
    if due and self._writers:
      record = numbers(metrics)
      rates = self._rates(step, now)
      shown = {k: record[k] for k in self._console if k in record}
      shown |= {k: rates[k] for k in ("tokens_per_second", "mfu")
                if k in rates}
      if rates and (waited := rates["data_wait_seconds"]
                    / rates["step_seconds"]) > _NOTED_WAIT:
        shown["data_wait_share"] = waited
      self._write(step, now, record | rates | device_memory())
      eta = None
      if self._first and step > self._first[0]:
        eta = ((self._num_steps - step) * (now - self._first[1])
               / (step - self._first[0]))
      print(format_line(step, self._num_steps, shown, eta_seconds=eta),
            flush=True)
    if due or self._undisturbed is None:
      self._undisturbed, self._data_wait = (step, now), 0.0
    self._first = self._first or (step, now)
    if self._on_step:
      self._on_step(step, metrics)

  def _rates(self, step: int, now: float) -> dict[str, float]:
    if not self._undisturbed:
      return {}
    since_step, since = self._undisturbed
    steps, seconds = step - since_step, max(now - since, 1e-9)
    rates = {"step_seconds": seconds / steps,
             "data_wait_seconds": self._data_wait / steps}
    if not self._tokens_per_step:
      return rates
    rate = steps * self._tokens_per_step / seconds
    rates["tokens_per_second"] = rate
    if self._flops_share:
      rates["mfu"] = rate * self._flops_share
    return rates

  def _write(self, step: int, now: float, record: Mapping[str, float]) -> None:
    for writer in self._writers:
      writer.write(step, {**record, "seconds": now - self._started})

  def write(self, step: int, metrics: Mapping[str, Scalar],
            samples: Iterable[Mapping[str, Any]] = ()) -> None:
    """Writes what an evaluation found, whatever the step; flushes first.

    Args:
      step: the step that was evaluated.
      metrics: numbers, e.g. {"val_loss": 2.3}.
      samples: texts for `samples.jsonl`, e.g. [{"prompt": "", "text": "..."}];
        any JSON value will do.
    """
    self.flush()
    if not self._writers:
      return
    record = numbers(metrics)
    if record:
      self._write(step, time.monotonic(), record)
      print(format_line(step, self._num_steps, record), flush=True)
    for i, sample in enumerate(samples):
      self._samples.write(step, sample)
      if self._text:
        text = "\n\n".join(f"**{k}**: {v}" for k, v in sample.items())
        self._text.write(step, {f"sample_{i}": text})

  def flush(self) -> None:
    """Waits for the last step, writes it, and begins the clock anew.

    Call it before an evaluation or a checkpoint: the time until the next step
    then does not count in `tokens_per_second`.
    """
    pending, self._pending = self._pending, None
    if pending:
      self._finish(*pending)
    self._undisturbed = None
    for writer in self._files():
      writer.flush()

  def _files(self) -> list[Any]:
    return [writer for writer in (*self._writers, self._samples, self._examples)
            if writer]

  def close(self) -> None:
    """Flushes and closes the files."""
    self._profiler.close()
    self.flush()
    for writer in self._files():
      writer.close()
