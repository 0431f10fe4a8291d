"""The patterns of others cut as theirs do, in both engines that we use."""

import json
import re

import pytest
import tiktoken
import tiktoken_ext.openai_public
import tokenizers

from llm_jax.config import ConfigError, TokenizerConfig
from llm_jax.tokenizer import gguf_splits
from llm_jax.tokenizer.bpe import train_bpe
from llm_jax.tokenizer.loading import load_tokenizer
from llm_jax.tokenizer.split_pattern import PATTERNS, split_pattern

# Where patterns differ: spaces at the end, folded letters, digits, cases.
EDGES = ["a\n  ", "a  \n", "a \n \n\t", "\n\n", "a\n\n  b", "x  ", "x \r\n\t",
         "it'ſ IT'S we'Ll 'K 'd'D", "123456 1234٣٤٥", "fooBarBAZqux HTTPServer",
         "é'té don't'll", "\u0301\u0301a", "ab\u0301c", "//\n/ x",
         "\u2028 y\x85"]


@pytest.fixture
def published(monkeypatch):
  """tiktoken's own patterns, without their vocabularies (a download)."""
  module = tiktoken_ext.openai_public
  for name in ("load_tiktoken_bpe", "data_gym_to_mergeable_bpe_ranks"):
    monkeypatch.setattr(module, name, lambda *args, **kwargs: {})
  return {
      "gpt2": module.gpt2()["pat_str"],
      "cl100k": module.cl100k_base()["pat_str"],
      "o200k": module.o200k_base()["pat_str"],
      # meta-llama/llama3, llama/tokenizer.py
      "llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
                r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
                r"|\s+(?!\S)|\s+"}


def oniguruma_pieces(pattern, text):
  split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated")
  return [piece for piece, _ in split.pre_tokenize_str(text)]


def rust_pieces(pattern, expected):
  """How tiktoken cuts each text, as far as it does as `expected` says.

  In this vocabulary each expected piece, and any up to four in a row, is a
  token, and tiktoken takes a piece that is a token whole. So the tokens are
  the expected pieces where it cuts there, and others where it does not.
  """
  wanted = {"".join(pieces[i:i + n]).encode() for pieces in expected
            for n in (1, 2, 3, 4) for i in range(len(pieces))}
  ranks = {bytes([i]): i for i in range(256)}
  for token in sorted(wanted - ranks.keys()):
    ranks[token] = len(ranks)
  encoding = tiktoken.Encoding("pieces", pat_str=pattern, mergeable_ranks=ranks,
                               special_tokens={})
  return [[encoding.decode_single_token_bytes(i).decode(errors="replace")
           for i in encoding.encode_ordinary("".join(pieces))]
          for pieces in expected]


@pytest.mark.parametrize("name", PATTERNS)
def test_cuts_as_the_published_pattern_does(name, published, hard_texts):
  texts = [text for text in [*EDGES, *hard_texts] if 0 < len(text) < 900]
  ours = [oniguruma_pieces(PATTERNS[name], text) for text in texts]
  assert rust_pieces(PATTERNS[name], ours) == ours
  assert rust_pieces(published[name], ours) == ours


def test_the_oracle_sees_a_difference(published):
  ours = [oniguruma_pieces(PATTERNS["llama3"], text) for text in EDGES]
  assert rust_pieces(published["cl100k"], ours) != ours
  assert rust_pieces(split_pattern(2), ours) != ours


@pytest.mark.parametrize("name", PATTERNS)
def test_no_trap_for_another_engine(name):
  assert not re.search(r"[+*?]\+|\d\}\+|\(\?i|\$", PATTERNS[name])


@pytest.mark.parametrize("name", PATTERNS)
def test_trained_with_it(name, corpus, hard_texts, tmp_path):
  ours = train_bpe(corpus, TokenizerConfig(vocab_size=700, pattern=name))
  assert ours.pattern == PATTERNS[name]
  ours.save(tmp_path)
  theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
  theirs.encode_special_tokens = True
  again = load_tokenizer(tmp_path)
  for text in EDGES + hard_texts[:150]:
    assert ours.encode(text) == theirs.encode(text).ids == again.encode(text)
  steps = json.loads((tmp_path / "tokenizer.json").read_text())["pre_tokenizer"]
  assert gguf_splits.name_of(steps, None) == {
      "gpt2": "gpt-2", "o200k": "gpt-4o", "llama3": "llama-bpe",
      "cl100k": None}[name]  # llama.cpp has no name for cl100k as it is now


def test_mistakes():
  for wrong, told in (
      ({"pattern": "gpt5"}, "choose one of default, gpt2, cl100k, o200k"),
      ({"pattern": "gpt2", "max_digits": 1}, "digits of its own"),
      ({"pattern": "gpt2", "kind": "sentencepiece"}, "for tokenizer.kind=bpe")):
    with pytest.raises(ConfigError, match=told):
      TokenizerConfig(**wrong).validate()
  with pytest.raises(ConfigError, match="choose one of"):
    split_pattern(3, "gpt5")
