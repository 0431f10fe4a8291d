"""What the rest of the house may ask of a tokenizer.

A vocabulary is a list of byte strings; everything else follows. A kind of
tokenizer therefore has three things to say - how plain text becomes ids, which
bytes an id stands for, how it is stored - and inherits the remaining methods.

Special tokens are apart on purpose. `encode` never makes one out of text: a
web page, a user or a model that writes "<|assistant|>" gets those thirteen
characters, not the token, unless the caller says `allow_special=True`.
"""

from __future__ import annotations

import os
import re
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np

from llm_jax.config import ConfigError

# The token between documents, by the names that vocabularies give it.
_ENDOFTEXT_NAMES = (
    "<|endoftext|>", "<|end_of_text|>", "<｜end▁of▁sentence｜>", "</s>",
    "<eos>")


_GROUP_CHARACTERS = 1 << 20


class Tokenizer(Protocol):
  """Text <-> ids.

  Attributes:
    vocab_size: rows an embedding table needs: the largest id, plus one.
    special_tokens: name -> id of the tokens that no plain text becomes.
    chat_template: Jinja template that came with a checkpoint; empty: none but
      ours (`tokenizer/chat.py`).
    token_names: what a template calls some tokens ("bos_token", "eos_token")
      -> their names.
    stop_token_ids: tokens that a checkpoint says end its answers.
    start_token_id: token that a checkpoint's texts begin with, if any.
    encodes_without_lock: whether `encode_joined` lets other threads run.
  """
  vocab_size: int
  special_tokens: dict[str, int]
  chat_template: str = ""
  token_names: Mapping[str, str] = types.MappingProxyType({})
  stop_token_ids: tuple[int, ...] = ()
  start_token_id: int | None = None
  encodes_without_lock: bool = False

  # --- what each kind says for itself -----------------------------------------

  def encode_text(self, text: str) -> list[int]:
    """Ids of `text`, in which nothing is special."""
    ...

  def token_bytes(self, token_id: int) -> bytes:
    """The bytes that one id stands for; a special token's are its name.

    Raises:
      ValueError: if the id is outside the vocabulary.
    """
    ...

  def save(self, directory: str | os.PathLike) -> None:
    """Writes files that `load_tokenizer(directory)` reads back."""
    ...

  # --- what all of them have --------------------------------------------------

  def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
    """Ids of `text`.

    Args:
      text: anything; a lone surrogate becomes U+FFFD.
      allow_special: turn the names of special tokens into those tokens. Never
        use it on text that someone else wrote.
    """
    if not (allow_special and self.special_tokens):
      return self.encode_text(text)
    names = sorted(self.special_tokens, key=len, reverse=True)
    ids = []
    for piece in re.split(f"({'|'.join(map(re.escape, names))})", text):
      if piece in self.special_tokens:
        ids.append(self.special_tokens[piece])
      elif piece:
        ids.extend(self.encode_text(piece))
    return ids

  def encode_array(self, text: str) -> np.ndarray:
    """`encode_text` as an int32 array [num_tokens]."""
    return np.asarray(self.encode_text(text), np.int32)

  def encode_joined(self, texts: Sequence[str]
                    ) -> tuple[np.ndarray, np.ndarray]:
    """Ids of each text, one after the other, and how many each has.

    Returns:
      (ids int32 [sum of lengths], lengths int64 [num_texts])
    """
    arrays = [self.encode_array(text) for text in texts]
    lengths = np.asarray([len(array) for array in arrays], np.int64)
    return (np.concatenate(arrays) if arrays else np.zeros(0, np.int32),
            lengths)

  def encode_batch(self, texts: Iterable[str], *,
                   num_threads: int | None = None) -> list[np.ndarray]:
    """Ids of each text, nothing special, as int32 arrays [num_tokens].

    Encoders release Python's lock while they encode. Threads are given many
    texts at a time, so that they do not spend it waiting for that lock.
    """
    num_threads = num_threads or os.cpu_count() or 1
    with ThreadPoolExecutor(num_threads) as pool:
      encoded = pool.map(self.encode_joined, _groups(texts))
      return [array for ids, lengths in encoded
              for array in np.split(ids, np.cumsum(lengths)[:-1])]

  def decode_bytes(self, ids: Sequence[int] | np.ndarray) -> bytes:
    """The bytes of `ids`, which need not be whole characters."""
    return b"".join(self.token_bytes(i) for i in id_list(ids))

  def decode(self, ids: Sequence[int] | np.ndarray) -> str:
    """The text of `ids`; broken UTF-8 shows as U+FFFD."""
    return self.decode_bytes(ids).decode("utf-8", errors="replace")

  @property
  def endoftext_id(self) -> int:
    """The token that stands between documents.

    Raises:
      ConfigError: if the vocabulary has none.
    """
    for name in _ENDOFTEXT_NAMES:
      if name in self.special_tokens:
        return self.special_tokens[name]
    raise ConfigError(
        "this tokenizer has no token between documents (looked for "
        f"{', '.join(_ENDOFTEXT_NAMES)}); add '<|endoftext|>' to "
        "tokenizer.special_tokens and train it again.")


def _groups(texts: Iterable[str]) -> Iterator[list[str]]:
  """Texts in lists of about `_GROUP_CHARACTERS`."""
  group, characters = [], 0
  for text in texts:
    group.append(text)
    characters += len(text) + 1
    if characters >= _GROUP_CHARACTERS:
      yield group
      group, characters = [], 0
  if group:
    yield group


def id_list(ids: Sequence[int] | np.ndarray) -> list[int]:
  """`ids`, whatever holds them, as Python integers."""
  return np.asarray(ids).tolist() if len(ids) else []


def without_surrogates(text: str) -> str:
  """`text` with lone surrogates as U+FFFD, so that UTF-8 can hold it.

  JSON can write half of a surrogate pair ("\\ud800"), which Python keeps and
  no encoder accepts.
  """
  try:
    text.encode("utf-8")
    return text
  except UnicodeEncodeError:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
