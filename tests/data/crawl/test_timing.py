"""The seconds of a task, with the steps before its last one."""

import json
import time

import dill
from datatrove.data import Document
from datatrove.io import get_datafolder
from datatrove.pipeline.base import PipelineStep

from llm_jax.data.crawl.phases import Phase
from llm_jax.data.crawl.timing import timed

SLEEP = 0.02


class Slow(PipelineStep):
  """A reader that takes its time."""

  type, name = "test", "slow"

  def run(self, data=None, rank=0, world_size=1):
    for number in range(3):
      time.sleep(SLEEP)
      yield Document(str(number), str(number))


class Count(PipelineStep):
  """Takes all documents and hands none on, and is no generator."""

  type, name, stage = "test", "count", "counted"

  def run(self, data=None, rank=0, world_size=1):
    self.stat_update("documents", value=sum(1 for _ in data))


def run(phase, rank):
  stream = None
  for step in phase.steps:
    stream = step(stream, rank, phase.tasks)
  return list(stream)


def test_a_task_leaves_the_seconds_of_all_its_steps(tmp_path):
  phase = timed(Phase("a", (Slow(), Count()), 7), get_datafolder(str(tmp_path)))
  assert (phase.name, phase.tasks) == ("a", 7)
  last = phase.steps[-1]
  assert last.stage == "counted" and last.name == "count"
  phase = Phase(phase.name, dill.loads(dill.dumps(phase.steps)), phase.tasks)
  assert run(phase, 3) == []
  assert phase.steps[-1].stats.stats["documents"].total == 3
  seconds = json.loads((tmp_path / "seconds/a/00003.json").read_text())
  assert seconds >= 3 * SLEEP


def test_documents_pass(tmp_path):
  phase = timed(Phase("b", (Slow(),), 1), get_datafolder(str(tmp_path)))
  assert [document.id for document in run(phase, 0)] == ["0", "1", "2"]
