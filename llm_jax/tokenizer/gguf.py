"""A vocabulary in the metadata of a GGUF file, in and out.

GGUF (ggml-org/ggml, docs/gguf.md) has a vocabulary as lists: tokens, their
types, and either the merges of byte-level BPE ("gpt2", with a name for how
text is cut before: `gguf_splits.py`) or SentencePiece's scores ("llama").
Special tokens are of type *control*, which is what makes programs find them
in a chat template's text.

The lists do not say everything (Unicode normalisation, a pattern of one's
own). The specification's `tokenizer.huggingface.json`, a whole tokenizer.json,
is therefore written too, and preferred when it is there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import gguf

from llm_jax.config import ConfigError, require
from llm_jax.tokenizer import chat, chat_template, gguf_splits
from llm_jax.tokenizer import sentencepiece_model as spm
from llm_jax.tokenizer.bpe import BpeTokenizer
from llm_jax.tokenizer.huggingface import HuggingFaceTokenizer
from llm_jax.tokenizer.huggingface_bpe import bpe_from_json
from llm_jax.tokenizer.protocol import Tokenizer
from llm_jax.tokenizer.sentencepiece import SentencePieceTokenizer

_KEY = "tokenizer.ggml."
_TEMPLATE = "tokenizer.chat_template"
_WHOLE = "tokenizer.huggingface.json"
_IDS = {"bos_token": "bos_token_id", "eos_token": "eos_token_id",
        "unk_token": "unknown_token_id", "pad_token": "padding_token_id"}
# Start tokens are added unless the file says otherwise.
_START_BY_DEFAULT = ("llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral",
                     "lfm2", "tekken")


# --- reading ------------------------------------------------------------------


class _MetadataReader(gguf.GGUFReader):
  """Reads what a file says of itself, and passes its tensors over."""

  def _build_tensors(self, start_offs: int, fields: list[Any]) -> None:
    del start_offs, fields


def load_gguf_tokenizer(path: str | os.PathLike) -> Tokenizer:
  """The tokenizer in a GGUF file; the model is not read.

  Raises:
    ConfigError: the file cannot be read, or has none.
  """
  try:
    fields = _MetadataReader(os.fspath(path)).fields
    contents = {name: field.contents() for name, field in fields.items()
                if name.startswith("tokenizer.")}
  except Exception as error:  # whatever the bytes led the reader to
    raise ConfigError(
        f"{path} cannot be read as a GGUF file ({type(error).__name__}: "
        f"{error}); it is cut short, or of another format.") from error
  tokenizer = read_tokenizer(contents, os.fspath(path))
  require(tokenizer is not None, f"{path} holds no vocabulary "
          f"({_KEY}model); give another file.")
  return tokenizer


def read_tokenizer(fields: Mapping[str, Any], file: str) -> Tokenizer | None:
  """The tokenizer that a GGUF file's metadata describes; None without one.

  Args:
    fields: key -> value, as Python objects.
    file: its name, for sentences.

  Raises:
    ConfigError: a kind of vocabulary, or a way to cut text, not known here.
  """
  model = fields.get(_KEY + "model")
  if model is None:
    return None
  tokens = fields.get(_KEY + "tokens") or []
  types = fields.get(_KEY + "token_type") or [spm.NORMAL] * len(tokens)
  require(len(tokens) == len(types) > 0, f"{file} has {len(tokens)} tokens "
          f"({_KEY}tokens) and {len(types)} types of tokens; download it "
          "again.")
  if model == "gpt2":
    tokenizer = _read_bpe(fields, tokens, types, file)
  elif model == "llama":
    tokenizer = _read_sentencepiece(fields, tokens, types, file)
  else:
    raise ConfigError(
        f"{file} has a vocabulary of the kind {model!r} ({_KEY}model); of "
        "these, gpt2 (byte-level BPE) and llama (SentencePiece) are known "
        "here.")
  names = {name: tokens[fields[_KEY + key]] for name, key in _IDS.items()
           if 0 <= fields.get(_KEY + key, -1) < len(tokens)}
  template = fields.get(_TEMPLATE, "")
  tokenizer.chat_template = "" if chat.is_ours(template) else template
  tokenizer.token_names = names
  stops = [fields.get(_KEY + key) for key in (
      "eos_token_id", "eot_token_id", "eom_token_id")]
  tokenizer.stop_token_ids = tuple(dict.fromkeys(
      i for i in stops if isinstance(i, int) and 0 <= i < len(tokens)))
  starts = fields.get(_KEY + "add_bos_token", model == "llama" or fields.get(
      _KEY + "pre") in _START_BY_DEFAULT)
  if starts and "bos_token" in names:
    tokenizer.start_token_id = fields[_KEY + "bos_token_id"]
  return tokenizer


def _read_bpe(fields: Mapping[str, Any], tokens: list[str], types: list[int],
              file: str) -> Tokenizer:
  text = fields.get(_WHOLE)
  if text is None:
    text = json.dumps(_tokenizer_json(fields, tokens, types, file))
  try:
    return bpe_from_json(json.loads(text)) or HuggingFaceTokenizer(text)
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise ConfigError(
        f"{file} has a vocabulary that cannot be read ({type(error).__name__}: "
        f"{error}); download it again.") from error


def _tokenizer_json(fields: Mapping[str, Any], tokens: list[str],
                    types: list[int], file: str) -> dict[str, Any]:
  pre = fields.get(_KEY + "pre", "(none)")
  require(pre in gguf_splits.STEPS, f"{file} cuts text by {pre!r} ({_KEY}pre); "
          f"of these, {', '.join(gguf_splits.STEPS)} are known here.")
  merges = fields.get(_KEY + "merges")
  require(merges is not None, f"{file} has byte-level BPE without "
          f"{_KEY}merges; convert the model again with a newer program.")
  named = [(i, name, kind) for i, (name, kind) in enumerate(zip(tokens, types))
           if kind != spm.UNUSED]
  return {
      "version": "1.0", "truncation": None, "padding": None,
      "added_tokens": [
          {"id": i, "content": name, "single_word": False, "lstrip": False,
           "rstrip": False, "normalized": False,
           "special": kind == spm.CONTROL} for i, name, kind in named
          if kind in (spm.CONTROL, spm.USER_DEFINED)],
      "normalizer": {"type": "NFC"} if pre in gguf_splits.COMPOSED else None,
      "pre_tokenizer": {"type": "Sequence",
                        "pretokenizers": list(gguf_splits.STEPS[pre])},
      "post_processor": None,
      "decoder": {"type": "ByteLevel", "add_prefix_space": True,
                  "trim_offsets": True, "use_regex": True},
      "model": {
          "type": "BPE", "dropout": None, "unk_token": None,
          "continuing_subword_prefix": None, "end_of_word_suffix": None,
          "fuse_unk": False, "byte_fallback": False,
          "ignore_merges": pre in gguf_splits.WHOLE_PIECES,
          "vocab": {name: i for i, name, _ in named},
          "merges": [merge.split(" ", 1) for merge in merges]}}


def _read_sentencepiece(fields: Mapping[str, Any], tokens: list[str],
                        types: list[int], file: str) -> SentencePieceTokenizer:
  scores = fields.get(_KEY + "scores") or []
  require(len(scores) == len(tokens), f"{file} has {len(tokens)} tokens and "
          f"{len(scores)} scores ({_KEY}scores), of which SentencePiece needs "
          "as many; download it again.")
  types = list(types)
  if spm.UNKNOWN not in types:
    types[fields.get(_KEY + "unknown_token_id", 0)] = spm.UNKNOWN
  return SentencePieceTokenizer(spm.write_model(spm.Pieces(
      tokens, scores, types, spm.BPE,
      add_space=bool(fields.get(_KEY + "add_space_prefix", True)),
      one_space=bool(fields.get(_KEY + "remove_extra_whitespaces", False)))))


# --- writing ------------------------------------------------------------------


def tokenizer_fields(tokenizer: Tokenizer, vocab_size: int) -> dict[str, Any]:
  """The metadata of a tokenizer, for a model of `vocab_size` rows.

  Raises:
    ConfigError: programs that read GGUF cannot split text as it does.
  """
  require(tokenizer.vocab_size <= vocab_size, f"the tokenizer has "
          f"{tokenizer.vocab_size} tokens, but the model's embedding only "
          f"{vocab_size} rows (model.vocab_size); give the model's own.")
  if isinstance(tokenizer, SentencePieceTokenizer):
    fields = _sentencepiece_fields(tokenizer, vocab_size)
  elif isinstance(tokenizer, BpeTokenizer | HuggingFaceTokenizer):
    fields = _bpe_fields(tokenizer, vocab_size)
  else:
    raise ConfigError(f"a {type(tokenizer).__name__} has no form in GGUF; "
                      "export a model with a byte-level BPE tokenizer.")
  return fields | _description(tokenizer)


def _bpe_fields(tokenizer: BpeTokenizer | HuggingFaceTokenizer,
                vocab_size: int) -> dict[str, Any]:
  contents = tokenizer.as_json()
  model = contents["model"]
  normalizer = (contents.get("normalizer") or {}).get("type")
  whole: bool | None = bool(model.get("ignore_merges"))
  if isinstance(tokenizer, BpeTokenizer) and not whole:
    whole = None  # every token is what its bytes merge into
  pre = gguf_splits.name_of(contents.get("pre_tokenizer"), whole)
  byte_level = (model.get("type") == "BPE" and not model.get("byte_fallback")
                and (contents.get("decoder") or {}).get("type") == "ByteLevel")
  require(byte_level, "the tokenizer is not byte-level BPE, the one kind of "
          "tokenizer.json that GGUF can hold; export the model with "
          "format=hf.")
  require(normalizer is None or (normalizer == "NFC"
                                 and pre in gguf_splits.COMPOSED),
          f"the tokenizer normalises text ({normalizer}), which programs that "
          "read GGUF would not; export the model with format=hf.")
  require(pre is not None, "the tokenizer cuts text by a pattern that programs "
          "that read GGUF have no name for; tokenizers trained here have one "
          "with tokenizer.max_digits=1 or 3. Export this model with "
          "format=hf.")
  added = {token["id"]: token for token in contents.get("added_tokens") or []}
  names = {i: name for name, i in model["vocab"].items()}
  names |= {i: token["content"] for i, token in added.items()}
  tokens, types = _rows(names, {
      i: spm.CONTROL if token["special"] else spm.USER_DEFINED
      for i, token in added.items()}, vocab_size)
  merges = [pair if isinstance(pair, str) else " ".join(pair)
            for pair in model["merges"]]
  require(bool(merges), "the tokenizer has no merges (its tokens are single "
          "bytes), and GGUF has no empty lists; export the model with "
          "format=hf.")
  return {_KEY + "model": "gpt2", _KEY + "pre": pre, _KEY + "tokens": tokens,
          _KEY + "token_type": types, _KEY + "merges": merges,
          _WHOLE: json.dumps(contents, ensure_ascii=False)}


def _sentencepiece_fields(tokenizer: SentencePieceTokenizer,
                          vocab_size: int) -> dict[str, Any]:
  pieces = spm.read_model(tokenizer.model_bytes)
  require(pieces.model_type == spm.BPE, "the tokenizer is a unigram model, "
          "which programs that read GGUF would split text with in another "
          "way; train one with tokenizer.kind=bpe, or export the model with "
          "format=hf.")
  require(pieces.normalization in ("identity", ""), "the tokenizer normalises "
          f"text ({pieces.normalization}), which programs that read GGUF would "
          "not; export the model with format=hf.")
  tokens, types = _rows(dict(enumerate(pieces.texts)),
                        dict(enumerate(pieces.types)), vocab_size)
  scores = [*map(float, pieces.scores)]
  return {_KEY + "model": "llama", _KEY + "pre": "default",
          _KEY + "tokens": tokens, _KEY + "token_type": types,
          _KEY + "scores": scores + [-1e9] * (vocab_size - len(scores)),
          _KEY + "add_space_prefix": pieces.add_space,
          _KEY + "remove_extra_whitespaces": pieces.one_space}


def _rows(names: Mapping[int, str], types: Mapping[int, int], vocab_size: int
          ) -> tuple[list[str], list[int]]:
  """A name and a type for each row of the embedding."""
  tokens = [names.get(i, f"[PAD{i}]") for i in range(vocab_size)]
  kinds = [types.get(i, spm.NORMAL) if i in names else spm.UNUSED
           for i in range(vocab_size)]
  twice = len(tokens) - len(set(tokens))
  require(not twice, f"the tokenizer has {twice} names for more than one "
          "token, which GGUF cannot hold; export the model with format=hf.")
  return tokens, kinds


def _description(tokenizer: Tokenizer) -> dict[str, Any]:
  """Template, and the ids that programs start and stop with."""
  special = tokenizer.special_tokens
  ids = {key: special[tokenizer.token_names[name]]
         for name, key in _IDS.items()
         if tokenizer.token_names.get(name) in special}
  fields: dict[str, Any] = {}
  if chat.has_own_template(tokenizer):
    fields[_TEMPLATE] = tokenizer.chat_template
    stops = chat_template.stop_ids(tokenizer)
    if stops:
      ids.setdefault("eos_token_id", stops[0])
      ids["eot_token_id"] = stops[-1]
  elif chat.can_chat(tokenizer):
    # What LM Studio and others stop at is the end of an answer.
    fields[_TEMPLATE] = chat.PLAIN_JINJA_TEMPLATE
    ids |= {"bos_token_id": special[chat.START],
            "eos_token_id": special[chat.END],
            "eot_token_id": special[chat.END]}
    if "<|pad|>" in special:
      ids["padding_token_id"] = special["<|pad|>"]
  else:
    try:
      ids.setdefault("eos_token_id", tokenizer.endoftext_id)
      ids.setdefault("bos_token_id", tokenizer.endoftext_id)
    except ConfigError:  # a text then has neither beginning nor end
      pass
  if tokenizer.start_token_id is not None:
    ids["bos_token_id"] = tokenizer.start_token_id
  # Documents are trained with the start token in front of them; programs
  # leave it out where a template has written it.
  fields[_KEY + "add_bos_token"] = "bos_token_id" in ids and (
      tokenizer.start_token_id is not None
      or _TEMPLATE in fields and not chat.has_own_template(tokenizer))
  return fields | {_KEY + key: int(i) for key, i in ids.items()}
