"""Where documents come from: crawls, records, and what an earlier phase wrote.

`page_reader` gives a dump's pages: WARC, WET, JSON lines or parquet. A fault of
the *data* (a broken record, line or file) is counted, noted with its place, and
passed over: a crawl of terabytes always has some. A fault of the *user* (no
such path) is a `ConfigError`, found by `find_inputs` before any work.

Every document has in its metadata `url`, `date`, `dump`, `file`, `offset` and
`content_type` (text/html, or text/plain for what needs no extraction; the stage
that extracts takes it away). The offset is where the record begins in the file
as it is stored; in `.jsonl.gz` and `.jsonl.zst` where the line begins in the
text, and in parquet the number of the row: what one needs to find it again.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Any

import orjson
from datatrove.data import Document
from datatrove.io import get_datafolder
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.readers.base import BaseDiskReader, BaseReader

from llm_jax.config_curate import InputConfig
from llm_jax.data.crawl import records, rows
from llm_jax.data.crawl.streams import Window
from llm_jax.data.files import File, find_files

WARC_SUFFIXES = (".warc.gz", ".warc", ".wet.gz", ".wet")
ROW_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
MAX_FAULTS = 20  # that a task describes; it counts all
_BYTES_PER_MB = 1 << 20


def find_inputs(config: InputConfig) -> dict[str, list[tuple[str, int]]]:
  """The files of each dump, as (path, bytes), in the order of `config.paths`.

  Raises:
    ConfigError: a path that is not there, or has no file of a known kind.
  """
  inputs: dict[str, list[tuple[str, int]]] = {}
  for path in config.paths:
    name = dump_name(path)
    number = 2
    while name in inputs:
      name, number = f"{dump_name(path)}-{number}", number + 1
    inputs[name] = [(file.path, file.num_bytes) for file in _input_files(path)]
  return inputs


def dump_name(path: str) -> str:
  """"CC-MAIN-2024-10" of "s3://bucket/CC-MAIN-2024-10/*.warc.gz"."""
  parts = [part for part in re.split(r"[/\\]", path.split("://")[-1])
           if part not in ("", ".", "..") and not re.search(r"[*?[]", part)]
  name = parts[-1] if parts else "input"
  for suffix in (*WARC_SUFFIXES, *ROW_SUFFIXES):
    if name.endswith(suffix):
      name = name[:-len(suffix)]
      break
  return re.sub(r"[^\w.-]", "-", name) or "input"


def page_reader(config: InputConfig, path: str, dump: str) -> PipelineStep:
  """A step that reads the pages of one of `config.paths`.

  Raises:
    ConfigError: as `find_inputs`.
  """
  return PageReader(config, path, dump)


def filtered_reader(folder: str) -> PipelineStep:
  """A step that reads what the phase before wrote: task r, file r."""
  return FilteredReader(folder)


def _input_files(path: str) -> list[File]:
  """A directory with WARC files is a crawl, whatever else lies in it."""
  files = find_files(path, (*WARC_SUFFIXES, *ROW_SUFFIXES))
  crawl = [file for file in files if file.path.endswith(WARC_SUFFIXES)]
  return crawl or files


class PageReader(BaseDiskReader):
  """The pages of a dump.

  Attributes:
    faults: the first of this task's, as {"reason", "file", "offset", "detail"}.
      All are counted, by reason.
  """

  name = "pages"

  def __init__(self, config: InputConfig, path: str, dump: str,
               limit: int = -1):
    """Lists the files of `path`.

    Args:
      config: columns and limits.
      path: a file, a directory or a glob.
      dump: its name.
      limit: pages at most, of each task.
    """
    files = [file.path for file in _input_files(path)]
    root = posixpath.commonprefix(files).rpartition("/")[0] or "/"
    super().__init__(root, limit=limit, add_file_path=False,
                     text_key=config.text_column)
    self.faults: list[dict[str, Any]] = []
    self._config, self._dump = config, dump
    self._files = [name[len(root):].lstrip("/") for name in files]
    self._limit_bytes = int(config.max_record_mb * _BYTES_PER_MB)

  def run(self, data: Any = None, rank: int = 0,
          world_size: int = 1) -> Iterator[Document]:
    """The pages of this task's files, which are every `world_size`-th."""
    del data
    for document in self.read_files_shard(self._files[rank::world_size]):
      self.update_doc_stats(document)
      yield document

  def read_file(self, filepath: str) -> Iterator[Document]:
    """The pages of one file."""
    file = self.data_folder.resolve_paths(filepath)

    def report(reason: str, offset: int, detail: str) -> None:
      self.stat_update(reason)
      if len(self.faults) < MAX_FAULTS:
        self.faults.append({"reason": reason, "file": file, "offset": offset,
                            "detail": detail})

    read = (self._read_warc if filepath.endswith(WARC_SUFFIXES)
            else self._read_rows)
    try:
      with self.data_folder.open(filepath, "rb") as raw:
        for offset, key, fields in read(raw, filepath, report):
          fields["metadata"] |= {"file": file, "offset": offset}
          fields["metadata"].setdefault("dump", self._dump)
          fields["id"] = fields["id"] or f"{self._dump}/{filepath}@{key}"
          yield Document(**fields)
    except OSError as error:
      report("unreadable", 0, f"{type(error).__name__}: {error}")

  def _read_warc(self, raw: Any, name: str, report: records.Report
                 ) -> Iterator[tuple[int, str, dict[str, Any]]]:
    window = Window(raw, _compression(raw, name))
    for record in records.read_records(window, self._limit_bytes, report):
      page = records.page(record, self._limit_bytes, report)
      if page is not None:
        if page.cut:  # no fault: FineWeb has such pages, too
          self.stat_update("warc_truncated")
        key = str(record.offset) + (f"+{record.position}" if record.position
                                    else "")
        yield record.offset, key, {
            "text": page.text, "id": page.id, "metadata": {
                "url": page.url, "date": page.date,
                "content_type": page.content_type}}

  def _read_rows(self, raw: Any, name: str, report: records.Report
                 ) -> Iterator[tuple[int, str, dict[str, Any]]]:
    kind = records.HTML if self._config.html else records.PLAIN
    for offset, row in rows.read_rows(raw, name, self.text_key,
                                      self._limit_bytes, report):
      text, id_ = row.pop(self.text_key), row.pop("id", None)
      yield offset, str(offset), {
          "text": text, "id": "" if id_ is None else str(id_),
          "metadata": row | {"content_type": kind}}


class FilteredReader(BaseReader):
  """Documents as a phase before has written them, in the same tasks."""

  name = "filtered"

  def __init__(self, folder: str):
    """Takes the directory of `{rank:05d}.jsonl.gz`."""
    super().__init__()
    self._folder = get_datafolder(folder)

  def run(self, data: Any = None, rank: int = 0,
          world_size: int = 1) -> Iterator[Document]:
    """The documents of the task of the same number; none if it wrote none."""
    del data, world_size
    name = f"{rank:05d}.jsonl.gz"
    if not self._folder.exists(name):
      return
    with self._folder.open(name, "rb", compression="gzip") as lines:
      for line in lines:
        fields = orjson.loads(line)
        document = Document(text=fields.pop("text"), id=fields.pop("id"),
                            metadata=fields)
        self.update_doc_stats(document)
        yield document


def _compression(raw: Any, name: str) -> str:
  """"gzip" or "", by how a WARC file begins, else by how it is called."""
  start = raw.read(5)
  raw.seek(0)
  if start == b"WARC/":
    return ""
  return "gzip" if start[:2] == b"\x1f\x8b" or name.endswith(".gz") else ""
