"""Reading into a cache, then token by token, gives the forward pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_jax.model.decode import decode_step, init_cache, prefill
from llm_jax.model.params import init_params
from llm_jax.model.transformer import (
    backbone, forward, unembed, unstack_layers)
from test_transformer import VARIANTS

LENGTHS = np.array([3, 8, 1, 5], np.int32)
T = 14

run_forward = jax.jit(forward, static_argnames="config")
run_prefill = jax.jit(prefill, static_argnames="config")
run_step = jax.jit(decode_step, static_argnames="config", donate_argnums=3)


def inputs(name, stacked):
  config = VARIANTS[name]
  params = jax.jit(init_params, static_argnums=1)(jax.random.key(0), config)
  # Larger weights, so that attention is far from uniform.
  params = jax.tree.map(lambda x: x * (1 if x.max() == x.min() else 8), params)
  tokens_BT = np.random.default_rng(0).integers(61, size=(4, T)).astype(
      np.int32)
  return params if stacked else unstack_layers(params), tokens_BT, config


@pytest.mark.parametrize("name,stacked", [
    ("llama", False), ("gpt2", False), ("qk_norm", False), ("relu2", True)])
def test_ragged_prefill_then_decode_equals_forward(name, stacked):
  params, tokens_BT, config = inputs(name, stacked)
  expected_BTV, _ = run_forward(params, tokens_BT, config)
  # What stands right of a prompt must not matter.
  padded_BT = np.where(np.arange(8) < LENGTHS[:, None], tokens_BT[:, :8], 60)
  cache = init_cache(4, T + 3, config)
  logits_BV, cache = run_prefill(params, padded_BT, LENGTHS, cache, config)
  rows = np.arange(4)
  position_B = LENGTHS.copy()
  while True:
    np.testing.assert_allclose(
        logits_BV, expected_BTV[rows, position_B - 1], rtol=2e-4, atol=2e-4)
    if position_B.max() == T:
      break
    logits_BV, cache = run_step(params, tokens_BT[rows, position_B],
                                position_B, cache, config)
    position_B = position_B + 1
  assert position_B.min() > LENGTHS.min() + 5  # every row went on


@pytest.mark.slow
def test_prefill_in_chunks():
  """A second chunk goes on where the first ended."""
  params, tokens_BT, config = inputs("llama", True)
  cache = init_cache(4, T, config)
  chunks = []
  for start, end in ((0, 5), (5, T)):
    positions_BT = jnp.broadcast_to(jnp.arange(start, end)[None],
                                    (4, end - start))
    hidden_BTD, cache, _ = backbone(params, tokens_BT[:, start:end], config,
                                    positions_BT=positions_BT, cache=cache)
    chunks.append(unembed(params, hidden_BTD, config))
  expected_BTV, _ = run_forward(params, tokens_BT, config)
  np.testing.assert_allclose(jnp.concatenate(chunks, 1), expected_BTV,
                             rtol=2e-4, atol=2e-4)


def test_cache_is_of_the_compute_dtype_and_kv_heads():
  config = VARIANTS["relu2"]
  cache = init_cache(2, 5, config)
  assert len(cache.k) == len(cache.v) == config.num_layers
  assert all(sorted(x.shape) == [1, 2, 5, 8] for x in cache.k + cache.v)
  assert cache.k[0].dtype == config.compute_dtype
