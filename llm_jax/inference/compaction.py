"""Batches whose rows end at different times, without drawing on in vain.

`generate` runs until the last row has ended, and every row that ended before
is computed with the rest. Here the loop is left every `segment` tokens: rows
that are done are dropped, and the others go on in a smaller batch. The cache
has only the slots that the next segment can write, and grows between segments,
so that early tokens do not attend over slots that are still empty.

The number of rows is rounded up to 2^n or 3·2^n and the number of segments is
bounded, so few programs are compiled. What a row draws depends on its own key
and number of the token: dropping its neighbours changes nothing (another shape
of the batch may add numbers in another order, which can move a draw that is
within rounding of a border).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from llm_jax.config import ModelConfig, SamplingConfig, require
from llm_jax.inference.completions import batch_ways, lay_out, on_host
from llm_jax.inference.generate import (
    Decoding, Samples, resume, start)
from llm_jax.model.cache import KVCache
from llm_jax.model.params import Params
from llm_jax.model.transformer import unstack_layers

SEGMENT = 32  # tokens between two looks at which rows are done
_MOST_SEGMENTS = 8  # of a completion: longer ones have longer segments


@dataclasses.dataclass(frozen=True)
class DecodeStats:
  """What it took to draw a batch.

  The first token of each row comes with reading its prompt; the counts here
  are of the steps after that.

  Attributes:
    tokens: that were wanted, after the first of each row.
    row_steps: rows times steps that were computed, dropped rows not among
      them; those that fill a batch up are.
    unsaved_row_steps: the same without compaction: all rows, as many steps as
      the longest has.
    segments: times that the loop was entered.
  """
  tokens: int
  row_steps: int
  unsaved_row_steps: int
  segments: int

  @property
  def wasted(self) -> float:
    """The share of what was computed that nobody wanted."""
    return 1 - self.tokens / max(1, self.row_steps)


def generate_compacted(
    params: Params, prompts: Sequence[Sequence[int]], key: jax.Array,
    sampling: SamplingConfig, config: ModelConfig, *, prompt_len: int,
    stop_ids: tuple[int, ...] = (), samples_per_prompt: int = 1,
    first_row: int = 0, num_rows: int = 0,
    limits_B: np.ndarray | None = None, segment: int = SEGMENT
    ) -> tuple[Samples, DecodeStats]:
  """`completions.generate_tokens`, dropping rows that are done.

  Args:
    params: model parameters, on the ambient mesh where there is one.
    prompts: P token lists.
    key: scalar key; or keys_B, one for each of the P·G rows.
    sampling: temperature, filters, penalties and `max_new_tokens`.
    config: the model.
    prompt_len: slots for the prompts; a fixed number compiles once.
    stop_ids: tokens that end a row.
    samples_per_prompt: G; a prompt is read once for all of its samples.
    first_row: number of the first row for the draws of a scalar key.
    num_rows: prompts of the batch that is run, filled up where P is less.
    limits_B: int32 tokens of each of the P·G rows at most, where that is less
      than `max_new_tokens`.
    segment: tokens between two looks, an eighth of `max_new_tokens` at least.

  Returns:
    (host Samples of P·G rows, what it took).

  Raises:
    ConfigError: what `generate_tokens` refuses; a limit below 1.
  """
  require(not sampling.stop, "sampling.stop holds texts, which a loop over "
          "tokens does not see; leave it empty.")
  wanted, max_new = len(prompts) * samples_per_prompt, sampling.max_new_tokens
  prompts_BT, lengths_P, keys_B = lay_out(
      prompts, key, sampling, config, prompt_len, samples_per_prompt,
      first_row, num_rows)
  rows, ways = len(lengths_P) * samples_per_prompt, batch_ways(config)
  limits_B = np.full(wanted, max_new, np.int32) if limits_B is None else (
      np.minimum(limits_B, max_new).astype(np.int32))
  require(bool((limits_B >= 1).all()), "a row is limited to no tokens; leave "
          "it out of the batch.")
  # Rows that fill the batch up end with their first token.
  limits_B = np.append(limits_B, np.ones(rows - wanted, np.int32))
  segment = segment_tokens(max_new, segment)
  # What is not read by the traced functions should not make them compile anew.
  sampling = dataclasses.replace(sampling, max_new_tokens=1)
  params = _unstack_layers(params)
  options = {"stop_ids": stop_ids, "columns": segment}
  state, out = _start(params, prompts_BT, lengths_P, keys_B, sampling, config,
                      cache_len=prompt_len + segment,
                      samples_per_prompt=samples_per_prompt,
                      limits_B=limits_B, **options)
  lengths_B = np.repeat(lengths_P, samples_per_prompt)
  index_B = np.arange(rows)  # rows of the batch in those of the whole
  blank = [np.zeros((rows, max_new), x.dtype) for x in out]
  read = row_steps = segments = 0
  while True:
    out, done_B, drawn = on_host((out, state.done_B, state.step))
    segments += 1
    row_steps += len(done_B) * (int(drawn) - max(read, 1))
    columns = int(drawn) - read
    alive_B = index_B >= 0
    for whole, part in zip(blank, out):
      whole[index_B[alive_B], read:read + columns] = part[alive_B, :columns]
    read = int(drawn)
    going_B = ~done_B & alive_B
    if read >= max_new or not going_B.any():
      break
    chosen_Wb, alive_B = rows_to_keep(going_B, ways)
    state, lengths_B, keys_B, limits_B = _compact(
        state, lengths_B, keys_B, limits_B, chosen_Wb, alive_B,
        slots=prompt_len + min(read + segment, max_new))
    first_W1 = np.arange(ways)[:, None] * (len(index_B) // ways)
    index_B = np.where(alive_B, index_B[(first_W1 + chosen_Wb).ravel()], -1)
    state, out = _resume(params, state, lengths_B, keys_B, np.int32(max_new),
                         sampling, config, limits_B=limits_B, **options)
  tokens_BT, *rest, mask_BT = (x[:wanted] for x in blank)
  lengths_B = mask_BT.sum(1).astype(np.int32)
  last_B = tokens_BT[np.arange(wanted), lengths_B - 1]
  samples = Samples(tokens_BT, *rest, mask_BT, lengths_B,
                    np.isin(last_B, stop_ids))
  return samples, DecodeStats(
      int(lengths_B.sum()) - wanted, row_steps,
      rows * (int(lengths_B.max(initial=1)) - 1), segments)


def segment_tokens(max_new_tokens: int, segment: int = SEGMENT) -> int:
  """Tokens between two looks: `segment`, or an eighth of all if that is more.
  """
  return min(max(segment, -(-max_new_tokens // _MOST_SEGMENTS)),
             max_new_tokens)


def bucket(rows: int, multiple: int = 1) -> int:
  """The least of 1, 2, 3, 4, 6, 8, 12, 16, ... times `multiple` that holds
  `rows`."""
  wanted = -(-rows // multiple)
  power = 1 << max(0, (wanted - 1).bit_length())
  return multiple * (power * 3 // 4 if wanted <= power * 3 // 4 else power)


def rows_to_keep(going_B: np.ndarray, ways: int
                 ) -> tuple[np.ndarray, np.ndarray]:
  """Which rows of a batch go on, and in how large a one.

  A row stays on the device that has its cache, so each of the parts that the
  mesh splits a batch into keeps as many rows as the one with the most.

  Args:
    going_B: rows that are not done.
    ways: parts of the batch.

  Returns:
    chosen_Wb, int32: numbers, within its part, of the rows that each part
    keeps. alive_B, of the new batch: false for rows that fill it up. A batch
    of nearly the same size would not be worth the copy, nor the program: then
    all stay, those that are done among them.
  """
  going_Wb = going_B.reshape(ways, -1)
  size = bucket(int(going_Wb.sum(1).max()))
  if size >= going_Wb.shape[1]:
    return (np.tile(np.arange(going_Wb.shape[1], dtype=np.int32), (ways, 1)),
            np.ones(len(going_B), bool))
  chosen_Wb = np.zeros((ways, size), np.int32)
  alive_Wb = np.zeros((ways, size), bool)
  for part, going_b in enumerate(going_Wb):
    rows = np.flatnonzero(going_b)
    chosen_Wb[part, :len(rows)], alive_Wb[part, :len(rows)] = rows, True
  return chosen_Wb, alive_Wb.ravel()


def compact_rows(state: Decoding, lengths_B: jax.Array, keys_B: jax.Array,
                 limits_B: jax.Array, chosen_Wb: jax.Array, alive_B: jax.Array,
                 *, slots: int
                 ) -> tuple[Decoding, jax.Array, jax.Array, jax.Array]:
  """The rows of `rows_to_keep`, with a cache of `slots`; those not alive are
  done."""
  ways = chosen_Wb.shape[0]

  def take(tree: Any) -> Any:
    # Part by part: a gather over all rows would bring every device the cache
    # of all of them.
    def one(x: jax.Array) -> jax.Array:
      x_Wb = x.reshape(ways, -1, *x.shape[1:])
      x_Wb = jax.vmap(lambda x_b, i_b: x_b[i_b])(x_Wb, chosen_Wb)
      return x_Wb.reshape(-1, *x.shape[1:])
    return jax.tree.map(one, tree)

  def grow(x: jax.Array) -> jax.Array:
    more = slots - x.shape[2]
    return jnp.pad(x, ((0, 0), (0, 0), (0, more), (0, 0))) if more > 0 else x

  cache = jax.tree.map(grow, take(state.cache))
  state = Decoding(state.step, take(state.tokens_B),
                   take(state.done_B) | ~alive_B,
                   KVCache(cache.k, cache.v), take(state.history))
  return state, take(lengths_B), take(keys_B), take(limits_B)


_STATIC = ("sampling", "config", "stop_ids", "columns")
_start = jax.jit(start, static_argnames=(
    *_STATIC, "samples_per_prompt", "cache_len"))
_resume = jax.jit(resume, static_argnames=_STATIC, donate_argnames=("state",))
_compact = jax.jit(compact_rows, static_argnames=("slots",))
_unstack_layers = jax.jit(unstack_layers)
