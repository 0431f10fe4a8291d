"""Where documents go: gzipped JSON lines, or parquet, the same bytes each time.

A gzip file's header holds the time at which it was written, which would make
two equal runs differ; so JSON lines are compressed with a time of zero.
"""

from __future__ import annotations

import gzip
from typing import Any, BinaryIO

import fsspec
import pyarrow as pa
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.writers import JsonlWriter, ParquetWriter

from llm_jax.tokenizer.protocol import without_surrogates

_GZIP = "gzip without time"
# What every document has. JSON lines have whatever else the input had, too.
_SCHEMA = pa.schema([
    ("text", pa.string()), ("id", pa.string()), ("url", pa.string()),
    ("date", pa.string()), ("dump", pa.string()), ("language", pa.string()),
    ("language_score", pa.float64()), ("quality_score", pa.float64())])


class _GzipWithoutTime(gzip.GzipFile):
  """Closes the file below it, too: fsspec leaves that to whoever opened it."""

  def __init__(self, fileobj: BinaryIO, mode: str = "rb", **_: Any):
    super().__init__(filename="", fileobj=fileobj, mode=mode, mtime=0,
                     compresslevel=6)
    self._below = fileobj

  def close(self) -> None:
    super().close()
    self._below.close()


def writer(folder: str, filename: str, kind: str = "jsonl.gz",
           all_fields: bool = True) -> PipelineStep:
  """A step that writes documents and hands them on.

  Args:
    folder: directory or address.
    filename: its pattern without suffix, such as "${language}/${rank}".
    kind: "jsonl.gz" or "parquet".
    all_fields: keep fields that only stages know (file, offset, reasons).
  """
  if kind == "parquet":
    return ParquetWriter(folder, output_filename=f"{filename}.parquet",
                         compression="zstd", adapter=_row, schema=_SCHEMA)
  # Whoever unpickles the writer imports this module, and so registers it.
  return _Writer(folder, output_filename=f"{filename}.jsonl.gz",
                 compression=_GZIP,
                 adapter=_all_fields if all_fields else _clean_fields)


class _Writer(JsonlWriter):
  """Of this module, so that its compression is known wherever it is used."""


# What a stage notes for the next ones, and no reader of the text wants.
_INTERNAL = ("file", "offset", "content_type", "filter_reason", "file_path",
             "duplicate_count", "minhash_cluster_id", "minhash_cluster_size")


def _all_fields(self: Any, document: Document) -> dict[str, Any]:
  del self
  return {"text": without_surrogates(document.text), "id": document.id,
          **document.metadata}


def _clean_fields(self: Any, document: Document) -> dict[str, Any]:
  record = _all_fields(self, document)
  return {key: record[key] for key in record if key not in _INTERNAL}


def _row(self: Any, document: Document) -> dict[str, Any]:
  record = _all_fields(self, document)
  return {name: record.get(name) for name in _SCHEMA.names}


if _GZIP not in fsspec.available_compressions():
  fsspec.compression.register_compression(_GZIP, _GzipWithoutTime, [])
