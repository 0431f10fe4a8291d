"""The tokenizer of a Hugging Face folder, and its ids in config.json.

The vocabulary with its template and stops is `llm_jax.tokenizer`'s; here is
what the model's own files say of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from etils import epath

from llm_jax.config import ConfigError
from llm_jax.tokenizer import chat
from llm_jax.tokenizer.huggingface_format import CONFIG_FILE, TOKENIZER_FILE
from llm_jax.tokenizer.loading import SENTENCEPIECE_FILE, load_tokenizer
from llm_jax.tokenizer.protocol import Tokenizer

GENERATION_FILE = "generation_config.json"


def read_tokenizer(folder: epath.Path, config_json: dict[str, Any],
                   log: Callable[[str], None]) -> Tokenizer | None:
  """The folder's tokenizer; None without one."""
  if not any((folder / name).exists()
             for name in (TOKENIZER_FILE, SENTENCEPIECE_FILE)):
    if (folder / "vocab.json").exists():
      log(f"{folder}: its tokenizer is in vocab.json and merges.txt only, "
          "which are not read here; have transformers write tokenizer.json: "
          "AutoTokenizer.from_pretrained(folder).save_pretrained(folder).")
    return None
  tokenizer = load_tokenizer(folder)
  if not tokenizer.stop_token_ids:  # no generation_config.json
    stops = config_json.get("eos_token_id")
    stops = stops if isinstance(stops, list) else [stops]
    tokenizer.stop_token_ids = tuple(
        i for i in stops
        if isinstance(i, int) and 0 <= i < tokenizer.vocab_size)
  return tokenizer


def write_tokenizer(folder: epath.Path, tokenizer: Tokenizer
                    ) -> dict[str, Any]:
  """Writes the tokenizer's files; returns its ids for config.json."""
  tokenizer.save(folder)
  file = folder / CONFIG_FILE
  names = json.loads(file.read_text()) if file.exists() else {}
  special = tokenizer.special_tokens
  ids = {f"{role}_token_id": special[names[f"{role}_token"]]
         for role in ("bos", "eos", "pad")
         if names.get(f"{role}_token") in special}
  stops = _stop_ids(tokenizer)
  if stops:
    ids["eos_token_id"] = stops[0] if len(stops) == 1 else stops
    (folder / GENERATION_FILE).write_text(json.dumps(ids, indent=2) + "\n")
  return ids


def _stop_ids(tokenizer: Tokenizer) -> list[int]:
  """What ends an answer, or at least a document."""
  if chat.can_chat(tokenizer):
    return list(chat.stop_ids(tokenizer))
  if tokenizer.stop_token_ids:
    return list(tokenizer.stop_token_ids)
  try:
    return [tokenizer.endoftext_id]
  except ConfigError:
    return []
