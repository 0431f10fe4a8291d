"""From prompts to tokens, in batches.

Two steps make all generation: `first_token` (read the prompt into a cache,
draw) and `next_token` (read the last token, draw). `start` and `resume` put the
second in a `lax.while_loop` that ends as soon as every row has, and between
them the whole state is a value: `generate` is one `start`; who wants to look at
the text in between resumes. `streaming.stream` puts it in a Python loop, so
that each token can be shown when it is there.

Randomness belongs to (key, row, number of the token), so a row's text is the
same whether its neighbours are there or not, and a text that was streamed is
the text that `generate` makes. `seed_keys` names rows by seeds of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from llm_jax.config import ModelConfig, SamplingConfig, require
from llm_jax.inference.penalties import (
    History, extend_history, init_history)
from llm_jax.inference.sampling import fold_rows, sample
from llm_jax.model.cache import KVCache
from llm_jax.model.decode import decode_step, init_cache, prefill
from llm_jax.model.params import Params
from llm_jax.model.transformer import unstack_layers

Draw = tuple[jax.Array, jax.Array, jax.Array]  # what `sample` returns
Out = tuple[jax.Array, jax.Array, jax.Array, jax.Array]  # see `Samples`


@flax.struct.dataclass
class Samples:
  """Completions, without their prompts; T is `max_new_tokens`.

  Attributes:
    tokens_BT: int32; `pad_id` after the end.
    logprobs_BT: of each token, under the distribution that was sampled.
    model_logprobs_BT: of each token, under the model at temperature 1.
    mask_BT: float32; 1 on generated tokens, the stop token included.
    lengths_B: int32 generated tokens, the stop token included.
    stopped_B: whether a stop token ended the row, rather than the length.
  """
  tokens_BT: jax.Array
  logprobs_BT: jax.Array
  model_logprobs_BT: jax.Array
  mask_BT: jax.Array
  lengths_B: jax.Array
  stopped_B: jax.Array


@flax.struct.dataclass
class Decoding:
  """Rows in the middle of their completions.

  Attributes:
    step: int32; tokens drawn in each row that is not done.
    tokens_B: int32; the last of them, not yet read.
    done_B: rows that have ended.
    cache: keys and values of everything before.
    history: what the penalties read, `tokens_B` not yet included; or None.
  """
  step: jax.Array
  tokens_B: jax.Array
  done_B: jax.Array
  cache: KVCache
  history: History | None


def check_length(prompt_len: int, max_new_tokens: int,
                 config: ModelConfig) -> None:
  """Raises `ConfigError` where prompt and completion exceed the context."""
  require(prompt_len + max_new_tokens <= config.max_seq_len,
          f"a prompt of {prompt_len} tokens and max_new_tokens="
          f"{max_new_tokens} need {prompt_len + max_new_tokens} positions, but "
          f"the model was built for max_seq_len={config.max_seq_len}; shorten "
          "the prompt or lower max_new_tokens.")


def pad_prompts(prompts: Sequence[Sequence[int]], length: int,
                pad_id: int = 0, num_rows: int = 0
                ) -> tuple[np.ndarray, np.ndarray]:
  """Right-pads token lists to (prompts_BT, lengths_B), both int32.

  Where `num_rows` is more than there are prompts, rows of one token that mean
  nothing fill the batch up.

  Raises:
    ConfigError: a prompt is empty, or longer than `length`.
  """
  lengths_B = np.array([len(p) for p in prompts], np.int32)
  require(bool((lengths_B > 0).all()), "a prompt has no tokens; begin it with "
          "the tokenizer's <|endoftext|>.")
  require(int(lengths_B.max(initial=0)) <= length,
          f"a prompt has {int(lengths_B.max(initial=0))} tokens, but there is "
          f"room for {length}; shorten it, or leave it more of the context by "
          "lowering max_new_tokens.")
  fill = max(0, num_rows - len(prompts))
  prompts_BT = np.full((len(prompts) + fill, length), pad_id, np.int32)
  for row, prompt in enumerate(prompts):
    prompts_BT[row, :len(prompt)] = prompt
  return prompts_BT, np.append(lengths_B, np.ones(fill, np.int32))


def seed_keys(seeds_P: Sequence[int], samples_per_prompt: int = 1) -> jax.Array:
  """A key per row from a seed per prompt: `fold_in(key(seed), g)`, row p·G+g.

  A seed's texts are the same in any batch of one compiled shape, and its first
  sample (g = 0) is what `stream` makes of `jax.random.key(seed)`.
  """
  keys_P = jax.vmap(jax.random.key)(jnp.asarray(seeds_P, jnp.uint32))
  samples_G = jnp.arange(samples_per_prompt)
  return jax.vmap(fold_rows, (0, None))(keys_P, samples_G).reshape(-1)


def first_token(params: Params, prompts_BT: jax.Array, lengths_B: jax.Array,
                keys_B: jax.Array, sampling: SamplingConfig,
                config: ModelConfig, *, cache_len: int,
                samples_per_prompt: int = 1, history: History | None = None,
                ) -> tuple[Draw, KVCache]:
  """Reads right-padded prompts and draws each row's first token.

  Args:
    params: model parameters, stacked or unstacked.
    prompts_BT: int32, P rows.
    lengths_B: int32 real lengths, at least 1.
    keys_B: a key per sample, P·G of them.
    sampling: the distribution.
    config: the model.
    cache_len: slots of the cache.
    samples_per_prompt: G; a prompt is read once for all of its samples, which
      become rows p·G .. p·G+G-1.
    history: of the P·G rows, where there are penalties.

  Returns:
    (`sample`'s answer for P·G rows, their cache).
  """
  cache = init_cache(prompts_BT.shape[0], cache_len, config)
  logits_BV, cache = prefill(params, prompts_BT, lengths_B, cache, config)
  logits_BV, cache = repeat_rows((logits_BV, cache), samples_per_prompt)
  return sample(fold_step(keys_B, 0), logits_BV, sampling, history), cache


def next_token(params: Params, tokens_B: jax.Array, positions_B: jax.Array,
               cache: KVCache, keys_B: jax.Array, step: jax.Array,
               sampling: SamplingConfig, config: ModelConfig,
               history: History | None = None) -> tuple[Draw, KVCache]:
  """Reads `tokens_B` at `positions_B` and draws completion token `step`.

  `history` has `tokens_B` already.
  """
  logits_BV, cache = decode_step(params, tokens_B, positions_B, cache, config)
  return sample(fold_step(keys_B, step), logits_BV, sampling, history), cache


def generate(params: Params, prompts_BT: jax.Array, lengths_B: jax.Array,
             key: jax.Array, sampling: SamplingConfig, config: ModelConfig, *,
             stop_ids: tuple[int, ...] = (), samples_per_prompt: int = 1,
             rows_B: jax.Array | None = None, pad_id: int = 0) -> Samples:
  """Completes a batch of right-padded prompts.

  Undecorated; call it as `jax.jit(generate, static_argnames=("sampling",
  "config", "stop_ids", "samples_per_prompt", "pad_id"))`.

  Args:
    params: model parameters.
    prompts_BT: int32 prompts, P rows, padded on the right with anything.
    lengths_B: int32 real length of each, at least 1.
    key: scalar key, or keys_B: one for each of the P·G rows (`seed_keys`).
    sampling: temperature, filters, penalties and `max_new_tokens`.
    config: the model.
    stop_ids: tokens that end a row.
    samples_per_prompt: G completions of each prompt, in rows p·G .. p·G+G-1.
    rows_B: numbers that name the P·G rows for the draws of a scalar key;
      default 0, 1, ... A row alone, called by its number, is what it was in
      the batch.
    pad_id: what follows a completion that ended.

  Returns:
    Samples of P·G rows.

  Raises:
    ConfigError: the prompt's and the completion's slots exceed
      `config.max_seq_len`; `sampling.stop`, which are texts and so the
      business of `completions.generate_texts`.
  """
  require(not sampling.stop, "sampling.stop holds texts, which `generate` does "
          "not see; call llm_jax.inference.completions.generate_texts.")
  num_prompts, prompt_len = prompts_BT.shape
  max_new = sampling.max_new_tokens
  check_length(prompt_len, max_new, config)
  if key.ndim == 0:
    rows = num_prompts * samples_per_prompt
    key = fold_rows(key, jnp.arange(rows) if rows_B is None else rows_B)
  state, out = start(params, prompts_BT, lengths_B, key, sampling, config,
                     cache_len=prompt_len + max_new, columns=max_new,
                     stop_ids=stop_ids, samples_per_prompt=samples_per_prompt,
                     pad_id=pad_id)
  return _samples(out, state.done_B)


def start(params: Params, prompts_BT: jax.Array, lengths_B: jax.Array,
          keys_B: jax.Array, sampling: SamplingConfig, config: ModelConfig, *,
          cache_len: int, columns: int, stop_ids: tuple[int, ...] = (),
          samples_per_prompt: int = 1, pad_id: int = 0,
          limits_B: jax.Array | None = None) -> tuple[Decoding, Out]:
  """Reads prompts and draws up to `columns` tokens of each completion.

  Args:
    params: as for `generate`, like what is not named here.
    keys_B: one key for each of the P·G rows.
    sampling: its `max_new_tokens` is not looked at.
    cache_len: slots of the cache: T and all tokens that will be drawn.
    columns: tokens of this call.
    limits_B: int32, at least 1; a row is done when it has so many tokens.

  Returns:
    (what `resume` goes on from, tokens and numbers of [P·G, columns]).
  """
  # Slices of the stacked weights are taken here, once, not in the loop.
  params = unstack_layers(params)
  history = repeat_rows(init_history(prompts_BT, lengths_B, sampling,
                                 config.vocab_size), samples_per_prompt)
  draw, cache = first_token(
      params, prompts_BT, lengths_B, keys_B, sampling, config,
      cache_len=cache_len, samples_per_prompt=samples_per_prompt,
      history=history)
  none_B = jnp.zeros(draw[0].shape, bool)
  out = _write(_blank(draw[0].shape[0], columns, pad_id), draw, none_B, 0,
               pad_id)
  done_B = _ended(draw[0], jnp.int32(1), stop_ids, limits_B)
  state = Decoding(jnp.int32(1), draw[0], done_B, cache, history)
  return _loop(params, state, out, repeat_rows(lengths_B, samples_per_prompt),
               keys_B, sampling, config, 0, columns, stop_ids, pad_id, limits_B)


def resume(params: Params, state: Decoding, lengths_B: jax.Array,
           keys_B: jax.Array, end: jax.Array, sampling: SamplingConfig,
           config: ModelConfig, *, columns: int,
           stop_ids: tuple[int, ...] = (), pad_id: int = 0,
           limits_B: jax.Array | None = None) -> tuple[Decoding, Out]:
  """Draws up to `columns` tokens more of each row that is not done.

  Args:
    params: as for `start`, like what is not named here.
    state: what `start` or `resume` returned; rows may have been set done.
    lengths_B: of the P·G rows' prompts.
    end: int32; no completion becomes longer than this.
  """
  params = unstack_layers(params)
  out = _blank(lengths_B.shape[0], columns, pad_id)
  return _loop(params, state, out, lengths_B, keys_B, sampling, config,
               state.step, jnp.minimum(state.step + columns, end), stop_ids,
               pad_id, limits_B)


def _loop(params, state, out, lengths_B, keys_B, sampling, config, first, end,
          stop_ids, pad_id, limits_B):
  """Draws tokens until each row is done or has `end`; token `first` is the one
  that column 0 of `out` is for."""
  def unfinished(carry):
    state, _ = carry
    return (state.step < end) & ~jnp.all(state.done_B)

  def body(carry):
    state, out = carry
    history = extend_history(state.history, state.tokens_B)
    draw, cache = next_token(
        params, state.tokens_B, lengths_B + state.step - 1, state.cache,
        keys_B, state.step, sampling, config, history)
    out = _write(out, draw, state.done_B, state.step - first, pad_id)
    done_B = state.done_B | _ended(draw[0], state.step + 1, stop_ids, limits_B)
    return Decoding(state.step + 1, draw[0], done_B, cache, history), out

  return jax.lax.while_loop(unfinished, body, (state, out))


def _blank(batch_size: int, columns: int, pad_id: int) -> Out:
  shape = (batch_size, columns)
  return (jnp.full(shape, pad_id, jnp.int32), *(jnp.zeros(shape),) * 3)


def _write(out: Out, draw: Draw, done_B: jax.Array, column: Any,
           pad_id: int) -> Out:
  """Puts a draw in a column; rows that were done keep their padding."""
  blank = (pad_id, 0.0, 0.0, 0.0)
  draw = (*draw, jnp.ones(done_B.shape))
  return tuple(
      x_BT.at[:, column].set(jnp.where(done_B, empty, x_B).astype(x_BT.dtype))
      for x_BT, x_B, empty in zip(out, draw, blank, strict=True))


def _ended(tokens_B: jax.Array, count: jax.Array, stop_ids: tuple[int, ...],
           limits_B: jax.Array | None) -> jax.Array:
  """Whether a row ends with its token number `count`."""
  done_B = jnp.zeros(tokens_B.shape, bool)
  for stop_id in stop_ids:
    done_B |= tokens_B == stop_id
  return done_B if limits_B is None else done_B | (count >= limits_B)


def _samples(out: Out, stopped_B: jax.Array) -> Samples:
  mask_BT = out[3]
  return Samples(*out, jnp.sum(mask_BT, axis=1).astype(jnp.int32), stopped_B)


def repeat_rows(tree: Any, times: int) -> Any:
  """Each row of each array of a tree, `times` times over."""
  if times == 1:
    return tree
  return jax.tree.map(lambda x: jnp.repeat(x, times, axis=0), tree)


def fold_step(keys_B: jax.Array, step: Any) -> jax.Array:
  """The keys of token number `step` of each row."""
  return jax.vmap(lambda key: jax.random.fold_in(key, step))(keys_B)
