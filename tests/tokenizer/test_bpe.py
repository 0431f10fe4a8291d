"""Byte-level BPE: sizes, ids, and three independent encoders that agree."""

import json

import numpy as np
import pytest
import regex
import tokenizers

from llm_jax.config import ConfigError, TokenizerConfig
from llm_jax.tokenizer import huggingface_format
from llm_jax.tokenizer.bpe import BpeTokenizer, merges_of, train_bpe
from llm_jax.tokenizer.loading import load_tokenizer
from llm_jax.tokenizer.split_pattern import split_pattern


def naive_encode(text, tokenizer):
  """The definition: merge the earliest-made neighbouring pair, repeatedly."""
  ids = []
  for piece in regex.findall(tokenizer.pattern, text):
    data = piece.encode()
    parts = [data[i:i + 1] for i in range(len(data))]
    while True:
      ranked = [(tokenizer.ranks.get(a + b), i)
                for i, (a, b) in enumerate(zip(parts, parts[1:]))]
      ranked = [(rank, i) for rank, i in ranked if rank is not None]
      if not ranked:
        break
      _, i = min(ranked)
      parts[i:i + 2] = [parts[i] + parts[i + 1]]
    ids += [tokenizer.ranks[part] for part in parts]
  return ids


def test_merges_counted_by_hand():
  # Pieces: "xyz", " xyz" twice, " xy" twice. Pairs: xy 5 times; then " "+xy 4;
  # then " xy"+z twice; what is left is seen once.
  text = ["xyz xyz xyz xy xy"]
  config = TokenizerConfig(vocab_size=259, special_tokens=())
  tokenizer = train_bpe(text, config)
  assert [tokenizer.token_bytes(i) for i in (256, 257, 258)] == [
      b"xy", b" xy", b" xyz"]
  assert tokenizer.encode("xyz xyz") == [256, ord("z"), 258]
  with pytest.raises(ConfigError, match="only .* 259 tokens; give at most 259"):
    train_bpe(text, TokenizerConfig(vocab_size=260, special_tokens=()))
  with pytest.raises(ConfigError, match="give at most 267"):
    train_bpe(text, TokenizerConfig(vocab_size=300))  # eight special tokens


def test_ids_are_bytes_then_merges_then_special(bpe):
  assert bpe.vocab_size == 1500
  assert [bpe.token_bytes(i) for i in range(256)] == [
      bytes([i]) for i in range(256)]
  assert bpe.special_tokens == {
      "<|endoftext|>": 1492, "<|pad|>": 1493, "<|system|>": 1494,
      "<|user|>": 1495, "<|assistant|>": 1496, "<|end|>": 1497,
      "<|tool|>": 1498, "<|tool_call|>": 1499}
  assert bpe.endoftext_id == 1492
  assert bpe.token_bytes(1497) == b"<|end|>"
  assert len({bpe.token_bytes(i) for i in range(1500)}) == 1500


def test_three_encoders_agree_and_texts_come_back(bpe, hard_texts, tmp_path):
  bpe.save(tmp_path)
  theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
  theirs.encode_special_tokens = True
  for text in hard_texts:
    ids = bpe.encode(text)
    assert ids == theirs.encode(text).ids, repr(text[:80])
    assert bpe.decode(ids) == text
    assert bpe.encode_array(text).tolist() == ids
  for text in hard_texts[:15] + hard_texts[20:120]:
    assert bpe.encode(text) == naive_encode(text, bpe), repr(text)
  assert theirs.get_vocab_size() == 1500


def test_merges_are_those_the_trainer_made(bpe, corpus):
  learner = tokenizers.Tokenizer(tokenizers.models.BPE())
  pre = tokenizers.pre_tokenizers
  learner.pre_tokenizer = pre.Sequence([
      pre.Split(tokenizers.Regex(bpe.pattern), "isolated"),
      pre.ByteLevel(add_prefix_space=False, use_regex=False)])
  learner.train_from_iterator(corpus, tokenizers.trainers.BpeTrainer(
      vocab_size=1492, initial_alphabet=pre.ByteLevel.alphabet(),
      show_progress=False))
  made = json.loads(learner.to_str())["model"]["merges"]
  expected = [tuple(map(huggingface_format.to_bytes, pair)) for pair in made]
  assert merges_of(bpe.ranks) == expected


def test_saved_and_loaded_is_the_same(bpe, tmp_path, hard_texts):
  bpe.save(tmp_path / "new" / "directory")
  again = load_tokenizer(tmp_path / "new" / "directory")
  assert isinstance(again, BpeTokenizer)
  assert again.ranks == bpe.ranks
  assert again.special_tokens == bpe.special_tokens
  assert again.pattern == bpe.pattern
  again.save(tmp_path / "again")
  for name in ("tokenizer.json", "tokenizer_config.json"):
    assert ((tmp_path / "new" / "directory" / name).read_bytes()
            == (tmp_path / "again" / name).read_bytes())


def test_whitespace_longer_than_tiktoken_can_take(bpe, tmp_path):
  bpe.save(tmp_path)
  theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
  theirs.encode_special_tokens = True
  # tiktoken aborts at the first; the second is past the length at which we
  # change encoders, the third just below it.
  for text in (" " * 1_001_000 + "a<|end|>", "x" + "\t" * 100_000,
               "x" + " " * 99_999 + "y"):
    ids = bpe.encode(text)
    assert ids == theirs.encode(text).ids
    assert bpe.decode(ids) == text
    assert not set(ids) & set(bpe.special_tokens.values())
  assert bpe.encode_array("\t" * 100_000).tolist() == bpe.encode("\t" * 100_000)


def test_special_tokens_only_when_allowed(bpe):
  text = "a<|end|>b<|user|>"
  special = bpe.special_tokens
  assert not set(bpe.encode(text)) & set(special.values())
  assert bpe.decode(bpe.encode(text)) == text
  allowed = bpe.encode(text, allow_special=True)
  assert allowed == [ord("a"), special["<|end|>"], ord("b"),
                     special["<|user|>"]]
  assert bpe.decode(allowed) == text
  [array] = bpe.encode_batch([text])
  assert array.tolist() == bpe.encode(text)


def test_batches_keep_order_and_type(bpe, hard_texts):
  for num_threads in (None, 1, 3):
    arrays = bpe.encode_batch(hard_texts, num_threads=num_threads)
    assert all(array.dtype == np.int32 for array in arrays)
    assert [a.tolist() for a in arrays] == [bpe.encode(t) for t in hard_texts]
  assert bpe.encode_batch([]) == []


def test_joined_is_each_on_its_own(bpe, hard_texts):
  first = next(iter(bpe.special_tokens))
  spelled = [text for text in hard_texts if first in text]
  others = [text for text in hard_texts if first not in text]
  assert spelled and others
  for texts in (others, hard_texts, [], [""], ["", "", "a"], ["a  ", " \n b"],
                ["a\ud83d", "b"], ["x" + " " * 100_001, "y"]):
    ids, lengths = bpe.encode_joined(texts)
    assert lengths.tolist() == [len(bpe.encode(text)) for text in texts]
    assert ids.tolist() == [i for text in texts for i in bpe.encode(text)]
    assert ids.dtype == np.int32 and lengths.dtype == np.int64
  doubled = BpeTokenizer(bpe.ranks, {"aa": 2000}, bpe.pattern)
  assert doubled.encode_joined(["a", "b"])[0].tolist() == [97, 98]
  without = train_bpe(["ab ab"], TokenizerConfig(
      vocab_size=257, special_tokens=()))
  assert without.encode_joined(["ab", "", "a"])[1].tolist() == [1, 0, 1]


def test_part_of_a_special_token_at_a_border(bpe):
  first = next(iter(bpe.special_tokens))
  texts = [first[:5], first[5:], "x" + first[:-1], first[-1:] + "y"]
  ids, lengths = bpe.encode_joined(texts)
  assert [bpe.decode(part) for part in
          np.split(ids, np.cumsum(lengths)[:-1])] == texts
  assert bpe.special_tokens[first] not in ids


def test_lone_surrogates_become_replacement_characters(bpe):
  assert bpe.decode(bpe.encode("a\ud83db")) == "a\ufffdb"
  assert bpe.encode_array("a\ud83db").tolist() == bpe.encode("a\ufffdb")
  train_bpe(["\ud83d ab ab"], TokenizerConfig(vocab_size=265))


def test_broken_utf8_decodes_with_replacement(bpe):
  euro = bpe.ranks[b"\xe2"], bpe.ranks[b"\x82"]
  assert bpe.decode_bytes(euro) == b"\xe2\x82"
  assert bpe.decode(euro) == "\ufffd"
  assert bpe.decode(np.array([72, 105], np.int32)) == "Hi"
  assert bpe.decode([]) == ""


@pytest.mark.parametrize("token_id", [1500, -1, 10**12])
def test_ids_outside_the_vocabulary_are_named(bpe, token_id):
  with pytest.raises(ValueError, match=str(token_id)):
    bpe.decode([72, token_id])
  with pytest.raises(ValueError, match=str(token_id)):
    bpe.token_bytes(token_id)


@pytest.mark.parametrize("max_digits", [1, 2, 3])
def test_digits_in_a_token(max_digits):
  text = [" ".join(f"{n} {n}" for n in range(100_000, 100_900))]
  tokenizer = train_bpe(text, TokenizerConfig(
      vocab_size={1: 264, 2: 340, 3: 400}[max_digits], max_digits=max_digits))
  digits = [sum(48 <= b < 58 for b in token) for token in tokenizer.ranks]
  assert max(digits) == max_digits
  pieces = regex.findall(split_pattern(max_digits), "on 1234567, in٣٤٥٦")
  longest = max(len(p) for p in pieces if p.isnumeric())
  assert longest == max_digits and "".join(pieces) == "on 1234567, in٣٤٥٦"


def test_pieces_of_the_split_pattern():
  pieces = regex.findall(
      split_pattern(3), "It's WE'RE 12345  ok!!\n\n \n  end 'don  ")
  assert pieces == ["It", "'s", " WE", "'RE", " ", "123", "45", " ", " ok",
                    "!!\n\n", " \n", " ", " end", " '", "don", "  "]


def test_max_bytes_limits_what_is_read():
  config = TokenizerConfig(vocab_size=265, max_bytes=100)
  taken = []

  def texts():
    for i in range(100):
      taken.append(i)
      yield "é" * 11  # 22 bytes; the hundredth byte is half a character

  assert train_bpe(texts(), config).vocab_size == 265
  assert len(taken) == 5


@pytest.mark.parametrize("texts", [[], ["", ""]])
def test_no_text(texts):
  with pytest.raises(ConfigError, match="no text to learn"):
    train_bpe(texts, TokenizerConfig())


def test_settings_that_cannot_be():
  with pytest.raises(ConfigError, match="need at least 264"):
    train_bpe(["abc"], TokenizerConfig(vocab_size=263))
  with pytest.raises(ConfigError, match="twice"):
    train_bpe(["abc"], TokenizerConfig(special_tokens=("<|a|>", "<|a|>")))
  with pytest.raises(ConfigError, match="max_digits"):
    train_bpe(["abc"], TokenizerConfig(max_digits=4))


def test_a_fault_of_the_reader_is_not_lost():
  def texts():
    yield "abc"
    raise ConfigError("part.txt is not UTF-8 at byte 7.")

  with pytest.raises(ConfigError, match="part.txt"):
    train_bpe(texts(), TokenizerConfig())


def test_no_endoftext_token_is_told():
  tokenizer = BpeTokenizer({bytes([b]): b for b in range(256)}, {}, r"\s+|\S+")
  with pytest.raises(ConfigError, match=r"<\|endoftext\|>"):
    _ = tokenizer.endoftext_id
  assert tokenizer.encode("hi", allow_special=True) == [104, 105]


@pytest.mark.reference
def test_transformers_reads_it_with_equal_ids(bpe, tmp_path, hard_texts):
  transformers = pytest.importorskip("transformers")
  bpe.save(tmp_path)
  for cls in (transformers.AutoTokenizer, transformers.PreTrainedTokenizerFast):
    theirs = cls.from_pretrained(str(tmp_path))
    for text in hard_texts:
      assert (theirs.encode(text, add_special_tokens=True)
              == bpe.encode(text, allow_special=True)), repr(text[:80])
      ids = bpe.encode(text)
      assert theirs.decode(ids) == text
    assert len(theirs) == bpe.vocab_size
    assert theirs.pad_token_id == bpe.special_tokens["<|pad|>"]
    assert theirs.eos_token_id == bpe.endoftext_id
