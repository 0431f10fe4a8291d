"""tiktoken's files of ranks: a token in base64 and its rank on each line.

    IQ== 0
    Ig== 1

That is the whole format (`cl100k_base.tiktoken`; Llama 3's `tokenizer.model`):
where text is cut and which tokens are special stands in the program that reads
it. So a vocabulary is known by its number of ranks; for any other the user
says which pattern it was made with.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import re
from collections.abc import Mapping

from llm_jax.config import ConfigError, require
from llm_jax.tokenizer.bpe import BpeTokenizer
from llm_jax.tokenizer.split_pattern import PATTERNS, split_pattern

SUFFIX = ".tiktoken"
_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,2} \d+\r?\n")


@dataclasses.dataclass(frozen=True)
class _Known:
  """What a published vocabulary's program adds to its ranks."""
  pattern: str
  special_tokens: Mapping[str, int]


def _llama3_special() -> dict[str, int]:
  """Llama 3.1's names (of Llama 3.0's, the reserved ones differ)."""
  names = {0: "begin_of_text", 1: "end_of_text", 4: "finetune_right_pad_id",
           6: "start_header_id", 7: "end_header_id", 8: "eom_id", 9: "eot_id",
           10: "python_tag"}
  reserved = (f"reserved_special_token_{i}" for i in range(256))
  return {f"<|{names.get(i) or next(reserved)}|>": 128_000 + i
          for i in range(256)}


_KNOWN = {  # number of ranks ->
    50_256: _Known("gpt2", {"<|endoftext|>": 50_256}),
    50_280: _Known("gpt2", {"<|endoftext|>": 50_256}),  # p50k_base
    100_256: _Known("cl100k", {
        "<|endoftext|>": 100_257, "<|fim_prefix|>": 100_258,
        "<|fim_middle|>": 100_259, "<|fim_suffix|>": 100_260,
        "<|endofprompt|>": 100_276}),
    128_000: _Known("llama3", _llama3_special()),
    199_998: _Known("o200k", {"<|endoftext|>": 199_999,
                              "<|endofprompt|>": 200_018}),
}


def looks_like_ranks(contents: bytes) -> bool:
  """Whether a file begins as such a file does."""
  return _LINE.match(contents) is not None


def bpe_from_ranks(contents: bytes, file: str, pattern: str = ""
                   ) -> BpeTokenizer:
  """The vocabulary of a file of ranks.

  Args:
    contents: of the file.
    file: its name, for sentences.
    pattern: name of the split pattern; empty: that of the published vocabulary
      with so many ranks. A vocabulary that is none of these gets
      <|endoftext|> as its one special token, after the last rank.

  Raises:
    ConfigError: a line that is none, tokens or ranks that occur twice, bytes
      that are missing, or no pattern for a vocabulary that is not known.
  """
  ranks = _read_ranks(contents, file)
  known = _KNOWN.get(len(ranks))
  require(bool(known or pattern), f"{file} has {len(ranks)} ranks, which is no "
          "vocabulary that is known here; say how its text is cut: "
          f"{file}@PATTERN, with one of {', '.join(PATTERNS)}, default.")
  special = known.special_tokens if known else {
      "<|endoftext|>": max(ranks.values()) + 1}
  require(not set(special.values()) & set(ranks.values()), f"{file} has ranks "
          f"where the special tokens of {known and known.pattern} are; "
          "download it again.")
  return BpeTokenizer(ranks, special,
                      split_pattern(3, pattern or known.pattern))


def _read_ranks(contents: bytes, file: str) -> dict[bytes, int]:
  ranks: dict[bytes, int] = {}
  for number, line in enumerate(contents.splitlines(), start=1):
    if not line.strip():
      continue
    try:
      token, rank = line.split()
      token, rank = base64.b64decode(token, validate=True), int(rank)
    except (ValueError, binascii.Error) as error:
      raise ConfigError(
          f"{file} line {number} is not a token in base64 and its rank "
          f"({error}); download it again.") from error
    require(token not in ranks, f"{file} line {number} has the token {token!r} "
            "a second time; download it again.")
    require(bool(token) and rank >= 0, f"{file} line {number} has an empty "
            "token or a negative rank; download it again.")
    ranks[token] = rank
  require(len(set(ranks.values())) == len(ranks), f"{file} has one rank for "
          "two tokens; download it again.")
  missing = sum(bytes([byte]) not in ranks for byte in range(256))
  require(not missing, f"{file} lacks {missing} of the 256 bytes, without "
          "which not every text can be encoded: it was cut short; download it "
          "again.")
  return ranks
