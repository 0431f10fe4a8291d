"""What a stage did, counted from outside: documents, bytes, seconds, examples.

`Watch` wraps any step of a pipeline and counts what goes in and comes out, so
no stage keeps books of its own. A task leaves one file for each of its stages,
`tallies/<phase>/<rank>/<position>_<stage>.json`, written when its last document
has gone by; `funnel.py` adds them up.
"""

from __future__ import annotations

import bisect
import collections
import gzip
import hashlib
import io
import json
import time
from collections.abc import Iterator
from typing import Any

from datatrove.data import Document
from datatrove.io import DataFolder
from datatrove.pipeline.base import PipelineStep

from llm_jax.data.crawl.pii import MARKS, mask

_EXAMPLE_CHARACTERS = 600
_LONGEST_SECRET = 64
_PROGRESS_SECONDS = 1.0


class Watch(PipelineStep):
  """A step, and the tally of what it does.

  Attributes:
    stage: its name in the funnel.
    step: the step that is watched.
  """

  type = "llm_jax"

  def __init__(self, stage: str, step: PipelineStep, *, folder: DataFolder,
               phase: str, position: int, removed: str = "examples",
               examples: int = 4, seed: int = 0, changes: str = ""):
    """Makes the wrapper.

    Args:
      stage: its name in the funnel.
      step: any datatrove step.
      folder: the workdir.
      phase: the name of the executor's run that it is part of.
      position: its place in the pipeline.
      removed: "examples", "ids" or "text": what is kept of removed documents.
      examples: how many are kept for each reason.
      seed: which.
      changes: "lines": show lines that went from documents; "marks": show
        where personal data was replaced; "": the stage changes none.
    """
    super().__init__()
    self.name = f"{phase}: {stage}"
    self.stage, self.step, self.stats = stage, step, step.stats
    self._folder, self._phase, self._position = folder, phase, position
    self._removed, self._examples = removed, examples
    self._seed, self._changes = seed, changes

  def run(self, data: Iterator[Document] | None, rank: int = 0,
          world_size: int = 1) -> Iterator[Document]:
    """The step's documents, counted."""
    tally = Tally(self.stage, self._examples, self._seed)
    recorder = _Recorder(tally, self._folder if self._removed != "examples"
                         else None, f"removed/{self.stage}/"
                         f"{self._phase}-{rank:05d}.jsonl.gz",
                         self._removed == "text")
    if hasattr(self.step, "exclusion_writer"):
      self.step.exclusion_writer = recorder
    before: dict[int, str] = {}
    incoming = self._incoming(data, tally, before) if data is not None else None
    outgoing = iter(self.step.run(incoming, rank, world_size) or ())
    progress = _Progress(self._folder, self._phase, rank) if (
        data is None) else None
    while True:
      start = time.perf_counter()
      document = next(outgoing, None)
      tally.seconds += time.perf_counter() - start
      if document is None:
        break
      tally.count_out(document)
      if self._changes:
        tally.note_change(document, before.pop(id(document), document.text),
                          self._changes)
      if progress:
        progress.show(tally, document)
      yield document
      # A removed document's id may be reused by one that comes later.
      before.clear()
    recorder.close()
    counts = {
        name: int(stat.total) for name, stat in self.step.stats.stats.items()
        if name not in _KNOWN_STATS and not name.startswith("dropped_")}
    tally.write(self._folder, f"tallies/{self._phase}/{rank:05d}/"
                f"{self._position:02d}_{self.stage}.json", counts,
                getattr(self.step, "faults", []))

  def _incoming(self, data: Iterator[Document], tally: Tally,
                before: dict[int, str]) -> Iterator[Document]:
    """The documents that go in; time spent before them is not the step's."""
    data = iter(data)
    while True:
      start = time.perf_counter()
      document = next(data, None)
      tally.seconds -= time.perf_counter() - start
      if document is None:
        return
      tally.count_in(document)
      if self._changes:
        before[id(document)] = document.text
      yield document


# Counted by Watch itself, or of no interest to a reader of the funnel.
_KNOWN_STATS = {"total", "forwarded", "dropped", "doc_len", "doc_len_tokens",
                "batches", "extracted", "documents"}


class Tally:
  """The counts of one stage in one task."""

  def __init__(self, stage: str, examples: int, seed: int):
    self.stage, self.seconds = stage, 0.0
    self._documents, self._bytes = [0, 0], [0, 0]  # in, out
    self._reasons: dict[str, list[int]] = {}
    self._languages: dict[str, list[int]] = {}
    self._languages_gone: dict[str, list[int]] = {}
    self._lengths: collections.Counter[int] = collections.Counter()
    self._examples: dict[tuple[str, str], list[tuple[float, dict]]] = {}
    self._num_examples, self._seed = examples, seed

  @property
  def documents_out(self) -> int:
    """Documents so far."""
    return self._documents[1]

  def count_in(self, document: Document) -> None:
    """One more document that goes in."""
    self._documents[0] += 1
    self._bytes[0] += _num_bytes(document.text)

  def count_out(self, document: Document) -> None:
    """One more document that comes out."""
    size = _num_bytes(document.text)
    self._documents[1] += 1
    self._bytes[1] += size
    self._lengths[max(len(document.text), 1).bit_length() - 1] += 1
    language = document.metadata.get("language")
    if language:
      _add(self._languages, language, size)

  def count_removed(self, document: Document, reason: str) -> None:
    """One document that was removed."""
    size = _num_bytes(document.text)
    _add(self._reasons, reason, size)
    language = document.metadata.get("language")
    if language:
      _add(self._languages_gone, language, size)
    self._note("removed", reason, document, lambda: document.text)

  def note_change(self, document: Document, before: str, kind: str) -> None:
    """Perhaps an example of what a document lost."""
    if document.text is not before and document.text != before:
      self._note("changed", "", document, lambda: (
          _lines_gone(before, document.text) if kind == "lines"
          else _around_marks(document.text)))

  def _note(self, kind: str, reason: str, document: Document,
            text: Any) -> None:
    """Keeps the examples whose hash is lowest: the same in every run."""
    digest = hashlib.blake2b(f"{self._seed} {self.stage} {document.id}".encode(
        "utf-8", "surrogatepass"), digest_size=6).digest()
    order = int.from_bytes(digest, "big") / 2.0**48
    kept = self._examples.setdefault((kind, reason), [])
    if not self._num_examples or (len(kept) == self._num_examples
                                  and order >= kept[-1][0]):
      return
    whole = text()
    shown = mask(whole[:2 * _EXAMPLE_CHARACTERS])
    if len(whole) > 2 * _EXAMPLE_CHARACTERS:
      shown = shown[:-_LONGEST_SECRET]  # half of a number is not recognised
    shown = shown[:_EXAMPLE_CHARACTERS]
    example = {"kind": kind, "reason": reason, "order": order, "text": shown,
               "url": mask(str(document.metadata.get("url") or document.id))}
    bisect.insort(kept, (order, example), key=lambda item: item[0])
    del kept[self._num_examples:]

  def write(self, folder: DataFolder, path: str, counts: dict[str, int],
            faults: list[dict[str, Any]]) -> None:
    """Writes the tally as JSON."""
    tally = {
        "stage": self.stage,
        "documents_in": self._documents[0], "documents_out": self._documents[1],
        "bytes_in": self._bytes[0], "bytes_out": self._bytes[1],
        "seconds": round(self.seconds, 4),
        "reasons": dict(sorted(self._reasons.items())),
        "counts": dict(sorted(counts.items())), "faults": faults,
        "languages": dict(sorted(self._languages.items())),
        "languages_gone": dict(sorted(self._languages_gone.items())),
        "lengths": {str(k): n for k, n in sorted(self._lengths.items())},
        "examples": [example for _, kept in sorted(self._examples.items())
                     for _, example in kept],
    }
    with folder.open(path, "wb") as stream:
      stream.write(json.dumps(tally, ensure_ascii=False).encode(
          "utf-8", "replace"))


class _Recorder:
  """What datatrove's filters take for the writer of what they remove."""

  def __init__(self, tally: Tally, folder: DataFolder | None, path: str,
               with_text: bool):
    self._tally, self._folder, self._path = tally, folder, path
    self._with_text, self._stream, self._raw = with_text, None, None

  def __enter__(self) -> _Recorder:
    return self

  def __exit__(self, *_: Any) -> None:
    """Stays open: `Watch` closes it when the stage is through."""

  def write(self, document: Document, rank: int = 0) -> None:
    """Counts a removed document, and writes it down if that was asked for."""
    del rank
    reason = str(document.metadata.get("filter_reason") or self._tally.stage)
    self._tally.count_removed(document, reason)
    if self._folder is None:
      return
    if self._stream is None:
      self._raw = self._folder.open(self._path, "wb")
      self._stream = gzip.GzipFile(filename="", fileobj=self._raw, mode="wb",
                                   mtime=0)
    record = {"id": document.id, "url": document.metadata.get("url"),
              "stage": self._tally.stage, "reason": reason}
    if self._with_text:
      record["text"] = document.text
    self._stream.write(json.dumps(record, ensure_ascii=False).encode(
        "utf-8", "replace") + b"\n")

  def close(self) -> None:
    """Ends the file, if there is one."""
    if self._stream is not None:
      self._stream.close()
      self._raw.close()


class _Progress:
  """How far a task has come, for whoever waits: `progress/<phase>/<rank>`."""

  def __init__(self, folder: DataFolder, phase: str, rank: int):
    self._folder, self._path = folder, f"progress/{phase}/{rank:05d}.json"
    self._next = 0.0

  def show(self, tally: Tally, document: Document) -> None:
    """Writes the position down, once a second."""
    now = time.monotonic()
    if now < self._next:
      return
    self._next = now + _PROGRESS_SECONDS
    with self._folder.open(self._path, "w") as stream:
      json.dump({"documents": tally.documents_out,
                 "file": document.metadata.get("file"),
                 "offset": document.metadata.get("offset")}, stream)


def _num_bytes(text: str) -> int:
  return len(text) if text.isascii() else len(
      text.encode("utf-8", "surrogatepass"))


def _add(table: dict[str, list[int]], key: str, size: int) -> None:
  entry = table.setdefault(key, [0, 0])
  entry[0] += 1
  entry[1] += size


def _lines_gone(before: str, after: str) -> str:
  """The lines of `before` that `after` does not have."""
  left = collections.Counter(line.strip() for line in after.splitlines())
  gone = io.StringIO()
  for line in before.splitlines():
    if left[line.strip()] > 0:
      left[line.strip()] -= 1
    elif line.strip():
      gone.write(line.strip() + "\n")
    if gone.tell() > 2 * _EXAMPLE_CHARACTERS:
      break
  return gone.getvalue()


def _around_marks(text: str, width: int = 40) -> str:
  """What stands around the marks of replaced personal data."""
  shown = []
  for mark in MARKS:
    place = text.find(mark)
    if place >= 0:
      shown.append(text[max(place - width, 0):place + len(mark) + width]
                   .replace("\n", " "))
  return "\n".join(shown)
