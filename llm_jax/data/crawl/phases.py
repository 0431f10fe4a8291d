"""What an executor runs at a time."""

from __future__ import annotations

import dataclasses

from datatrove.pipeline.base import PipelineStep


@dataclasses.dataclass(frozen=True)
class Phase:
  """Steps that a document goes through, over a number of independent tasks.

  Attributes:
    name: of its directories in the workdir.
    steps: the first reads, each hands its documents to the next.
    tasks: parts of the work.
  """
  name: str
  steps: tuple[PipelineStep, ...]
  tasks: int
