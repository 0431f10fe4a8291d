"""`results.json`: what a finished run came to, and the sign that it is done."""

from __future__ import annotations

import json
from typing import Any

import jax

from llm_jax.config import TrainRunConfig, require
from llm_jax.metric_writers import read_jsonl
from llm_jax.paths import as_path
from llm_jax.run_record import check_same_run, write_json

RESULTS = "results.json"


def finished_results(config: TrainRunConfig) -> dict[str, Any] | None:
  """The results of a run that has reached `num_steps`; None if it has not.

  Args:
    config: the stage's settings.

  Raises:
    ConfigError: the workdir holds a run with other settings, or one that
      started from a model that has been trained anew since.
  """
  path = as_path(config.workdir) / RESULTS
  if not path.exists():
    return None
  check_same_run(as_path(config.workdir), config)
  results = json.loads(path.read_text(encoding="utf-8"))
  if results["num_steps"] != config.num_steps:
    return None
  origin = as_path(config.init_from) / RESULTS if config.init_from else None
  if origin is not None and origin.exists():
    require(origin.stat().mtime <= path.stat().mtime,
            f"{config.workdir} was trained from an earlier model than the one "
            f"now in init_from={config.init_from}; delete {config.workdir} to "
            "train it again, or choose another --workdir.")
  print(f"{config.workdir}: finished already, nothing to do", flush=True)
  return results


def write_results(config: TrainRunConfig,
                  results: dict[str, Any]) -> dict[str, Any]:
  """Writes `results` with `num_steps` and the seconds trained; returns them.

  Seconds are those of the metrics file: of all starts of the run together.
  """
  seconds = read_metrics(config.workdir)[-1]["seconds"]
  results = {"num_steps": config.num_steps, "seconds": seconds, **results}
  if jax.process_index() == 0:
    write_json(as_path(config.workdir) / RESULTS, results)
  return results


def read_metrics(workdir: str, name: str | None = None) -> list[dict[str, Any]]:
  """Records of a run's `metrics.jsonl`; with `name`, those that have it."""
  records = read_jsonl(as_path(workdir) / "metrics.jsonl")
  return [r for r in records if name is None or name in r]
