"""Documents -> ids, on several cores, in the order in which they came.

Encoders are quick (tens of megabytes of text a second on one core), so what
surrounds them must not cost more: documents travel in batches of a megabyte,
each batch is one call of the encoder, and what comes back are three arrays.
tiktoken's call lets go of Python's lock, so threads do, to which nothing need
be handed over. SentencePiece and `tokenizers` make their ids into Python
objects, under that lock: for these there are processes.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import functools
import multiprocessing
import multiprocessing.connection
import os
import pickle
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np

from llm_jax.tokenizer.protocol import Tokenizer

Key = TypeVar("Key")

# Starting processes takes a second or two: a small corpus is done by then.
SERIAL_CHARACTERS = 16 << 20
_IN_FLIGHT = 3  # batches for each worker that are read ahead


@dataclasses.dataclass(frozen=True)
class Encoded:
  """Documents as ids, each with <|endoftext|> before it.

  Attributes:
    ids: of all of them, [sum of lengths].
    lengths: ids of each, int64 [num_documents].
    num_bytes: bytes of the text of each in UTF-8, int64 [num_documents].
  """
  ids: np.ndarray
  lengths: np.ndarray
  num_bytes: np.ndarray


def encode_documents(texts: list[str], tokenizer: Tokenizer,
                     dtype: np.dtype) -> Encoded:
  """Encodes a batch of documents.

  Raises:
    ValueError: the tokenizer makes <|endoftext|> out of plain text.
  """
  start = tokenizer.endoftext_id
  plain, lengths = tokenizer.encode_joined(texts)
  if np.any(plain == start):
    raise ValueError(f"{type(tokenizer).__name__}.encode_joined made the "
                     "<|endoftext|> token out of plain text")
  lengths = lengths + 1
  ids = np.empty(len(plain) + len(texts), dtype)
  starts = np.cumsum(lengths) - lengths
  ids[starts] = start
  is_plain = np.ones(len(ids), bool)
  is_plain[starts] = False
  ids[is_plain] = plain
  sizes = [len(text) if text.isascii() else len(text.encode())
           for text in texts]
  return Encoded(ids, lengths, np.asarray(sizes, np.int64))


def encode_in_order(batches: Iterable[tuple[Key, list[str]]],
                    tokenizer: Tokenizer, dtype: np.dtype, num_workers: int
                    ) -> Iterator[tuple[Key, Encoded]]:
  """Encodes batches; what comes out does not depend on `num_workers`.

  Args:
    batches: pairs of anything and the texts of a batch.
    tokenizer: with several workers, one that can be pickled.
    dtype: of the ids.
    num_workers: threads or processes; 1 encodes in this one. None is started
      before `SERIAL_CHARACTERS` are encoded.

  Yields:
    The batches' first parts with their ids, in the same order.
  """
  batches = iter(batches)
  characters = 0
  for key, texts in batches:
    yield key, encode_documents(texts, tokenizer, dtype)
    characters += sum(map(len, texts))
    if num_workers > 1 and characters >= SERIAL_CHARACTERS:
      break
  else:
    return
  if tokenizer.encodes_without_lock:
    pool = concurrent.futures.ThreadPoolExecutor(num_workers)
    encode = functools.partial(encode_documents, tokenizer=tokenizer,
                               dtype=dtype)
  else:
    # Fresh processes: forking one that has threads (JAX's, Arrow's) may hang.
    pool = concurrent.futures.ProcessPoolExecutor(
        num_workers, multiprocessing.get_context("spawn"), _start_worker,
        (pickle.dumps(tokenizer), np.dtype(dtype).str))
    encode = _encode
  pending: collections.deque = collections.deque()
  try:
    for key, texts in batches:
      pending.append((key, pool.submit(encode, texts)))
      while pending and (len(pending) > _IN_FLIGHT * num_workers
                         or pending[0][1].done()):
        key, future = pending.popleft()
        yield key, future.result()
    while pending:
      key, future = pending.popleft()
      yield key, future.result()
  finally:
    pool.shutdown(cancel_futures=True)


_tokenizer: Tokenizer
_dtype: np.dtype


def _start_worker(tokenizer: bytes, dtype: str) -> None:
  global _tokenizer, _dtype
  _tokenizer, _dtype = pickle.loads(tokenizer), np.dtype(dtype)
  # A parent that is killed outright tells nobody; its pipes stay open here.
  threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
  multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
  os._exit(1)


def _encode(texts: list[str]) -> Encoded:
  return encode_documents(texts, _tokenizer, _dtype)
