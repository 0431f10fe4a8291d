"""One completion, token by token, for a person who waits."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from llm_jax.config import ModelConfig, SamplingConfig
from llm_jax.inference.generate import (
    check_length, first_token, next_token, pad_prompts)
from llm_jax.inference.penalties import extend_history, init_history
from llm_jax.inference.sampling import fold_rows
from llm_jax.model.cache import KVCache, init_cache
from llm_jax.model.params import Params
from llm_jax.model.transformer import unstack_layers

# Prompts of a stream are padded to a multiple of this or, beyond eight of
# them, to an eighth of an octave, so that a conversation that grows compiles a
# few prefills rather than one per length.
_BUCKET = 64

# The cache of a stream has a power of two of slots, at first enough for the
# prompt and this many tokens; a longer completion outgrows it.
_AHEAD = 512


def stream(params: Params, prompt: Sequence[int], key: jax.Array,
           sampling: SamplingConfig, config: ModelConfig, *,
           stop_ids: tuple[int, ...] = ()) -> Iterator[int]:
  """Yields the tokens of one completion as they are drawn.

  The tokens of row 0 of `generate` with this key (caches of another length
  may round the last bit differently). The stop token, where one comes, is the
  last that is yielded; texts of `sampling.stop` are found where there is text:
  `conversation.stream_text`.

  The cache has a power of two of slots, so a step is compiled once for each
  such length that is met, at the start or after 512 tokens and more; a longer
  context of the model costs nothing until it is used.

  Args:
    params: model parameters; `unstack_layers` them first where many streams
      are made of them.
    prompt: token ids, at least one.
    key: scalar key.
    sampling: temperature, filters, penalties and `max_new_tokens`.
    config: the model.
    stop_ids: tokens that end the completion.

  Raises:
    ConfigError: at the call, where prompt and completion exceed the context.
  """
  check_length(len(prompt), sampling.max_new_tokens, config)
  padded = pad_prompts([prompt], _prompt_slots(len(prompt), config))
  return _stream(params, *padded, key, sampling, config, stop_ids)


def _stream(params, prompts_BT, lengths_B, key, sampling, config, stop_ids):
  """The loop of `stream`; a generator runs nothing before its first `next`."""
  keys_B = fold_rows(key, jnp.arange(1))
  max_new = sampling.max_new_tokens
  # What is not read by the traced functions should not make them compile anew.
  sampling = dataclasses.replace(sampling, max_new_tokens=1, stop=())
  params = unstack_layers(params)
  history = _init_history(prompts_BT, lengths_B, sampling, config.vocab_size)
  length = int(lengths_B[0])
  slots = _stream_slots(max(prompts_BT.shape[1],
                            length + min(max_new, _AHEAD)), config)
  draw, cache = _first_token(
      params, prompts_BT, lengths_B, keys_B, sampling, config, cache_len=slots,
      history=history)
  for step in range(1, max_new + 1):
    token = int(draw[0][0])
    yield token
    if token in stop_ids or step == max_new:
      return
    if length + step > slots:
      slots = _stream_slots(slots + 1, config)
      cache = _grow_cache(cache, slots, config)
    history = _extend_history(history, draw[0])
    draw, cache = _next_token(
        params, draw[0], lengths_B + np.int32(step - 1), cache, keys_B,
        np.int32(step), sampling, config, history)


def _prompt_slots(length: int, config: ModelConfig) -> int:
  """Slots that a prompt of a stream is padded to."""
  multiple = max(_BUCKET, 1 << max(0, length.bit_length() - 4))
  return min(-(-length // multiple) * multiple, config.max_seq_len)


def _stream_slots(needed: int, config: ModelConfig) -> int:
  """Slots of a stream's cache: a power of two, or the whole context."""
  return min(1 << (needed - 1).bit_length(), config.max_seq_len)


def _copy_cache(cache: KVCache, slots: int, config: ModelConfig) -> KVCache:
  """`cache` with empty slots after its own."""
  return jax.tree.map(
      lambda new, old: jax.lax.dynamic_update_slice(new, old, (0,) * old.ndim),
      init_cache(1, slots, config), cache)


_first_token = jax.jit(
    first_token, static_argnames=("sampling", "config", "cache_len"))
_next_token = jax.jit(
    next_token, static_argnames=("sampling", "config"),
    donate_argnames=("cache",))
_grow_cache = jax.jit(_copy_cache, static_argnames=("slots", "config"))
_init_history = jax.jit(
    init_history, static_argnames=("sampling", "vocab_size"))
_extend_history = jax.jit(extend_history)
