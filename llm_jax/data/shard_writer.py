"""Documents -> token shards on disk (`token_shards.py` says what those are).

Writing is all or nothing: the directory is made under another name,
`<output>.partial`, and renamed when it is whole (in an object store, which
cannot rename, `meta.json` is written last and without it there are no shards).

A run that was killed goes on with the shards that it had finished. Which these
are, with their checksums, stands in `progress.json`. Each split ended its last
shard between two documents, so of each split as many documents are passed over
as those shards hold, and the next shard begins as it would have begun: the
result has the same bytes as that of a run that nobody disturbed, whatever the
number of processes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

import fsspec
import numpy as np

from llm_jax.config import require
from llm_jax.data.document_encoder import Encoded, encode_in_order
from llm_jax.data.documents import Document
from llm_jax.data.files import file_system, is_local, join_path
from llm_jax.data.token_shards import (
    FORMAT, META, SPLITS, checksum, documents_name, read_meta,
    tokenizer_fingerprint)
from llm_jax.tokenizer.protocol import Tokenizer

PROGRESS = "progress.json"
PARTIAL = ".partial"
BATCH_CHARACTERS = 1 << 20  # text that is encoded at once
BATCH_DOCUMENTS = 4_096
PROGRESS_SECONDS = 5.0


@dataclasses.dataclass(frozen=True)
class _Shard:
  """A finished shard, as progress.json has it."""
  name: str
  num_tokens: int
  num_documents: int
  num_bytes: int
  sha256: str


def write_shards(documents: Iterable[tuple[str, Document]],
                 tokenizer: Tokenizer, output: str, *,
                 tokens_per_shard: int = 100_000_000, fingerprint: str = "",
                 num_workers: int = 1,
                 progress: Callable[[str], None] = print) -> dict[str, Any]:
  """Tokenises (split, document) pairs into a directory of shards.

  Args:
    documents: as `documents.split_corpus` yields them.
    tokenizer: the vocabulary; each document becomes its <|endoftext|> and ids.
    output: the directory; one that holds shards already is replaced.
    tokens_per_shard: a shard file is closed when it has this many.
    fingerprint: of documents, tokenizer and settings. Kept in meta.json for
      the caller, who can tell by it whether the shards are still those he
      wants. What a run of the same fingerprint left unfinished is finished;
      an empty one always begins anew.
    num_workers: threads or processes that encode.
    progress: told, every few seconds, how far the work is.

  Returns:
    The contents of meta.json.

  Raises:
    ConfigError: `output` exists and is something else, or no document is for
      training.
  """
  fs, inner = file_system(output)
  local = is_local(output)
  if fs.exists(inner) and read_meta(output) is None and (
      local or not fs.exists(join_path(inner, PROGRESS))):
    require(fs.isdir(inner) and not fs.ls(inner), f"{output} exists and is not "
            "a directory of token shards; choose another --output.")
  place = inner.rstrip("/") + PARTIAL if local else output
  found = _finished_shards(place, fingerprint)
  if found is None:
    if fs.exists(place):
      fs.rm(place, recursive=True)
    fs.makedirs(place, exist_ok=True)
    found = {split: [] for split in SPLITS}
  elif any(found.values()):
    progress("tokenize: going on after " + ", ".join(
        f"{len(shards)} {split} shards" for split, shards in found.items()
        if shards))

  try:
    meta = _write(documents, tokenizer, place, found, tokens_per_shard,
                  fingerprint, num_workers, progress)
  except BaseException:
    if not fingerprint:  # nobody could go on with it
      fs.rm(place, recursive=True)
    raise
  if local:
    if fs.exists(inner):
      fs.rm(inner, recursive=True)
    os.rename(place, inner)
  return meta


def _write(documents: Iterable[tuple[str, Document]], tokenizer: Tokenizer,
           place: str, found: dict[str, list[_Shard]], tokens_per_shard: int,
           fingerprint: str, num_workers: int,
           progress: Callable[[str], None]) -> dict[str, Any]:
  """Writes what is not yet `found` at `place`; returns meta.json."""
  dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32)
  splits = {split: _SplitWriter(place, split, dtype, tokens_per_shard)
            for split in SPLITS}

  def save_progress() -> None:
    _put(join_path(place, PROGRESS), {
        "format": FORMAT, "fingerprint": fingerprint,
        "splits": {name: [dataclasses.asdict(shard) for shard in split.shards]
                   for name, split in splits.items()}})

  for split, shards in found.items():
    splits[split].restore(shards, tokenizer.endoftext_id)
  save_progress()
  report = _Progress(progress)
  done = {name: split.num_documents for name, split in splits.items()}
  for (split, fraction), encoded in encode_in_order(
      _batches(_beyond(documents, done)), tokenizer, dtype, num_workers):
    if splits[split].add(encoded):
      save_progress()
    report.count(encoded, fraction)
  checksums = {}
  for split in splits.values():
    split.close()
    checksums |= split.checksums
  require(splits["train"].num_tokens > 0, "no document is left for training; "
          "lower --data.validation_fraction, or leave documents out of "
          "--data.validation_path.")
  report.tell(1.0, final=True)

  tokenizer.save(join_path(place, "tokenizer"))
  meta = {
      "format": FORMAT, "fingerprint": fingerprint,
      "tokenizer_fingerprint": tokenizer_fingerprint(tokenizer),
      "vocab_size": tokenizer.vocab_size,
      "endoftext_id": tokenizer.endoftext_id,
      "dtype": dtype.name,
      "splits": {name: split.meta() for name, split in splits.items()},
      "sha256": checksums,
  }
  fs, inner = file_system(place)
  fs.rm(join_path(inner, PROGRESS))
  _put(join_path(place, META), meta)
  return meta


def _finished_shards(place: str, fingerprint: str
                     ) -> dict[str, list[_Shard]] | None:
  """What a run of this fingerprint finished and is whole; None: no such run."""
  fs, inner = file_system(place)
  try:
    progress = json.loads(fs.cat_file(join_path(inner, PROGRESS)))
  except (FileNotFoundError, NotADirectoryError, ValueError):
    return None
  if not fingerprint or (progress.get("format"), progress.get("fingerprint")
                         ) != (FORMAT, fingerprint):
    return None
  found: dict[str, list[_Shard]] = {}
  for split in SPLITS:
    found[split] = []
    for fields in progress["splits"][split]:
      shard = _Shard(**fields)
      path = join_path(inner, shard.name)
      if not fs.exists(path) or checksum(join_path(place, shard.name)) != (
          shard.sha256):
        break
      found[split].append(shard)
  return found


def _beyond(documents: Iterable[tuple[str, Document]], done: dict[str, int]
            ) -> Iterator[tuple[str, Document]]:
  """Documents but for the first `done[split]` of each split."""
  left = dict(done)
  for split, document in documents:
    if left[split]:
      left[split] -= 1
    else:
      yield split, document


def _batches(documents: Iterable[tuple[str, Document]]
             ) -> Iterator[tuple[tuple[str, float], list[str]]]:
  """Texts of one split each, with the share of the corpus that was read.

  Splits take turns in an order of their own: within each, documents stay in
  theirs, and that is all that the files depend on.
  """
  texts: dict[str, list[str]] = {split: [] for split in SPLITS}
  characters = dict.fromkeys(SPLITS, 0)
  fraction = 0.0
  for split, document in documents:
    texts[split].append(document.text)
    characters[split] += len(document.text)
    fraction = document.corpus_fraction
    if (characters[split] >= BATCH_CHARACTERS
        or len(texts[split]) >= BATCH_DOCUMENTS):
      yield (split, fraction), texts[split]
      texts[split], characters[split] = [], 0
  for split, rest in texts.items():
    if rest:
      yield (split, fraction), rest


class _SplitWriter:
  """Collects the ids of one split and writes them as shards."""

  def __init__(self, directory: str, split: str, dtype: np.dtype,
               tokens_per_shard: int):
    self._directory, self._split, self._dtype = directory, split, dtype
    self._limit = tokens_per_shard
    self._pending: list[Encoded] = []
    self._pending_tokens = 0
    self._starts: list[np.ndarray] = []  # of documents, shard by shard
    self.shards: list[_Shard] = []
    self.checksums: dict[str, str] = {}

  @property
  def num_tokens(self) -> int:
    """Ids in finished shards."""
    return sum(shard.num_tokens for shard in self.shards)

  @property
  def num_documents(self) -> int:
    """Documents in finished shards."""
    return sum(shard.num_documents for shard in self.shards)

  def restore(self, shards: list[_Shard], endoftext_id: int) -> None:
    """Goes on after shards that are there already."""
    for shard in shards:
      with fsspec.open(join_path(self._directory, shard.name), "rb") as stream:
        ids = np.load(stream)
      self._starts.append(
          self.num_tokens + np.flatnonzero(ids == endoftext_id))
      self.shards.append(shard)
      self.checksums[shard.name] = shard.sha256

  def add(self, encoded: Encoded) -> bool:
    """Appends documents; says whether a shard was finished."""
    before = len(self.shards)
    while True:
      # The first document with which the shard is full, if there is one here.
      filled = self._pending_tokens + np.cumsum(encoded.lengths)
      last = int(np.searchsorted(filled, self._limit))
      if last == len(filled):
        break
      head, encoded = _cut(encoded, last + 1)
      self._append(head)
      self._flush()
    self._append(encoded)
    return len(self.shards) > before

  def close(self) -> None:
    """Writes what is left, and where the documents begin."""
    if self._pending:
      self._flush()
    starts = (np.concatenate(self._starts) if self._starts
              else np.zeros(0, np.int64))
    name = documents_name(self._split)
    self.checksums[name] = self._save(name, starts.astype(np.int64))

  def meta(self) -> dict[str, Any]:
    """The split's part of meta.json."""
    return {"num_tokens": self.num_tokens,
            "num_bytes": sum(shard.num_bytes for shard in self.shards),
            "num_documents": self.num_documents,
            "shards": [[shard.name, shard.num_tokens]
                       for shard in self.shards]}  # as JSON gives them back

  def _append(self, encoded: Encoded) -> None:
    if len(encoded.lengths):
      self._pending.append(encoded)
      self._pending_tokens += len(encoded.ids)

  def _flush(self) -> None:
    name = f"{self._split}-{len(self.shards):05d}.npy"
    lengths = np.concatenate([part.lengths for part in self._pending])
    sha256 = self._save(name, np.concatenate(
        [part.ids for part in self._pending]))
    self._starts.append(self.num_tokens + np.cumsum(lengths) - lengths)
    self.shards.append(_Shard(
        name, self._pending_tokens, len(lengths),
        int(sum(part.num_bytes.sum() for part in self._pending)), sha256))
    self.checksums[name] = sha256
    self._pending, self._pending_tokens = [], 0

  def _save(self, name: str, array: np.ndarray) -> str:
    """Writes a .npy that is whole as soon as it has its name; its SHA-256."""
    path = join_path(self._directory, name)
    part = path + ".part" if is_local(path) else path
    with fsspec.open(part, "wb") as stream:
      hashing = _HashingStream(stream)
      np.save(hashing, array)
    if part != path:
      os.replace(part, path)
    return hashing.digest.hexdigest()


class _HashingStream:
  """A file for writing that keeps the SHA-256 of what is written."""

  def __init__(self, stream: BinaryIO):
    self._stream, self.digest = stream, hashlib.sha256()

  def write(self, data: bytes) -> int:
    """Writes, as a file does."""
    self.digest.update(data)
    return self._stream.write(data)


def _cut(encoded: Encoded, count: int) -> tuple[Encoded, Encoded]:
  """The first `count` documents, and the others."""
  tokens = int(encoded.lengths[:count].sum())
  return (Encoded(encoded.ids[:tokens], encoded.lengths[:count],
                  encoded.num_bytes[:count]),
          Encoded(encoded.ids[tokens:], encoded.lengths[count:],
                  encoded.num_bytes[count:]))


def _put(path: str, contents: dict[str, Any]) -> None:
  """Writes JSON, whole or not at all."""
  fs, inner = file_system(path)
  data = json.dumps(contents, indent=2).encode()
  if is_local(path):
    fs.pipe_file(inner + ".part", data)
    os.replace(inner + ".part", inner)
  else:
    fs.pipe_file(inner, data)


class _Progress:
  """Tells documents, tokens, speed and the time left, now and then."""

  def __init__(self, tell: Callable[[str], None]):
    self._tell = tell
    self._start = self._told = time.monotonic()
    self._first: float | None = None  # share that was done when this began
    self._documents = self._tokens = self._bytes = 0

  def count(self, encoded: Encoded, fraction: float) -> None:
    """Counts documents, after which `fraction` of the corpus is read."""
    self._documents += len(encoded.lengths)
    self._tokens += len(encoded.ids)
    self._bytes += int(encoded.num_bytes.sum())
    self.tell(fraction)
    if self._first is None:
      self._first = fraction

  def tell(self, fraction: float, final: bool = False) -> None:
    """Prints a line, unless it printed one just now."""
    now = time.monotonic()
    if not final and now - self._told < PROGRESS_SECONDS:
      return
    self._told = now
    seconds = max(now - self._start, 1e-9)
    line = (f"tokenize: {self._documents:,} documents, {self._tokens:,} tokens"
            f", {self._tokens / seconds:,.0f} tokens/s, "
            f"{self._bytes / 1e6 / seconds:,.1f} MB/s")
    done = fraction - (self._first or 0.0)
    if not final and done > 0:
      line += f", {seconds * (1 - fraction) / done:,.0f} s left"
    self._tell(line)
