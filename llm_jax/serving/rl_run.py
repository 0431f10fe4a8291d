"""What a run of `experiments/rl.py` left behind, read for pages and figures."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from llm_jax.config import require
from llm_jax.metric_writers import read_jsonl
from llm_jax.paths import as_path


@dataclasses.dataclass(frozen=True)
class RlRun:
  """Files of a workdir.

  Attributes:
    name: of its directory.
    config: as it was started.
    metrics: a record for each step that was trained.
    evaluations: a record for each evaluation.
    rewards: the reward, correctness and length of each sample, a record a step.
    rollouts: some samples of each step, with their texts.
    held_out: answers to held-out problems, of each evaluation.
  """
  name: str
  config: dict[str, Any]
  metrics: list[dict[str, Any]]
  evaluations: list[dict[str, Any]]
  rewards: list[dict[str, Any]]
  rollouts: list[dict[str, Any]]
  held_out: list[dict[str, Any]]

  def curve(self, name: str) -> list[tuple[float, float]]:
    """(step, value) of a metric, of training or of evaluation."""
    records = self.evaluations if name.startswith("eval_") else self.metrics
    return [(record["step"], record[name]) for record in records
            if name in record]


def load_run(workdir: str) -> RlRun:
  """Reads a run, which may still be going on.

  Raises:
    ConfigError: the directory has no run of reinforcement learning.
  """
  path = as_path(workdir)
  there = all((path / name).exists() for name in ("config.json",
                                                  "metrics.jsonl"))
  require(there, f"{workdir} has no config.json and metrics.jsonl; name the "
          "workdir of a run of experiments.rl.")
  records = read_jsonl(path / "metrics.jsonl")
  metrics = [record for record in records if "reward" in record]
  evaluations = [record for record in records if "eval_accuracy" in record]
  require(bool(metrics or evaluations), f"{workdir} is no run of "
          "reinforcement learning, or has not taken a step: no record of "
          "metrics.jsonl has a reward.")
  return RlRun(
      path.name, json.loads((path / "config.json").read_text(encoding="utf-8")),
      metrics, evaluations, read_jsonl(path / "rewards.jsonl"),
      read_jsonl(path / "rollouts.jsonl"),
      [record for record in read_jsonl(path / "samples.jsonl")
       if "eval" in record])
