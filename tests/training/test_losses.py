"""The next-token loss against NumPy, and what it weighs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_jax.config import ModelConfig
from llm_jax.model.params import init_params
from llm_jax.model.transformer import forward
from llm_jax.training.losses import (
    language_model_loss, next_token_loss, token_logprobs)

B, T, V = 3, 5, 11


def arrays(seed=0, scale=3.0):
  rng = np.random.default_rng(seed)
  return (rng.normal(scale=scale, size=(B, T, V)).astype(np.float32),
          rng.integers(V, size=(B, T)).astype(np.int32),
          (rng.random((B, T)) < 0.6).astype(np.float32))


def numpy_logprobs(logits, targets):
  logits = logits.astype(np.float64)
  logits = logits - logits.max(-1, keepdims=True)
  logprobs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  return np.take_along_axis(logprobs, targets[..., None], -1)[..., 0]


def test_equals_numpy():
  logits, targets, mask = arrays()
  assert 0 < mask.sum() < mask.size
  loss_sum, aux = next_token_loss(logits, targets, mask)
  logprobs = numpy_logprobs(logits, targets)
  np.testing.assert_allclose(token_logprobs(logits, targets), logprobs,
                             rtol=1e-5)
  np.testing.assert_allclose(loss_sum, -(logprobs * mask).sum(), rtol=1e-6)
  assert aux.weight == mask.sum()


def test_large_logits_are_exact():
  logits, targets, mask = arrays(scale=1e4)
  loss_sum, _ = next_token_loss(logits, targets, mask)
  np.testing.assert_allclose(
      loss_sum, -(numpy_logprobs(logits, targets) * mask).sum(), rtol=1e-6)


def test_gradient_is_softmax_minus_one_hot_under_the_mask():
  logits, targets, mask = arrays()
  gradient = jax.grad(lambda x: next_token_loss(x, targets, mask)[0])(logits)
  softmax = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  expected = (softmax - np.eye(V)[targets]) * mask[..., None]
  np.testing.assert_allclose(gradient, expected, atol=1e-6)
  assert np.all(np.asarray(gradient)[mask == 0] == 0)


def test_shapes_that_do_not_fit_are_refused():
  logits, targets, mask = arrays()
  with pytest.raises(AssertionError):
    next_token_loss(logits, targets, mask[:, 1:])
  with pytest.raises(AssertionError):
    next_token_loss(logits[:, 1:], targets, mask)


def test_language_model_loss_reads_all_five_fields():
  config = ModelConfig(vocab_size=V, embed_dim=16, num_layers=1, num_heads=2,
                       num_kv_heads=2, head_dim=8, mlp_dim=16, max_seq_len=T,
                       init_std=0.5)
  params = init_params(jax.random.key(0), config)
  _, targets, mask = arrays()
  batch = {"tokens": np.roll(targets, 1), "targets": targets,
           "loss_mask": mask,
           "segment_ids": np.array([[1, 1, 2, 2, 2]] * B, np.int32),
           "positions": np.array([[0, 1, 0, 1, 2]] * B, np.int32)}

  def loss(batch):
    return language_model_loss(params, None, batch, 0, config=config)
  logits_BTV, _ = forward(params, batch["tokens"], config,
                          segment_ids_BT=jnp.asarray(batch["segment_ids"]),
                          positions_BT=jnp.asarray(batch["positions"]))
  loss_sum, aux = loss(batch)
  np.testing.assert_allclose(
      loss_sum, -(numpy_logprobs(np.asarray(logits_BTV), targets)
                  * mask).sum(), rtol=1e-5)
  assert aux.weight == mask.sum()
  for field, other in (("tokens", np.zeros_like(targets)),
                       ("targets", np.roll(targets, 1)),
                       ("loss_mask", 1 - mask),
                       ("segment_ids", np.ones((B, T), np.int32)),
                       # A shift would change nothing: rotary positions are
                       # relative.
                       ("positions", batch["positions"] * 3)):
    assert abs(loss({**batch, field: other})[0] - loss_sum) > 1e-3, field
