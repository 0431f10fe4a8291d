"""Flat arrays of token ids on disk: what `shard_writer.py` makes of documents.

    meta.json            format, tokenizer fingerprint, counts per split, the
                         shards, and the SHA-256 of each file
    tokenizer/           a copy of the tokenizer: shards mean nothing without it
    train-00000.npy      uint16, uint32: <|endoftext|> document <|endoftext|>
    train-00001.npy      and so on
    train-documents.npy  int64: where each document begins in the split
    validation-...

A split is one long stream of ids, kept in files of about `tokens_per_shard`
and read as one `TokenStream`. Each document begins with <|endoftext|>, and none
holds another: that token alone tells where documents begin.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import fsspec
import numpy as np

from llm_jax.config import ConfigError, require
from llm_jax.data.files import file_system, is_local, join_path
from llm_jax.data.token_stream import TokenStream, npy_header
from llm_jax.tokenizer.protocol import Tokenizer

FORMAT = 2
READABLE = (1, 2)  # 1 had no checksums
META = "meta.json"
SPLITS = ("train", "validation")
_READ_BYTES = 1 << 24

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
    """Opens a directory that `write_shards` made, and checks its files' sizes.

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
    require(meta.get("format") in READABLE, f"{path} has shards of format "
            f"{meta.get('format')}, but this version reads formats "
            f"{READABLE}; make them again with experiments.tokenize_corpus.")
    if tokenizer is not None:
      require(tokenizer_fingerprint(tokenizer) == meta["tokenizer_fingerprint"],
              f"{path} was made with another tokenizer (its own is in "
              f"{join_path(path, 'tokenizer')}); use that one, or make the "
              "shards again.")
    shards = cls(path, meta)
    for split in SPLITS:
      files = [*meta["splits"][split]["shards"],
               (documents_name(split), meta["splits"][split]["num_documents"])]
      for name, size in files:
        _check_file(join_path(path, name), size)
    return shards

  def verify(self) -> int:
    """Reads all files and compares them with the checksums in meta.json.

    Returns:
      How many files were read.

    Raises:
      ConfigError: a file that is not what was written, or shards of a format
        that had no checksums.
    """
    wanted = self.meta.get("sha256")
    require(wanted is not None, f"{self.path} has shards of format "
            f"{self.meta['format']}, which had no checksums; make them again "
            "with experiments.tokenize_corpus.")
    for name, sha256 in wanted.items():
      require(checksum(join_path(self.path, name)) == sha256,
              f"{join_path(self.path, name)} is not what was written: its "
              f"SHA-256 is not the one in {META}; make the shards again with "
              "experiments.tokenize_corpus.")
    return len(wanted)

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
    path = join_path(self.path, documents_name(split))
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


def checksum(path: str) -> str:
  """The SHA-256 of a file, local or remote, in hexadecimal."""
  digest = hashlib.sha256()
  with fsspec.open(path, "rb") as stream:
    while block := stream.read(_READ_BYTES):
      digest.update(block)
  return digest.hexdigest()


def documents_name(split: str) -> str:
  """The file that says where the documents of a split begin."""
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
