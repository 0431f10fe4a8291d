"""Reading a prompt into a cache, and one token more at a time."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from llm_jax.config import ModelConfig
from llm_jax.model.cache import KVCache, init_cache  # noqa: F401 - handed on
from llm_jax.model.params import Params
from llm_jax.model.transformer import backbone, unembed


def prefill(params: Params, tokens_BT: jax.Array, lengths_B: jax.Array,
            cache: KVCache, config: ModelConfig) -> tuple[jax.Array, KVCache]:
  """Reads right-padded prompts into an empty cache.

  Args:
    params: model parameters, stacked or unstacked.
    tokens_BT: int32 prompts, padded on the right with any token.
    lengths_B: int32 real length of each row, at least 1.
    cache: of `init_cache`, with at least T slots.
    config: the model.

  Returns:
    (logits_BV of the token after each prompt, cache). Slots beyond a row's
    length hold padding; decoding overwrites each before any query sees it.
  """
  hidden_BTD, cache, _ = backbone(params, tokens_BT, config, cache=cache)
  last_B1D = jnp.take_along_axis(
      hidden_BTD, (lengths_B - 1)[:, None, None], axis=1)
  return unembed(params, last_B1D, config)[:, 0], cache


def decode_step(params: Params, tokens_B: jax.Array, positions_B: jax.Array,
                cache: KVCache,
                config: ModelConfig) -> tuple[jax.Array, KVCache]:
  """Reads one token per row at its own position.

  Args:
    params: model parameters; unstacked, where this is called in a loop.
    tokens_B: int32 tokens.
    positions_B: int32 position of each, which is the slot it is written to.
    cache: what was read before.
    config: the model.

  Returns:
    (logits_BV of the token after it, cache).
  """
  hidden_B1D, cache, _ = backbone(
      params, tokens_B[:, None], config, positions_BT=positions_B[:, None],
      cache=cache)
  return unembed(params, hidden_B1D, config)[:, 0], cache
