"""Settings of raw text, and of the tokenizer that is trained on it.

`config.py` hands them on: import settings from there.
"""

from __future__ import annotations

import dataclasses

from llm_jax.config_parts import require, require_choice, setting


@dataclasses.dataclass(frozen=True)
class TextConfig:
  """Raw documents: `.txt`, `.jsonl`, `.parquet`; a directory or a glob."""
  path: str = setting("wikipedia", "file, directory or glob, local or gs:// "
                      "or s3://; 'wikipedia' is the embedded default")
  text_column: str = setting("text", "field or column that holds the text")
  errors: str = setting("strict", "strict | replace: bytes that are not UTF-8")
  validation_fraction: float = setting(0.02, "share of documents held out")
  validation_path: str = setting("", "file, directory or glob whose documents "
                                 "are held out instead: all others of path "
                                 "are for training")

  @property
  def holds_out(self) -> bool:
    """Whether any document is held out for validation."""
    return bool(self.validation_path) or self.validation_fraction > 0

  def validate(self) -> None:
    """Raises `ConfigError` for values that cannot be read with."""
    require(bool(self.path), "data.path is empty; give a file, a directory, a "
            "glob, or 'wikipedia'.")
    require_choice("data.errors", self.errors, ("strict", "replace"))
    require(0 <= self.validation_fraction < 1, "data.validation_fraction is "
            f"{self.validation_fraction}; it is a share from 0 to below 1.")


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
  """A tokenizer to be trained."""
  kind: str = setting("bpe", "bpe (byte-level) | sentencepiece (unigram) | "
                      "sentencepiece_bpe")
  vocab_size: int = setting(4096, "tokens, special tokens included")
  pattern: str = setting("default", "bpe: what cuts text first: default "
                         "(GPT-4's with max_digits) | gpt2 | cl100k | o200k | "
                         "llama3, digits as they have them")
  max_digits: int = setting(3, "digits in one token; GPT-4's pattern has 3")
  special_tokens: tuple[str, ...] = setting(
      ("<|endoftext|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>",
       "<|end|>", "<|tool|>", "<|tool_call|>"),
      "added after the learned tokens; never split")
  max_bytes: int = setting(2_000_000_000, "train on this much text, the first "
                           "of it; 0: on all. It bounds the memory, which "
                           "grows with the number of different words")

  def validate(self) -> None:
    """Raises `ConfigError` for a vocabulary too small to hold the bytes."""
    require_choice("tokenizer.kind", self.kind,
                   ("bpe", "sentencepiece", "sentencepiece_bpe"))
    require_choice("tokenizer.pattern", self.pattern,
                   ("default", "gpt2", "cl100k", "o200k", "llama3"))
    require(self.pattern == "default" or self.kind == "bpe",
            f"tokenizer.pattern={self.pattern} is for tokenizer.kind=bpe; "
            "SentencePiece cuts text at spaces.")
    require(self.pattern == "default" or self.max_digits == 3,
            f"tokenizer.pattern={self.pattern} has digits of its own; leave "
            "tokenizer.max_digits as it is, or take the default pattern.")
    least = 256 + len(self.special_tokens)
    require(self.vocab_size >= least, f"tokenizer.vocab_size is "
            f"{self.vocab_size}, but 256 bytes and {len(self.special_tokens)} "
            f"special tokens need at least {least}.")
    require(len(set(self.special_tokens)) == len(self.special_tokens)
            and all(self.special_tokens), "tokenizer.special_tokens has an "
            "empty name, or one name twice; name each once.")
    require(self.max_bytes >= 0, f"tokenizer.max_bytes is {self.max_bytes}; it "
            "cannot be negative (0 reads all).")
    require(1 <= self.max_digits <= 3, f"tokenizer.max_digits is "
            f"{self.max_digits}; choose 1, 2 or 3.")
