"""The stages in their order, as phases that an executor runs one by one.

Per group of dumps (`curate.dedup.scope`): pages are read, filtered and written
to `filtered/`; deduplication reads that, and writes signatures and lists of
copies; the last phase reads it again, drops the copies, and writes
`documents/`. A phase is whole when all of its tasks are, and a task that was
killed is done again from its beginning, so what it writes is the same.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

from datatrove.data import Document
from datatrove.io import DataFolder, get_datafolder
from datatrove.pipeline.base import PipelineStep

from llm_jax.config import CurateConfig, require
from llm_jax.data.crawl import decontamination, deduplication, heuristics
from llm_jax.data.crawl import languages as languages_lib
from llm_jax.data.crawl.classifier import QualityFilter
from llm_jax.data.crawl.extraction import Extract
from llm_jax.data.crawl.phases import Phase
from llm_jax.data.crawl.pii import PiiReplacer
from llm_jax.data.crawl.readers import (
    filtered_reader, find_inputs, page_reader)
from llm_jax.data.crawl.tally import Watch
from llm_jax.data.crawl.timing import timed
from llm_jax.data.crawl.urls import url_filter
from llm_jax.data.crawl.words import word_tokenizer
from llm_jax.data.crawl.writing import writer

MAX_TASKS = 1000  # of one dump, where the user names no number
# Stages that change a document's text, and how that can be shown.
_CHANGES = {"c4": "lines", "lines": "lines", "pii": "marks"}


class Inputs(PipelineStep):
  """Several dumps behind each other: each has its own range of the tasks."""

  type, name = "llm_jax", "inputs"

  def __init__(self, readers: list[tuple[PipelineStep, int]]):
    """Takes each dump's reader and number of tasks."""
    super().__init__()
    self._readers = readers
    self.faults: list[dict] = []

  def run(self, data: None = None, rank: int = 0,
          world_size: int = 1) -> Iterator[Document]:
    """The pages of the dump that the task is of."""
    del data, world_size
    for reader, tasks in self._readers:
      if rank < tasks:
        self.stats = reader.stats
        yield from reader.run(None, rank, tasks)
        self.faults = reader.faults
        return
      rank -= tasks


def phases(config: CurateConfig) -> list[Phase]:
  """All that a run does, in order.

  Raises:
    ConfigError: an input, a list, a model or an evaluation set that is missing
      or cannot be read.
  """
  config.validate()
  inputs = find_inputs(config.input)
  _check(config)
  tasks = {dump: _num_tasks(config, len(files), len(inputs))
           for dump, files in inputs.items()}
  if config.curate.dedup.scope == "all":
    groups = {"all": list(inputs)}
  else:
    groups = {dump: [dump] for dump in inputs}
  folder = get_datafolder(config.workdir)
  words = word_tokenizer(config.curate.words)
  indexing, decontaminate = decontamination.plan(
      config.curate.decontaminate, f"{config.workdir}/decontamination", words)
  planned = list(indexing)
  paths = dict(zip(inputs, config.input.paths))
  for group, dumps in groups.items():
    readers = [(page_reader(config.input, paths[dump], dump), tasks[dump])
               for dump in dumps]
    planned += _group_phases(config, folder, group, readers, decontaminate)
  return [timed(phase, folder) for phase in planned]


def _group_phases(config: CurateConfig, folder: DataFolder, group: str,
                  readers: list[tuple[PipelineStep, int]],
                  decontaminate: PipelineStep | None) -> list[Phase]:
  """The phases of the dumps that are deduplicated together."""
  tasks = sum(number for _, number in readers)
  filtered = f"{config.workdir}/filtered/{group}"
  stages = {"read": Inputs(readers)} | _filters(config)
  first = _watched(config, folder, f"filter-{group}", stages)
  planned = [Phase(f"filter-{group}", (*first, writer(filtered, "${rank}")),
                   tasks)]
  between, removal = deduplication.plan(
      config.curate.dedup, functools.partial(filtered_reader, filtered),
      f"{config.workdir}/dedup/{group}", tasks, config.curate.words,
      config.seed)
  planned += [Phase(f"{phase.name}-{group}", phase.steps, phase.tasks)
              for phase in between]
  last = dict(removal)
  if decontaminate is not None:
    last["decontaminate"] = decontaminate
  if config.curate.pii.enabled:
    last["pii"] = PiiReplacer(config.curate.pii)
  last["write"] = writer(f"{config.workdir}/documents",
                         "${language}/" + group + "-${rank}", config.format,
                         all_fields=False)
  reader = filtered_reader(filtered)
  planned.append(Phase(f"finish-{group}", (reader, *_watched(
      config, folder, f"finish-{group}", last)), tasks))
  return planned


def _filters(config: CurateConfig) -> dict[str, PipelineStep]:
  """The stages from the page to the document that is worth comparing."""
  curate = config.curate
  stages: dict[str, PipelineStep] = {}
  if curate.url.enabled:
    stages["url"] = url_filter(curate.url)
  if curate.extract.enabled:
    stages["extract"] = Extract(curate.extract)
  stages["language"] = languages_lib.LanguageFilter(curate)
  for name, make in (("gopher_repetition", heuristics.gopher_repetition),
                     ("gopher_quality", heuristics.gopher_quality),
                     ("c4", heuristics.c4), ("fineweb", heuristics.fineweb)):
    settings = getattr(curate, name)
    if settings.enabled:
      stages[name] = make(settings, curate.words)
  if curate.classifier.enabled:
    stages["classifier"] = QualityFilter(curate.classifier)
  return stages


def _watched(config: CurateConfig, folder: DataFolder, phase: str,
             stages: dict[str, PipelineStep]) -> list[Watch]:
  return [Watch(stage, step, folder=folder, phase=phase, position=position,
                removed=config.removed, examples=config.examples,
                seed=config.seed, changes=_CHANGES.get(stage, ""))
          for position, (stage, step) in enumerate(stages.items())]


def _num_tasks(config: CurateConfig, files: int, dumps: int) -> int:
  """Tasks of a dump: a file cannot be shared by two."""
  wanted = -(-config.executor.tasks // dumps) or MAX_TASKS
  return max(min(wanted, files), 1)


def _check(config: CurateConfig) -> None:
  """Finds the user's mistakes before any long work."""
  curate = config.curate
  languages_lib.check(curate)
  for code in curate.language_thresholds or {"en": 0.0}:
    word_tokenizer(curate.words, code)
  if curate.classifier.enabled:
    QualityFilter(curate.classifier).check()
  require(not config.curate.dedup.index
          or get_datafolder(config.curate.dedup.index).exists(""),
          f"curate.dedup.index={config.curate.dedup.index} does not exist; "
          "give the save_index directory of an earlier run.")


