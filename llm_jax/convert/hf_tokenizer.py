"""The tokenizer's side of a Hugging Face folder: template, start and stop.

The vocabulary itself is `llm_jax.tokenizer`'s. Beside it a folder says how a
conversation is written (a Jinja template), which tokens end an answer and
which one begins a text. Those are kept on the tokenizer object as
`chat_template`, `stop_token_ids` and `start_token_id`, so that they go wherever
the model goes; a tokenizer of our own has the ones of tokenizer/chat.py.
"""

from __future__ import annotations

import json
from typing import Any

from etils import epath

from llm_jax.config import ConfigError
from llm_jax.tokenizer import chat
from llm_jax.tokenizer.loading import SENTENCEPIECE_FILE, load_tokenizer
from llm_jax.tokenizer.huggingface_format import CONFIG_FILE, TOKENIZER_FILE
from llm_jax.tokenizer.protocol import Tokenizer

TEMPLATE_FILE = "chat_template.jinja"
GENERATION_FILE = "generation_config.json"


def _json(file: epath.Path) -> dict[str, Any]:
  try:
    contents = json.loads(file.read_text()) if file.exists() else {}
  except ValueError as error:
    raise ConfigError(f"{file} is not JSON ({error}); download it again."
                      ) from error
  return contents if isinstance(contents, dict) else {}


def read_tokenizer(folder: epath.Path, config_json: dict[str, Any]
                   ) -> Tokenizer | None:
  """The folder's tokenizer with its template and stops; None without one."""
  if not any((folder / name).exists()
             for name in (TOKENIZER_FILE, SENTENCEPIECE_FILE)):
    return None
  tokenizer = load_tokenizer(folder)
  settings = _json(folder / CONFIG_FILE)
  template = settings.get("chat_template") or ""
  if isinstance(template, list):  # several, by name
    template = next((t.get("template", "") for t in template
                     if t.get("name") == "default"), "")
  if (folder / TEMPLATE_FILE).exists():
    template = (folder / TEMPLATE_FILE).read_text()
  generation = _json(folder / GENERATION_FILE)
  stops = generation.get("eos_token_id", config_json.get("eos_token_id"))
  stops = stops if isinstance(stops, list) else [stops]
  start = config_json.get("bos_token_id")
  tokenizer.chat_template = template
  tokenizer.stop_token_ids = tuple(
      i for i in stops if isinstance(i, int) and i < tokenizer.vocab_size)
  tokenizer.start_token_id = (
      start if settings.get("add_bos_token") and isinstance(start, int)
      else None)
  return tokenizer


def stop_ids(tokenizer: Tokenizer) -> list[int]:
  """The ids that end an answer or a document, the document's first."""
  stops = list(getattr(tokenizer, "stop_token_ids", ()))
  if not stops:
    try:
      stops = [tokenizer.endoftext_id]
    except ConfigError:
      return []
    if chat.END in tokenizer.special_tokens:
      stops.append(tokenizer.special_tokens[chat.END])
  return stops


def write_tokenizer(folder: epath.Path, tokenizer: Tokenizer
                    ) -> dict[str, Any]:
  """Writes the tokenizer's files; returns its ids for config.json."""
  tokenizer.save(folder)
  settings = _json(folder / CONFIG_FILE)
  names = {i: name for name, i in tokenizer.special_tokens.items()}
  stops, ids = stop_ids(tokenizer), {}
  start = getattr(tokenizer, "start_token_id", None)
  if stops:
    ids["eos_token_id"] = stops[0] if len(stops) == 1 else stops
    if stops[0] in names:
      settings.setdefault("eos_token", names[stops[0]])
  if start is not None:
    ids["bos_token_id"] = start
    settings |= {"add_bos_token": True}
    if start in names:
      settings["bos_token"] = names[start]
  elif settings.get("bos_token") in tokenizer.special_tokens:
    ids["bos_token_id"] = tokenizer.special_tokens[settings["bos_token"]]
  if settings.get("pad_token") in tokenizer.special_tokens:
    ids["pad_token_id"] = tokenizer.special_tokens[settings["pad_token"]]
  template = getattr(tokenizer, "chat_template", "")
  if template:
    settings["chat_template"] = template
  if (folder / TOKENIZER_FILE).exists():
    settings.setdefault("tokenizer_class", "PreTrainedTokenizerFast")
    settings.setdefault("clean_up_tokenization_spaces", False)
  if settings:
    (folder / CONFIG_FILE).write_text(
        json.dumps(settings, indent=1, ensure_ascii=False) + "\n")
  if ids:
    (folder / GENERATION_FILE).write_text(json.dumps(ids, indent=2) + "\n")
  return ids
