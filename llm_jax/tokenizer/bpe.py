"""Byte-level byte pair encoding: trained by `tokenizers`, run by `tiktoken`.

Why bytes: the 256 bytes spell every text there is, so there is no unknown
token, no normalisation, and `decode(encode(text)) == text` always. Why pairs:
starting from bytes, the commonest neighbouring pair becomes a new token, again
and again (Gage 1994; Sennrich et al. 2016; on bytes, Radford et al. 2019), so
a common word costs one token and a rare one a few.

The order in which tokens were made is the whole state. Id i < 256 is byte i,
id 256 + k is the k-th merge, special tokens come last. To encode is to merge,
within each piece of the split pattern, the neighbouring pair that was made
earliest, until no pair is a token. tiktoken is told the tokens in order and
asks "is this concatenation a token?"; a tokenizer.json lists the pairs and
asks "is this very pair a merge?". The two agree: whatever spans the bytes of a
token was merged, while training, in the same order as it would be now, so of
all pairs that spell the token only one is ever met. `merges_of` recovers it.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import tiktoken
import tokenizers

from llm_jax.config import ConfigError, TokenizerConfig
from llm_jax.tokenizer import huggingface_format
from llm_jax.tokenizer.description import write_description
from llm_jax.tokenizer.protocol import Tokenizer, id_list, without_surrogates
from llm_jax.tokenizer.split_pattern import split_pattern

# tiktoken's regular expression engine keeps a stack of a million states and
# aborts when a run of whitespace outgrows it.
_LONGEST_SPACES = 100_000

# A pair seen once says nothing about other text.
_MIN_FREQUENCY = 2


class BpeTokenizer(Tokenizer):
  """A byte-level BPE vocabulary.

  Attributes:
    ranks: token bytes -> id; a lower id merges first.
    special_tokens: name -> id.
    pattern: regular expression that cuts text into pieces.
    vocab_size: the largest id, plus one.
  """

  encodes_without_lock = True

  def __init__(self, ranks: Mapping[bytes, int],
               special_tokens: Mapping[str, int], pattern: str):
    """Builds the encoder; raises ValueError if tiktoken refuses `pattern`."""
    self.ranks = dict(ranks)
    self.special_tokens = dict(special_tokens)
    self.pattern = pattern
    self._bytes = {i: token for token, i in self.ranks.items()}
    self._bytes |= {i: name.encode() for name, i in special_tokens.items()}
    self.vocab_size = max(self._bytes) + 1
    self._encoding = tiktoken.Encoding(
        "llm_jax", pat_str=pattern, mergeable_ranks=self.ranks,
        special_tokens=self.special_tokens)

  def encode_text(self, text: str) -> list[int]:
    """Ids of `text`, in which nothing is special."""
    text = without_surrogates(text)
    if _has_long_spaces(text):
      return self._slow_encoder.encode(text, add_special_tokens=False).ids
    return self._encoding.encode_ordinary(text)

  def encode_array(self, text: str) -> np.ndarray:
    """`encode_text` as an int32 array [num_tokens]; makes no Python list."""
    text = without_surrogates(text)
    if _has_long_spaces(text):
      return np.asarray(self.encode_text(text), np.int32)
    ids = self._encoding.encode_to_numpy(text, disallowed_special=())
    return ids.astype(np.int32)

  def encode_joined(self, texts: Sequence[str]
                    ) -> tuple[np.ndarray, np.ndarray]:
    """Ids of each text, one after the other, and how many each has.

    All are encoded in one call, with a special token between them that none
    of them spells: a call for each would take a sixth longer for short texts,
    and would hold Python's lock in between.
    """
    # One that no end and beginning of its own can make: not "aa", but "<a>".
    border = next((name for name in self.special_tokens if not any(
        name.startswith(name[i:]) for i in range(1, len(name)))), "")
    joined = without_surrogates(border.join(texts)) if border else ""
    if (not joined or joined.count(border) != len(texts) - 1
        or _has_long_spaces(joined)):
      return super().encode_joined(texts)
    ids = self._encoding.encode_to_numpy(
        joined, allowed_special={border}, disallowed_special=())
    is_border = ids == self.special_tokens[border]
    ends = np.append(np.flatnonzero(is_border), len(ids))
    return (ids[~is_border].astype(np.int32),
            np.diff(ends, prepend=-1).astype(np.int64) - 1)

  def token_bytes(self, token_id: int) -> bytes:
    """The bytes of one id; ValueError if it is outside the vocabulary."""
    try:
      return self._bytes[int(token_id)]
    except KeyError:
      raise ValueError(f"token id {token_id} is not in this vocabulary of "
                       f"{self.vocab_size}.") from None

  def decode_bytes(self, ids: Sequence[int] | np.ndarray) -> bytes:
    """The bytes of `ids`, which need not be whole characters."""
    ids = id_list(ids)
    try:
      return self._encoding.decode_bytes(ids)
    except (KeyError, OverflowError):
      return super().decode_bytes(ids)  # names the id that is at fault

  def save(self, directory: str | os.PathLike) -> None:
    """Writes tokenizer.json and tokenizer_config.json.

    Both are Hugging Face's formats: `tokenizers` and `transformers` read them
    and give the same ids.
    """
    huggingface_format.write(directory, self.as_json())
    write_description(directory, self)

  def as_json(self) -> dict:
    """The vocabulary as the object that tokenizer.json holds."""
    return huggingface_format.to_json(
        self.ranks, merges_of(self.ranks), self.special_tokens, self.pattern)

  @functools.cached_property
  def _slow_encoder(self) -> tokenizers.Tokenizer:
    """Hugging Face's encoder: same ids, and no limit on whitespace."""
    model = self.as_json() | {"added_tokens": []}
    return tokenizers.Tokenizer.from_str(huggingface_format.dumps(model))


def _has_long_spaces(text: str) -> bool:
  """Whether whitespace fills a run of `_LONGEST_SPACES` (or half of one).

  Such a run covers one of the stretches that are looked at, of which all but
  the first character is seldom read.
  """
  half = _LONGEST_SPACES // 2
  return any(text[i].isspace() and text[i:i + half].isspace()
             for i in range(0, len(text) - half + 1, half))


def train_bpe(texts: Iterable[str], config: TokenizerConfig, *,
              show_progress: bool = False) -> BpeTokenizer:
  """Learns a vocabulary of exactly `config.vocab_size` tokens.

  What is held are the different words (pieces of the split pattern) and how
  often each occurs, up to a kilobyte a word while pairs are counted: a
  stream that repeats itself takes no more memory however long it is. New text
  has new words without end (their number grows with about the square root of
  its length, Heaps 1978), which is why `max_bytes` has a default.

  Args:
    texts: read once, never held.
    config: sizes, pattern, special tokens; `max_bytes` limits what is read.
    show_progress: draw bars of words and merges on a terminal's stderr.

  Raises:
    ConfigError: if there is no text, or too little for that many tokens.
  """
  config.validate()
  pattern = split_pattern(config.max_digits, config.pattern)
  num_learned = config.vocab_size - len(config.special_tokens)
  learner = tokenizers.Tokenizer(tokenizers.models.BPE())
  learner.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([
      tokenizers.pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated"),
      tokenizers.pre_tokenizers.ByteLevel(
          add_prefix_space=False, use_regex=False)])
  learner.train_from_iterator(
      limited(texts, config.max_bytes),
      tokenizers.trainers.BpeTrainer(
          vocab_size=num_learned, min_frequency=_MIN_FREQUENCY,
          initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
          special_tokens=[], show_progress=show_progress))

  by_age = sorted(learner.get_vocab().items(), key=lambda item: item[1])
  tokens = [huggingface_format.to_bytes(name) for name, _ in by_age]
  learned = [token for token in tokens if len(token) > 1]
  if len(learned) + 256 < num_learned:
    reachable = len(learned) + 256 + len(config.special_tokens)
    raise ConfigError(
        f"tokenizer.vocab_size is {config.vocab_size}, but this text has only "
        f"enough repeated pairs for {reachable} tokens; give at most "
        f"{reachable}, or more text.")
  ranks = {bytes([byte]): byte for byte in range(256)}
  ranks |= {token: 256 + i for i, token in enumerate(learned)}
  special = {name: num_learned + i
             for i, name in enumerate(config.special_tokens)}
  return BpeTokenizer(ranks, special, pattern)


def limited(texts: Iterable[str], max_bytes: int) -> Iterator[str]:
  """The first `max_bytes` bytes of `texts` (0: all), as texts.

  Raises:
    ConfigError: if there is nothing in them.
  """
  total = 0
  for text in texts:
    text = without_surrogates(text)
    size = len(text) if text.isascii() else len(text.encode())
    if max_bytes and total + size >= max_bytes:
      yield text.encode()[:max_bytes - total].decode("utf-8", errors="ignore")
      return
    total += size
    if text:
      yield text
  if not total:
    raise ConfigError("there is no text to learn a tokenizer from: the "
                      "training split is empty; give data.path more text.")


def merges_of(ranks: Mapping[bytes, int]) -> list[tuple[bytes, bytes]]:
  """The pair that makes each token longer than a byte, in order of rank.

  A token's own bytes are encoded with the tokens older than it; the two parts
  that remain are its pair. Tokens that leave more than two parts (a few
  vocabularies hold some, as whole words) have no pair and are left out.
  """
  merges = []
  for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
    if len(token) > 1:
      parts = split_by_older(token, ranks, rank)
      if len(parts) == 2:
        merges.append((parts[0], parts[1]))
  return merges


def split_by_older(token: bytes, ranks: Mapping[bytes, int],
                   rank: int) -> list[bytes]:
  """`token` encoded with the tokens of lower `rank` only."""
  parts = [token[i:i + 1] for i in range(len(token))]
  while len(parts) > 2:
    pair_ranks = [ranks.get(parts[i] + parts[i + 1], rank)
                  for i in range(len(parts) - 1)]
    first = min(range(len(pair_ranks)), key=pair_ranks.__getitem__)
    if pair_ranks[first] >= rank:
      break
    parts[first:first + 2] = [parts[first] + parts[first + 1]]
  return parts
