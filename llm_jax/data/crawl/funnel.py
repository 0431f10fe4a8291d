"""What became of the pages: the tallies of all tasks, added up.

    funnel = gather("runs/curate")
    print(table(funnel))

`tally.py` leaves a file for each stage of each task. Here they are checked
against each other (what one stage lets through is what the next one gets) and
summed over tasks and dumps. But for `seconds`, everything is the same whenever
the same run is made again.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from datatrove.io import DataFolder, get_datafolder

from llm_jax.config import require
from llm_jax.data.crawl import timing
from llm_jax.metric_writers import format_count

# The order in which the stages are told, whatever phase they are part of.
STAGES = ("read", "url", "extract", "language", "gopher_repetition",
          "gopher_quality", "c4", "fineweb", "classifier", "exact", "minhash",
          "lines", "decontaminate", "pii", "write")
_MOST_FAULTS = 1000  # that are listed
_READERS = 8  # tallies read at once: on an object store each takes a while
# Settings that decide nothing about a document.
_UNTOLD_SETTINGS = ("workdir", "executor", "dry_run")


@dataclasses.dataclass(frozen=True)
class Stage:
  """A stage, summed over all tasks.

  Attributes:
    name: of `STAGES`.
    documents_in: documents that it got; 0 where it makes them.
    documents_out: documents that it let through.
    bytes_in: their text in UTF-8, before.
    bytes_out: and after.
    seconds: its own time, of all tasks together.
    reasons: why documents went -> [documents, bytes], the commonest first.
    counts: what the stage itself counted.
    languages: of what it let through -> [documents, bytes].
    languages_gone: of what it removed.
    lengths: floor(log2(characters)) -> documents that it let through.
    examples: `kind`, `reason`, `url` and `text` of some documents.
  """
  name: str
  documents_in: int = 0
  documents_out: int = 0
  bytes_in: int = 0
  bytes_out: int = 0
  seconds: float = 0.0
  reasons: Mapping[str, list[int]] = dataclasses.field(default_factory=dict)
  counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
  languages: Mapping[str, list[int]] = dataclasses.field(default_factory=dict)
  languages_gone: Mapping[str, list[int]] = dataclasses.field(
      default_factory=dict)
  lengths: Mapping[int, int] = dataclasses.field(default_factory=dict)
  examples: tuple[Mapping[str, Any], ...] = ()


@dataclasses.dataclass(frozen=True)
class Funnel:
  """A run's stages in order, what was wrong with its input, and its settings.

  Attributes:
    stages: in the order of `STAGES`.
    faults: `reason`, `file`, `offset`, `detail` of places in the input: the
      first of each task, at most 1,000. All are in the stage's `counts`.
    run: "settings", "git", "python" and "packages", as far as they are known.
    phase_seconds: of all tasks of each phase, with reading, writing and the
      search for copies; {} where it is not known.
  """
  stages: tuple[Stage, ...]
  faults: tuple[Mapping[str, Any], ...] = ()
  run: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  phase_seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)


def gather(workdir: str) -> Funnel:
  """Adds up what the tasks of a run left behind.

  Raises:
    ConfigError: no task has ended yet, or the tallies contradict each other.
  """
  folder = get_datafolder(workdir)
  names = _json_files(folder, "tallies")
  require(bool(names), f"{workdir} has no tallies; it is not the workdir of "
          "experiments.curate, or none of its tasks has ended.")
  run = _run_facts(folder)
  sums: dict[str, _Sum] = {}
  faults: list[dict[str, Any]] = []
  check = _Check(workdir)
  for name, tally in _read(folder, names):
    check.follow(name, tally)
    sums.setdefault(tally["stage"], _Sum(
        run.get("settings", {}).get("examples", 4))).add(tally)
    faults += tally["faults"]
    if len(faults) > 2 * _MOST_FAULTS:
      faults = sorted(faults, key=_place)[:_MOST_FAULTS]
  check.end()
  order = {name: i for i, name in enumerate(STAGES)}
  stages = sorted(sums, key=lambda name: order.get(name, len(order)))
  return Funnel(tuple(sums[name].stage(name) for name in stages),
                tuple(sorted(faults, key=_place)[:_MOST_FAULTS]), run,
                _phase_seconds(folder))


def as_json(funnel: Funnel) -> dict[str, Any]:
  """The funnel as JSON has it; times are in "seconds" (of stages) and
  "phase_seconds", and nowhere else."""
  stages = []
  for stage in funnel.stages:
    fields = dataclasses.asdict(stage)
    del fields["seconds"]
    fields["stage"] = fields.pop("name")
    fields["lengths"] = {str(k): n for k, n in fields["lengths"].items()}
    fields["examples"] = list(fields["examples"])
    stages.append({"stage": fields.pop("stage"), **fields})
  return {"stages": stages, "faults": [dict(f) for f in funnel.faults],
          "run": dict(funnel.run),
          "seconds": {s.name: round(s.seconds, 3) for s in funnel.stages},
          "phase_seconds": {name: round(seconds, 3) for name, seconds
                            in funnel.phase_seconds.items()}}


def table(funnel: Funnel) -> str:
  """The funnel for a terminal."""
  rows = [("stage", "docs in", "docs out", "kept", "of all", "MB in", "MB out",
           "seconds", "docs/s", "removed, mostly for")]
  all_documents = funnel.stages[0].documents_out
  for stage in funnel.stages:
    made = not stage.documents_in and stage.documents_out
    handled = stage.documents_in or stage.documents_out
    rows.append((
        stage.name, "" if made else f"{stage.documents_in:,}",
        f"{stage.documents_out:,}",
        "" if made else _percent(stage.documents_out, stage.documents_in),
        _percent(stage.documents_out, all_documents),
        "" if made else f"{stage.bytes_in / 1e6:,.1f}",
        f"{stage.bytes_out / 1e6:,.1f}", f"{stage.seconds:,.1f}",
        format_count(handled / stage.seconds) if stage.seconds > 0 else "",
        ", ".join(f"{reason} {number:,}" for reason, (number, _)
                  in list(stage.reasons.items())[:3])))
  widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
  lines = ["  ".join(
      cell.ljust(width) if i in (0, len(widths) - 1) else cell.rjust(width)
      for i, (cell, width) in enumerate(zip(row, widths))).rstrip()
      for row in rows]
  lines.insert(1, "  ".join("-" * width for width in widths))
  return "\n".join(lines + _notes(funnel))


def _notes(funnel: Funnel) -> list[str]:
  """What the stages counted beside documents, a line each."""
  notes = [f"{stage.name}: " + ", ".join(
      f"{name} {number:,}" for name, number in stage.counts.items())
      # A writer counts documents once more, by file.
      for stage in funnel.stages if stage.counts and stage.name != "write"]
  languages = funnel.stages[-1].languages
  if languages:
    notes.append("languages: " + ", ".join(
        f"{name} {number:,}" for name, (number, _) in languages.items()))
  if funnel.faults:
    notes.append("the first fault of the input: {reason} in {file} at {offset}"
                 .format(**funnel.faults[0]))
  seconds = sum(stage.seconds for stage in funnel.stages)
  notes.append(f"seconds are those of all tasks together: {seconds:,.1f} of "
               "the stages")
  if funnel.phase_seconds:
    notes[-1] += (f", {sum(funnel.phase_seconds.values()):,.1f} with reading, "
                  "writing and the search for copies")
  return ["", *notes]


def _percent(part: int, whole: int) -> str:
  return f"{part / whole:.1%}" if whole else ""


def _read(folder: DataFolder, names: list[str]
          ) -> Iterator[tuple[str, Any]]:
  """(name, content) of JSON files, in their order."""
  def one(name: str) -> Any:
    with folder.open(name, "r", encoding="utf-8") as stream:
      return json.load(stream)
  with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
    yield from zip(names, pool.map(one, names))


def _json_files(folder: DataFolder, name: str) -> list[str]:
  """The JSON files below a directory, in order; [] if it is not there."""
  if not folder.exists(name):
    return []
  return [file for file in sorted(folder.list_files(name))
          if file.endswith(".json")]


def _phase_seconds(folder: DataFolder) -> dict[str, float]:
  """The seconds of each phase, the longest first."""
  found: collections.Counter[str] = collections.Counter()
  for name, seconds in _read(folder, _json_files(folder, timing.FOLDER)):
    found[_phase(name.rpartition(".")[0])] += seconds
  return dict(found.most_common())


def _run_facts(folder: DataFolder) -> dict[str, Any]:
  """What config.json and run.json say that two equal runs agree on."""
  facts: dict[str, Any] = {}
  if folder.exists("config.json"):
    with folder.open("config.json", "r", encoding="utf-8") as stream:
      facts["settings"] = {name: value for name, value in json.load(
          stream).items() if name not in _UNTOLD_SETTINGS}
  if folder.exists("run.json"):
    with folder.open("run.json", "r", encoding="utf-8") as stream:
      record = json.load(stream)
    facts |= {name: record[name] for name in ("git", "python", "packages")
              if name in record}
  return facts


def _place(fault: Mapping[str, Any]) -> tuple:
  return (str(fault.get("file") or ""), fault.get("offset") or 0,
          fault["reason"], str(fault.get("detail") or ""))


class _Sum:
  """The tallies of one stage, summed."""

  def __init__(self, num_examples: int):
    self._num_examples = num_examples
    self._numbers: collections.Counter[str] = collections.Counter()
    self._seconds = 0.0
    self._reasons: dict[str, list[int]] = {}
    self._languages: dict[str, list[int]] = {}
    self._languages_gone: dict[str, list[int]] = {}
    self._counts: collections.Counter[str] = collections.Counter()
    self._lengths: collections.Counter[int] = collections.Counter()
    self._examples: dict[tuple[str, str], list[dict[str, Any]]] = {}

  def add(self, tally: Mapping[str, Any]) -> None:
    """One more task."""
    for name in ("documents_in", "documents_out", "bytes_in", "bytes_out"):
      self._numbers[name] += tally[name]
    self._seconds += tally["seconds"]
    _add_pairs(self._reasons, tally["reasons"])
    _add_pairs(self._languages, tally["languages"])
    _add_pairs(self._languages_gone, tally["languages_gone"])
    self._counts.update(tally["counts"])
    self._lengths.update({int(k): n for k, n in tally["lengths"].items()})
    for example in tally["examples"]:
      kept = self._examples.setdefault(
          (example["kind"], example["reason"]), [])
      kept.append(example)
      kept.sort(key=lambda e: (e["order"], e["url"], e["text"]))
      del kept[self._num_examples:]

  def stage(self, name: str) -> Stage:
    """The sum; examples come in the order of their reasons."""
    reasons = _commonest_first(self._reasons)
    known = {reason: i for i, reason in enumerate(reasons)}
    groups = sorted(self._examples, key=lambda group: (
        group[0], known.get(group[1], len(known)), group[1]))
    examples = tuple(
        {key: example[key] for key in ("kind", "reason", "url", "text")}
        for group in groups for example in self._examples[group])
    return Stage(name, **self._numbers, seconds=self._seconds, reasons=reasons,
                 counts=dict(sorted(self._counts.items())),
                 languages=_commonest_first(self._languages),
                 languages_gone=_commonest_first(self._languages_gone),
                 lengths=dict(sorted(self._lengths.items())),
                 examples=examples)


def _add_pairs(total: dict[str, list[int]],
               more: Mapping[str, list[int]]) -> None:
  for name, (documents, size) in more.items():
    entry = total.setdefault(name, [0, 0])
    entry[0] += documents
    entry[1] += size


def _commonest_first(pairs: Mapping[str, list[int]]) -> dict[str, list[int]]:
  return dict(sorted(pairs.items(), key=lambda item: (-item[1][0], item[0])))


class _Check:
  """Holds the tallies, in the order of their names, against each other.

  Within a task, a stage gets what the one before it let through, and each
  document that went has a reason. Between the phases of a dump, the first
  stage that has a `finish` gets what all tasks of `filter` let through.
  """

  def __init__(self, workdir: str):
    self._workdir = workdir
    self._task, self._before = "", {}
    self._out: collections.Counter[str] = collections.Counter()
    self._in: collections.Counter[str] = collections.Counter()

  def follow(self, name: str, tally: Mapping[str, Any]) -> None:
    """The next tally; raises `ConfigError` where it cannot be."""
    task = name.rpartition("/")[0]
    if task != self._task:
      self._leave()
      self._task, self._before = task, tally
      self._in[_phase(task)] += tally["documents_in"]
    else:
      before, self._before = self._before, tally
      for what in ("documents", "bytes"):
        self._require(
            before[f"{what}_out"] == tally[f"{what}_in"],
            f"{before['stage']} let {before[f'{what}_out']:,} {what} through, "
            f"and {tally['stage']} got {tally[f'{what}_in']:,}")
    if tally["documents_in"]:
      gone = tally["documents_in"] - tally["documents_out"]
      told = sum(number for number, _ in tally["reasons"].values())
      self._require(gone == told, f"{tally['stage']} removed {gone:,} "
                    f"documents and gave a reason for {told:,}")

  def end(self) -> None:
    """No more tallies; raises `ConfigError` where phases do not meet."""
    self._leave()
    for phase, number in self._in.items():
      kind, _, group = phase.partition("-")
      if kind == "finish":
        before = self._out[f"filter-{group}"]
        require(before == number, f"{self._workdir}: of the dump(s) {group}, "
                f"{before:,} documents were filtered and {number:,} were "
                "finished; delete that directory and run it again.")

  def _leave(self) -> None:
    if self._task:
      self._out[_phase(self._task)] += self._before["documents_out"]

  def _require(self, holds: bool, what: str) -> None:
    require(holds, f"{self._workdir}/{self._task} does not add up: {what}. "
            "Delete the run's directory and run it again.")


def _phase(task: str) -> str:
  """filter-a of tallies/filter-a/00003."""
  return task.split("/")[-2]
