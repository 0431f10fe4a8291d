"""Files a user names, and the text records in them.

A path is a file, a directory (searched recursively), or a glob; local, or at
any address that `fsspec` can open (`gs://`, `s3://`, ...). The suffix says how
a file is read: `.txt`, `.jsonl`, `.parquet`, the first two also with `.gz`.

What can be wrong with someone's own file is found here and told with the
file's name and the place in it: the line, or the byte that is not UTF-8.
"""

from __future__ import annotations

import codecs
import dataclasses
import gzip
import hashlib
import json
import math
import os
import posixpath
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import fsspec
from fsspec.implementations.local import LocalFileSystem

from llm_jax.config import ConfigError, DataFault, require

RECORD_SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
TEXT_SUFFIXES = (".txt", ".txt.gz")
READ_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class File:
  """One file: its address, its size in bytes, and a stamp that tells change."""
  path: str
  num_bytes: int
  stamp: str


class Record(NamedTuple):  # which is made much quicker than a dataclass
  """One JSON line or parquet row, where it stands, and how far into the file
  (0 to 1) reading has come."""
  fields: dict[str, Any]
  source: str
  file_fraction: float = math.nan


def file_system(path: str) -> tuple[fsspec.AbstractFileSystem, str]:
  """The file system of `path` and the path within it.

  Raises `ConfigError` for an unknown protocol, or one whose package is absent.
  """
  try:
    return fsspec.core.url_to_fs(os.path.expanduser(path))
  except (ValueError, ImportError) as error:
    raise ConfigError(f"{path} cannot be opened: {error}.") from error


def is_local(path: str) -> bool:
  """Whether `path` is on this machine's disk, where it can be mapped."""
  return _local(file_system(path)[0])


def join_path(directory: str, *names: str) -> str:
  """`directory/names...`, for local paths and addresses alike."""
  return posixpath.join(directory, *names)


def find_files(path: str, suffixes: Sequence[str]) -> list[File]:
  """The files that `path` names, sorted by address.

  In a directory or a glob, files with other suffixes and hidden files are
  passed over; a file named outright must have one of `suffixes`.

  Raises `ConfigError` if there is no such file, or none that can be read.
  """
  fs, inner = file_system(path)
  kinds = ", ".join(suffixes)
  if fs.isfile(inner):
    require(path.endswith(tuple(suffixes)),
            f"{path} has none of the suffixes {kinds}; rename or convert it.")
    return [_describe(fs, inner)]
  if fs.isdir(inner):
    found = fs.find(inner)
    nothing = f"{path} is a directory without any {kinds} file."
  else:
    require(re.search(r"[*?[]", path) is not None,
            f"{path} does not exist; give a file, a directory or a glob.")
    found = fs.glob(inner)
    nothing = f"{path} matches no {kinds} file."
  # A user who names a hidden directory means it; those found below are not.
  wild = re.search(r"[*?[]", inner)
  root = inner[:wild.start()].rpartition("/")[0] if wild else inner
  chosen = sorted(
      name for name in found if name.endswith(tuple(suffixes))
      and not any(part.startswith(".")
                  for part in name[len(root):].split("/"))
      and fs.isfile(name))
  require(bool(chosen), nothing)
  return [_describe(fs, name) for name in chosen]


def files_fingerprint(files: Sequence[File]) -> str:
  """A digest that changes when a file is added, removed or rewritten."""
  digest = hashlib.sha256()
  for file in files:
    digest.update(f"{file.path}\0{file.num_bytes}\0{file.stamp}\n".encode())
  return digest.hexdigest()


OnFault = Callable[[DataFault], None]


def read_records(file: File, columns: Sequence[str] | None = None,
                 errors: str = "strict", on_fault: OnFault | None = None
                 ) -> Iterator[Record]:
  """The rows of a `.jsonl`, `.jsonl.gz` or `.parquet` file.

  Args:
    file: the file.
    columns: groups of fields that will do, best first, fields of a group
      joined by '+': ("text", "prompt+answer"). Every record has all fields of
      at least one group; other fields of a parquet file are not read. None:
      all fields that there are.
    errors: "strict", or "replace" for bytes that are not UTF-8.
    on_fault: is told of a row that cannot be read, which is passed over; None:
      it is raised.

  Raises:
    ConfigError: naming the file, and the line or column at fault.
  """
  if file.path.endswith(".parquet"):
    yield from _read_parquet(file, columns, errors, on_fault)
  else:
    yield from _read_jsonl(file, columns, errors, on_fault)


def open_bytes(file: File) -> tuple[BinaryIO, BinaryIO]:
  """The (uncompressed stream, stream on disk) of a file; the first is read,
  the second tells the position within `file.num_bytes`."""
  fs, inner = file_system(file.path)
  raw = fs.open(inner, "rb")
  return (gzip.open(raw) if file.path.endswith(".gz") else raw), raw


def not_utf8(path: str, offset: int, line: int = 0) -> DataFault:
  """The fault of a byte that is not UTF-8, at a 0-based `offset`."""
  place = f"byte offset {offset}" + (f" (line {line})" if line else "")
  return DataFault(
      "not UTF-8", f"{path} is not UTF-8 at {place}; convert it, or pass "
      "--data.errors=replace to put U+FFFD there and go on.")


def broken_gzip(path: str, error: Exception) -> ConfigError:
  """The error for a `.gz` file that does not decompress."""
  return ConfigError(f"{path} is not a whole gzip file: {error}.")


GZIP_ERRORS = (EOFError, gzip.BadGzipFile, zlib.error)


def _describe(fs: fsspec.AbstractFileSystem, name: str) -> File:
  info = fs.info(name)
  stamps = (info.get(key) for key in ("mtime", "ETag", "etag", "md5Hash",
                                      "LastModified", "created"))
  stamp = next((str(stamp) for stamp in stamps if stamp is not None), "")
  return File(name if _local(fs) else fs.unstrip_protocol(name),
              int(info["size"] or 0), stamp)


def _local(fs: fsspec.AbstractFileSystem) -> bool:
  return isinstance(fs, LocalFileSystem)


def _groups(columns: Sequence[str]) -> list[list[str]]:
  return [group.split("+") for group in columns]


def _wanted(columns: Sequence[str]) -> str:
  return ", or ".join(" and ".join(f"'{name}'" for name in group)
                      for group in _groups(columns))


def _read_jsonl(file: File, columns: Sequence[str] | None, errors: str,
                on_fault: OnFault | None) -> Iterator[Record]:
  groups = [frozenset(group) for group in _groups(columns or ())]
  stream, raw = open_bytes(file)
  offset = 0
  with raw, stream:
    try:
      for number, line in enumerate(stream, start=1):
        source = f"{file.path}:{number}"
        try:
          fields = _parse_line(line, file.path, number, offset, errors)
        except DataFault as fault:
          if on_fault is None:
            raise
          on_fault(fault)
          fields = None
        offset += len(line)
        if fields is None:
          continue
        if groups and all(group - fields.keys() for group in groups):
          present = ", ".join(sorted(map(str, fields))) or "none"
          raise ConfigError(f"{source} lacks the field {_wanted(columns)}; "
                            f"its fields are {present}.")
        yield Record(fields, source, raw.tell() / max(file.num_bytes, 1))
    except GZIP_ERRORS as error:
      raise broken_gzip(file.path, error) from error


def _parse_line(line: bytes, path: str, number: int, offset: int,
                errors: str) -> dict[str, Any] | None:
  """The JSON object on a line, or None for a blank line."""
  source = f"{path}:{number}"
  if offset == 0:
    line = line.removeprefix(codecs.BOM_UTF8)  # Windows writes one
  try:
    text = line.decode("utf-8", errors)
  except UnicodeDecodeError as error:
    raise not_utf8(path, offset + error.start, number) from error
  if not text.strip():
    return None
  try:
    fields = json.loads(text)
  except json.JSONDecodeError as error:
    raise DataFault(
        "malformed JSON", f"{source} is not JSON ({error.msg} at column "
        f"{error.colno}); each line must be one object.") from error
  except (ValueError, RecursionError) as error:  # such as a number's length
    raise DataFault("malformed JSON", f"{source} is not JSON ({error}); each "
                    "line must be one object.") from error
  if not isinstance(fields, dict):
    raise DataFault("malformed JSON", f"{source} is a JSON "
                    f"{type(fields).__name__}; each line must be one object.")
  return fields


def _read_parquet(file: File, columns: Sequence[str] | None, errors: str,
                  on_fault: OnFault | None) -> Iterator[Record]:
  # pyarrow takes a fifth of a second to import: only those who need it wait.
  import pyarrow as pa
  import pyarrow.parquet as pq
  fs, inner = file_system(file.path)
  with fs.open(inner, "rb") as stream:
    try:
      table = pq.ParquetFile(stream)
    except (pa.ArrowInvalid, OSError) as error:
      raise ConfigError(f"{file.path} is not a parquet file: {error}."
                        ) from error
    present = table.schema_arrow.names
    chosen = present if columns is None else next(
        (group for group in _groups(columns) if set(group) <= set(present)),
        None)
    if chosen is None:
      raise ConfigError(f"{file.path} lacks the column {_wanted(columns)}; its "
                        f"columns are {', '.join(present)}.")
    row = 0
    for batch in table.iter_batches(batch_size=1024, columns=chosen):
      for fields in _parquet_rows(batch, file.path, row, errors, on_fault):
        row += 1
        if fields is not None:
          yield Record(fields, f"{file.path} row {row}",
                       row / max(table.metadata.num_rows, 1))


def _parquet_rows(batch: Any, path: str, first: int, errors: str,
                  on_fault: OnFault | None) -> list[dict[str, Any] | None]:
  """The rows of an Arrow batch, the first of which is row `first` (0-based);
  None for one of which `on_fault` was told."""
  import pyarrow as pa
  try:
    return batch.to_pylist()
  except UnicodeDecodeError as error:
    if errors == "strict" and on_fault is not None:
      return [_parquet_row(batch, i, f"{path} row {first + i + 1}", on_fault)
              for i in range(batch.num_rows)]
    if errors == "strict":
      raise ConfigError(
          f"{path} has text that is not UTF-8 between rows {first + 1} and "
          f"{first + batch.num_rows} (byte {error.start} of its field); "
          "convert it, or pass --data.errors=replace to put U+FFFD there."
      ) from error
  columns = {}
  for name, column in zip(batch.schema.names, batch.columns):
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
      column = [value and value.decode("utf-8", errors)
                for value in column.cast(pa.large_binary()).to_pylist()]
    else:
      column = column.to_pylist()
    columns[name] = column
  return [dict(zip(columns, values)) for values in zip(*columns.values())]


def _parquet_row(batch: Any, i: int, source: str,
                 on_fault: OnFault) -> dict[str, Any] | None:
  """Row `i` of a batch, or None and the fault told."""
  try:
    return batch.slice(i, 1).to_pylist()[0]
  except UnicodeDecodeError as error:
    on_fault(DataFault("not UTF-8", f"{source} has text that is not UTF-8 "
                       f"(byte {error.start} of its field); convert it, or "
                       "pass --data.errors=replace to put U+FFFD there."))
    return None
