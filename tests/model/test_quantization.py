"""int8: near what it stands for, and never made whole."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from families import DEEPSEEK_LIKE, GEMMA_LIKE
from llm_jax.config import ModelConfig
from llm_jax.model.decode import decode_step, init_cache
from llm_jax.model.params import init_params
from llm_jax.model.quantization import (
    Int8, matmul, matmul_transposed, quantize, quantize_weights)
from llm_jax.model.transformer import forward, unstack_layers

LLAMA = ModelConfig(vocab_size=96, embed_dim=64, num_layers=2, num_heads=4,
                    num_kv_heads=2, head_dim=16, mlp_dim=160, max_seq_len=64,
                    init_std=0.15, tie_embeddings=False)


def normal(*shape, seed=0):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape),
                     jnp.float32)


def test_round_to_nearest_with_a_scale_per_output():
  w = normal(5, 7).at[:, 2].set(0.0)
  q = quantize(w, (0,))
  assert q.values.dtype == jnp.int8 and q.scales.shape == (1, 7)
  error = jnp.abs(q.astype(jnp.float32) - w)
  assert jnp.all(error <= q.scales / 2 + 1e-7)
  assert jnp.all(jnp.abs(q.values).max(0) == jnp.array([127] * 2 + [0]
                                                       + [127] * 4))


@pytest.mark.parametrize("K,N", [(96, 40), (50, 13), (7, 5), (256, 384)])
@pytest.mark.parametrize("blocked", [False, True])
def test_products_equal_those_of_the_whole(K, N, blocked):
  x, w = normal(3, K), normal(K, N, seed=1)
  q = quantize(w, (0,))
  np.testing.assert_allclose(
      matmul(x, q, blocked=blocked),
      np.asarray(x, np.float64) @ np.asarray(q.astype(jnp.float32)),
      rtol=1e-4, atol=1e-4)
  table = quantize(w.T, (1,))
  np.testing.assert_allclose(
      matmul_transposed(x, table, blocked=blocked),
      np.asarray(x, np.float64) @ np.asarray(table.astype(jnp.float32)).T,
      rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("config", [
    LLAMA, GEMMA_LIKE, dataclasses.replace(DEEPSEEK_LIKE, init_std=0.15)])
@pytest.mark.slow
def test_a_quantized_model_is_near(config):
  params = jax.jit(init_params, static_argnums=1)(jax.random.key(0), config)
  quantized = jax.jit(quantize_weights)(params)
  tokens_BT = np.random.default_rng(0).integers(60, size=(2, 9))
  run = jax.jit(forward, static_argnames="config")
  exact, _ = run(params, tokens_BT, config)
  near, _ = run(quantized, tokens_BT, config)
  relative = jnp.linalg.norm(near - exact) / jnp.linalg.norm(exact)
  assert 1e-4 < relative < 0.05
  # Unstacked is the same model; what is not a matrix is untouched.
  unstacked, _ = run(unstack_layers(quantized), tokens_BT, config)
  np.testing.assert_allclose(unstacked, near, rtol=1e-4, atol=1e-4)
  np.testing.assert_array_equal(quantized["final_norm"]["scale"],
                                params["final_norm"]["scale"])
  sizes = [leaf.dtype == jnp.int8 for leaf in jax.tree.leaves(quantized)
           if leaf.size > 1000]
  assert sizes and all(sizes)


@pytest.mark.parametrize("tied", [
    pytest.param(True, marks=pytest.mark.slow), False])
def test_wide_weights_are_not_made_in_the_compiled_step(tied):
  """Arguments and temporaries of a decoding step, as XLA reports them."""
  config = dataclasses.replace(
      LLAMA, vocab_size=2048, embed_dim=192, mlp_dim=768, num_layers=4,
      tie_embeddings=tied)
  def bytes_of(params):
    params = unstack_layers(params)
    compiled = jax.jit(decode_step, static_argnames="config").lower(
        params, jnp.zeros(1, jnp.int32), jnp.zeros(1, jnp.int32),
        init_cache(1, 8, config), config).compile()
    memory = compiled.memory_analysis()
    return memory.argument_size_in_bytes + memory.temp_size_in_bytes
  params = init_params(jax.random.key(0), config)
  wide_bytes = bytes_of(params)
  assert bytes_of(quantize_weights(params)) < 0.3 * wide_bytes
  # The check sees it where the weights are made whole.
  def widened(params):
    return jax.tree.map(
        lambda w: w.astype(jnp.float32) if isinstance(w, Int8) else w, params,
        is_leaf=lambda w: isinstance(w, Int8))
  whole = jax.jit(lambda p: forward(widened(p), jnp.zeros((1, 1), jnp.int32),
                                    config)[0]).lower(
      unstack_layers(quantize_weights(params))).compile().memory_analysis()
  assert (whole.argument_size_in_bytes + whole.temp_size_in_bytes
          > 0.3 * wide_bytes)
