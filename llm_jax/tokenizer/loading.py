"""`load_tokenizer`: whatever a vocabulary is stored as, the same protocol."""

from __future__ import annotations

import json
import os
from typing import Any

from etils import epath

from llm_jax import paths
from llm_jax.config import ConfigError
from llm_jax.tokenizer import huggingface_format, rank_file
from llm_jax.tokenizer.bpe import BpeTokenizer
from llm_jax.tokenizer.description import read_description
from llm_jax.tokenizer.huggingface_bpe import bpe_from_json
from llm_jax.tokenizer.protocol import Tokenizer
from llm_jax.tokenizer.split_pattern import PATTERNS

SENTENCEPIECE_FILE = "tokenizer.model"  # or Llama 3's list of ranks
_GGUF = ".gguf"

# tiktoken's names of encodings -> whose pattern each has. It is spelt as all
# engines understand it, since a saved tokenizer.json is read by another.
_TIKTOKEN_PATTERNS = {
    "gpt2": "gpt2", "r50k_base": "gpt2", "p50k_base": "gpt2",
    "p50k_edit": "gpt2", "cl100k_base": "cl100k", "o200k_base": "o200k",
    "o200k_harmony": "o200k"}


def load_tokenizer(path: str | os.PathLike) -> Tokenizer:
  """Reads a tokenizer.

  Args:
    path: a directory that holds tokenizer.json (Hugging Face), tokenizer.model
      (SentencePiece, or Llama 3's ranks) or one *.tiktoken file, whose chat
      template and stop tokens come with it; such a file; a .gguf file, of
      which the vocabulary alone is read; the organisation/name of a Hugging
      Face repository; or the name of one of tiktoken's encodings, such as
      "gpt2" or "cl100k_base". Ranks that are not those of a known vocabulary
      need the name of their split pattern: "ranks.tiktoken@o200k".

  Raises:
    ConfigError: if there is none, or it cannot be read.
  """
  file, pattern = paths.as_path(path), ""
  if not file.exists():
    import tiktoken
    if str(path) in tiktoken.list_encoding_names():
      return _load_tiktoken(str(path))
    stem, at, name = str(path).rpartition("@")
    if at and name in ("default", *PATTERNS):
      file, pattern = paths.as_path(stem), name
    if not file.exists():
      file = paths.resolve(str(path), allow_patterns=("tokenizer*",))
  if file.is_dir():
    tokenizer = _load_file(_vocabulary_in(file, path), pattern)
    read_description(tokenizer, file)
    return tokenizer
  return _load_file(file, pattern)


def _vocabulary_in(directory: epath.Path, path: str | os.PathLike
                   ) -> epath.Path:
  """The file of a directory that holds the vocabulary."""
  for name in (huggingface_format.TOKENIZER_FILE, SENTENCEPIECE_FILE):
    if (directory / name).exists():
      return directory / name
  ranks = sorted(directory.glob(f"*{rank_file.SUFFIX}"))
  if len(ranks) == 1:
    return ranks[0]
  raise ConfigError(
      f"the directory {path} holds no tokenizer.json and no tokenizer.model"
      + (f", but {len(ranks)} {rank_file.SUFFIX} files; name one of them."
         if ranks else "; train one with `python -m "
         f"experiments.train_tokenizer --output={path}`."))


def _load_file(file: epath.Path, pattern: str) -> Tokenizer:
  """The tokenizer of one file; `pattern` is for ranks."""
  if file.suffix == _GGUF:
    from llm_jax.tokenizer.gguf import load_gguf_tokenizer
    return load_gguf_tokenizer(file)
  if file.suffix in (".model", rank_file.SUFFIX):
    contents = file.read_bytes()
    if file.suffix == rank_file.SUFFIX or rank_file.looks_like_ranks(contents):
      return rank_file.bpe_from_ranks(contents, str(file), pattern)
    from llm_jax.tokenizer.sentencepiece import SentencePieceTokenizer
    return SentencePieceTokenizer(contents)
  return _load_json(file)


def _load_json(file: epath.Path) -> Tokenizer:
  """The tokenizer of a tokenizer.json, as `BpeTokenizer` if it can be one."""
  try:
    text = file.read_text()
    contents = json.loads(text)
    tokenizer: Tokenizer | None = (
        bpe_from_json(contents) if contents["model"]["type"] == "BPE" else None)
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise ConfigError(
        f"{file} is not a tokenizer.json of Hugging Face's format "
        f"({type(error).__name__}: {error}); give a directory that "
        "experiments.train_tokenizer wrote.") from error
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


def _load_tiktoken(name: str) -> Tokenizer:
  """One of OpenAI's vocabularies, which tiktoken downloads and caches."""
  import tiktoken
  try:
    encoding = tiktoken.get_encoding(name)
  except Exception as error:  # requests' own errors, of many kinds
    raise ConfigError(
        f"tiktoken's encoding {name!r} has to be downloaded once and could not "
        f"be ({type(error).__name__}); try again with a network, set "
        "TIKTOKEN_CACHE_DIR to a directory that holds it, or give the rank "
        f"file itself: {name}.tiktoken.") from error
  known = _TIKTOKEN_PATTERNS.get(name)
  pattern = (PATTERNS[known] if known else
             encoding._pat_str.replace("{1,3}+", "{1,3}"))
  return BpeTokenizer(encoding._mergeable_ranks, encoding._special_tokens,
                      pattern)
