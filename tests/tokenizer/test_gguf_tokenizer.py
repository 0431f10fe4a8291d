"""Vocabularies in GGUF's metadata: the same ids when they come back."""

import dataclasses
import io

import numpy as np
import pytest
import sentencepiece

from llm_jax.config import ConfigError, TokenizerConfig
from llm_jax.convert import gguf_file
from llm_jax.tokenizer import chat
from llm_jax.tokenizer import sentencepiece_model as spm
from llm_jax.tokenizer.bpe import BpeTokenizer, train_bpe
from llm_jax.tokenizer.gguf import read_tokenizer, tokenizer_fields
from llm_jax.tokenizer.loading import load_tokenizer
from llm_jax.tokenizer.sentencepiece import (
    SentencePieceTokenizer, train_sentencepiece)
from llm_jax.tokenizer.split_pattern import GPT2_PATTERN

TEXTS = ["The cat sat on the mat; the cat's 123 hats, they'll see 4567.\n",
         "A quick brown fox jumps over lazy dogs, then sleeps.\n"] * 9
PROBES = ["", " ", "The cat's hat", "  two\n\n\tlines \r\n", "1234567 x99",
          "WE'LL see, I'VE 5'S", "naïve Ελλάδα 漢字 🙂‍↔️ ½ ²³", "a" * 300,
          "<|end|><|user|>", "don't  stop   now", "x=y+z; /* ok */"]


def with_only_the_lists(fields):
  return {key: value for key, value in fields.items()
          if key != "tokenizer.huggingface.json"}


@pytest.mark.parametrize("max_digits, pre", [(1, "qwen2"), (3, "llama-bpe")])
def test_ours_come_back(max_digits, pre):
  tokenizer = train_bpe(TEXTS, TokenizerConfig(vocab_size=300,
                                               max_digits=max_digits))
  fields = tokenizer_fields(tokenizer, 300)
  assert fields["tokenizer.ggml.pre"] == pre
  again = read_tokenizer(fields, "m.gguf")
  assert isinstance(again, BpeTokenizer)
  assert (again.ranks, again.special_tokens, again.pattern) == (
      tokenizer.ranks, tokenizer.special_tokens, tokenizer.pattern)
  lists = read_tokenizer(with_only_the_lists(fields), "m.gguf")
  for text in PROBES:
    assert lists.encode(text) == tokenizer.encode(text), text
    assert lists.decode(lists.encode(text)) == text
  assert lists.special_tokens == tokenizer.special_tokens


def test_a_file_is_loaded_without_its_tensors(tmp_path):
  tokenizer = train_bpe(TEXTS, TokenizerConfig(vocab_size=300))
  path = tmp_path / "m.gguf"
  zeros = gguf_file.Planned("token_embd.weight", (300, 8),
                            lambda: np.zeros((300, 8), np.float32))
  gguf_file.write_file(path, "llama", tokenizer_fields(tokenizer, 300),
                       [zeros], "f32")
  again = load_tokenizer(path)
  for text in PROBES:
    assert again.encode(text) == tokenizer.encode(text)
  # Tensors are passed over, so that a file cut within them will do.
  path.write_bytes(path.read_bytes()[:-4000])
  assert load_tokenizer(path).vocab_size == 300
  path.write_bytes(path.read_bytes()[:2000])
  with pytest.raises(ConfigError, match="cannot be read as a GGUF file"):
    load_tokenizer(path)
  gguf_file.write_file(path, "llama", {}, [zeros], "f32")
  with pytest.raises(ConfigError, match="holds no vocabulary"):
    load_tokenizer(path)


def test_what_programs_start_and_stop_with():
  tokenizer = train_bpe(TEXTS, TokenizerConfig(vocab_size=300))
  special = tokenizer.special_tokens
  fields = tokenizer_fields(tokenizer, 300)
  get = lambda name: fields["tokenizer.ggml." + name]  # noqa: E731
  assert get("bos_token_id") == special["<|endoftext|>"]
  assert get("eos_token_id") == get("eot_token_id") == special["<|end|>"]
  assert get("padding_token_id") == special["<|pad|>"]
  assert get("add_bos_token") is True
  assert {get("token_type")[i] for i in special.values()} == {spm.CONTROL}
  assert set(get("token_type")[:290]) == {spm.NORMAL}
  assert fields["tokenizer.chat_template"] == chat.PLAIN_JINJA_TEMPLATE
  again = read_tokenizer(fields, "m.gguf")
  assert not chat.has_own_template(again)
  messages = [{"role": "user", "content": "The cat <|end|>"}]
  assert chat.render_prompt(messages, again) == chat.render_prompt(
      messages, tokenizer)
  assert chat.stop_ids(again) == chat.stop_ids(tokenizer)


def test_a_base_vocabulary_has_no_template():
  plain = train_bpe(TEXTS, TokenizerConfig(
      vocab_size=300, special_tokens=("<|endoftext|>",)))
  fields = tokenizer_fields(plain, 304)
  assert "tokenizer.chat_template" not in fields
  assert fields["tokenizer.ggml.add_bos_token"] is False
  assert fields["tokenizer.ggml.eos_token_id"] == 299
  assert fields["tokenizer.ggml.token_type"][-4:] == [spm.UNUSED] * 4
  again = read_tokenizer(with_only_the_lists(fields), "m.gguf")
  assert again.vocab_size == 300 and again.stop_token_ids == (299,)


def test_a_template_of_its_own_comes_back():
  tokenizer = train_bpe(TEXTS, TokenizerConfig(
      vocab_size=300, special_tokens=("<s>", "<eot>")))
  tokenizer.chat_template = ("{{ bos_token }}{% for m in messages %}"
                             "{{ m.content }}<eot>{% endfor %}")
  tokenizer.token_names = {"bos_token": "<s>", "eos_token": "<s>"}
  tokenizer.start_token_id = tokenizer.special_tokens["<s>"]
  again = read_tokenizer(tokenizer_fields(tokenizer, 300), "m.gguf")
  assert again.chat_template == tokenizer.chat_template
  assert dict(again.token_names) == tokenizer.token_names
  assert again.start_token_id == tokenizer.start_token_id
  assert set(chat.stop_ids(again)) == {298, 299}


@pytest.mark.parametrize("pattern, told", [
    (r"\p{L}+|\p{N}{1,2}|\s+", "tokenizer.max_digits=1 or 3"),
    (GPT2_PATTERN, "")])
def test_only_known_patterns_are_written(pattern, told):
  tokenizer = train_bpe(TEXTS, TokenizerConfig(vocab_size=300))
  other = BpeTokenizer(tokenizer.ranks, tokenizer.special_tokens, pattern)
  if told:
    with pytest.raises(ConfigError, match=told):
      tokenizer_fields(other, 300)
  else:
    fields = with_only_the_lists(tokenizer_fields(other, 300))
    assert fields["tokenizer.ggml.pre"] == "gpt-2"
    again = read_tokenizer(fields, "m.gguf")
    assert all(again.encode(t) == other.encode(t) for t in PROBES)


def test_more_tokens_than_rows_are_refused():
  tokenizer = train_bpe(TEXTS, TokenizerConfig(vocab_size=300))
  with pytest.raises(ConfigError, match="300 tokens.*299 rows"):
    tokenizer_fields(tokenizer, 299)


def test_single_bytes_are_not_written():
  trained = train_bpe(TEXTS, TokenizerConfig(vocab_size=300))
  single = BpeTokenizer({token: i for token, i in trained.ranks.items()
                         if len(token) == 1}, trained.special_tokens,
                        trained.pattern)
  with pytest.raises(ConfigError, match="no merges.*format=hf"):
    tokenizer_fields(single, 300)


# --- SentencePiece ------------------------------------------------------------


def sentencepiece_bpe(add_space: bool) -> SentencePieceTokenizer:
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter(TEXTS), model_writer=model, model_type="bpe",
      vocab_size=320, byte_fallback=True, normalization_rule_name="identity",
      remove_extra_whitespaces=False, add_dummy_prefix=add_space,
      control_symbols=["<start_of_turn>"], user_defined_symbols=["<tag>"],
      minloglevel=2)
  return SentencePieceTokenizer(model.getvalue())


@pytest.mark.parametrize("add_space", [False, True])
def test_sentencepiece_comes_back(add_space):
  tokenizer = sentencepiece_bpe(add_space)
  fields = tokenizer_fields(tokenizer, 324)
  assert fields["tokenizer.ggml.model"] == "llama"
  assert fields["tokenizer.ggml.add_space_prefix"] == add_space
  again = read_tokenizer(fields, "m.gguf")
  for text in [*PROBES, "a<tag>b"]:
    assert again.encode(text) == tokenizer.encode(text), text
    assert again.decode(again.encode(text)) == text
  assert again.special_tokens == tokenizer.special_tokens


def test_the_file_format_is_read_as_it_is_written():
  pieces = spm.Pieces(["<unk>", "▁a", "b" * 200, "<0x0A>"],
                      [0.0, -1.5, -2.0, 0.0],
                      [spm.UNKNOWN, spm.NORMAL, spm.USER_DEFINED, spm.BYTE],
                      spm.UNIGRAM, add_space=False, one_space=True)
  again = spm.read_model(spm.write_model(pieces))
  assert dataclasses.replace(again, texts=pieces.texts, scores=pieces.scores,
                             types=pieces.types) == pieces
  assert (list(again.texts), list(again.scores), list(again.types)) == (
      pieces.texts, pieces.scores, pieces.types)
  with pytest.raises(ValueError):
    spm.read_model(b"\xff\xff\xff")


def test_a_unigram_vocabulary_is_refused():
  unigram = train_sentencepiece(TEXTS, TokenizerConfig(
      kind="sentencepiece", vocab_size=305))
  with pytest.raises(ConfigError, match="unigram.*tokenizer.kind=bpe"):
    tokenizer_fields(unigram, 305)


@pytest.mark.parametrize("changes, told", [
    ({"tokenizer.ggml.merges": None}, "without tokenizer.ggml.merges"),
    ({"tokenizer.ggml.pre": None}, "cuts text by '\\(none\\)'"),
    ({"tokenizer.ggml.tokens": []}, "0 tokens"),
    ({"tokenizer.huggingface.json": "[]"}, "cannot be read"),
    ({"tokenizer.ggml.model": "llama"}, "0 scores")])
def test_what_is_wrong_is_told(changes, told):
  fields = tokenizer_fields(
      train_bpe(TEXTS, TokenizerConfig(vocab_size=300)), 300)
  if "tokenizer.huggingface.json" not in changes:
    fields = with_only_the_lists(fields)
  changed = {k: v for k, v in (fields | changes).items() if v is not None}
  with pytest.raises(ConfigError, match="m.gguf.*" + told):
    read_tokenizer(changed, "m.gguf")


def test_a_file_without_a_vocabulary():
  assert read_tokenizer({}, "m.gguf") is None
