"""What stands beside a vocabulary: template, names of tokens, where to stop.

Hugging Face keeps them in tokenizer_config.json, chat_template.jinja and
generation_config.json; here they are attributes of the tokenizer, so that they
go wherever the model goes.
"""

from __future__ import annotations

import json
import os
from typing import Any

from etils import epath

from llm_jax import paths
from llm_jax.config import ConfigError
from llm_jax.tokenizer.chat import is_ours
from llm_jax.tokenizer.huggingface_format import CONFIG_FILE
from llm_jax.tokenizer.protocol import Tokenizer

TEMPLATE_FILE = "chat_template.jinja"
GENERATION_FILE = "generation_config.json"
_NAMES = ("bos_token", "eos_token", "unk_token", "pad_token")


def read_description(tokenizer: Tokenizer, folder: epath.Path) -> None:
  """Sets what the folder says of `tokenizer`; nothing where it is silent.

  Raises:
    ConfigError: one of its files is not JSON.
  """
  settings = _read(folder / CONFIG_FILE)
  names = _read(folder / "special_tokens_map.json") | settings
  tokenizer.token_names = {
      field: _name(names[field]) for field in _NAMES if names.get(field)}
  template = settings.get("chat_template") or ""
  if isinstance(template, list):  # several, by name
    template = next((entry.get("template", "") for entry in template
                     if entry.get("name") == "default"), "")
  if (folder / TEMPLATE_FILE).exists():
    template = (folder / TEMPLATE_FILE).read_text()
  tokenizer.chat_template = "" if is_ours(template) else template
  stops = _read(folder / GENERATION_FILE).get("eos_token_id")
  stops = stops if isinstance(stops, list) else [stops]
  tokenizer.stop_token_ids = tuple(
      i for i in stops if isinstance(i, int) and 0 <= i < tokenizer.vocab_size)
  if settings.get("add_bos_token"):
    tokenizer.start_token_id = tokenizer.special_tokens.get(
        tokenizer.token_names.get("bos_token", ""))


def write_description(directory: str | os.PathLike,
                      tokenizer: Tokenizer) -> None:
  """Writes it back, into the files that `save` made; nothing if there is none.
  """
  folder = paths.as_path(directory)
  settings = dict(tokenizer.token_names)
  if tokenizer.chat_template:
    settings["chat_template"] = tokenizer.chat_template
  if tokenizer.start_token_id is not None:
    settings["add_bos_token"] = True
  if settings:
    known = _read(folder / CONFIG_FILE) or {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False}
    (folder / CONFIG_FILE).write_text(
        json.dumps(known | settings, indent=1, ensure_ascii=False))
  if tokenizer.stop_token_ids:
    known = _read(folder / GENERATION_FILE)
    known["eos_token_id"] = list(tokenizer.stop_token_ids)
    (folder / GENERATION_FILE).write_text(json.dumps(known, indent=1))


def _read(file: epath.Path) -> dict[str, Any]:
  try:
    contents = json.loads(file.read_text()) if file.exists() else {}
  except ValueError as error:
    raise ConfigError(f"{file} is not JSON ({error}); give the one that "
                      "belongs to this tokenizer.") from error
  return contents if isinstance(contents, dict) else {}


def _name(token: Any) -> str:
  """A token's name; older files have an object with its `content`."""
  return token.get("content", "") if isinstance(token, dict) else str(token)
