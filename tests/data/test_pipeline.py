"""Batches: nothing lost, nothing twice, and a function of (seed, n)."""

import os
import subprocess
import sys

from byte_tokenizer import ByteTokenizer, expected_ids
import numpy as np
import pytest

from llm_jax.config import ConfigError
from llm_jax.data import pipeline
from llm_jax.data.documents import Document
from llm_jax.data.shard_writer import write_shards
from llm_jax.data.token_shards import TokenShards

SEQ_LEN, BATCH = 16, 8
TEXTS = [f"doc {i} " + "abcdefgh" * (i * i % 11) for i in range(40)]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
  path = str(tmp_path_factory.mktemp("data") / "shards")
  pairs = [("validation" if i % 4 == 0 else "train", Document(text, ""))
           for i, text in enumerate(TEXTS)]
  write_shards(pairs, ByteTokenizer(), path, tokens_per_shard=200,
               progress=lambda line: None)
  return TokenShards.open(path)


def _conversations(count=60, seed=0):
  """(ids, mask) pairs with ids that tell conversation and place."""
  rng = np.random.default_rng(seed)
  made = []
  for i in range(count):
    length = int(rng.integers(3, SEQ_LEN + 1))
    mask = rng.random(length) < 0.5
    mask[0] = False
    made.append(((i + 1) * 100 + np.arange(length), mask))
  return made


def _dataset(conversations, **settings):
  settings = {"report": lambda line: None, **settings}
  return pipeline.conversations_dataset(conversations, SEQ_LEN, BATCH,
                                        **settings)


def _rows(batches):
  """The rows of several batches, each a dict of arrays [T]."""
  return [{key: array[row] for key, array in batch.items()}
          for batch in batches for row in range(len(batch["tokens"]))]


def _epoch(dataset, num_rows, epoch=0):
  """All rows that the endless dataset shows in one epoch, in its order."""
  first, last = epoch * num_rows, (epoch + 1) * num_rows
  batches = [dataset[n] for n in range(first // BATCH, -(-last // BATCH))]
  skip = first - first // BATCH * BATCH
  return _rows(batches)[skip:skip + num_rows]


def _assert_equal(left, right):
  assert left.keys() == right.keys()
  for key in left:
    np.testing.assert_array_equal(left[key], right[key], err_msg=key)


def _stream(shards, split):
  return np.asarray(shards.tokens(split)).astype(np.int64)


def _num_rows(shards, split="train"):
  return -(-(shards.num_tokens(split) - 1) // SEQ_LEN)


def test_shapes_and_types(shards):
  for dataset in (pipeline.pretrain_dataset(shards, "train", SEQ_LEN, BATCH),
                  _dataset(_conversations())):
    batch = dataset[0]
    assert {key: array.dtype.name for key, array in batch.items()} == {
        "tokens": "int32", "targets": "int32", "loss_mask": "float32",
        "segment_ids": "int32", "positions": "int32"}
    assert {array.shape for array in batch.values()} == {(BATCH, SEQ_LEN)}


def test_validation_windows_reconstruct_the_stream(shards):
  dataset = pipeline.pretrain_dataset(shards, "validation", SEQ_LEN, BATCH)
  stream = _stream(shards, "validation")
  rows = _rows(dataset[n] for n in range(len(dataset)))
  real = [row["segment_ids"] > 0 for row in rows]
  tokens = np.concatenate([r["tokens"][k] for r, k in zip(rows, real)])
  targets = np.concatenate([r["targets"][k] for r, k in zip(rows, real)])
  np.testing.assert_array_equal(tokens, stream[:-1])
  np.testing.assert_array_equal(targets, stream[1:])
  assert sum(row["loss_mask"].sum() for row in rows) == len(stream) - 1
  assert len(rows) % BATCH == 0 and len(rows) - _num_rows(
      shards, "validation") < BATCH
  for row, kept in zip(rows, real):
    np.testing.assert_array_equal(row["loss_mask"], kept)
    for key in ("tokens", "positions"):
      assert not row[key][~kept].any()
  # Cut where <|endoftext|> stands, the stream is the documents.
  texts = [text for i, text in enumerate(TEXTS) if i % 4 == 0]
  cut = np.split(stream, np.flatnonzero(stream == 256)[1:])
  for ids, text in zip(cut, texts, strict=True):
    np.testing.assert_array_equal(ids, expected_ids(text))


@pytest.mark.parametrize("epoch", [0, 1, 3])
def test_every_token_but_the_first_is_a_target_once_in_an_epoch(shards, epoch):
  dataset = pipeline.pretrain_dataset(shards, "train", SEQ_LEN, BATCH, seed=5)
  stream = _stream(shards, "train")
  seen = np.zeros(len(stream), int)
  # Rows are told apart by what they hold; equal windows share their count.
  starts = {}
  for start in range(0, len(stream) - 1, SEQ_LEN):
    starts.setdefault(tuple(stream[start:start + SEQ_LEN + 1]), []).append(
        start)
  for row in _epoch(dataset, _num_rows(shards), epoch):
    count = int(row["loss_mask"].sum())
    window = (*row["tokens"][:count], row["targets"][count - 1])
    start = starts[window].pop()
    np.testing.assert_array_equal(row["targets"][:count],
                                  stream[start + 1:start + 1 + count])
    seen[start + 1:start + 1 + count] += 1
  np.testing.assert_array_equal(seen, np.arange(len(stream)) > 0)


def test_segments_and_positions_follow_the_documents(shards):
  dataset = pipeline.pretrain_dataset(shards, "train", SEQ_LEN, BATCH)
  for row in _epoch(dataset, _num_rows(shards)):
    segment, position = 1, 0
    for t in range(SEQ_LEN):
      if not row["loss_mask"][t]:
        assert row["segment_ids"][t] == 0
        continue
      if t and row["tokens"][t] == shards.endoftext_id:
        segment, position = segment + 1, 0
      assert row["segment_ids"][t] == segment
      assert row["positions"][t] == position
      position += 1


def test_a_document_learns_that_it_ends(shards):
  batch = pipeline.pretrain_dataset(shards, "train", SEQ_LEN, BATCH)[0]
  ends = (batch["targets"] == shards.endoftext_id) & (batch["loss_mask"] > 0)
  assert ends.any()
  starts = batch["tokens"][:, 1:] == shards.endoftext_id
  np.testing.assert_array_equal(ends[:, :-1] & (
      batch["loss_mask"][:, 1:] > 0), starts)


@pytest.mark.parametrize("make", ["pretrain", "conversations"])
def test_batch_n_is_a_function_of_seed_and_n(shards, make):
  conversations = _conversations()

  def dataset(seed):
    if make == "pretrain":
      return pipeline.pretrain_dataset(shards, "train", SEQ_LEN, BATCH, seed)
    return _dataset(conversations, seed=seed)

  first, again, other = dataset(1), dataset(1), dataset(2)
  for n in (3, 50, 0, 3):  # in any order, over epochs
    _assert_equal(first[n], again[n])
  assert any((first[n]["tokens"] != other[n]["tokens"]).any()
             for n in range(3))
  assert any((first[n]["tokens"] != first[n + 1]["tokens"]).any()
             for n in range(3))


@pytest.mark.parametrize("make", ["pretrain", "conversations"])
def test_a_new_process_makes_the_same_batches(shards, make):
  """Nothing depends on the order of hashing or on what ran before."""
  script = f"""
import sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
import test_pipeline as t
from llm_jax.data.token_shards import TokenShards
print(t.digest({make!r}, TokenShards.open({shards.path!r})))
"""
  child = subprocess.run(
      [sys.executable, "-c", script], text=True, capture_output=True,
      check=True, env={**os.environ, "PYTHONHASHSEED": "77",
                       "PYTHONPATH": os.pathsep.join(sys.path)})
  assert child.stdout.strip() == digest(make, shards)


def digest(make, shards):
  """A number that changes with any of the first batches."""
  dataset = (_dataset(_conversations(), seed=3) if make == "conversations" else
             pipeline.pretrain_dataset(shards, "train", SEQ_LEN, BATCH, 3))
  weights = np.arange(1, BATCH * SEQ_LEN + 1).reshape(BATCH, SEQ_LEN)
  return str([int((array * weights).sum()) for n in range(20)
              for array in dataset[n].values()])


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_process_slices_make_the_global_batch(shards, split, count):
  whole = pipeline.pretrain_dataset(shards, split, SEQ_LEN, BATCH, 3)
  parts = [pipeline.pretrain_dataset(shards, split, SEQ_LEN, BATCH, 3, rows)
           for rows in np.split(np.arange(BATCH), count)]
  for n in range(5):
    slices = [part[n] for part in parts]
    assert slices[0]["tokens"].shape == (BATCH // count, SEQ_LEN)
    _assert_equal(whole[n], {
        key: np.concatenate([part[key] for part in slices])
        for key in slices[0]})


def test_a_numbered_batch_says_which_rows_it_holds(shards):
  """Each process those of the whole batch; a mixture's are told apart."""
  plain = pipeline.mixture_dataset([(shards, 1.0)] * 2, SEQ_LEN, BATCH, 3)
  part = pipeline.mixture_dataset([(shards, 1.0)] * 2, SEQ_LEN, BATCH, 3,
                                  np.arange(2), numbered=True)
  rows = pipeline.WindowRows(shards.tokens("train"), shards.endoftext_id,
                             SEQ_LEN)
  seen = []
  for n in range(2 * len(rows) // BATCH):
    batch = part[n]
    numbers_B = batch.pop("examples")
    seen += numbers_B.tolist()
    _assert_equal(batch, rows.read(numbers_B[:2] % len(rows)))
    _assert_equal(batch, {key: array[:2] for key, array in plain[n].items()})
  assert len(seen) == len(set(seen)) > 2 * len(rows) - BATCH
  assert min(seen) < len(rows) < max(seen) < 2 * len(rows)


def test_epochs_are_shuffled_differently(shards):
  dataset = pipeline.pretrain_dataset(shards, "train", SEQ_LEN, BATCH)
  epochs = [[tuple(row["tokens"]) for row in
             _epoch(dataset, _num_rows(shards), epoch)] for epoch in range(3)]
  assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(epochs[2])
  assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_iterate_goes_on_from_any_batch(shards):
  dataset = pipeline.pretrain_dataset(shards, "train", SEQ_LEN, BATCH)
  iterator = pipeline.iterate(dataset, 7)
  for n in range(7, 30):
    _assert_equal(next(iterator), dataset[n])
  state = iterator.get_state()
  assert state == {"next_index": 30}
  for _ in range(5):
    next(iterator)
  iterator.set_state(state)
  _assert_equal(next(iterator), dataset[30])
  iterator.close()
  validation = pipeline.pretrain_dataset(shards, "validation", SEQ_LEN, BATCH)
  assert len(list(pipeline.iterate(validation))) == len(validation)


def test_mistakes_of_size(shards, tmp_path):
  tokens = shards.num_tokens("train")
  with pytest.raises(ConfigError) as caught:
    pipeline.pretrain_dataset(shards, "train", tokens, BATCH)
  assert f"has {tokens} training tokens" in str(caught.value)
  assert f"seq_len={tokens}" in str(caught.value)
  assert pipeline.pretrain_dataset(shards, "train", tokens - 1, 1)[0]
  write_shards([("train", Document("x" * 99, ""))], ByteTokenizer(),
               str(tmp_path / "s"), progress=lambda line: None)
  with pytest.raises(ConfigError, match="has no validation documents"):
    pipeline.pretrain_dataset(TokenShards.open(str(tmp_path / "s")),
                              "validation", SEQ_LEN, BATCH)


def _unpack(rows):
  """Conversations of rows: {first id: (ids, learnt)} of one epoch."""
  found = {}
  for row in rows:
    for segment in range(1, row["segment_ids"].max() + 1):
      places = np.flatnonzero(row["segment_ids"] == segment)
      np.testing.assert_array_equal(places, places[0] + np.arange(len(places)))
      np.testing.assert_array_equal(row["positions"][places],
                                    np.arange(len(places)))
      ids = row["tokens"][places]
      np.testing.assert_array_equal(row["targets"][places],
                                    [*ids[1:], 0])
      assert row["loss_mask"][places[-1]] == 0  # the last has no target
      assert ids[0] not in found
      found[ids[0]] = ids, row["loss_mask"][places]
    padding = row["segment_ids"] == 0
    for key in ("tokens", "targets", "loss_mask", "positions"):
      assert not row[key][padding].any()
  return found


@pytest.mark.parametrize("train", [True, False])
def test_conversations_come_back_whole_with_their_masks(train):
  conversations = _conversations()
  dataset = _dataset(conversations, seed=1, train=train)
  num_rows = len(pipeline.ConversationRows(conversations, SEQ_LEN, 1))
  rows = (_epoch(dataset, num_rows) if train else
          _rows(dataset[n] for n in range(len(dataset))))
  found = _unpack(rows)
  assert len(found) == len(conversations)
  for ids, mask in conversations:
    packed_ids, learnt = found[ids[0]]
    np.testing.assert_array_equal(packed_ids, ids)
    # The loss of place t is that of the target, token t + 1.
    np.testing.assert_array_equal(learnt, [*mask[1:].astype(float), 0])


def test_later_epochs_hold_the_same_conversations():
  conversations = _conversations()
  dataset = _dataset(conversations)
  num_rows = len(pipeline.ConversationRows(conversations, SEQ_LEN))
  epochs = [_epoch(dataset, num_rows, epoch) for epoch in (0, 1, 2)]
  assert all(_unpack(epoch).keys() == _unpack(epochs[0]).keys()
             for epoch in epochs)
  firsts = [[row["tokens"][0] for row in epoch] for epoch in epochs]
  assert firsts[0] != firsts[1] != firsts[2]


@pytest.mark.parametrize("count", [2, 4])
def test_conversation_slices_make_the_global_batch(count):
  conversations = _conversations()
  for train in (True, False):
    whole = _dataset(conversations, train=train)
    parts = [_dataset(conversations, train=train, process_rows=rows)
             for rows in np.split(np.arange(BATCH), count)]
    for n in range(2):
      _assert_equal(whole[n], {
          key: np.concatenate([part[n][key] for part in parts])
          for key in whole[n]})


def test_packing_is_reported_and_trimming_never_silent():
  lines = []
  long = (np.arange(40), np.arange(40) % 10 == 9)
  _dataset([*_conversations(5), long], overlong="trim", report=lines.append)
  assert "6 conversations" in lines[0] and "% full" in lines[0]
  assert "1 were trimmed" in lines[0] and "0 left out" in lines[0]
  with pytest.raises(ConfigError, match="1 of 6 conversations are longer"):
    _dataset([*_conversations(5), long])
