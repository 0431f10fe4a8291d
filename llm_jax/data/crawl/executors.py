"""Runs phases with datatrove's executors: on this machine, Slurm or Ray.

A phase's tasks are independent. One that is done leaves a mark in
`logs/<phase>/completions/`, and is not done again; so a run that was killed is
started again by the same command. Locally and on Ray a phase begins when the
one before has ended; on Slurm all are queued at once, each waiting for the
last, and the command returns.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Sequence

from datatrove.executor import LocalPipelineExecutor, SlurmPipelineExecutor
from datatrove.executor.base import PipelineExecutor
from datatrove.io import get_datafolder
from datatrove.utils.stats import PipelineStats
from loguru import logger

from llm_jax.config import ConfigError
from llm_jax.config_curate import ExecutorConfig
from llm_jax.data.crawl.phases import Phase
from llm_jax.metric_writers import format_seconds

_REPORT_SECONDS = 5.0


def run_phases(phases: Sequence[Phase], config: ExecutorConfig,
               workdir: str) -> bool:
  """Runs phases, or queues them; returns whether they are done.

  Raises:
    ConfigError: the executor's package or cluster is not there, or a task
      failed (its log is named).
  """
  _quiet()
  if config.kind == "slurm":
    _queue(phases, config, workdir)
    return False
  if config.kind == "ray":
    _start_ray()
    # datatrove says so of every phase.
    print(f"On several machines, all must see {workdir}.", flush=True)
    _quiet("ERROR")
  for phase in phases:
    executor = make_executor(phase, config, workdir)
    left = len(executor.get_incomplete_ranks())
    if not left:
      continue
    watch = _Reporter(phase, workdir)
    with watch:
      try:
        executor.run()
      except Exception as error:
        raise _failed(phase, workdir, error) from error
    if executor.get_incomplete_ranks():
      raise _failed(phase, workdir, None)
  return True


def make_executor(phase: Phase, config: ExecutorConfig,
                  workdir: str) -> PipelineExecutor:
  """datatrove's executor of one phase."""
  workers = config.workers or -1
  settings = {"pipeline": list(phase.steps), "tasks": phase.tasks,
              "logging_dir": f"{workdir}/logs/{phase.name}"}
  if config.kind == "local":
    workers = config.workers or len(os.sched_getaffinity(0))
    return _Local(workers=min(workers, phase.tasks), **settings)
  settings |= {"workers": workers, "cpus_per_task": config.cpus_per_task,
               "mem_per_cpu_gb": config.memory_per_cpu_gb}
  if config.kind == "ray":
    from datatrove.executor.ray import RayPipelineExecutor
    return RayPipelineExecutor(**settings)
  return SlurmPipelineExecutor(
      time=config.time, partition=config.partition, job_name=phase.name,
      qos="", env_command=config.setup or None, **settings)


def job_scripts(phases: Sequence[Phase], config: ExecutorConfig,
                workdir: str) -> list[tuple[str, str]]:
  """(phase, the script that sbatch is given) of each phase; submits nothing."""
  scripts = []
  for phase in phases:
    executor = make_executor(phase, config, workdir)
    most = min(phase.tasks, executor.max_array_size)
    pickled = executor.logging_dir.resolve_paths("executor.pik")
    scripts.append((phase.name, executor.get_launch_file_contents(
        executor.get_sbatch_args(most),
        f"srun -l -n 1 launch_pickled_pipeline {pickled}")))
  return scripts


class _Local(LocalPipelineExecutor):
  """Tells the log files what happens, and the terminal only of errors."""

  def _run_for_rank(self, rank: int, local_rank: int = 0,
                    node_rank: int = -1) -> PipelineStats:
    try:
      # Any local rank but 0 is quiet.
      return super()._run_for_rank(rank, local_rank + 1, node_rank)
    finally:
      _quiet()


def _quiet(level: str = "WARNING") -> None:
  """datatrove's log on the terminal: warnings, or only errors."""
  logger.remove()
  logger.add(sys.stderr, level=level,
             format="<level>{level}</level> {message}")


def _queue(phases: Sequence[Phase], config: ExecutorConfig,
           workdir: str) -> None:
  """Submits each phase to Slurm, to begin when the one before is done."""
  before = None
  for phase in phases:
    executor = make_executor(phase, config, workdir)
    executor.depends = before
    try:
      executor.run()
    except FileNotFoundError as error:
      raise ConfigError("executor.kind=slurm: there is no sbatch on this "
                        "machine; run this on a login node of the cluster, or "
                        "look at the scripts with --dry_run.") from error
    before = executor


def _start_ray() -> None:
  try:
    import ray
  except ImportError as error:
    raise ConfigError("executor.kind=ray wants the package; install it with "
                      "`pip install 'llm_jax[ray]'`.") from error
  if not ray.is_initialized():
    ray.init(log_to_driver=False, logging_level="WARNING")


def _failed(phase: Phase, workdir: str,
            error: Exception | None) -> ConfigError:
  reason = f" ({type(error).__name__}: {error})" if error else ""
  return ConfigError(
      f"phase {phase.name} did not finish{reason}; its tasks' logs are in "
      f"{workdir}/logs/{phase.name}/logs. The same command goes on with the "
      "tasks that are left.")


class _Reporter:
  """Prints how far a phase has come, now and then, while it runs."""

  def __init__(self, phase: Phase, workdir: str):
    self._phase = phase
    self._progress = get_datafolder(f"{workdir}/progress/{phase.name}")
    self._logs = get_datafolder(f"{workdir}/logs/{phase.name}")
    self._seen: dict[str, int] = {}
    self._done = threading.Event()
    self._thread = threading.Thread(target=self._report, daemon=True)

  def __enter__(self) -> _Reporter:
    self._start = time.monotonic()
    self._first = self._complete()
    self._thread.start()
    return self

  def __exit__(self, *_: object) -> None:
    self._done.set()
    self._thread.join()
    seconds = time.monotonic() - self._start
    print(f"{self._phase.name}: {self._complete()} of {self._phase.tasks} "
          f"tasks, {format_seconds(seconds)}", flush=True)

  def _report(self) -> None:
    before, end = self._first, 0.0
    while not self._done.wait(_REPORT_SECONDS):
      complete, pages, now = self._complete(), self._pages(), time.monotonic()
      line = f"{self._phase.name}: {complete} of {self._phase.tasks} tasks"
      if pages:
        rate = pages / (now - self._start)
        line += f", {pages:,} pages read, {rate:,.0f} pages/s"
      if complete > before:  # tasks are known by their ends only
        end = now + ((now - self._start) * (self._phase.tasks - complete)
                     / (complete - self._first))
        before = complete
      if end:
        line += f", ETA {format_seconds(max(end - now, 0))}"
      print(line, flush=True)

  def _complete(self) -> int:
    return len(self._logs.list_files("completions"))

  def _pages(self) -> int:
    for name in self._progress.list_files():
      try:
        with self._progress.open(name) as stream:
          self._seen[name] = json.load(stream)["documents"]
      except ValueError:  # it is being written: what it said last
        continue
    return sum(self._seen.values())
