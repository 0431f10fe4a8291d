"""The sampler draws from exactly the distribution it reports."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from llm_jax.config import SamplingConfig
from llm_jax.inference import sampling

SAMPLERS = {
    "plain": SamplingConfig(),
    "cold": SamplingConfig(temperature=0.5),
    "top_k": SamplingConfig(top_k=5),
    "top_p": SamplingConfig(top_p=0.7),
    "all": SamplingConfig(temperature=1.5, top_k=9, top_p=0.8),
}


def expected_probs(logits_V, config):
  """The distribution by definition, one token at a time, in float64."""
  logits_V = np.asarray(logits_V, np.float64) / config.temperature
  order = np.argsort(-logits_V, kind="stable")
  order = order[: config.top_k or len(order)]
  probs = np.exp(logits_V[order] - logits_V.max())
  probs /= probs.sum()
  kept, mass = [], 0.0
  for token, p in zip(order, probs, strict=True):
    kept.append(token)
    mass += p
    if mass >= config.top_p:
      break
  result = np.zeros(len(logits_V))
  result[kept] = probs[: len(kept)] / mass
  return result


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("vocab_size", [1, 7, 16, 101])
def test_filter_logits_matches_the_definition(name, vocab_size):
  config = SAMPLERS[name]
  logits_BV = 2 * jax.random.normal(jax.random.key(1), (6, vocab_size))
  probs_BV = jax.nn.softmax(sampling.filter_logits(logits_BV, config), -1)
  for row, probs in zip(logits_BV, probs_BV, strict=True):
    np.testing.assert_allclose(probs, expected_probs(row, config), atol=2e-6)


@pytest.mark.parametrize("name", SAMPLERS)
def test_draws_follow_the_distribution(name):
  config = SAMPLERS[name]
  vocab_size, draws = 23, 40_000
  logits_V = 1.5 * jax.random.normal(jax.random.key(2), (vocab_size,))
  draw = jax.jit(sampling.sample, static_argnums=2)
  tokens_B, logprobs_B, model_B = draw(
      jax.random.key(3), jnp.tile(logits_V[None], (draws, 1)), config)
  probs_V = expected_probs(logits_V, config)
  counts_V = np.bincount(np.asarray(tokens_B), minlength=vocab_size)
  assert counts_V[probs_V == 0].sum() == 0
  possible = probs_V > 0
  expected_V = probs_V[possible] / probs_V[possible].sum() * draws
  # Fixed keys: this holds or not, once and for all; 0.001 is no coin toss.
  assert stats.chisquare(counts_V[possible], expected_V).pvalue > 1e-3
  np.testing.assert_allclose(
      logprobs_B, np.log(probs_V[np.asarray(tokens_B)]), atol=1e-5)
  np.testing.assert_allclose(
      model_B, jax.nn.log_softmax(logits_V)[tokens_B], atol=1e-5)


def test_the_chi_square_would_notice_a_wrong_temperature():
  draws, logits_V = 40_000, jnp.linspace(-2.0, 2.0, 23)
  tokens_B, _, _ = sampling.sample(
      jax.random.key(3), jnp.tile(logits_V[None], (draws, 1)),
      SamplingConfig(temperature=1.1))
  counts_V = np.bincount(np.asarray(tokens_B), minlength=23)
  expected_V = expected_probs(logits_V, SamplingConfig()) * draws
  assert stats.chisquare(counts_V, expected_V).pvalue < 1e-6


def test_draws_of_a_large_vocabulary_agree_with_the_cumulative():
  """Same uniform numbers, NumPy in float64: the two-stride walk is exact."""
  batch, vocab_size = 64, 4096
  logits_BV = 3 * jax.random.normal(jax.random.key(4), (batch, vocab_size))
  tokens_B, _, _ = sampling.sample(
      jax.random.key(5), logits_BV, SamplingConfig())
  keys_B = sampling.fold_rows(jax.random.key(5), jnp.arange(batch))
  uniform_B = np.asarray(jax.vmap(jax.random.uniform)(keys_B), np.float64)
  probs_BV = np.exp(np.asarray(logits_BV, np.float64))
  probs_BV /= probs_BV.sum(-1, keepdims=True)
  ends_BV = np.cumsum(probs_BV, -1)
  ends_BV = np.concatenate([np.zeros((batch, 1)), ends_BV], -1)
  rows = np.arange(batch)
  assert np.all(ends_BV[rows, tokens_B] <= uniform_B + 1e-6)
  assert np.all(ends_BV[rows, np.asarray(tokens_B) + 1] >= uniform_B - 1e-6)


def test_impossible_tokens_are_never_drawn():
  logits_BV = jnp.full((4096, 50), -jnp.inf).at[:, 49].set(0.0)
  logits_BV = logits_BV.at[:, 3].set(-20.0)
  tokens_B, _, _ = sampling.sample(
      jax.random.key(0), logits_BV, SamplingConfig())
  assert set(np.asarray(tokens_B).tolist()) <= {3, 49}


def test_greedy_takes_the_likeliest_with_certainty():
  logits_BV = jax.random.normal(jax.random.key(6), (5, 17))
  config = SamplingConfig(temperature=0.0)
  tokens_B, logprobs_B, model_B = sampling.sample(
      jax.random.key(0), logits_BV, config)
  np.testing.assert_array_equal(tokens_B, jnp.argmax(logits_BV, -1))
  np.testing.assert_array_equal(logprobs_B, np.zeros(5))
  np.testing.assert_allclose(
      model_B, jax.nn.log_softmax(logits_BV).max(-1), atol=1e-6)
  kept_BV = sampling.filter_logits(jnp.zeros((2, 4)), config) > -jnp.inf
  np.testing.assert_array_equal(kept_BV.sum(-1), [1, 1])


def test_top_k_keeps_exactly_k_of_equal_tokens():
  kept_BV = sampling.filter_logits(
      jnp.zeros((2, 10)), SamplingConfig(top_k=3)) > -jnp.inf
  np.testing.assert_array_equal(kept_BV.sum(-1), [3, 3])


def test_a_row_does_not_depend_on_its_neighbours():
  logits_BV = jax.random.normal(jax.random.key(7), (8, 40))
  keys_B = sampling.fold_rows(jax.random.key(8), jnp.arange(8))
  together, _, _ = sampling.sample(keys_B, logits_BV, SamplingConfig())
  for row in range(8):
    alone, _, _ = sampling.sample(
        keys_B[row:row + 1], logits_BV[row:row + 1], SamplingConfig())
    assert int(alone[0]) == int(together[row])
