"""What the filter of lines tells whoever counts: documents that went, alone."""

import copy
import json

from datatrove.data import Document
from datatrove.io import get_datafolder
from datatrove.pipeline.base import PipelineStep

from llm_jax.config_crawl import DedupConfig
from llm_jax.data.crawl import deduplication
from llm_jax.data.crawl.funnel import gather
from llm_jax.data.crawl.tally import Watch

SHARED = "Subscribe to our letter for the latest news."
TEXTS = {"a": f"First of all a line of its own.\n{SHARED}",
         "b": f"Second comes another line, its own.\n{SHARED}",
         "c": SHARED, "d": "Fourth is a line that only this one has."}


class Reader(PipelineStep):
  type = name = "test"

  def run(self, data=None, rank=0, world_size=1):
    for key, text in TEXTS.items():
      yield Document(text, key, metadata={"url": key})


def run(steps):
  stream = None
  for step in copy.deepcopy(steps):
    stream = step.run(stream, 0, 1)
  return list(stream or ())


def test_documents_that_lost_a_line_are_not_counted_as_removed(tmp_path):
  phases, filters = deduplication.plan(
      DedupConfig(exact=False, minhash=False, lines=True), Reader,
      str(tmp_path / "dedup"), 1)
  for phase in phases:
    run(phase.steps)
  watched = Watch("lines", filters["lines"], folder=get_datafolder(
      str(tmp_path)), phase="finish-x", position=0, removed="text",
      changes="lines")
  kept = {d.id: d.text for d in run((Reader(), watched))}
  assert sum(SHARED in text for text in kept.values()) <= 1
  assert {"a", "b", "d"} <= set(kept)
  tally = json.loads(
      (tmp_path / "tallies/finish-x/00000/00_lines.json").read_text())
  gone = 4 - len(kept)
  assert tally["documents_out"] == len(kept)
  assert tally["reasons"] == (
      {"no_line_left": [1, len(SHARED)]} if gone else {})
  assert tally["counts"]["removed_sentences"] == 2
  # One lost line is shown of each document that lost one.
  changed = [e["text"] for e in tally["examples"] if e["kind"] == "changed"]
  assert changed == [f"{SHARED}\n"] * (2 - gone)
  assert ">>>" not in json.dumps(tally)
  # The funnel adds up; the filter's phase is missing, so it has another name.
  (tmp_path / "tallies/finish-x").rename(tmp_path / "tallies/only")
  (stage,) = gather(str(tmp_path)).stages
  assert stage.documents_in == 4
