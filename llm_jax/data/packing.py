"""Which tokens stand in which row: made once, offline, without randomness left.

Two ways to fill rows of T tokens:

- *Windows* over a stream of documents (pretraining). Row i reads the T + 1 ids
  from i·T: T inputs and their T targets. Neighbours overlap by one id, so every
  id but the very first is a target exactly once, wherever rows are cut. The
  last window may be short; the rest of it is padding.
- *Best-fit packing* of whole conversations (fine-tuning). A conversation is
  never cut to fill a row, for its answer would lose its question: the longest
  goes first, each into the fullest row that still has room for it (best-fit
  decreasing; within 11/9 of the fewest rows: Johnson et al. 1974, "Worst-case
  performance bounds for simple one-dimensional packing algorithms").

Rows are what is shuffled and sliced; their content is fixed here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from llm_jax.config import ConfigError, require, require_choice

Rendered = tuple[Sequence[int], Sequence[int]]  # (ids, loss_mask), equally long


def num_windows(num_tokens: int, seq_len: int) -> int:
  """Rows in which each of `num_tokens` ids but the first is a target once."""
  return max(-(-(num_tokens - 1) // seq_len), 0)


@dataclasses.dataclass(frozen=True)
class Packing:
  """Items in rows: row r holds items[offsets[r]:offsets[r + 1]], in order.

  Attributes:
    items: indices of the packed items, int64 [num_items].
    offsets: where each row begins in `items`, int64 [num_rows + 1].
    efficiency: the share of all places that hold a token.
  """
  items: np.ndarray
  offsets: np.ndarray
  efficiency: float

  def __len__(self) -> int:
    return len(self.offsets) - 1

  def row(self, r: int) -> np.ndarray:
    """Indices of the items in row `r`."""
    return self.items[self.offsets[r]:self.offsets[r + 1]]


def pack_best_fit(lengths: Sequence[int], seq_len: int,
                  seed: int = 0) -> Packing:
  """Packs items of `lengths` into rows of `seq_len` places.

  Args:
    lengths: tokens of each item, all from 1 to `seq_len`.
    seq_len: places in a row.
    seed: the order among items of one length.

  Returns:
    A `Packing` in which each item stands exactly once.
  """
  lengths = np.asarray(lengths, np.int64)
  if len(lengths) and not 1 <= lengths.min() <= lengths.max() <= seq_len:
    raise ValueError(f"lengths {lengths.min()}..{lengths.max()} do not fit "
                     f"rows of {seq_len}")
  order = np.random.default_rng(seed).permutation(len(lengths))
  order = order[np.argsort(-lengths[order], kind="stable")]
  rows: list[list[int]] = []
  # rows_with[room]: rows that have this much room left. Bit `room` of `rooms`
  # is set where there is such a row, so the best fit is the lowest bit from
  # `length` up: one shift of an integer in place of a search.
  rows_with: list[list[int]] = [[] for _ in range(seq_len + 1)]
  rooms = 0
  for item in order.tolist():
    length = int(lengths[item])
    above = rooms >> length
    if above:
      room = length + (above & -above).bit_length() - 1
      row = rows_with[room].pop()
      if not rows_with[room]:
        rooms &= ~(1 << room)
    else:
      room, row = seq_len, len(rows)
      rows.append([])
    rows[row].append(item)
    if room > length:
      rows_with[room - length].append(row)
      rooms |= 1 << (room - length)
  items = np.asarray([item for row in rows for item in row], np.int64)
  offsets = np.cumsum([0] + [len(row) for row in rows])
  places = max(len(rows) * seq_len, 1)
  return Packing(items, offsets, float(lengths.sum()) / places)


def fit_conversations(conversations: Sequence[Rendered], seq_len: int,
                      overlong: str = "error", sources: Sequence[str] = ()
                      ) -> tuple[list[Rendered], int, int]:
  """Makes every rendered conversation fit a row, or says why it does not.

  Args:
    conversations: (ids, loss_mask) pairs of `render_conversation`.
    seq_len: places in a row.
    overlong: what becomes of a conversation that is too long: "error"; "trim":
      it ends after its last answer that fits, and is left out if its first does
      not; "skip": it is left out.
    sources: where each is from, to name the first that is too long.

  Returns:
    (those that fit, number trimmed, number left out).

  Raises:
    ConfigError: one is too long and `overlong` is "error"; or none is left.
  """
  require_choice("data.overlong", overlong, ("error", "trim", "skip"))
  lengths = [len(ids) for ids, _ in conversations]
  too_long = [i for i, length in enumerate(lengths) if length > seq_len]
  if too_long and overlong == "error":
    first = too_long[0]
    place = sources[first] if sources and sources[first] else (
        f"conversation {first + 1}")
    raise ConfigError(
        f"{place} has {lengths[first]} tokens, and {len(too_long)} of "
        f"{len(lengths)} conversations are longer than seq_len={seq_len} (the "
        f"longest has {max(lengths)} tokens); raise seq_len, shorten them, or "
        "pass --data.overlong=trim to end each after its last answer that "
        "fits, --data.overlong=skip to leave them out.")
  fitting: list[Rendered] = []
  trimmed = 0
  for ids, mask in conversations:
    if len(ids) > seq_len:
      end = _last_answer_end(mask, seq_len) if overlong == "trim" else 0
      if not end:
        continue
      ids, mask = ids[:end], mask[:end]
      trimmed += 1
    fitting.append((ids, mask))
  require(bool(fitting), "there are no conversations" if not lengths else
          f"no conversation has an answer within seq_len={seq_len} tokens; "
          "raise seq_len.")
  return fitting, trimmed, len(lengths) - len(fitting)


def _last_answer_end(mask: Sequence[int], limit: int) -> int:
  """The end of the last learnt stretch that ends by `limit`; 0 if none does."""
  mask = np.asarray(mask, bool)
  ends = np.flatnonzero(mask & ~np.append(mask[1:], False)) + 1
  ends = ends[ends <= limit]
  return int(ends[-1]) if len(ends) else 0
