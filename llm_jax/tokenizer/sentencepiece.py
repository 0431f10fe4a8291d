"""SentencePiece: a vocabulary over characters, with bytes to fall back on.

Where byte pair encoding grows a vocabulary, the unigram model starts from too
many pieces and drops those whose loss hurts the likelihood of the corpus least
(Kudo 2018); to encode is to find the likeliest split. SentencePiece's own BPE
merges characters, by score. Many published models come with one or the other
(T5 with unigram; Llama 2 and Gemma with BPE), so the house can read them and
train either to compare.

Ours is made lossless: no normalisation, no space added in front, repeated
spaces kept, and a character that is not in the vocabulary spelt in bytes. The
one exception is SentencePiece's own: it writes a space as U+2581, so that
character in a text comes back as a space. Special tokens are *control*
symbols, which no text becomes; user-defined ones would be found in any text.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import sentencepiece

from llm_jax import paths
from llm_jax.config import ConfigError, TokenizerConfig
from llm_jax.tokenizer.bpe import limited
from llm_jax.tokenizer.description import write_description
from llm_jax.tokenizer.protocol import Tokenizer, without_surrogates

FILE_NAME = "tokenizer.model"
MAX_LINES = 10_000_000
_SPACE = "▁"
_BORDER = "\x1f"  # U+001F, "unit separator": no piece is learnt across it


class SentencePieceTokenizer(Tokenizer):
  """A SentencePiece model: ours, or one that came with published weights.

  Attributes:
    vocab_size: pieces, control symbols included.
    special_tokens: control symbol -> id.
  """

  def __init__(self, model: bytes):
    """Reads a serialised model; raises ConfigError if it is not one."""
    self._model = model
    try:
      self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    except RuntimeError as error:
      raise ConfigError("this tokenizer.model is not a SentencePiece model; "
                        "give the file that SentencePiece wrote.") from error
    processor = self._processor
    self.vocab_size = processor.vocab_size()
    self.special_tokens = {
        processor.id_to_piece(i): i for i in range(self.vocab_size)
        if processor.is_control(i)}
    self._bytes = [self._bytes_of(i) for i in range(self.vocab_size)]
    # Llama 2's and others' write "x" as " x", and take the space off again.
    first = processor.encode("x", out_type=str)[0]
    self._adds_space = first.startswith(_SPACE)

  def encode_text(self, text: str) -> list[int]:
    """Ids of `text`, in which nothing is special."""
    return self._processor.encode(without_surrogates(text))

  def encode_joined(self, texts: Sequence[str]
                    ) -> tuple[np.ndarray, np.ndarray]:
    """Ids of each text, one after the other, and how many each has."""
    arrays = self._processor.encode(
        [without_surrogates(text) for text in texts], out_type="numpy",
        num_threads=1)
    lengths = np.asarray([len(array) for array in arrays], np.int64)
    ids = np.concatenate(arrays) if arrays else np.zeros(0)
    return ids.astype(np.int32), lengths

  def token_bytes(self, token_id: int) -> bytes:
    """The bytes of one id; ValueError if it is outside the vocabulary."""
    if not 0 <= token_id < self.vocab_size:
      raise ValueError(f"token id {token_id} is not in this vocabulary of "
                       f"{self.vocab_size}.")
    return self._bytes[token_id]

  def decode_bytes(self, ids) -> bytes:
    """The bytes of `ids`, which need not be whole characters."""
    data = super().decode_bytes(ids)
    return data.removeprefix(b" ") if self._adds_space else data

  def save(self, directory: str | os.PathLike) -> None:
    """Writes tokenizer.model."""
    directory = paths.as_path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / FILE_NAME).write_bytes(self._model)
    write_description(directory, self)

  @property
  def model_bytes(self) -> bytes:
    """The serialised model, as tokenizer.model holds it."""
    return self._model

  def _bytes_of(self, token_id: int) -> bytes:
    piece = self._processor.id_to_piece(token_id)
    if self._processor.is_byte(token_id):
      return bytes([int(piece[3:5], 16)])  # "<0x0A>"
    if self._processor.is_unknown(token_id):
      return "\ufffd".encode()
    if self._processor.is_control(token_id):
      return piece.encode()
    return piece.replace(_SPACE, " ").encode()


def train_sentencepiece(texts: Iterable[str], config: TokenizerConfig
                        ) -> SentencePieceTokenizer:
  """Learns a vocabulary of exactly `config.vocab_size` pieces: unigram, or
  BPE with `config.kind` "sentencepiece_bpe".

  One id is the unknown piece's, which the trainer insists on and which byte
  fallback keeps from being used.

  Args:
    texts: read once. The trainer holds up to `MAX_LINES` of their lines, of
      more a random sample; `max_bytes` bounds what they take.
    config: kind, sizes, digits, special tokens.

  Raises:
    ConfigError: if there is no text, or the vocabulary size does not fit it.
  """
  config.validate()
  model = io.BytesIO()
  faults: list[Exception] = []  # the trainer turns any into a RuntimeError

  def lines() -> Iterator[str]:
    try:
      yield from _lines(limited(texts, config.max_bytes), config.max_digits)
    except Exception as error:
      faults.append(error)
      raise

  try:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines(),
        model_writer=model,
        model_type="bpe" if config.kind == "sentencepiece_bpe" else "unigram",
        vocab_size=config.vocab_size, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False,
        add_dummy_prefix=False, allow_whitespace_only_pieces=True,
        split_digits=config.max_digits == 1,
        pretokenization_delimiter=_BORDER,
        control_symbols=list(config.special_tokens),
        unk_id=0, bos_id=-1, eos_id=-1, pad_id=-1,
        max_sentence_length=1 << 30, input_sentence_size=MAX_LINES,
        shuffle_input_sentence=True, num_threads=os.cpu_count() or 1,
        minloglevel=2)
  except RuntimeError as error:
    if faults:
      raise faults[0] from None
    raise _told(error, config.vocab_size) from error
  return SentencePieceTokenizer(model.getvalue())


def _lines(texts: Iterable[str], max_digits: int) -> Iterator[str]:
  """Lines, with a border after each `max_digits` digits of a longer number.

  Line ends are left to byte fallback: a piece that crosses lines is no word.
  """
  long_number = re.compile(rf"(\d{{{max_digits}}})(?=\d)")
  for text in texts:
    for line in long_number.sub(rf"\1{_BORDER}", text).splitlines():
      if line:
        yield line


def _told(error: RuntimeError, vocab_size: int) -> Exception:
  """The trainer's complaint about a size as a sentence; others as they are."""
  if match := re.search(r"set it to a value <= (\d+)", str(error)):
    return ConfigError(
        f"tokenizer.vocab_size is {vocab_size}, but this text has only enough "
        f"repeated pieces for {match[1]} tokens; give at most {match[1]}, or "
        "more text.")
  if match := re.search(r"smaller than required_chars\. \d+ vs (\d+)",
                        str(error)):
    return ConfigError(
        f"tokenizer.vocab_size is {vocab_size}, but the characters of this "
        f"text, 256 bytes and the special tokens need {match[1]}; give at "
        f"least {match[1]}.")
  return error
