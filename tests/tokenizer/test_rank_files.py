"""Files of ranks: the ids that tiktoken gives when it is told all."""

import base64

import pytest
import tiktoken

from llm_jax.config import ConfigError
from llm_jax.tokenizer.bpe import BpeTokenizer
from llm_jax.tokenizer.loading import load_tokenizer
from llm_jax.tokenizer.split_pattern import PATTERNS

# meta-llama/llama3, llama/tokenizer.py
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def write_ranks(path, ranks):
  path.write_bytes(b"".join(
      base64.b64encode(token) + b" %d\n" % rank
      for token, rank in sorted(ranks.items(), key=lambda item: item[1])))


def padded(ranks, size):
  """So many ranks: those that were learnt, and others no text gets to."""
  return dict(ranks) | {
      b"\xff\xfe" + i.to_bytes(4, "big"): i for i in range(len(ranks), size)}


def test_a_vocabulary_with_the_name_of_its_pattern(bpe, tmp_path, hard_texts):
  path = tmp_path / "ranks.tiktoken"
  write_ranks(path, bpe.ranks)
  theirs = tiktoken.Encoding(
      "theirs", pat_str=PATTERNS["o200k"], mergeable_ranks=bpe.ranks,
      special_tokens={})
  ours = load_tokenizer(f"{path}@o200k")
  assert isinstance(ours, BpeTokenizer)
  for text in hard_texts:
    assert ours.encode(text) == theirs.encode_ordinary(text)
  assert ours.special_tokens == {"<|endoftext|>": len(bpe.ranks)}
  assert load_tokenizer(f"{path}@default").encode("ab 12") == bpe.encode(
      "ab 12")
  # A directory with just that file will do too, where the ranks are known.
  with pytest.raises(ConfigError, match="1492 ranks.*@PATTERN, with one of"):
    load_tokenizer(path)
  with pytest.raises(ConfigError, match="1492 ranks"):
    load_tokenizer(tmp_path)


def test_llama3_is_known_by_its_number_of_ranks(bpe, tmp_path, hard_texts):
  ranks = padded(bpe.ranks, 128_000)
  write_ranks(tmp_path / "tokenizer.model", ranks)  # the name it comes under
  theirs = tiktoken.Encoding("theirs", pat_str=LLAMA3, mergeable_ranks=ranks,
                             special_tokens={})
  ours = load_tokenizer(tmp_path)
  for text in hard_texts:
    assert ours.encode(text) == theirs.encode_ordinary(text)
  assert ours.vocab_size == 128_256
  # As Hugging Face's Llama 3.1 has them.
  for name, i in {"<|begin_of_text|>": 128_000, "<|end_of_text|>": 128_001,
                  "<|reserved_special_token_1|>": 128_003,
                  "<|reserved_special_token_2|>": 128_005,
                  "<|eot_id|>": 128_009,
                  "<|reserved_special_token_3|>": 128_011,
                  "<|reserved_special_token_247|>": 128_255}.items():
    assert ours.special_tokens[name] == i
  assert ours.endoftext_id == 128_001


@pytest.mark.parametrize("size, pattern, last", [
    (50_256, "gpt2", "<|endoftext|>"), (100_256, "cl100k", "<|endofprompt|>"),
    (199_998, "o200k", "<|endofprompt|>")])
def test_openais_are_known_by_their_number_of_ranks(bpe, tmp_path, size,
                                                    pattern, last):
  write_ranks(tmp_path / "x.tiktoken", padded(bpe.ranks, size))
  ours = load_tokenizer(tmp_path / "x.tiktoken")
  assert ours.pattern == PATTERNS[pattern]
  published = {"gpt2": 50_257, "cl100k": 100_277, "o200k": 200_019}  # n_vocab
  assert ours.vocab_size == published[pattern]
  assert ours.special_tokens[last] == published[pattern] - 1


def test_damage_is_told_with_its_line(bpe, tmp_path):
  path = tmp_path / "ranks.tiktoken"
  write_ranks(path, bpe.ranks)
  lines = path.read_bytes().splitlines(keepends=True)

  def mistake(changed):
    path.write_bytes(b"".join(changed))
    with pytest.raises(ConfigError) as caught:
      load_tokenizer(f"{path}@gpt2")
    return str(caught.value)

  assert "line 301 is not a token" in mistake(
      lines[:300] + [b"!! 7\n"] + lines[300:])
  assert "line 301 is not a token" in mistake(lines[:300] + [b"aGk=\n"])
  assert "line 301 has the token" in mistake(lines[:300] + lines[9:])
  assert "one rank for two" in mistake(lines[:300] + [b"aGhoaGhoaA== 5\n"])
  assert "negative rank" in mistake(lines[:300] + [b"aGhoaGhoaA== -5\n"])
  assert "lacks 56 of the 256 bytes" in mistake(lines[:200])
  assert "lacks 256" in mistake([])


def test_a_directory_with_several(bpe, tmp_path):
  for name in ("a", "b"):
    write_ranks(tmp_path / f"{name}.tiktoken", bpe.ranks)
  with pytest.raises(ConfigError, match="but 2 .tiktoken files; name one"):
    load_tokenizer(tmp_path)


def test_a_file_that_is_not_there(tmp_path):
  for name in ("none.tiktoken", "none.tiktoken@gpt2"):
    with pytest.raises(ConfigError, match="none.tiktoken"):
      load_tokenizer(tmp_path / name)
