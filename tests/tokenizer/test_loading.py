"""Vocabularies of others: the same ids, fast where they allow it."""

import json

import pytest
import tiktoken
import tokenizers

from llm_jax.config import ConfigError
from llm_jax.tokenizer import huggingface_format
from llm_jax.tokenizer.bpe import BpeTokenizer
from llm_jax.tokenizer.huggingface import HuggingFaceTokenizer
from llm_jax.tokenizer.loading import load_tokenizer
from llm_jax.tokenizer.split_pattern import GPT2_PATTERN


def theirs_of(path) -> tokenizers.Tokenizer:
  theirs = tokenizers.Tokenizer.from_file(str(path))
  theirs.encode_special_tokens = True
  return theirs


def assert_equal_ids(ours, path, texts):
  theirs = theirs_of(path)
  for text in texts:
    expected = theirs.encode(text, add_special_tokens=False).ids
    assert ours.encode(text) == expected, repr(text[:80])


def trained(corpus, pre_tokenizer, normalizer=None, special=("<|endoftext|>",)):
  """A byte-level BPE of Hugging Face's own making."""
  tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
  tokenizer.pre_tokenizer = pre_tokenizer
  tokenizer.decoder = tokenizers.decoders.ByteLevel()
  if normalizer:
    tokenizer.normalizer = normalizer
  tokenizer.train_from_iterator(corpus, tokenizers.trainers.BpeTrainer(
      vocab_size=1000, special_tokens=list(special), show_progress=False,
      initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet()))
  return tokenizer


def test_gpt2_style(corpus, hard_texts, tmp_path):
  path = tmp_path / "tokenizer.json"
  pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
  trained(corpus, pre_tokenizer).save(str(path))
  ours = load_tokenizer(tmp_path)
  assert isinstance(ours, BpeTokenizer) and ours.pattern == GPT2_PATTERN
  assert ours.vocab_size == 1000
  assert ours.special_tokens == {"<|endoftext|>": 0}  # theirs came first
  assert_equal_ids(ours, path, hard_texts)
  # What we save of it has the same ids again, and gives them to others.
  ours.save(tmp_path / "ours")
  assert_equal_ids(ours, tmp_path / "ours" / "tokenizer.json", hard_texts)
  # Older files write a pair as one string.
  contents = json.loads(path.read_text())
  contents["model"]["merges"] = [
      " ".join(pair) for pair in contents["model"]["merges"]]
  path.write_text(json.dumps(contents))
  assert load_tokenizer(path).ranks == ours.ranks


def test_llama3_style(bpe, hard_texts, tmp_path):
  """Converted from tiktoken: every split of a token is listed as a merge, and
  a whole piece is looked up first."""
  tokens = sorted(bpe.ranks, key=bpe.ranks.get)
  merges = [(t[:i], t[i:]) for t in tokens for i in range(1, len(t))
            if t[:i] in bpe.ranks and t[i:] in bpe.ranks]
  assert len(merges) > len(tokens) - 256
  contents = huggingface_format.to_json(
      bpe.ranks, merges, bpe.special_tokens, bpe.pattern)
  contents["model"]["ignore_merges"] = True
  path = tmp_path / "tokenizer.json"
  path.write_text(json.dumps(contents))
  ours = load_tokenizer(path)
  assert isinstance(ours, BpeTokenizer) and ours.ranks == bpe.ranks
  assert_equal_ids(ours, path, hard_texts)


def test_a_whole_word_without_merges(hard_texts, tmp_path):
  ranks = {bytes([b]): b for b in range(256)} | {b"he": 256, b" return": 257}
  BpeTokenizer(ranks, {}, GPT2_PATTERN).save(tmp_path)
  path = tmp_path / "tokenizer.json"
  assert json.loads(path.read_text())["model"]["ignore_merges"] is True
  ours = load_tokenizer(path)
  assert isinstance(ours, BpeTokenizer)
  assert ours.encode(" return he") == [257, 32, 256]
  assert_equal_ids(ours, path, hard_texts)
  # Where whole pieces do not go first, " return" is never met.
  contents = json.loads(path.read_text())
  contents["model"]["ignore_merges"] = False
  path.write_text(json.dumps(contents))
  ours = load_tokenizer(path)
  assert isinstance(ours, HuggingFaceTokenizer)
  assert 257 not in ours.encode(" return he")


def _shuffled(contents):
  """RoBERTa's way: ids in another order than the merges."""
  names = list(contents["model"]["vocab"])
  contents["model"]["vocab"] = {n: i for i, n in enumerate(sorted(names))}
  contents["added_tokens"][0]["id"] = sorted(names).index("<|endoftext|>")


def _other_merges(contents):
  """Pairs that spell the same tokens but are never met."""
  vocab = contents["model"]["vocab"]
  contents["model"]["merges"] = [
      next(([a + b[:i], b[i:]] for i in range(1, len(b))
            if a + b[:i] in vocab and b[i:] in vocab), [a, b])
      for a, b in contents["model"]["merges"]]


def _normalised(contents):
  contents["normalizer"] = {"type": "NFC"}


def _prefix_space(contents):
  contents["pre_tokenizer"]["add_prefix_space"] = True


def _digits_first(contents):
  """SmolLM2's: two patterns, one after the other."""
  contents["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
      {"type": "Digits", "individual_digits": True},
      contents["pre_tokenizer"]]}


def _added_word(contents):
  contents["added_tokens"].append(
      contents["added_tokens"][0] | {
          "id": 1000, "content": "<think>", "special": False})


def _pattern(contents, pattern):
  contents["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
      {"type": "Split", "pattern": {"Regex": pattern},
       "behavior": "Isolated", "invert": False},
      contents["pre_tokenizer"] | {"use_regex": False}]}


def _ascii_option(contents):
  """An option of Oniguruma's, which Rust's regular expressions do not have."""
  _pattern(contents, r"(?W:\w+)|[\s\S]")


def _repeated_repetition(contents):
  """Seven digits: one piece to Oniguruma, three to Rust's."""
  _pattern(contents, r"\p{N}{1,3}+|\p{L}+|[^\p{N}\p{L}]")
  contents["model"]["vocab"]["12"] = 1000
  contents["model"]["merges"].append(["1", "2"])
  contents["model"]["vocab"]["123"] = 1001
  contents["model"]["merges"].append(["12", "3"])
  contents["model"]["vocab"]["1231"] = 1002
  contents["model"]["merges"].append(["123", "1"])


def _two_names_for_an_id(contents):
  contents["model"]["vocab"]["ĠĠĠĠĠĠĠĠĠĠĠ"] = 500


@pytest.mark.parametrize("change", [
    _ascii_option, _repeated_repetition, _two_names_for_an_id, _shuffled,
    _other_merges, _normalised, _prefix_space, _digits_first, _added_word])
def test_what_ranks_cannot_say_is_wrapped(change, corpus, hard_texts, tmp_path):
  path = tmp_path / "tokenizer.json"
  hard_texts = [*hard_texts, "1231231"]
  pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
  contents = json.loads(trained(corpus, pre_tokenizer).to_str())
  change(contents)
  path.write_text(json.dumps(contents))
  ours = load_tokenizer(path)
  assert isinstance(ours, HuggingFaceTokenizer)
  assert_equal_ids(ours, path, hard_texts)
  text = "<|endoftext|>hé <think>"
  assert ours.endoftext_id not in ours.encode(text)
  ids = ours.encode(text, allow_special=True)
  assert ids[0] == ours.endoftext_id and ours.endoftext_id not in ids[1:]
  if change is not _prefix_space:
    assert ours.decode(ours.encode(text)) == text
    assert b"".join(map(ours.token_bytes, ids)) == text.encode()
  assert (1000 in ids) == (change is _added_word)
  with pytest.raises(ValueError, match="12345"):
    ours.decode([12345])
  ours.save(tmp_path / "ours")
  assert_equal_ids(ours, tmp_path / "ours" / "tokenizer.json", hard_texts[:40])


def test_word_pieces_are_wrapped(tmp_path):
  vocab = {"[UNK]": 0, "hello": 1, "wor": 2, "##ld": 3}
  theirs = tokenizers.Tokenizer(
      tokenizers.models.WordPiece(vocab, unk_token="[UNK]"))
  theirs.normalizer = tokenizers.normalizers.BertNormalizer()
  theirs.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
  theirs.decoder = tokenizers.decoders.WordPiece()
  theirs.enable_padding(length=8)
  theirs.enable_truncation(2)
  theirs.save(str(tmp_path / "tokenizer.json"))
  ours = load_tokenizer(tmp_path)
  assert ours.vocab_size == 4
  assert ours.encode("Hello world") == [1, 2, 3]  # not padded, not cut
  assert ours.decode([1, 2, 3]) == "hello world"


def test_unused_ids_between_special_tokens_survive(tmp_path, hard_texts):
  """cl100k_base has such a hole; an embedding table needs rows for it."""
  ranks = {bytes([b]): b for b in range(256)} | {b"th": 256}
  ours = BpeTokenizer(ranks, {"<|endoftext|>": 257, "<|pad|>": 300},
                      GPT2_PATTERN)
  assert ours.vocab_size == 301
  ours.save(tmp_path)
  theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
  assert theirs.encode("<|pad|>th<|endoftext|>").ids == [300, 256, 257]
  again = load_tokenizer(tmp_path)
  assert again.special_tokens == ours.special_tokens
  with pytest.raises(ValueError, match="280"):
    again.decode([280])


def test_tiktoken_names(monkeypatch, bpe, hard_texts, tmp_path):
  pattern = r"\p{N}{1,3}+|\p{L}++|[^\p{L}\p{N}]++"  # as cl100k_base's ends
  encoding = tiktoken.Encoding(
      "gpt2", pat_str=pattern, mergeable_ranks=bpe.ranks,
      special_tokens=bpe.special_tokens)
  asked = []

  def get_encoding(name):
    asked.append(name)
    return encoding

  monkeypatch.setattr(tiktoken, "get_encoding", get_encoding)
  monkeypatch.setattr(tiktoken, "list_encoding_names", lambda: ["new_base"])
  ours = load_tokenizer("new_base")
  assert asked == ["new_base"]
  ours.save(tmp_path)
  assert_equal_ids(ours, tmp_path / "tokenizer.json", hard_texts)
  for text in hard_texts:
    assert ours.encode(text) == encoding.encode_ordinary(text)

  def no_network(name):
    raise ConnectionError("name resolution")

  monkeypatch.undo()
  monkeypatch.setattr(tiktoken, "get_encoding", no_network)
  with pytest.raises(ConfigError, match="downloaded once.*ConnectionError"):
    load_tokenizer("cl100k_base")


def test_nothing_there(tmp_path):
  with pytest.raises(ConfigError, match="absent does not exist"):
    load_tokenizer("absent")
  with pytest.raises(ConfigError, match="holds no tokenizer.json"):
    load_tokenizer(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model": 3}', "\x00"])
def test_not_a_tokenizer_file(text, tmp_path):
  path = tmp_path / "tokenizer.json"
  path.write_text(text)
  with pytest.raises(ConfigError, match="tokenizer.json"):
    load_tokenizer(path)


def test_damaged_files_are_told(bpe, tmp_path):
  path = tmp_path / "tokenizer.json"
  bpe.save(tmp_path)
  contents = json.loads(path.read_text())
  for model in ({"type": "BPE"}, {"type": "BPE", "vocab": 3, "merges": []},
                {"type": "Unheard"}):
    path.write_text(json.dumps(contents | {"model": model}))
    with pytest.raises(ConfigError, match="tokenizer.json"):
      load_tokenizer(path)
  (tmp_path / "tokenizer.model").write_bytes(b"not a model")
  with pytest.raises(ConfigError, match="SentencePiece"):
    load_tokenizer(tmp_path / "tokenizer.model")
  path.write_bytes(b"\xff\xfe")
  with pytest.raises(ConfigError, match="tokenizer.json"):
    load_tokenizer(path)
