"""What is written is what was read, whole or not at all."""

import json

from byte_tokenizer import ByteTokenizer, expected_ids
import fsspec
import numpy as np
import pytest

from llm_jax.config import ConfigError
from llm_jax.data.documents import Document
from llm_jax.data.shard_writer import write_shards
from llm_jax.data.token_shards import (
    TokenShards, read_meta, tokenizer_fingerprint)

TEXTS = [f"Document {i}: " + "é <|endoftext|> " * (i % 7) for i in range(60)]
PAIRS = [("validation" if i % 5 == 0 else "train", Document(text, f"t{i}"))
         for i, text in enumerate(TEXTS)]


def _write(output, tokenizer=None, pairs=PAIRS, **settings):
  return write_shards(pairs, tokenizer or ByteTokenizer(), str(output),
                      progress=lambda line: None, **settings)


def _split_texts(split):
  return [document.text for side, document in PAIRS if side == split]


@pytest.mark.parametrize("tokens_per_shard", [1, 300, 10**9])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_documents_come_back(tmp_path, tokens_per_shard, split):
  _write(tmp_path / "shards", tokens_per_shard=tokens_per_shard)
  shards = TokenShards.open(str(tmp_path / "shards"), ByteTokenizer())
  texts = _split_texts(split)
  expected = [expected_ids(text) for text in texts]
  ids = np.asarray(shards.tokens(split))
  np.testing.assert_array_equal(ids, np.concatenate(expected))
  assert ids.dtype == np.uint16
  offsets = shards.document_offsets(split)
  assert len(offsets) == len(texts)
  np.testing.assert_array_equal(ids[offsets], shards.endoftext_id)
  assert np.sum(ids == shards.endoftext_id) == len(texts)
  assert shards.num_tokens(split) == len(ids)
  assert shards.num_bytes(split) == sum(len(t.encode()) for t in texts)


@pytest.mark.parametrize("place", ["disk", "memory://far/shards"])
def test_windows_across_shards(tmp_path, place):
  output = str(tmp_path / "shards") if place == "disk" else place
  tokenizer = ByteTokenizer()
  if place != "disk":
    tokenizer.save = lambda directory: None  # it writes to disk only
  _write(output, tokenizer, tokens_per_shard=97)
  stream = TokenShards.open(output).tokens("train")
  whole = np.concatenate([expected_ids(t) for t in _split_texts("train")])
  starts = np.arange(0, len(whole) - 250, 31)
  np.testing.assert_array_equal(
      stream.read(starts, 250), [whole[s:s + 250] for s in starts])
  np.testing.assert_array_equal(stream[-5:], whole[-5:])
  with pytest.raises(IndexError):
    stream.read([len(whole) - 3], 4)


def test_large_vocabulary_takes_32_bits(tmp_path):
  meta = _write(tmp_path / "shards", ByteTokenizer(extra=70_000))
  assert meta["dtype"] == "uint32"
  ids = TokenShards.open(str(tmp_path / "shards")).tokens("train")[:]
  assert ids.dtype == np.uint32


def test_a_failure_leaves_what_was_there(tmp_path):
  _write(tmp_path / "shards", fingerprint="old")

  def failing():
    yield PAIRS[1]
    raise ConfigError("bad file")
  with pytest.raises(ConfigError, match="bad file"):
    _write(tmp_path / "shards", pairs=failing())
  assert read_meta(str(tmp_path / "shards"))["fingerprint"] == "old"
  assert [path.name for path in tmp_path.iterdir()] == ["shards"]


def test_shards_are_replaced_but_nothing_else_is(tmp_path):
  _write(tmp_path / "shards", tokens_per_shard=10)
  _write(tmp_path / "shards", fingerprint="new")
  assert read_meta(str(tmp_path / "shards"))["fingerprint"] == "new"
  assert not (tmp_path / "shards" / "train-00001.npy").exists()
  (tmp_path / "mine").mkdir()
  (tmp_path / "mine" / "thesis.tex").write_text("years of work")
  with pytest.raises(ConfigError, match="choose another --output"):
    _write(tmp_path / "mine")
  assert (tmp_path / "mine" / "thesis.tex").exists()


def test_nothing_to_train_on(tmp_path):
  pairs = [("validation", Document("x", "t"))]
  with pytest.raises(ConfigError, match="no document is left for training"):
    _write(tmp_path / "shards", pairs=pairs)


def test_what_is_no_directory_of_shards(tmp_path):
  for path in (tmp_path, tmp_path / "none", "memory://none"):
    with pytest.raises(ConfigError, match="has no meta.json"):
      TokenShards.open(str(path))
  assert read_meta(str(tmp_path / "*.txt")) is None


def test_damage_is_named(tmp_path):
  path = tmp_path / "shards"

  def mistake():
    with pytest.raises(ConfigError) as caught:
      TokenShards.open(str(path))
    return str(caught.value)

  _write(path)
  shard = path / "train-00000.npy"
  content = shard.read_bytes()
  shard.write_bytes(content[:-7])
  assert "train-00000.npy" in mistake() and "cut short" in mistake()
  shard.write_bytes(content[:3])
  assert "train-00000.npy is not a .npy file" in mistake()
  shard.unlink()
  assert "train-00000.npy is missing" in mistake()
  np.save(shard, np.zeros(5, np.uint16))
  assert "has 5 items but meta.json says" in mistake()
  shard.write_bytes(content)
  meta = json.loads((path / "meta.json").read_text())
  (path / "meta.json").write_text(json.dumps({**meta, "format": 99}))
  assert "shards of format 99" in mistake()
  (path / "meta.json").write_text("{")
  assert "meta.json is not JSON" in mistake()


def test_another_tokenizer_is_refused(tmp_path):
  _write(tmp_path / "shards")
  with pytest.raises(ConfigError, match="made with another tokenizer"):
    TokenShards.open(str(tmp_path / "shards"), ByteTokenizer(shift=1))


def test_fingerprint_sees_how_text_is_cut():
  class Coarser(ByteTokenizer):
    """The same vocabulary, used otherwise."""

    def encode_text(self, text):
      return super().encode_text(text.replace("19", "91"))
  assert (tokenizer_fingerprint(ByteTokenizer())
          == tokenizer_fingerprint(ByteTokenizer()))
  assert len({tokenizer_fingerprint(t) for t in (
      ByteTokenizer(), ByteTokenizer(shift=1), Coarser())}) == 3


def test_a_tokenizer_that_makes_document_starts_of_text_is_refused(tmp_path):
  class Naive(ByteTokenizer):
    def encode_text(self, text):
      return [256] if text == "<|endoftext|>" else super().encode_text(text)
  with pytest.raises(ValueError, match="out of plain text"):
    _write(tmp_path / "shards", Naive(),
           pairs=[("train", Document("<|endoftext|>", "t"))])


def test_progress_tells_speed_and_time_left(tmp_path, monkeypatch):
  monkeypatch.setattr("llm_jax.data.shard_writer.PROGRESS_SECONDS", 0.0)
  monkeypatch.setattr("llm_jax.data.shard_writer.BATCH_DOCUMENTS", 10)
  lines = []
  pairs = [("train", Document(text, "t", (i + 1) / 60))
           for i, text in enumerate(TEXTS)]
  write_shards(pairs, ByteTokenizer(), str(tmp_path / "s"),
               progress=lines.append)
  assert len(lines) == 7
  assert "tokens/s" in lines[0] and "s left" in lines[0]
  assert "60 documents" in lines[-1] and "left" not in lines[-1]


def test_no_memory_file_system_leftovers():
  fs = fsspec.filesystem("memory")
  assert not [name for name in fs.find("/") if ".partial" in name]
