"""A vocabulary for a browser: what `live.js` needs to encode as Python does.

Byte-level BPE is a list of tokens, perhaps of merges, and regular expressions;
SentencePiece a list of pieces and scores. Where a vocabulary does something
that the script cannot do, the reason is told instead: a page that shows other
tokens than the model gets would be worse than one that shows none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from llm_jax.tokenizer import huggingface_format, split_pattern
from llm_jax.tokenizer import sentencepiece_model as spm
from llm_jax.tokenizer.bpe import BpeTokenizer
from llm_jax.tokenizer.huggingface import HuggingFaceTokenizer
from llm_jax.tokenizer.protocol import Tokenizer
from llm_jax.tokenizer.sentencepiece import SentencePieceTokenizer

_SPACE = "▁"
# Contractions without regard to case, as vocabularies spell them.
_FOLDED = re.compile(r"\(\?i:'s\|'t\|'re\|'ve\|'m\|'ll\|'d\)"
                     r"|'\(\?i:\[sdmt\]\|ll\|ve\|re\)")
_GROUPS = ("(?:", "(?!", "(?=", "(?<!", "(?<=")
_CLASSES = {"s": r"\p{White_Space}", "S": r"\P{White_Space}", "d": r"\p{Nd}",
            "D": r"\P{Nd}"}


class _CannotBe(ValueError):
  """Why a vocabulary cannot be run in a browser."""


def live_vocabulary(tokenizer: Tokenizer) -> dict[str, Any]:
  """What `makeEncoder` of live.js takes; {"kind": "static", "why": ...} for a
  vocabulary that it cannot run."""
  try:
    if isinstance(tokenizer, BpeTokenizer):
      return _bpe(tokenizer)
    if isinstance(tokenizer, SentencePieceTokenizer):
      return _sentencepiece(tokenizer)
    if isinstance(tokenizer, HuggingFaceTokenizer):
      return _huggingface(tokenizer.as_json())
    raise _CannotBe(f"a {type(tokenizer).__name__} is none of the kinds that "
                    "run in a browser")
  except _CannotBe as error:
    return {"kind": "static", "why": str(error)}


def browser_pattern(pattern: str, *, possessive: bool = False) -> str:
  """A split pattern as JavaScript's RegExp takes it with the flag u.

  Args:
    pattern: of Rust's engine or of Oniguruma.
    possessive: `x{1,3}+` and `$` are Rust's: possessive, and the end of the
      text. To Oniguruma they are other things, which are refused.

  Raises:
    ValueError: it has something that JavaScript cannot say.
  """
  pattern = _FOLDED.sub(lambda _: split_pattern.FOLDED_CONTRACTION, pattern)
  out: list[str] = []
  in_class, i = False, 0
  while i < len(pattern):
    char, after = pattern[i], pattern[i + 1:i + 2]
    step = 1
    if char == "\\":
      step = 2
      if after in _CLASSES:
        out.append(_CLASSES[after])
      elif after and after in "pP" and pattern[i + 2:i + 3] == "{":
        step = pattern.index("}", i) + 1 - i
        out.append(pattern[i:i + step])
      elif after and after in r"rntfv^$\.*+?()[]{}|/" or (
          after == "-" and in_class):
        out.append(char + after)
      elif after and not after.isalnum():
        out.append(after)
      else:
        raise _CannotBe(f"its pattern has {char + after}")
    elif in_class:
      if char == "[" or pattern[i:i + 2] == "&&":
        raise _CannotBe("its pattern has a set within a set")
      in_class = char != "]"
      out.append(char)
    elif char == "+" and out and (out[-1] in ("+", "*", "?") or (
        out[-1] == "}" and i > 1)):
      # One that gives nothing back; where it does not matter, without.
      if out[-1] == "}" and not possessive:
        raise _CannotBe("its pattern repeats a repetition")
    elif char == "$":
      if not possessive:
        raise _CannotBe("its pattern has the end of a line")
      out.append(r"(?![\s\S])")
    elif char == "(" and after == "?":
      group = next((g for g in _GROUPS if pattern.startswith(g, i)), None)
      if group is None:
        raise _CannotBe(f"its pattern has {pattern[i:i + 4]}")
      out.append(group)
      step = len(group)
    else:
      in_class = char == "["
      out.append(char)
    i += step
  return "".join(out)


def _bpe(tokenizer: BpeTokenizer) -> dict[str, Any]:
  by_rank = sorted(tokenizer.ranks.items(), key=lambda item: item[1])
  return _byte_level(
      {huggingface_format.to_chars(token): i for token, i in by_rank},
      [browser_pattern(tokenizer.pattern, possessive=True)], whole=True)


def _huggingface(contents: Mapping[str, Any]) -> dict[str, Any]:
  model = contents["model"]
  normalizer = contents.get("normalizer") or {}
  added = contents.get("added_tokens") or []
  if model.get("type") != "BPE" or model.get("byte_fallback") or any(
      model.get(field) for field in (
          "dropout", "continuing_subword_prefix", "end_of_word_suffix")):
    raise _CannotBe("it is no byte-level BPE")
  if normalizer.get("type") not in (None, "NFC"):
    raise _CannotBe(f"it normalises text ({normalizer['type']})")
  if not all(token["special"] for token in added):
    raise _CannotBe("it has tokens that are found in text before it is cut")
  names = {token["content"] for token in added}
  vocabulary = {token: i for token, i in model["vocab"].items()
                if token not in names}
  try:
    for token in vocabulary:
      huggingface_format.to_bytes(token)
  except KeyError:
    raise _CannotBe("it is no byte-level BPE") from None
  merges = [pair if isinstance(pair, str) else " ".join(pair)
            for pair in model["merges"]]
  return _byte_level(
      vocabulary, _steps(contents.get("pre_tokenizer")),
      whole=bool(model.get("ignore_merges")), merges=merges,
      compose=bool(normalizer))


def _steps(pre_tokenizer: Mapping[str, Any] | None) -> list[str]:
  """The patterns that cut text, one after the other."""
  match pre_tokenizer:
    case {"type": "Sequence", "pretokenizers": [*inner]}:
      return [pattern for step in inner for pattern in _steps(step)]
    case {"type": "Split", "pattern": {"Regex": str(pattern)},
          "behavior": "Isolated", "invert": False}:
      return [browser_pattern(pattern)]
    case {"type": "Digits", "individual_digits": bool(single)}:
      return [r"\p{N}" if single else r"\p{N}+"]
    case {"type": "ByteLevel", "add_prefix_space": False, **rest}:
      return ([browser_pattern(split_pattern.GPT2_PATTERN)]
              if rest.get("use_regex", True) else [])
  raise _CannotBe("it cuts text in a way of its own")


def _byte_level(vocabulary: Mapping[str, int], steps: list[str], *,
                whole: bool, merges: list[str] | None = None,
                compose: bool = False) -> dict[str, Any]:
  ids = list(vocabulary.values())
  return {"kind": "bpe", "steps": steps, "tokens": "\n".join(vocabulary),
          "ids": None if ids == list(range(len(ids))) else ids,
          "merges": None if merges is None else "\n".join(merges),
          "whole": whole, "compose": compose}


def _sentencepiece(tokenizer: SentencePieceTokenizer) -> dict[str, Any]:
  pieces = spm.read_model(tokenizer.model_bytes)
  types = set(pieces.types)
  if pieces.normalization not in ("identity", "") or pieces.one_space:
    raise _CannotBe("it normalises text")
  if pieces.model_type not in (spm.UNIGRAM, spm.BPE):
    raise _CannotBe("it is neither unigram nor BPE")
  if list(pieces.types).count(spm.BYTE) != 256:
    raise _CannotBe("it cannot fall back on bytes")
  if types & {spm.USER_DEFINED, spm.UNUSED}:
    raise _CannotBe("it has pieces that are found in text before it is cut")
  across = re.compile(f"[^{_SPACE}]{_SPACE}")
  return {"kind": "sentencepiece", "unigram": pieces.model_type == spm.UNIGRAM,
          "pieces": list(pieces.texts), "scores": list(pieces.scores),
          "types": list(pieces.types), "add_space": pieces.add_space,
          "words_apart": not any(map(across.search, pieces.texts))}
