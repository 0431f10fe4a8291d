"""Batches, through Grain: batch n is a pure function of (seed, n).

    row numbers -> shuffle each epoch -> repeat -> batch -> read and lay out

Grain's `MapDataset` shuffles, repeats and batches the *numbers* of rows; the
last step reads those rows, all of a batch at once, in NumPy. What each row
holds was fixed by `packing.py`, so the order is decided by the seed alone:
`dataset[n]` can be asked for any n at any time, the state of the data is the
integer n, and a restarted run needs nothing else.

With several processes each reads those rows of the global batch that its own
devices hold (`sharding.process_rows`). The global batch is the same however
many processes there are.

A batch is a dict of arrays [B, T]:

    tokens       int32    inputs
    targets      int32    the next token of the same document (or conversation)
    loss_mask    float32  1 where the target counts
    segment_ids  int32    which document of the row, from 1; 0 is padding
    positions    int32    place within that document, from 0 in each row

In pretraining the target of a document's last token is the <|endoftext|> that
follows: the model learns where texts end. In conversations it is nothing.

A training batch that is `numbered` has also

    examples     int64    [B] numbers of the rows of the whole global batch

which `MetricLogger.next` takes out again and records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import grain
import numpy as np

from llm_jax.config import require
from llm_jax.data import packing
from llm_jax.data.token_shards import TokenShards, TokenStream

Batch = dict[str, np.ndarray]

PREFETCH_THREADS = 2
PREFETCH_BATCHES = 8
_PART_SEEDS = 1_000_003  # between the seeds of a mixture's parts


class Rows(Protocol):
  """Rows of tokens that can be read in any order."""

  def __len__(self) -> int:
    """How many rows there are."""

  def read(self, rows_B: np.ndarray) -> Batch:
    """The rows of these numbers as a batch; numbers from len() up: padding."""


def pretrain_dataset(shards: TokenShards, split: str, seq_len: int,
                     batch_size: int, seed: int = 0,
                     process_rows: np.ndarray | None = None
                     ) -> grain.MapDataset:
  """Windows of a split of token shards.

  Args:
    shards: an opened directory.
    split: "train": without end, shuffled anew each epoch; "validation": once,
      in order, the last batch filled up with rows that do not count.
    seq_len: tokens of a row (T).
    batch_size: rows of the global batch (B).
    seed: the order of the rows.
    process_rows: numbers of the rows of a batch that this process reads, of
      `sharding.process_rows`; None: all.

  Returns:
    A dataset whose item n is this process's part of batch n, as described at
    the top of this file.

  Raises:
    ConfigError: the split is shorter than one context.
  """
  stream = shards.tokens(split)
  if split == "train":
    _require_a_context(stream, shards, seq_len)
  else:
    require(len(stream) > 1, f"{shards.path} has no {split} documents; raise "
            "--data.validation_fraction, or name --data.validation_path, and "
            "make the shards again.")
  rows = WindowRows(stream, shards.endoftext_id, seq_len)
  return _batches(rows, _numbers(rows, batch_size, seed, split == "train"),
                  batch_size, process_rows)


def mixture_dataset(parts: Sequence[tuple[TokenShards, float]], seq_len: int,
                    batch_size: int, seed: int = 0,
                    process_rows: np.ndarray | None = None, *,
                    numbered: bool = False) -> grain.MapDataset:
  """Training windows of several token shards, in shares.

  Rows of the parts alternate in a fixed pattern, so that any stretch of the
  training has the shares; which row of a part comes next is shuffled. A part
  that is read to its end begins again in a new order, whatever the others do.

  Args:
    parts: (shards, share) pairs; shares are relative to each other.
    seq_len, batch_size, seed, process_rows: as above.
    numbered: batches have the field `examples`; rows of the second part are
      numbered after those of the first, and so on.

  Returns:
    A dataset without end, as `pretrain_dataset`; of one part, the same.

  Raises:
    ConfigError: a split is shorter than one context.
  """
  return mixed_dataset(
      [(train_windows(shards, seq_len), share) for shards, share in parts],
      batch_size, seed, process_rows, numbered=numbered)


def mixed_dataset(parts: Sequence[tuple[Rows, float]], batch_size: int,
                  seed: int = 0, process_rows: np.ndarray | None = None, *,
                  numbered: bool = False) -> grain.MapDataset:
  """Rows of several kinds, in shares, without end: `mixture_dataset` of any.

  Args:
    parts: (rows, share) pairs; all rows have the same length.
    batch_size, seed, process_rows, numbered: as above.
  """
  all_rows = [part for part, _ in parts]
  rows = JoinedRows(all_rows)
  # Each part has an order of its own, the first that which it has alone.
  numbers = [
      _endless_numbers(first, first + len(part), seed + _PART_SEEDS * i)
      for i, (first, part) in enumerate(zip(rows.first_rows, all_rows))]
  mixed = (numbers[0] if len(numbers) == 1 else grain.MapDataset.mix(
      numbers, [share for _, share in parts]))
  return _batches(rows, mixed, batch_size, process_rows, numbered)


def train_windows(shards: TokenShards, seq_len: int) -> WindowRows:
  """The rows of the training split; ConfigError if it has no context."""
  stream = shards.tokens("train")
  _require_a_context(stream, shards, seq_len)
  return WindowRows(stream, shards.endoftext_id, seq_len)


def conversations_dataset(conversations: Sequence[packing.Rendered],
                          seq_len: int, batch_size: int, seed: int = 0,
                          process_rows: np.ndarray | None = None, *,
                          train: bool = True, numbered: bool = False,
                          overlong: str = "error",
                          report: Callable[[str], None] = print
                          ) -> grain.MapDataset:
  """Whole conversations, packed into rows (`pack_conversations`).

  Args:
    conversations: (ids, loss_mask) pairs of `render_conversation`.
    seq_len, batch_size, seed, process_rows: as above.
    train: without end and shuffled each epoch, or once and in order.
    numbered: batches have the field `examples`.
    overlong: see `packing.fit_conversations`.
    report: told how full the rows are, and what was trimmed.

  Returns:
    A dataset of batches, as `pretrain_dataset`.

  Raises:
    ConfigError: a conversation that does not fit, or none at all.
  """
  rows = pack_conversations(conversations, seq_len, seed, overlong=overlong,
                            report=report)
  return _batches(rows, _numbers(rows, batch_size, seed, train), batch_size,
                  process_rows, numbered)


def pack_conversations(conversations: Sequence[packing.Rendered],
                       seq_len: int, seed: int = 0, *,
                       overlong: str = "error", sources: Sequence[str] = (),
                       report: Callable[[str], None] = print
                       ) -> ConversationRows:
  """Rows of whole conversations; nothing is dropped or cut without a word.

  Args:
    conversations: (ids, loss_mask) pairs of `render_conversation`.
    seq_len: tokens of a row (T).
    seed: the order among conversations of one length.
    overlong, sources: see `packing.fit_conversations`.
    report: told how many there are, how full the rows are and which share of
      the tokens is trained, and what was trimmed or left out.

  Raises:
    ConfigError: a conversation that does not fit, or none at all.
  """
  fitting, trimmed, left_out = packing.fit_conversations(
      conversations, seq_len, overlong, sources)
  rows = ConversationRows(fitting, seq_len, seed)
  tokens = sum(len(ids) for ids, _ in fitting)
  trained = sum(int(np.sum(mask)) for _, mask in fitting)
  line = (f"packed {len(fitting):,} conversations ({tokens:,} tokens, "
          f"{trained / tokens:.1%} of them trained) into {len(rows):,} rows of "
          f"{seq_len} tokens, {rows.packing.efficiency:.1%} full")
  if trimmed or left_out:
    line += (f"; of {len(conversations):,}, {trimmed:,} were trimmed to their "
             f"answers that fit, {left_out:,} left out")
    line += " because none does" if overlong == "trim" else " as too long"
  report(line)
  return rows


def rows_dataset(rows: Rows, batch_size: int,
                 process_rows: np.ndarray | None = None) -> grain.MapDataset:
  """All rows once, in order; the last batch is filled up with rows that do not
  count. Arguments as above."""
  return _batches(rows, _numbers(rows, batch_size, 0, False), batch_size,
                  process_rows)


def iterate(dataset: grain.MapDataset, start_step: int = 0
            ) -> grain.DatasetIterator:
  """Batches from number `start_step` on, read ahead in background threads.

  The result is Grain's own iterator: `get_state()` is `{"next_index": n}`,
  `set_state` goes anywhere, and `close()` stops the threads.
  """
  iterator = iter(dataset.to_iter_dataset(grain.ReadOptions(
      num_threads=PREFETCH_THREADS, prefetch_buffer_size=PREFETCH_BATCHES)))
  iterator.set_state({"next_index": start_step})
  return iterator


class WindowRows:
  """Windows of T + 1 ids over a stream; `packing.py` says why they overlap."""

  def __init__(self, stream: TokenStream, endoftext_id: int, seq_len: int):
    self._stream, self._start_id, self._seq_len = stream, endoftext_id, seq_len
    self._num_rows = packing.num_windows(len(stream), seq_len)

  def __len__(self) -> int:
    return self._num_rows

  def read(self, rows_B: np.ndarray) -> Batch:
    """See `Rows.read`."""
    T = self._seq_len
    starts_B = rows_B * T
    counts_B = np.clip(len(self._stream) - 1 - starts_B, 0, T)  # targets
    if np.all(counts_B == T):
      ids_BS = self._stream.read(starts_B, T + 1).astype(np.int32)
    else:
      ids_BS = np.zeros((len(rows_B), T + 1), np.int32)
      for ids_S, start, count in zip(ids_BS, starts_B, counts_B):
        if count:
          ids_S[:count + 1] = self._stream.read([start], count + 1)[0]
    real_BT = np.arange(T) < counts_B[:, None]
    tokens_BT, targets_BT = np.where(real_BT, ids_BS[:, :-1], 0), ids_BS[:, 1:]
    # A row that begins within a document begins with the rest of it.
    starts_BT = tokens_BT == self._start_id
    starts_BT[:, 0] = True
    return _layout(tokens_BT, targets_BT, real_BT, starts_BT, real_BT)


class JoinedRows:
  """The rows of several, numbered one after the other."""

  def __init__(self, parts: Sequence[Rows]):
    self._parts = parts
    ends = np.cumsum([len(part) for part in parts])
    self.first_rows = [0, *ends[:-1].tolist()]
    self._length = int(ends[-1])

  def __len__(self) -> int:
    return self._length

  def read(self, rows_B: np.ndarray) -> Batch:
    """See `Rows.read`."""
    part_B = np.searchsorted(self.first_rows, rows_B, side="right") - 1
    batch: Batch = {}
    for part in np.unique(part_B):
      chosen_B = part_B == part
      found = self._parts[part].read(rows_B[chosen_B] - self.first_rows[part])
      for name, array in found.items():
        if name not in batch:
          batch[name] = np.empty((len(rows_B), *array.shape[1:]), array.dtype)
        batch[name][chosen_B] = array
    return batch


class ConversationRows:
  """Packed conversations; the rows are laid out once and kept in memory."""

  def __init__(self, conversations: Sequence[packing.Rendered], seq_len: int,
               seed: int = 0):
    lengths = [len(ids) for ids, _ in conversations]
    self.packing = packing.pack_best_fit(lengths, seq_len, seed)
    shape = (len(self.packing), seq_len)
    self._tokens_RT = np.zeros(shape, np.int32)
    self._learnt_RT = np.zeros(shape, bool)  # of the token itself, as a target
    self._starts_RT = np.zeros(shape, bool)
    self._lengths_R = np.zeros(len(self.packing), np.int64)
    for r in range(len(self.packing)):
      start = 0
      for item in self.packing.row(r):
        ids, mask = conversations[item]
        end = start + len(ids)
        self._tokens_RT[r, start:end] = ids
        self._learnt_RT[r, start:end] = mask
        self._starts_RT[r, start] = True
        start = end
      self._lengths_R[r] = start

  def __len__(self) -> int:
    return len(self.packing)

  def read(self, rows_B: np.ndarray) -> Batch:
    """See `Rows.read`."""
    T = self._tokens_RT.shape[1]
    inside_B = rows_B < len(self)
    rows_B = np.where(inside_B, rows_B, 0)
    lengths_B = np.where(inside_B, self._lengths_R[rows_B], 0)
    real_BT = np.arange(T) < lengths_B[:, None]
    tokens_BT = np.where(real_BT, self._tokens_RT[rows_B], 0)
    starts_BT = self._starts_RT[rows_B] & real_BT
    # The last token of a conversation, and of the row, has no target.
    has_target_BT = np.zeros_like(real_BT)
    has_target_BT[:, :-1] = real_BT[:, 1:] & ~starts_BT[:, 1:]
    targets_BT = np.where(has_target_BT, np.roll(tokens_BT, -1, axis=1), 0)
    learnt_BT = np.roll(self._learnt_RT[rows_B], -1, axis=1) & has_target_BT
    return _layout(tokens_BT, targets_BT, learnt_BT, starts_BT, real_BT)


def _layout(tokens_BT: np.ndarray, targets_BT: np.ndarray,
            learnt_BT: np.ndarray, starts_BT: np.ndarray,
            real_BT: np.ndarray) -> Batch:
  """A batch of the tokens, where documents start, and which are not padding."""
  times_T = np.arange(tokens_BT.shape[1], dtype=np.int32)
  segment_ids_BT = np.cumsum(starts_BT, axis=1, dtype=np.int32)
  first_BT = np.maximum.accumulate(np.where(starts_BT, times_T, 0), axis=1)
  return {
      "tokens": tokens_BT,
      "targets": np.ascontiguousarray(targets_BT),
      "loss_mask": learnt_BT.astype(np.float32),
      "segment_ids": np.where(real_BT, segment_ids_BT, 0),
      "positions": np.where(real_BT, times_T - first_BT, 0),
  }


def _require_a_context(stream: TokenStream, shards: TokenShards,
                       seq_len: int) -> None:
  require(len(stream) > seq_len, f"the corpus in {shards.path} has "
          f"{len(stream)} training tokens, fewer than one context of "
          f"seq_len={seq_len} and its target; add text or lower seq_len.")


def _endless_numbers(first: int, end: int, seed: int) -> grain.MapDataset:
  """The numbers from `first` to `end`, shuffled anew each epoch."""
  # Grain permutes 32-bit numbers.
  require(end - first < 2**32, f"{end - first} rows are more than 2**32; raise "
          "seq_len.")
  return grain.MapDataset.range(first, end).seed(seed).shuffle().repeat()


def _numbers(rows: Rows, batch_size: int, seed: int, endless: bool
             ) -> grain.MapDataset:
  """Numbers of rows in the order of reading: without end, or once."""
  if endless:
    return _endless_numbers(0, len(rows), seed)
  return grain.MapDataset.range(-(-len(rows) // batch_size) * batch_size)


def _batches(rows: Rows, numbers: grain.MapDataset, batch_size: int,
             process_rows: np.ndarray | None, numbered: bool = False
             ) -> grain.MapDataset:
  """Batches the numbers of rows, chooses this process's, and reads them."""
  mine = slice(None) if process_rows is None else process_rows

  def read(numbers_B: np.ndarray) -> Batch:
    batch = rows.read(numbers_B[mine])
    return {**batch, "examples": numbers_B} if numbered else batch

  return numbers.batch(batch_size).map(read)
