"""What layers keep for the backward pass: the same gradients, less memory."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_jax.config import ModelConfig
from llm_jax.model.params import init_params
from llm_jax.training.losses import language_model_loss

MODEL = ModelConfig(vocab_size=48, embed_dim=32, num_layers=4, num_heads=2,
                    num_kv_heads=1, head_dim=16, mlp_dim=64, max_seq_len=128,
                    layer_pattern=("local", "global"), window=40)
KINDS = ("none", "dots", "attention", "full", "offload")


def batch(B=2, T=128):
  tokens_BT = jax.random.randint(jax.random.key(1), (B, T + 1), 0, 48)
  return {"tokens": tokens_BT[:, :-1], "targets": tokens_BT[:, 1:],
          "loss_mask": jnp.ones((B, T)),
          "segment_ids": jnp.broadcast_to(jnp.arange(T)[None] // 50, (B, T)),
          "positions": jnp.broadcast_to(jnp.arange(T)[None] % 50, (B, T))}


def compiled_gradient(**changes):
  config = dataclasses.replace(MODEL, **changes)
  def loss(params, batch):
    return language_model_loss(params, None, batch, 0, config=config)[0]
  params = jax.eval_shape(lambda: init_params(jax.random.key(0), MODEL))
  return jax.jit(jax.value_and_grad(loss)).lower(params, batch()).compile()


@functools.cache
def expected():
  return compiled_gradient()(init_params(jax.random.key(0), MODEL), batch())


@pytest.mark.parametrize("scan_layers", [
    True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("remat", KINDS[1:])
def test_the_gradient_is_the_same(remat, scan_layers):
  found = compiled_gradient(remat=remat, scan_layers=scan_layers)(
      init_params(jax.random.key(0), MODEL), batch())
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=2e-4,
                                 atol=2e-4), found, expected())


def residual_bytes(remat):
  """Of what is kept between the passes, by the trace: no compiler's choice."""
  config = dataclasses.replace(MODEL, remat=remat)
  params = init_params(jax.random.key(0), MODEL)
  def loss(params):
    return language_model_loss(params, None, batch(), 0, config=config)[0]
  _, backward = jax.vjp(loss, params)
  return sum(x.nbytes for x in jax.tree.leaves(backward))


def test_each_kind_keeps_less_than_the_one_before():
  kept = {kind: residual_bytes(kind) for kind in KINDS}
  assert kept["none"] > kept["dots"] > kept["attention"] > kept["full"]
  # Only the place is another.
  assert kept["offload"] == kept["full"]
  # Four layers' inputs are what `full` needs to keep; the rest is small here.
  layer_input = 2 * 128 * 32 * 4
  assert kept["attention"] - kept["full"] >= MODEL.num_layers * layer_input
