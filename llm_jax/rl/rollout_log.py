"""What the rollouts of a run looked like, for people and for plots.

`rollouts.jsonl` has some samples of each step with their texts; `rewards.jsonl`
a line for each step with the reward, correctness and length of every sample
that was trained on, from which histograms are drawn.
"""

from __future__ import annotations

from typing import Any

from etils import epath
import jax

from llm_jax.metric_writers import JsonlWriter
from llm_jax.rl.collector import Collected


class RolloutLog:
  """Writes both files; process 0 writes, others do nothing.

  Args:
    workdir: of the run.
    start_step: of the restored checkpoint; lines past it are dropped.
  """

  def __init__(self, workdir: epath.PathLike, start_step: int):
    self._files: tuple[JsonlWriter, ...] = ()
    if jax.process_index() == 0:
      self._files = tuple(
          JsonlWriter(epath.Path(workdir) / name, start_step)
          for name in ("rollouts.jsonl", "rewards.jsonl"))

  def __enter__(self) -> RolloutLog:
    return self

  def __exit__(self, *exc_info: object) -> None:
    for file in self._files:
      file.close()

  def write(self, step: int, collected: Collected) -> None:
    """Adds what `step` trains on."""
    if not self._files:
      return
    samples, rewards = self._files
    for record in collected.records:
      samples.write(step, record)
    rollouts = collected.rollouts
    columns: dict[str, Any] = {
        "rewards": rollouts.rewards_B, "correct": rollouts.correct_B,
        "tokens": rollouts.lengths_B}
    rewards.write(step, {name: column.tolist()
                         for name, column in columns.items()})

  def flush(self) -> None:
    """Everything written so far is in the files."""
    for file in self._files:
      file.flush()
