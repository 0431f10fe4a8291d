"""Packing keeps every item whole, once, and the rows full."""

import numpy as np
import pytest

from llm_jax.config import ConfigError
from llm_jax.data import packing


@pytest.mark.parametrize("num_tokens, seq_len, expected",
                         [(0, 4, 0), (1, 4, 0), (2, 4, 1), (5, 4, 1),
                          (6, 4, 2), (9, 4, 2), (10, 4, 3)])
def test_num_windows(num_tokens, seq_len, expected):
  assert packing.num_windows(num_tokens, seq_len) == expected


@pytest.mark.parametrize("seed", range(5))
def test_each_item_is_packed_once_and_fits(seed):
  rng = np.random.default_rng(seed)
  seq_len = int(rng.integers(10, 200))
  lengths = rng.integers(1, seq_len + 1, size=500)
  packed = packing.pack_best_fit(lengths, seq_len, seed)
  assert sorted(packed.items) == list(range(500))
  sums = [lengths[packed.row(r)].sum() for r in range(len(packed))]
  assert max(sums) <= seq_len
  assert packed.efficiency == pytest.approx(
      lengths.sum() / (len(packed) * seq_len))
  # Best fit decreasing needs at most 11/9 of the fewest rows, plus 4.
  fewest = -(-lengths.sum() // seq_len)
  over_half = (lengths > seq_len / 2).sum()
  assert len(packed) <= 11 / 9 * max(fewest, over_half) + 4


def test_best_fit_takes_the_fullest_row_with_room():
  # 6 and 5 open rows with 4 and 5 left. The 4 belongs in the first, so that
  # 3 and 2 fill the second; in the second it would leave 1 and 4, and the 2
  # would need a third row.
  packed = packing.pack_best_fit([2, 3, 4, 5, 6], 10)
  assert {frozenset(packed.row(r).tolist()) for r in range(len(packed))} == {
      frozenset({4, 2}), frozenset({3, 1, 0})}


def test_the_seed_decides_and_nothing_else():
  lengths = np.random.default_rng(0).integers(5, 50, size=300)
  first, again, other = (packing.pack_best_fit(lengths, 64, seed)
                         for seed in (1, 1, 2))
  np.testing.assert_array_equal(first.items, again.items)
  np.testing.assert_array_equal(first.offsets, again.offsets)
  assert not np.array_equal(first.items, other.items)


def test_lengths_that_do_not_fit_are_refused():
  for lengths in ([5, 11], [0, 3]):
    with pytest.raises(ValueError, match="do not fit"):
      packing.pack_best_fit(lengths, 10)
  assert len(packing.pack_best_fit([], 10)) == 0


#        question          answer     question    answer
MASK = [0, 0, 0, 0,   1, 1, 1, 1,   0, 0, 0,   1, 1, 1]


def test_overlong_is_an_error_unless_asked_otherwise():
  short, long = ([1, 2], [0, 1]), (list(range(14)), MASK)
  with pytest.raises(ConfigError) as caught:
    packing.fit_conversations([short, long], 10)
  for part in ("1 of 2 conversations", "seq_len=10", "has 14 tokens",
               "--data.overlong=trim"):
    assert part in str(caught.value)
  fitting, trimmed, left_out = packing.fit_conversations(
      [short, long], 10, "trim")
  assert (len(fitting), trimmed, left_out) == (2, 1, 0)
  assert fitting[1] == (list(range(8)), MASK[:8])
  fitting, trimmed, left_out = packing.fit_conversations(
      [short, long], 7, "trim")
  assert (fitting, trimmed, left_out) == ([short], 0, 1)


def test_no_conversation_is_left():
  with pytest.raises(ConfigError, match="no conversation has an answer"):
    packing.fit_conversations([(list(range(14)), MASK)], 7, "trim")
  with pytest.raises(ConfigError, match="there are no conversations"):
    packing.fit_conversations([], 7)
