"""The last job of `experiments/curate.py`: the funnel, added up and drawn."""

from __future__ import annotations

import json

from datatrove.data import DocumentsPipeline
from datatrove.pipeline.base import PipelineStep

from llm_jax.data.crawl import funnel as funnel_lib
from llm_jax.paths import as_path
from llm_jax.serving.funnel_page import render_funnel


class FunnelReport(PipelineStep):
  """Writes funnel.json and funnel.html into a run's directory."""

  type, name = "llm_jax", "funnel"

  def __init__(self, workdir: str):
    """Takes the run's directory."""
    super().__init__()
    self._workdir = workdir

  def run(self, data: DocumentsPipeline = None, rank: int = 0,
          world_size: int = 1) -> DocumentsPipeline:
    """Reads all tallies; hands no documents on."""
    del data, rank, world_size
    directory = as_path(self._workdir)
    funnel = funnel_lib.as_json(funnel_lib.gather(self._workdir))
    (directory / "funnel.json").write_text(
        json.dumps(funnel, indent=1, ensure_ascii=False) + "\n",
        encoding="utf-8")
    (directory / "funnel.html").write_text(render_funnel(funnel),
                                           encoding="utf-8")
    yield from ()
