"""A tokenizer.json that is not plain byte-level BPE, run as it is.

`loading.py` prefers `BpeTokenizer`; this wraps what that cannot say: WordPiece,
BERT-style normalisation, SentencePiece-like BPE, several split patterns.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Sequence

import numpy as np
import tokenizers

from llm_jax import paths
from llm_jax.config import ConfigError
from llm_jax.tokenizer import huggingface_format
from llm_jax.tokenizer.description import write_description
from llm_jax.tokenizer.protocol import (
  Tokenizer,
  id_list,
  without_surrogates,
)


class HuggingFaceTokenizer(Tokenizer):
  """Any `tokenizers.Tokenizer` behind our protocol.

  Attributes:
    vocab_size: the largest id, plus one.
    special_tokens: the added tokens that are marked special.
  """

  def __init__(self, tokenizer_json: str):
    """Reads the text of a tokenizer.json; ConfigError if it is not one."""
    try:
      self._tokenizer = tokenizers.Tokenizer.from_str(tokenizer_json)
    except Exception as error:  # tokenizers raises bare Exception
      raise ConfigError(f"this tokenizer.json cannot be read: {error}."
                        ) from error
    self._json = tokenizer_json
    contents = json.loads(tokenizer_json)
    # The length of a batch is not a vocabulary's business.
    self._tokenizer.no_padding()
    self._tokenizer.no_truncation()
    self._tokenizer.encode_special_tokens = True  # as text: nothing is special
    added = self._tokenizer.get_added_tokens_decoder()
    self.special_tokens = {token.content: i for i, token in added.items()
                           if token.special}
    self._added = {i: token.content.encode() for i, token in added.items()}
    ids = self._tokenizer.get_vocab(with_added_tokens=True).values()
    self.vocab_size = max(ids) + 1
    self._is_byte_level = "ByteLevel" in _types(contents.get("decoder"))

  def encode_text(self, text: str) -> list[int]:
    """Ids of `text`, in which nothing is special; no token is added."""
    return self._tokenizer.encode(without_surrogates(text),
                                  add_special_tokens=False).ids

  def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
    """As the protocol's; special tokens take the spaces that are theirs.

    (A few vocabularies' swallow the spaces before or after them.)
    """
    if not allow_special:
      return self.encode_text(text)
    return self._with_special.encode(without_surrogates(text),
                                     add_special_tokens=False).ids

  @functools.cached_property
  def _with_special(self) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer.from_str(self._json)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer

  def token_bytes(self, token_id: int) -> bytes:
    """The bytes of one id; ValueError if it is outside the vocabulary.

    Exact for byte-level vocabularies. Others define the text of a sequence
    only; there this is the token on its own, as `tokenizers` decodes it.
    """
    token_id = int(token_id)
    if token_id in self._added:
      return self._added[token_id]
    piece = (self._tokenizer.id_to_token(token_id) if token_id >= 0 else None)
    if piece is None:
      raise ValueError(f"token id {token_id} is not in this vocabulary of "
                       f"{self.vocab_size}.")
    if self._is_byte_level:
      return huggingface_format.to_bytes(piece)
    if len(piece) == 6 and piece.startswith("<0x"):
      return bytes([int(piece[3:5], 16)])
    if "▁" in piece:
      return piece.replace("▁", " ").encode()
    return self._tokenizer.decode([token_id],
                                  skip_special_tokens=False).encode()

  def decode_bytes(self, ids: Sequence[int] | np.ndarray) -> bytes:
    """The bytes of `ids`, which need not be whole characters."""
    if self._is_byte_level:
      return super().decode_bytes(ids)
    return self._tokenizer.decode(id_list(ids),
                                  skip_special_tokens=False).encode()

  def save(self, directory: str | os.PathLike) -> None:
    """Writes the tokenizer.json that was read, and what stood beside it."""
    directory = paths.as_path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / huggingface_format.TOKENIZER_FILE).write_text(self._json)
    write_description(directory, self)

  def as_json(self) -> dict:
    """The object that tokenizer.json holds."""
    return json.loads(self._json)


def _types(part: object) -> set[str]:
  """Every `type` named within one component of a tokenizer.json."""
  if isinstance(part, list):
    return set().union(*map(_types, part))
  if isinstance(part, dict):
    return {str(part.get("type"))}.union(*map(_types, part.values()))
  return set()
