"""Mixtures: the shares that were asked for, as a function of (seed, n)."""

import collections

from byte_tokenizer import ByteTokenizer
import numpy as np
import pytest

from llm_jax.config import ConfigError, PretrainConfig, PretrainDataConfig
from llm_jax.data import mixture, pipeline
from llm_jax.data.documents import Document
from llm_jax.data.shard_writer import write_shards
from llm_jax.data.token_shards import TokenShards

SEQ_LEN, BATCH = 16, 10
# Bytes that tell the source, and documents of very different sizes.
LETTERS = {"web": "abcdefgh", "books": "ijklmnop", "code": "qrstuvwx"}
COUNTS = {"web": 40, "books": 6, "code": 3}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
  root = tmp_path_factory.mktemp("mixture")
  for name, letters in LETTERS.items():
    pairs = [("validation" if i == 0 else "train", Document(
        letters * 5 + letters[i % 8] * (i + 1), ""))
        for i in range(COUNTS[name] + 1)]
    write_shards(pairs, ByteTokenizer(), str(root / name / "shards"),
                 progress=lambda line: None)
  return {name: str(root / name / "shards") for name in LETTERS}


def parts(sources, **shares):
  return [(TokenShards.open(sources[name]), share)
          for name, share in shares.items()]


def source_of(tokens_T):
  """Which source a row is of, by any of its letters."""
  letter = next(chr(t) for t in tokens_T if t < 256)
  return next(name for name, letters in LETTERS.items() if letter in letters)


def test_shares_of_every_batch_and_of_all(sources):
  dataset = pipeline.mixture_dataset(
      parts(sources, web=0.5, books=0.3, code=0.2), SEQ_LEN, BATCH)
  for n in (0, 1, 57):
    counts = collections.Counter(map(source_of, dataset[n]["tokens"]))
    assert counts == {"web": 5, "books": 3, "code": 2}
  # Shares that no batch can have are met in the long run.
  dataset = pipeline.mixture_dataset(
      parts(sources, web=0.875, code=0.125), SEQ_LEN, BATCH)
  counts = collections.Counter(
      source_of(row) for n in range(80) for row in dataset[n]["tokens"])
  assert counts == {"web": 700, "code": 100}


def test_each_source_is_read_evenly_and_begins_again(sources):
  [(web, _), (code, _)] = both = parts(sources, web=0.6, code=0.4)
  dataset = pipeline.mixture_dataset(both, SEQ_LEN, BATCH)
  rows = collections.Counter(
      (source_of(row), row.tobytes()) for n in range(60)
      for row in dataset[n]["tokens"])
  for name, shards in (("web", web), ("code", code)):
    source = mixture.Source(name, shards, {"web": 0.6, "code": 0.4}[name])
    times = mixture.passes(source, SEQ_LEN, 60 * BATCH)
    assert times > 1.5
    whole = pipeline.WindowRows(shards.tokens("train"), shards.endoftext_id,
                                SEQ_LEN)
    once = collections.Counter(row.tobytes() for row in whole.read(
        np.arange(len(whole)))["tokens"])
    assert len(whole) * times == pytest.approx(60 * BATCH * source.share)
    for row, count in once.items():
      assert int(times) * count <= rows[name, row] <= (int(times) + 1) * count


def test_one_source_is_what_it_is_alone(sources):
  [(web, share)] = parts(sources, web=1.0)
  mixed = pipeline.mixture_dataset([(web, share)], SEQ_LEN, BATCH, seed=3)
  alone = pipeline.pretrain_dataset(web, "train", SEQ_LEN, BATCH, seed=3)
  for n in range(9):
    for name, array in alone[n].items():
      np.testing.assert_array_equal(mixed[n][name], array)


def test_a_batch_is_a_function_of_seed_and_number(sources):
  def dataset(seed=0):
    return pipeline.mixture_dataset(
        parts(sources, web=0.7, books=0.3), SEQ_LEN, BATCH, seed)
  expected = [dataset()[n]["tokens"] for n in range(12)]
  iterator = pipeline.iterate(dataset(), start_step=5)
  for n in range(5, 12):
    np.testing.assert_array_equal(next(iterator)["tokens"], expected[n])
  iterator.set_state({"next_index": 2})
  np.testing.assert_array_equal(next(iterator)["tokens"], expected[2])
  iterator.close()
  assert any((dataset(1)[n]["tokens"] != expected[n]).any() for n in range(3))


@pytest.mark.parametrize("count", [2, 5])
def test_processes_share_the_global_batch(sources, count):
  def dataset(rows):
    return pipeline.mixture_dataset(
        parts(sources, web=0.7, books=0.3), SEQ_LEN, BATCH, 1, rows)
  for n in (0, 7):
    whole = dataset(None)[n]
    pieces = [dataset(rows)[n] for rows in np.split(np.arange(BATCH), count)]
    for name, array in whole.items():
      np.testing.assert_array_equal(
          array, np.concatenate([piece[name] for piece in pieces]))
      assert {piece[name].dtype for piece in pieces} == {array.dtype}


def test_opened_by_name(sources, tmp_path):
  entries = tuple(f"{path}:{weight}" for path, weight in zip(
      sources.values(), (2, 1, 1)))
  config = PretrainDataConfig(mixture=entries)
  opened = mixture.open_sources(config.sources())
  assert [source.name for source in opened] == [
      "web/shards", "books/shards", "code/shards"]
  assert [source.share for source in opened] == [0.5, 0.25, 0.25]
  write_shards([("train", Document("x" * 99, ""))], ByteTokenizer(shift=1),
               str(tmp_path / "other"), progress=lambda line: None)
  with pytest.raises(ConfigError, match="another tokenizer than .*web"):
    mixture.open_sources([(sources["web"], 0.5), (str(tmp_path / "other"), 1)])
  [(shards, _)] = parts(sources, code=1.0)
  with pytest.raises(ConfigError, match="fewer than one context"):
    pipeline.mixture_dataset([(shards, 1.0)], 4096, BATCH)
  with pytest.raises(ConfigError, match="has no meta.json"):
    mixture.open_sources([(str(tmp_path / "none"), 1.0)])


@pytest.mark.parametrize("entries", [
    ("runs/a",), ("runs/a:",), ("runs/a:x",), (":1",), ("runs/a:0",),
    ("runs/a:-1",), ("runs/a:nan",), ("runs/a:inf",)])
def test_entries_that_are_none(entries):
  with pytest.raises(ConfigError, match="is PATH:WEIGHT"):
    PretrainConfig(data=PretrainDataConfig(mixture=entries)).validate()


def test_addresses_and_repetitions():
  config = PretrainDataConfig(mixture=("gs://b/a:1", "runs/b:3"))
  assert config.sources() == (("gs://b/a", 0.25), ("runs/b", 0.75))
  with pytest.raises(ConfigError, match="names a path twice"):
    PretrainDataConfig(mixture=("a:1", "a:2")).sources()
