"""Where text is cut before bytes are merged, by GGUF's names for it.

A GGUF file does not hold its vocabulary's split pattern, only a name
(`tokenizer.ggml.pre`) that programs look up. This is such a table: each name's
steps, as a tokenizer.json would have them. Sources are the tokenizer.json
files of the models that the names come from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from llm_jax.tokenizer.split_pattern import (
    CONTRACTION, GPT2_PATTERN, SPACES, cased_pattern, split_pattern)

def _split(pattern: str) -> dict[str, Any]:
  return {"type": "Split", "pattern": {"Regex": pattern},
          "behavior": "Isolated", "invert": False}


def _byte_level(use_regex: bool) -> dict[str, Any]:
  return {"type": "ByteLevel", "add_prefix_space": False,
          "trim_offsets": True, "use_regex": use_regex}


_DIGITS = {"type": "Digits", "individual_digits": True}
_GPT2 = (_byte_level(True),)
_DIGIT_GPT2 = (_DIGITS, _byte_level(True))


def _steps(*patterns: str) -> tuple[dict[str, Any], ...]:
  return (*map(_split, patterns), _byte_level(False))


_THREE_DIGITS = _steps(split_pattern(3))
_ONE_DIGIT = _steps(split_pattern(1))
_DEEPSEEK_3 = _steps(
    r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"
    r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|" + SPACES)

# The first name of equal steps is the one that is written.
STEPS: dict[str, tuple[dict[str, Any], ...]] = {
    "llama-bpe": _THREE_DIGITS, "llama3": _THREE_DIGITS,
    "llama-v3": _THREE_DIGITS, "falcon3": _THREE_DIGITS,
    "pixtral": _THREE_DIGITS, "lfm2": _THREE_DIGITS, "dbrx": _THREE_DIGITS,
    "smaug-bpe": _THREE_DIGITS, "chatglm-bpe": _THREE_DIGITS,
    "glm4": _THREE_DIGITS,
    "qwen2": _ONE_DIGIT, "deepseek-r1-qwen": _ONE_DIGIT,
    "stablelm2": _ONE_DIGIT,
    "gpt-2": _GPT2, "olmo": _GPT2, "mpt": _GPT2, "phi-2": _GPT2,
    "smollm": _DIGIT_GPT2, "starcoder": _DIGIT_GPT2, "refact": _DIGIT_GPT2,
    "command-r": _DIGIT_GPT2, "codeshell": _DIGIT_GPT2,
    "minerva-7b": _DIGIT_GPT2,
    "gpt-4o": _steps(cased_pattern(f"(?:{CONTRACTION})?", r"\p{N}{1,3}")),
    "tekken": _steps(cased_pattern("", r"\p{N}")),
    "deepseek-v3": _DEEPSEEK_3,
}
# A piece that is a token as a whole is not merged (llama.cpp's own list).
WHOLE_PIECES = frozenset(
    ("llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "lfm2", "glm4",
     "tekken"))
# Qwen's vocabularies compose characters first; llama.cpp leaves that out.
COMPOSED = frozenset(("qwen2", "deepseek-r1-qwen"))


def _canonical(steps: list[Mapping[str, Any]] | tuple) -> list[Any]:
  """What of the steps decides where text is cut."""
  found: list[Any] = []
  for step in steps:
    match step:
      case {"type": "Sequence", "pretokenizers": inner}:
        found += _canonical(inner)
      case {"type": "Split", "pattern": {"Regex": pattern},
            "behavior": "Isolated", "invert": False}:
        found.append(_same_words(pattern))
      case {"type": "Digits", "individual_digits": True}:
        found.append("digits")
      case {"type": "ByteLevel", "add_prefix_space": False, **rest}:
        if rest.get("use_regex", True):
          found.append(_same_words(GPT2_PATTERN))
      case _:
        found.append(step)
  return found


def _same_words(pattern: str) -> str:
  """One spelling of patterns that differ in how contractions are written."""
  pattern = pattern.replace("[sS\u017fdDmMtT]", "[sSdDmMtT]")
  pattern = re.sub(r"\(\?i:'s\|'t\|'re\|'ve\|'m\|'ll\|'d\)",
                   lambda _: CONTRACTION, pattern)
  return re.sub(r"'\(\?i:\[sdmt\]\|ll\|ve\|re\)",
                lambda _: CONTRACTION, pattern)


def name_of(pre_tokenizer: Mapping[str, Any] | None, whole_pieces: bool | None
            ) -> str | None:
  """The name of a tokenizer.json's steps, if any name means just them.

  Args:
    pre_tokenizer: as tokenizer.json has it.
    whole_pieces: whether a piece that is a token is left whole; None, if that
      makes no difference to this vocabulary.
  """
  wanted = _canonical([pre_tokenizer] if pre_tokenizer else [])
  for name, steps in STEPS.items():
    if _canonical(steps) == wanted and (
        whole_pieces is None or whole_pieces == (name in WHOLE_PIECES)):
      return name
  return None
