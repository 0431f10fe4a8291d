"""JSON lines and parquet -> rows, with what is broken passed over.

A line is read in bounded pieces, so that one of gigabytes costs no memory. A
parquet file that is broken in one group of rows still gives the others.
"""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Iterator
from typing import Any, BinaryIO

import orjson

from llm_jax.data.crawl.records import Report
from llm_jax.data.crawl.streams import Damaged, Window
from llm_jax.tokenizer.protocol import without_surrogates

_BATCH_ROWS = 64


def read_rows(raw: BinaryIO, name: str, text_column: str, limit: int,
              report: Report) -> Iterator[tuple[int, dict[str, Any]]]:
  """(place, fields) of each row with text; see `readers.py` for places.

  Args:
    raw: the file.
    name: its name, whose suffix says what it is.
    text_column: the field that a row must have.
    limit: bytes; a longer line or text is passed over.
    report: called for too_large, bad_json, not_utf8, missing_column, no_text
      and for damage (corrupt_gzip, corrupt_zstd, corrupt_parquet, truncated).
  """
  if name.endswith(".parquet"):
    rows = _parquet(raw, text_column, report)
  else:
    rows = _json_lines(raw, name, limit, report)
  for place, fields in rows:
    text = fields.get(text_column)
    if text_column not in fields:
      report("missing_column", place, f"no field {text_column!r}")
    elif not isinstance(text, str) or not text.strip():
      report("no_text", place, f"{text_column!r} holds no text")
    elif len(text) > limit:
      report("too_large", place, f"{len(text)} characters")
    else:
      yield place, fields


def _json_lines(raw: BinaryIO, name: str, limit: int,
                report: Report) -> Iterator[tuple[int, dict[str, Any]]]:
  kind = {"gz": "gzip", "zst": "zstd"}.get(name.rpartition(".")[2], "")
  window = Window(raw, kind)
  more, before = window.next_member(), 0
  while more:
    try:
      for place, line in _lines(window, limit, report):
        fields = _parse(line, before + place, report)
        if fields is not None:
          yield before + place, fields
      before += window.position
      if window.cut:
        report("truncated", window.member, "the file ends in compressed text")
        more = window.find_member(b"{")
      else:
        more = window.next_member()
    except Damaged as error:
      report(f"corrupt_{kind or 'file'}", window.member, str(error))
      before += window.position
      more = window.find_member(b"{")


def _lines(window: Window, limit: int,
           report: Report) -> Iterator[tuple[int, bytes]]:
  """(place in the member, line) of its lines."""
  while window.need(1):
    place = window.position
    end = window.find(b"\n", within=limit)
    if end < 0 and len(window.buffer) > limit:
      report("too_large", place, f"a line of more than {limit} bytes")
      if not window.skip_to(b"\n"):
        return
      window.drop(1)
      continue
    line = bytes(window.buffer[:end] if end >= 0 else window.buffer)
    window.drop(len(line) + (end >= 0))
    if line.strip() and not (end < 0 and window.cut):
      yield place, line


def _parse(line: bytes, place: int, report: Report) -> dict[str, Any] | None:
  """The object on a line, or None."""
  line = line.removeprefix(b"\xef\xbb\xbf")
  try:
    fields = orjson.loads(line)
  except orjson.JSONDecodeError:
    try:
      text = line.decode("utf-8")
    except UnicodeDecodeError as error:
      report("not_utf8", place + error.start, str(error.reason))
      return None
    try:
      # Takes lone surrogates and numbers that orjson refuses.
      fields = plain(json.loads(text))
    except (ValueError, RecursionError) as error:
      report("bad_json", place, str(error))
      return None
  if not isinstance(fields, dict):
    report("bad_json", place, f"a {type(fields).__name__}, not an object")
    return None
  return fields


def _parquet(raw: BinaryIO, text_column: str,
             report: Report) -> Iterator[tuple[int, dict[str, Any]]]:
  import pyarrow as pa  # takes a fifth of a second to import
  import pyarrow.parquet as pq
  # A damaged footer can ask for any amount of memory, in vain.
  broken = (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError)
  try:
    file = pq.ParquetFile(raw, page_checksum_verification=True)
    groups = [file.metadata.row_group(i).num_rows
              for i in range(file.num_row_groups)]
    names = file.schema_arrow.names
  except broken as error:
    report("corrupt_parquet", 0, str(error))
    return
  if text_column not in names:
    report("missing_column", 0, f"the columns are {', '.join(names)}")
    return
  first = 0
  for group, size in enumerate(groups):
    row = first
    try:
      for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group]):
        for fields in batch.to_pylist():
          row += 1
          yield row - 1, {key: plain(value) for key, value in fields.items()}
    except broken as error:
      report("corrupt_parquet", row, str(error))
    first += size


def plain(value: Any) -> Any:
  """A value that JSON can hold: dates and bytes as text, numbers in range, no
  lone surrogates."""
  if isinstance(value, str):
    return without_surrogates(value)
  if value is None or isinstance(value, bool):
    return value
  if isinstance(value, int):
    return value if -2**63 <= value < 2**63 else str(value)
  if isinstance(value, float):
    return value if math.isfinite(value) else None
  if isinstance(value, dict):
    return {without_surrogates(str(key)): plain(inner)
            for key, inner in value.items()}
  if isinstance(value, (list, tuple)):
    return [plain(inner) for inner in value]
  if isinstance(value, (bytes, bytearray)):
    return bytes(value).decode("utf-8", "replace")
  if isinstance(value, (datetime.date, datetime.time)):
    return value.isoformat()
  return str(value)
