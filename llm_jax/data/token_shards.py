"""Documents -> flat arrays of token ids on disk, and back.

    meta.json            format, tokenizer fingerprint, counts per split, shards
    tokenizer/           a copy of the tokenizer: shards mean nothing without it
    train-00000.npy      uint16, uint32: <|endoftext|> document <|endoftext|>
    train-00001.npy      and so on
    train-documents.npy  int64: where each document begins in the split
    validation-...

A split is one long stream of ids, kept in files of about `tokens_per_shard`
and read as one `TokenStream`. Each document begins with <|endoftext|>, and none
holds another: that token alone tells where documents begin.

Writing is all or nothing. The directory is made under another name and renamed
when it is whole (in an object store, which cannot rename, `meta.json` is
written last and without it there are no shards).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import fsspec
import numpy as np

from llm_jax.config import ConfigError, require
from llm_jax.data.documents import Document
from llm_jax.data.files import file_system, is_local, join_path
from llm_jax.data.token_stream import TokenStream, npy_header
from llm_jax.tokenizer.protocol import Tokenizer

FORMAT = 1
META = "meta.json"
SPLITS = ("train", "validation")
CHUNK_CHARACTERS = 4 << 20  # text that is tokenised at once, by all threads
CHUNK_DOCUMENTS = 4_096
PROGRESS_SECONDS = 5.0

_PROBE = ("The year 1984, 3.14159 and 1,000,000; don't WE'LL she'd\r\n\n\t  x "
          "naïve 数学 😀 <|endoftext|> </s> ...!?  ")


@dataclasses.dataclass(frozen=True)
class TokenShards:
  """An opened directory of token shards.

  Attributes:
    path: the directory.
    meta: the contents of meta.json; `meta["splits"][split]` has num_tokens,
      num_bytes (of the text, in UTF-8), num_documents and shards.
  """
  path: str
  meta: dict[str, Any]

  @classmethod
  def open(cls, path: str, tokenizer: Tokenizer | None = None) -> TokenShards:
    """Opens and checks a directory that `write_shards` made.

    Args:
      path: the directory, local or remote.
      tokenizer: if given, the shards must have been made with it.

    Raises:
      ConfigError: no shards there, a missing or truncated file, or another
        tokenizer.
    """
    meta = read_meta(path)
    require(meta is not None, f"{path} has no {META}, so it is not a directory "
            "of token shards; make one with `python -m "
            "experiments.tokenize_corpus --data.path=... --output=...`.")
    require(meta.get("format") == FORMAT, f"{path} has shards of format "
            f"{meta.get('format')}, but this version reads format {FORMAT}; "
            "make them again with experiments.tokenize_corpus.")
    if tokenizer is not None:
      require(tokenizer_fingerprint(tokenizer) == meta["tokenizer_fingerprint"],
              f"{path} was made with another tokenizer (its own is in "
              f"{join_path(path, 'tokenizer')}); use that one, or make the "
              "shards again.")
    shards = cls(path, meta)
    for split in SPLITS:
      files = [*meta["splits"][split]["shards"],
               (_documents_name(split), meta["splits"][split]["num_documents"])]
      for name, size in files:
        _check_file(join_path(path, name), size)
    return shards

  @property
  def vocab_size(self) -> int:
    """Rows that an embedding of these ids needs."""
    return self.meta["vocab_size"]

  @property
  def endoftext_id(self) -> int:
    """The id with which each document begins, and only there."""
    return self.meta["endoftext_id"]

  def num_tokens(self, split: str) -> int:
    """Ids in the split, the <|endoftext|> of each document included."""
    return self.meta["splits"][split]["num_tokens"]

  def num_bytes(self, split: str) -> int:
    """Bytes of the split's text in UTF-8, <|endoftext|> not counted."""
    return self.meta["splits"][split]["num_bytes"]

  def tokens(self, split: str) -> TokenStream:
    """The ids of a split, not yet read."""
    shards = self.meta["splits"][split]["shards"]
    return TokenStream([join_path(self.path, name) for name, _ in shards],
                       [size for _, size in shards], self.meta["dtype"])

  def document_offsets(self, split: str) -> np.ndarray:
    """Where each document of the split begins: int64 [num_documents]."""
    path = join_path(self.path, _documents_name(split))
    if is_local(path):
      return np.load(path, mmap_mode="r")
    with fsspec.open(path, "rb") as stream:
      return np.load(stream)

  def load_tokenizer(self) -> Tokenizer:
    """The tokenizer that made the shards, from the copy beside them."""
    from llm_jax.tokenizer.loading import load_tokenizer
    return load_tokenizer(join_path(self.path, "tokenizer"))


def read_meta(path: str) -> dict[str, Any] | None:
  """The meta.json of a directory of shards; None where there is none."""
  fs, inner = file_system(path)
  try:
    return json.loads(fs.cat_file(join_path(inner, META)))
  except (FileNotFoundError, NotADirectoryError):
    return None
  except ValueError as error:
    raise ConfigError(f"{join_path(path, META)} is not JSON ({error}); make "
                      "the shards again with experiments.tokenize_corpus."
                      ) from error


def tokenizer_fingerprint(tokenizer: Tokenizer) -> str:
  """A digest of the vocabulary and of how a probing text is cut with it."""
  digest = hashlib.sha256()
  digest.update(repr((tokenizer.vocab_size,
                      sorted(tokenizer.special_tokens.items()),
                      list(tokenizer.encode(_PROBE)))).encode())
  special = set(tokenizer.special_tokens.values())
  for token in range(tokenizer.vocab_size):
    if token not in special:
      try:
        spelling = tokenizer.token_bytes(token)
      except (KeyError, ValueError):  # ids that a vocabulary leaves unused
        continue
      digest.update(f"{token}:{len(spelling)}:".encode() + spelling)
  return digest.hexdigest()


def write_shards(documents: Iterable[tuple[str, Document]],
                 tokenizer: Tokenizer, output: str, *,
                 tokens_per_shard: int = 100_000_000, fingerprint: str = "",
                 progress: Callable[[str], None] = print) -> dict[str, Any]:
  """Tokenises (split, document) pairs into a directory of shards.

  Args:
    documents: as `documents.split_corpus` yields them.
    tokenizer: the vocabulary; each document becomes its <|endoftext|> and ids.
    output: the directory; one that holds shards already is replaced.
    tokens_per_shard: a shard file is closed when it has this many.
    fingerprint: kept in meta.json for the caller, who can tell by it whether
      the shards are still those he wants.
    progress: told, every few seconds, how far the work is.

  Returns:
    The contents of meta.json.

  Raises:
    ConfigError: `output` exists and is something else, or no document is for
      training.
  """
  fs, inner = file_system(output)
  if fs.exists(inner) and read_meta(output) is None:
    require(fs.isdir(inner) and not fs.ls(inner), f"{output} exists and is not "
            "a directory of token shards; choose another --output.")
  local = is_local(output)
  # Without a rename, meta.json goes first with the old and comes last.
  place = inner.rstrip("/") + ".partial" if local else output
  if fs.exists(place):
    fs.rm(place, recursive=True)
  fs.makedirs(place, exist_ok=True)

  try:
    meta = {"format": FORMAT, "fingerprint": fingerprint,
            **_write_splits(documents, tokenizer, place, tokens_per_shard,
                            progress)}
    tokenizer.save(join_path(place, "tokenizer"))
    fs.pipe_file(join_path(place, META), json.dumps(meta, indent=2).encode())
  except BaseException:
    fs.rm(place, recursive=True)
    raise
  if local:
    if fs.exists(inner):
      fs.rm(inner, recursive=True)
    os.rename(place, inner)
  return meta


def _write_splits(documents: Iterable[tuple[str, Document]],
                  tokenizer: Tokenizer, directory: str, tokens_per_shard: int,
                  progress: Callable[[str], None]) -> dict[str, Any]:
  """Writes the .npy files; returns what meta.json says of them."""
  dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32)
  splits = {split: _SplitWriter(directory, split, dtype, tokens_per_shard)
            for split in SPLITS}
  report = _Progress(progress)
  for chunk in _chunks(documents):
    encoded = _encode_chunk([document.text for _, document in chunk], tokenizer)
    for (split, document), ids in zip(chunk, encoded):
      splits[split].add(ids, len(document.text.encode()))
      report.count(len(ids))
    report.tell(chunk[-1][1].corpus_fraction)
  for split in splits.values():
    split.close()
  require(splits["train"].num_tokens > 0, "no document is left for training; "
          "lower --data.validation_fraction, or leave documents out of "
          "--data.validation_path.")
  report.tell(1.0, final=True)
  return {
      "tokenizer_fingerprint": tokenizer_fingerprint(tokenizer),
      "vocab_size": tokenizer.vocab_size,
      "endoftext_id": tokenizer.endoftext_id,
      "dtype": dtype.name,
      "splits": {name: split.meta() for name, split in splits.items()},
  }


class _SplitWriter:
  """Collects the ids of one split and writes them as shards."""

  def __init__(self, directory: str, split: str, dtype: np.dtype,
               tokens_per_shard: int):
    self._directory, self._split, self._dtype = directory, split, dtype
    self._limit = tokens_per_shard
    self._pending: list[np.ndarray] = []
    self._pending_tokens = 0
    self._offsets: list[int] = []
    self._shards: list[list[str | int]] = []  # as JSON gives them back
    self.num_tokens = 0
    self._num_bytes = 0

  def add(self, ids: np.ndarray, num_bytes: int) -> None:
    """Appends one document."""
    self._offsets.append(self.num_tokens)
    self._pending.append(ids.astype(self._dtype))
    self._pending_tokens += len(ids)
    self.num_tokens += len(ids)
    self._num_bytes += num_bytes
    if self._pending_tokens >= self._limit:
      self._flush()

  def close(self) -> None:
    """Writes what is left, and where the documents begin."""
    if self._pending:
      self._flush()
    self._save(_documents_name(self._split),
               np.asarray(self._offsets, np.int64))

  def meta(self) -> dict[str, Any]:
    """The split's part of meta.json."""
    return {"num_tokens": self.num_tokens, "num_bytes": self._num_bytes,
            "num_documents": len(self._offsets), "shards": self._shards}

  def _flush(self) -> None:
    name = f"{self._split}-{len(self._shards):05d}.npy"
    self._save(name, np.concatenate(self._pending))
    self._shards.append([name, self._pending_tokens])
    self._pending, self._pending_tokens = [], 0

  def _save(self, name: str, array: np.ndarray) -> None:
    with fsspec.open(join_path(self._directory, name), "wb") as stream:
      np.save(stream, array)


class _Progress:
  """Tells documents, tokens, tokens/s and the time left, now and then."""

  def __init__(self, tell: Callable[[str], None]):
    self._tell = tell
    self._start = self._told = time.monotonic()
    self._documents = self._tokens = 0

  def count(self, num_tokens: int) -> None:
    self._documents += 1
    self._tokens += num_tokens

  def tell(self, fraction: float, final: bool = False) -> None:
    now = time.monotonic()
    if not final and now - self._told < PROGRESS_SECONDS:
      return
    self._told = now
    seconds = max(now - self._start, 1e-9)
    line = (f"tokenize: {self._documents:,} documents, {self._tokens:,} tokens"
            f", {self._tokens / seconds:,.0f} tokens/s")
    if not final and fraction > 0:
      line += f", {seconds * (1 - fraction) / fraction:,.0f} s left"
    self._tell(line)


def _chunks(documents: Iterable[tuple[str, Document]]
            ) -> Iterator[list[tuple[str, Document]]]:
  chunk, characters = [], 0
  for pair in documents:
    chunk.append(pair)
    characters += len(pair[1].text)
    if characters >= CHUNK_CHARACTERS or len(chunk) == CHUNK_DOCUMENTS:
      yield chunk
      chunk, characters = [], 0
  if chunk:
    yield chunk


def _encode_chunk(texts: list[str], tokenizer: Tokenizer) -> list[np.ndarray]:
  """Each text as <|endoftext|> and its ids, int32 [num_tokens]."""
  start = tokenizer.endoftext_id
  encoded = []
  for ids in tokenizer.encode_batch(texts):
    if np.any(ids == start):
      raise ValueError(f"{type(tokenizer).__name__}.encode_batch made the "
                       "<|endoftext|> token out of plain text")
    encoded.append(np.concatenate([np.asarray([start], np.int32), ids]))
  return encoded


def _documents_name(split: str) -> str:
  return f"{split}-documents.npy"


def _check_file(path: str, num_items: int) -> None:
  """Raises `ConfigError` unless the .npy at `path` holds `num_items` whole."""
  remedy = "make the shards again with experiments.tokenize_corpus."
  fs, inner = file_system(path)
  try:
    header, declared, itemsize = npy_header(path)
  except FileNotFoundError as error:
    raise ConfigError(f"{path} is missing; {remedy}") from error
  except ValueError as error:
    raise ConfigError(f"{path} is not a .npy file ({error}); {remedy}"
                      ) from error
  require(declared == num_items, f"{path} has {declared} items but {META} says "
          f"{num_items}; {remedy}")
  present, whole = fs.info(inner)["size"], header + num_items * itemsize
  require(present == whole, f"{path} has {present} bytes but should have "
          f"{whole}: it was cut short; {remedy}")
