"""How long a phase's tasks take, with all that no stage's tally counts.

Reading what an earlier phase wrote, signatures, the search for copies: a stage
is charged for its own work alone, and the rest would be in no table. The last
step of a phase pulls the documents through all others, so its time is the
task's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from datatrove.data import Document
from datatrove.io import DataFolder
from datatrove.pipeline.base import PipelineStep

from llm_jax.data.crawl.phases import Phase

FOLDER = "seconds"


def timed(phase: Phase, folder: DataFolder) -> Phase:
  """The phase, whose tasks leave `seconds/<phase>/<rank>.json` when done."""
  return Phase(phase.name, (*phase.steps[:-1], _Timed(
      phase.steps[-1], folder, phase.name)), phase.tasks)


class _Timed(PipelineStep):
  """The last step of a phase, and the seconds of the whole task."""

  type = "llm_jax"

  def __init__(self, step: PipelineStep, folder: DataFolder, phase: str):
    super().__init__()
    self.name, self.stats = step.name or type(step).__name__, step.stats
    self.stage = getattr(step, "stage", "") or type(step).__name__
    self._step, self._folder, self._phase = step, folder, phase

  def run(self, data: Iterator[Document] | None, rank: int = 0,
          world_size: int = 1) -> Iterator[Document]:
    """The step's documents."""
    start = time.perf_counter()
    yield from self._step.run(data, rank, world_size) or ()
    seconds = time.perf_counter() - start
    with self._folder.open(f"{FOLDER}/{self._phase}/{rank:05d}.json",
                           "w") as stream:
      json.dump(round(seconds, 4), stream)
