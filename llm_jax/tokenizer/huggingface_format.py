"""tokenizer.json and tokenizer_config.json: the open format of a vocabulary.

JSON cannot hold bytes, so byte-level vocabularies write each byte as a
printable character (GPT-2's `bytes_to_unicode`): a printable one of Latin-1
as itself, the others as U+0100 onwards in order. A space is written "Ġ".
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence


from llm_jax import paths
from llm_jax.tokenizer.chat import JINJA_TEMPLATE, has_roles
from llm_jax.tokenizer.split_pattern import GPT2_PATTERN

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"


def _byte_alphabet() -> dict[int, str]:
  """Byte -> the character that stands for it (openai/gpt-2, encoder.py)."""
  printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
  others = [byte for byte in range(256) if byte not in printable]
  return ({byte: chr(byte) for byte in printable}
          | {byte: chr(0x100 + i) for i, byte in enumerate(others)})


_BYTE_TO_CHAR = _byte_alphabet()
_CHAR_TO_BYTE = {char: byte for byte, char in _BYTE_TO_CHAR.items()}


def to_chars(token: bytes) -> str:
  """Bytes in the printable alphabet."""
  return "".join(map(_BYTE_TO_CHAR.__getitem__, token))


def to_bytes(name: str) -> bytes:
  """The reverse of `to_chars`; KeyError for a character not of it."""
  return bytes(map(_CHAR_TO_BYTE.__getitem__, name))


def to_json(ranks: Mapping[bytes, int],
            merges: Sequence[tuple[bytes, bytes]],
            special_tokens: Mapping[str, int], pattern: str) -> dict:
  """A byte-level BPE vocabulary as the object that tokenizer.json holds."""
  num_learned = sum(len(token) > 1 for token in ranks)
  return {
      "version": "1.0",
      "truncation": None,
      "padding": None,
      "added_tokens": [
          {"id": token_id, "content": name, "single_word": False,
           "lstrip": False, "rstrip": False, "normalized": False,
           "special": True} for name, token_id in special_tokens.items()],
      "normalizer": None,
      "pre_tokenizer": {
          "type": "Sequence",
          "pretokenizers": [
              {"type": "Split", "pattern": {"Regex": pattern},
               "behavior": "Isolated", "invert": False},
              {"type": "ByteLevel", "add_prefix_space": False,
               "trim_offsets": True, "use_regex": False}]},
      "post_processor": None,
      "decoder": {"type": "ByteLevel", "add_prefix_space": True,
                  "trim_offsets": True, "use_regex": True},
      "model": {
          "type": "BPE", "dropout": None, "unk_token": None,
          "continuing_subword_prefix": None, "end_of_word_suffix": None,
          "fuse_unk": False, "byte_fallback": False,
          # A token that no pair makes is found only as a whole piece.
          "ignore_merges": len(merges) < num_learned,
          "vocab": ({to_chars(token): i for token, i in ranks.items()}
                    | dict(special_tokens)),
          "merges": [[to_chars(a), to_chars(b)] for a, b in merges]},
  }


def dumps(tokenizer_json: Mapping) -> str:
  """`tokenizer_json` as readable text."""
  return json.dumps(tokenizer_json, ensure_ascii=False, indent=1)


def write(directory: str | os.PathLike, tokenizer_json: Mapping) -> None:
  """Writes both files into `directory`, which is made if need be."""
  directory = paths.as_path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  names = [token["content"] for token in tokenizer_json["added_tokens"]]
  config = {"tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False}
  for field, name in (("bos_token", "<|endoftext|>"),
                      ("eos_token", "<|endoftext|>"), ("pad_token", "<|pad|>")):
    if name in names:
      config[field] = name
  if has_roles(names):
    config["chat_template"] = JINJA_TEMPLATE
  (directory / TOKENIZER_FILE).write_text(dumps(tokenizer_json))
  (directory / CONFIG_FILE).write_text(json.dumps(config, indent=1))


def split_pattern_of(pre_tokenizer: Mapping | None) -> str | None:
  """The one regular expression that `pre_tokenizer` cuts by.

  None, if it does anything that one expression does not say.
  """
  match pre_tokenizer:
    case {"type": "ByteLevel", "add_prefix_space": False, **rest}:
      return GPT2_PATTERN if rest.get("use_regex", True) else None
    case {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": str(pattern)},
         "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}]}:
      return pattern
    case {"type": "Sequence", "pretokenizers": [only]}:
      return split_pattern_of(only)
  return None
