"""SentencePiece: exact sizes, lossless text, special tokens out of reach."""

import io
import random
import re

import numpy as np
import pytest
import sentencepiece

from llm_jax.config import ConfigError, TokenizerConfig
from llm_jax.tokenizer import sentencepiece_model
from llm_jax.tokenizer.chat import render_conversation
from llm_jax.tokenizer.loading import load_tokenizer
from llm_jax.tokenizer.sentencepiece import (
  SentencePieceTokenizer,
  train_sentencepiece,
)

SIZE = 800


KINDS = ("sentencepiece", "sentencepiece_bpe")


@pytest.fixture(scope="module", params=KINDS)
def trained(corpus, request):
  return train_sentencepiece(corpus, TokenizerConfig(
      kind=request.param, vocab_size=SIZE))


def test_size_and_special_tokens(trained):
  assert trained.vocab_size == SIZE
  assert list(trained.special_tokens) == list(TokenizerConfig().special_tokens)
  assert trained.token_bytes(trained.endoftext_id) == b"<|endoftext|>"


def test_any_text_comes_back(trained, hard_texts):
  for text in hard_texts:
    ids = trained.encode(text)
    # U+2581 is how SentencePiece itself writes a space.
    assert trained.decode(ids) == text.replace("▁", " "), repr(text[:80])
    assert not set(ids) & set(trained.special_tokens.values())
    assert trained.decode_bytes(ids) == b"".join(map(trained.token_bytes, ids))
  assert trained.decode(trained.encode("a\ud800")) == "a\ufffd"


def test_special_tokens_only_when_allowed(trained):
  ids = trained.encode("a<|end|>", allow_special=True)
  assert ids[-1] == trained.special_tokens["<|end|>"]
  assert trained.decode(ids) == "a<|end|>"
  [array] = trained.encode_batch(["a<|end|>"])
  assert array.tolist() == trained.encode("a<|end|>") != ids


def test_joined_is_each_on_its_own(trained, hard_texts):
  for texts in (hard_texts, [], [""], ["", "a\ud83d", "  "]):
    ids, lengths = trained.encode_joined(texts)
    assert lengths.tolist() == [len(trained.encode(text)) for text in texts]
    assert ids.tolist() == [i for text in texts for i in trained.encode(text)]
    assert ids.dtype == np.int32 and lengths.dtype == np.int64


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_that_was_asked_for(corpus, kind):
  tokenizer = train_sentencepiece(
      corpus, TokenizerConfig(kind=kind, vocab_size=500))
  expected = {"sentencepiece": sentencepiece_model.UNIGRAM,
              "sentencepiece_bpe": sentencepiece_model.BPE}[kind]
  pieces = sentencepiece_model.read_model(tokenizer.model_bytes)
  assert pieces.model_type == expected


def test_it_compresses(trained, corpus):
  assert len(corpus[0]) / len(trained.encode(corpus[0])) > 2


def test_saved_and_loaded_is_the_same(trained, tmp_path, hard_texts):
  trained.save(tmp_path / "new")
  for path in (tmp_path / "new", tmp_path / "new" / "tokenizer.model"):
    again = load_tokenizer(path)
    assert isinstance(again, SentencePieceTokenizer)
    assert again.special_tokens == trained.special_tokens
    assert ([again.encode(t) for t in hard_texts]
            == [trained.encode(t) for t in hard_texts])
  processor = sentencepiece.SentencePieceProcessor(
      model_file=str(tmp_path / "new" / "tokenizer.model"))
  assert processor.encode("Hello there") == trained.encode("Hello there")


def test_conversations_render(trained):
  ids, loss_mask = render_conversation(
      [{"role": "user", "content": "hi"},
       {"role": "assistant", "content": "yes"}], trained)
  learnt = [i for i, m in zip(ids, loss_mask) if m]
  assert trained.decode(learnt) == "yes<|end|>"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("max_digits", [1, 2, 3])
def test_digits_in_a_piece(max_digits, kind):
  rng = random.Random(0)
  words = ["".join(rng.choices("abcdefghij", k=5)) for _ in range(100)]
  texts = [" ".join(rng.choices(words, k=4)) + f" {rng.randrange(10**7)}"
           for _ in range(2000)]
  tokenizer = train_sentencepiece(texts, TokenizerConfig(
      kind=kind, max_digits=max_digits,
      # Merging takes the words first.
      vocab_size={1: 320, 2: 400, 3: 600}[max_digits]
      + 500 * (kind == "sentencepiece_bpe" and max_digits > 1)))
  pieces = [tokenizer.token_bytes(i) for i in range(tokenizer.vocab_size)]
  assert max(len(re.findall(rb"\d", piece)) for piece in pieces) == max_digits


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_that_cannot_be(corpus, kind):
  def config(vocab_size):
    return TokenizerConfig(kind=kind, vocab_size=vocab_size)
  with pytest.raises(ConfigError, match=r"give at most \d+") as told:
    train_sentencepiece(corpus, config(100_000))
  reachable = int(re.search(r"at most (\d+)", str(told.value))[1])
  assert train_sentencepiece(corpus, config(reachable)).vocab_size == reachable
  with pytest.raises(ConfigError, match="give at least"):
    train_sentencepiece(corpus, config(265))
  with pytest.raises(ConfigError, match="no text"):
    train_sentencepiece([""], config(400))

  def faulty():
    yield "abc"
    raise ConfigError("part.txt is not UTF-8 at byte 7.")

  with pytest.raises(ConfigError, match="^part.txt is not UTF-8 at byte 7.$"):
    train_sentencepiece(faulty(), config(400))


def test_models_of_others(corpus):
  """Llama 2's kind: BPE, byte fallback, a space in front, <s> and </s>."""
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter(corpus[0].splitlines()), model_writer=model,
      model_type="bpe", vocab_size=700, byte_fallback=True, minloglevel=2,
      remove_extra_whitespaces=False, normalization_rule_name="identity")
  tokenizer = SentencePieceTokenizer(model.getvalue())
  assert tokenizer.special_tokens == {"<s>": 1, "</s>": 2}
  assert tokenizer.endoftext_id == 2
  processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
  for text in ("def main():", "  two  é", "x", ""):
    assert tokenizer.encode(text) == processor.encode(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
  with pytest.raises(ValueError, match="700"):
    tokenizer.decode([700])
