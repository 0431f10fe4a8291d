"""Samples are drawn with the same policy elsewhere, or nearly the same."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_jax.config import (
    ConfigError, MeshConfig, ModelConfig, Rules, SamplingConfig, SyncConfig)
from llm_jax.inference.completions import generate_tokens
from llm_jax.model.params import init_params, param_shardings
from llm_jax.model.transformer import forward
from llm_jax.rl.weight_sync import sampler_model, weight_sync
from llm_jax.sharding import make_mesh

MODEL = ModelConfig(vocab_size=32, embed_dim=32, num_layers=2, num_heads=4,
                    num_kv_heads=4, head_dim=8, mlp_dim=64, max_seq_len=32,
                    init_std=0.2)
TOKENS_BT = jnp.arange(8 * 12).reshape(8, 12) % 32


@pytest.fixture(scope="module")
def params():
  return jax.jit(init_params, static_argnums=1)(jax.random.key(0), MODEL)


def logprobs(params, model):
  logits_BTV, _ = jax.jit(forward, static_argnums=2)(params, TOKENS_BT, model)
  return np.asarray(jax.nn.log_softmax(logits_BTV.astype(jnp.float32)))


def test_own_rules_move_the_weights_and_change_no_number(params):
  sync = SyncConfig(own_rules=True)
  alone = logprobs(params, MODEL)
  with jax.set_mesh(make_mesh(MeshConfig(data=1, fsdp=4, tensor=2))) as _:
    placed = jax.jit(lambda x: x, out_shardings=param_shardings(MODEL))(params)
    synced = weight_sync(MODEL, sync)(placed)
    axes = lambda tree: {  # noqa: E731
        name for x in jax.tree.leaves(tree) for part in x.sharding.spec
        for name in ((part,) if isinstance(part, str) else part or ())}
    assert axes(placed) == {"fsdp", "tensor"} and axes(synced) == {"tensor"}
    assert isinstance(synced["layers"][0], tuple)  # unstacked
    found = logprobs(synced, sampler_model(MODEL, sync))
    np.testing.assert_allclose(found, alone, atol=2e-5)
    # The trained ones are still there and where they were.
    assert axes(placed) == {"fsdp", "tensor"}
    samples = generate_tokens(
        synced, [[1, 2]] * 4, jax.random.key(0),
        SamplingConfig(max_new_tokens=6), sampler_model(MODEL, sync),
        prompt_len=4)
  direct = generate_tokens(params, [[1, 2]] * 4, jax.random.key(0),
                           SamplingConfig(max_new_tokens=6), MODEL,
                           prompt_len=4)
  np.testing.assert_array_equal(samples.tokens_BT, direct.tokens_BT)


@pytest.mark.parametrize("dtype, least, most", [
    ("", 0.0, 1e-5), ("bfloat16", 1e-4, 0.2), ("int8", 1e-4, 0.2)])
def test_fewer_bytes_are_nearly_the_same_policy(params, dtype, least, most):
  sync = SyncConfig(dtype=dtype)
  synced = weight_sync(MODEL, sync)(params)
  size = lambda tree: sum(x.nbytes for x in jax.tree.leaves(tree))  # noqa: E731
  share = size(synced) / size(params)
  assert share == pytest.approx({"": 1, "bfloat16": 0.5, "int8": 0.28}[dtype],
                                abs=0.03)
  model = sampler_model(MODEL, sync)
  samples = generate_tokens(synced, [[1, 2, 3]] * 64, jax.random.key(1),
                            SamplingConfig(max_new_tokens=16), model,
                            prompt_len=3)
  rows = np.concatenate([np.tile([1, 2, 3], (64, 1)), samples.tokens_BT], 1)
  logits_BTV, _ = forward(params, jnp.asarray(rows[:, :-1]), MODEL)
  trained = np.take_along_axis(
      np.asarray(jax.nn.log_softmax(logits_BTV)), rows[:, 1:, None], 2)[..., 0]
  ratio = np.exp(trained[:, 2:] - samples.logprobs_BT)
  assert least <= np.abs(ratio - 1).max() <= most


def test_a_mesh_that_does_not_divide_is_told():
  sync = SyncConfig(own_rules=True, rules=Rules(embed=(), mlp=("fsdp",)))
  model = dataclasses.replace(MODEL, mlp_dim=66)
  with jax.set_mesh(make_mesh(MeshConfig(data=1, fsdp=4, tensor=2))):
    with pytest.raises(ConfigError, match="66"):
      weight_sync(model, sync)
  with pytest.raises(ConfigError, match="sync.dtype"):
    SyncConfig(dtype="int4").validate()
