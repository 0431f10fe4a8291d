"""`load_tokenizer`: whatever a vocabulary is stored as, the same protocol."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any

from llm_jax import paths
from llm_jax.config import ConfigError
from llm_jax.tokenizer import huggingface_format
from llm_jax.tokenizer.bpe import BpeTokenizer, split_by_older
from llm_jax.tokenizer.description import read_description
from llm_jax.tokenizer.protocol import Tokenizer

SENTENCEPIECE_FILE = "tokenizer.model"

# Every n-th token of a foreign vocabulary is checked; all would take seconds.
_CHECKED_TOKENS = 2000


def load_tokenizer(path: str | os.PathLike) -> Tokenizer:
  """Reads a tokenizer.

  Args:
    path: a directory that holds tokenizer.json (Hugging Face) or
      tokenizer.model (SentencePiece), whose chat template and stop tokens come
      with it; such a file; the organisation/name of a
      Hugging Face repository; or the name of one of tiktoken's encodings, such
      as "gpt2" or "cl100k_base".

  Raises:
    ConfigError: if there is none, or it cannot be read.
  """
  file = paths.as_path(path)
  if not file.exists():
    import tiktoken
    if str(path) in tiktoken.list_encoding_names():
      return _load_tiktoken(str(path))
    file = paths.resolve(str(path), allow_patterns=("tokenizer*",))
  if file.is_dir():
    for name in (huggingface_format.TOKENIZER_FILE, SENTENCEPIECE_FILE):
      if (file / name).exists():
        tokenizer = load_tokenizer(file / name)
        read_description(tokenizer, file)
        return tokenizer
    raise ConfigError(
        f"the directory {path} holds no tokenizer.json and no tokenizer.model; "
        "train one with `python -m experiments.train_tokenizer "
        f"--output={path}`.")
  if file.suffix == ".model":
    from llm_jax.tokenizer.sentencepiece import SentencePieceTokenizer
    return SentencePieceTokenizer(file.read_bytes())
  try:
    text = file.read_text()
    contents = json.loads(text)
    bpe = (bpe_from_json(contents) if contents["model"]["type"] == "BPE"
           else None)
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise ConfigError(
        f"{path} is not a tokenizer.json of Hugging Face's format "
        f"({type(error).__name__}: {error}); give a directory that "
        "experiments.train_tokenizer wrote.") from error
  tokenizer: Tokenizer | None = bpe
  if tokenizer is None:
    from llm_jax.tokenizer.huggingface import HuggingFaceTokenizer
    tokenizer = HuggingFaceTokenizer(text)
  tokenizer.start_token_id = tokenizer.special_tokens.get(
      _first_added(contents.get("post_processor")))
  return tokenizer


def _first_added(processor: Any) -> str:
  """The special token that a post-processor puts first; empty if none."""
  match processor:
    case {"type": "TemplateProcessing",
          "single": [{"SpecialToken": {"id": str(name)}}, *_]}:
      return name
    case {"type": "Sequence", "processors": [*inner]}:
      return next(filter(None, map(_first_added, inner)), "")
  return ""


def bpe_from_json(contents: Mapping) -> BpeTokenizer | None:
  """The `BpeTokenizer` with the same ids as a tokenizer.json, if there is one.

  There is one for GPT-2's, Llama 3's and ours: bytes, one split pattern, and
  ids that grow with the order of merging. None otherwise, as for RoBERTa's
  (ids by frequency), SmolLM2's (two patterns) or Qwen's (Unicode normalised).
  """
  model = contents["model"]
  pattern = huggingface_format.split_pattern_of(contents.get("pre_tokenizer"))
  added = contents.get("added_tokens") or []
  # "{1,3}+" is possessive to tiktoken, a repeated group to Hugging Face's.
  if (pattern is None or re.search(r"\{[\d,]+\}\+", pattern)
      or contents.get("normalizer")
      or any(model.get(field) for field in (
          "dropout", "byte_fallback", "continuing_subword_prefix",
          "end_of_word_suffix"))
      or not all(token["special"] for token in added)):
    return None
  special = {token["content"]: token["id"] for token in added}
  try:
    ranks = {huggingface_format.to_bytes(name): i
             for name, i in model["vocab"].items() if name not in special}
    merges = [tuple(map(huggingface_format.to_bytes,
                        pair.split(" ") if isinstance(pair, str) else pair))
              for pair in model["merges"]]
  except KeyError:  # a token that is not of the byte alphabet
    return None
  ids = [*ranks.values(), *special.values()]
  if len(set(ids)) < len(ids):  # two names for one id: tiktoken would abort
    return None
  if not _merges_follow_ranks(ranks, merges, model.get("ignore_merges", False)):
    return None
  try:
    return BpeTokenizer(ranks, special, pattern)
  except ValueError:  # a pattern that only Oniguruma understands
    return None


def _merges_follow_ranks(ranks: Mapping[bytes, int],
                         merges: list[tuple[bytes, bytes]],
                         ignore_merges: bool) -> bool:
  """Whether merging by rank and merging by the list are the same thing."""
  if not all(bytes([byte]) in ranks for byte in range(256)):
    return False
  made = [ranks.get(a + b, -1) for a, b in merges]
  if made != sorted(made) or (made and made[0] < 0):
    return False
  made, pairs = set(made), set(merges)
  unmade = [token for token, i in ranks.items()
            if len(token) > 1 and i not in made]
  # A token without a merge is met as a whole piece, where those go first;
  # elsewhere it must be out of reach for merging by rank as well.
  if unmade and not ignore_merges or any(
      token[:i] in ranks and token[i:] in ranks
      for token in unmade for i in range(1, len(token))):
    return False
  longer = [token for token, i in ranks.items() if i in made]
  for token in longer[::max(1, len(longer) // _CHECKED_TOKENS)]:
    parts = split_by_older(token, ranks, ranks[token])
    if len(parts) != 2 and not ignore_merges or (
        len(parts) == 2 and tuple(parts) not in pairs):
      return False
  return True


def _load_tiktoken(name: str) -> Tokenizer:
  """One of OpenAI's vocabularies, which tiktoken downloads and caches."""
  import tiktoken
  try:
    encoding = tiktoken.get_encoding(name)
  except Exception as error:  # requests' own errors, of many kinds
    raise ConfigError(
        f"tiktoken's encoding {name!r} has to be downloaded once and could not "
        f"be ({type(error).__name__}); try again with a network, or set "
        "TIKTOKEN_CACHE_DIR to a directory that holds it.") from error
  # `{1,3}+` is possessive here and a plain repetition of the group in
  # Oniguruma, which reads the pattern from a saved tokenizer.json.
  pattern = encoding._pat_str.replace("{1,3}+", "{1,3}")
  return BpeTokenizer(encoding._mergeable_ranks, encoding._special_tokens,
                      pattern)
