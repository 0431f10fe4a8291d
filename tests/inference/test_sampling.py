"""The sampler draws from exactly the distribution it reports."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact_distribution import p_value, token_probs

from llm_jax.config import ConfigError, RlConfig, SamplingConfig
from llm_jax.inference import sampling
from llm_jax.inference.penalties import extend_history, init_history

SAMPLERS = {
    "plain": SamplingConfig(),
    "cold": SamplingConfig(temperature=0.5),
    "top_k": SamplingConfig(top_k=5),
    "top_p": SamplingConfig(top_p=0.7),
    "min_p": SamplingConfig(min_p=0.2),
    "top_k, top_p": SamplingConfig(temperature=1.5, top_k=9, top_p=0.8),
    "top_p, min_p": SamplingConfig(temperature=0.9, top_p=0.9, min_p=0.1),
    "repetition": SamplingConfig(repetition_penalty=1.7),
    "frequency": SamplingConfig(frequency_penalty=0.5),
    "presence": SamplingConfig(presence_penalty=-0.8),
    "bias": SamplingConfig(logit_bias=("0:2.5", "3:-inf", "6:-1")),
    "all": SamplingConfig(1.3, 9, 0.95, min_p=0.05, repetition_penalty=1.3,
                          frequency_penalty=0.3, presence_penalty=0.4,
                          logit_bias=("2:1.5",)),
}
PROMPT, COMPLETION = (0, 2, 2, 5), (2, 4, 6, 4, 4)


def history_of(rows, vocab_size, config):
  """Rows that have all read `PROMPT` and drawn `COMPLETION`."""
  real = len(PROMPT)
  prompts_BT = np.tile([*PROMPT, 1, 1], (rows, 1))  # padded with token 1
  history = init_history(prompts_BT, np.full(rows, real), config, vocab_size)
  for token in COMPLETION:
    history = extend_history(history, jnp.full(rows, token))
  return history


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("vocab_size", [7, 16, 101])
def test_filter_logits_matches_the_definition(name, vocab_size):
  config = SAMPLERS[name]
  logits_BV = 2 * jax.random.normal(jax.random.key(1), (6, vocab_size))
  probs_BV = jax.nn.softmax(sampling.filter_logits(
      logits_BV, config, history_of(6, vocab_size, config)), -1)
  for row, probs in zip(logits_BV, probs_BV, strict=True):
    np.testing.assert_allclose(
        probs, token_probs(row, config, PROMPT, COMPLETION), atol=2e-6)


DRAWS, LOGITS_V = 40_000, 1.5 * np.random.default_rng(2).normal(size=23)


def drawn_tokens(config):
  """Draws from `LOGITS_V`; fixed keys, so a test holds or not for good."""
  draw = jax.jit(sampling.sample, static_argnums=2)
  return draw(jax.random.key(3), jnp.tile(jnp.float32(LOGITS_V), (DRAWS, 1)),
              config, history_of(DRAWS, 23, config))


def exact_probs(config):
  return token_probs(np.float32(LOGITS_V), config, PROMPT, COMPLETION)


@pytest.mark.parametrize("name", SAMPLERS)
def test_draws_follow_the_distribution(name):
  config = SAMPLERS[name]
  tokens_B, logprobs_B, model_B = drawn_tokens(config)
  probs_V = exact_probs(config)
  assert p_value(tokens_B.tolist(), dict(enumerate(probs_V))) > 1e-4
  np.testing.assert_allclose(
      logprobs_B, np.log(probs_V[np.asarray(tokens_B)]), atol=1e-5)
  np.testing.assert_allclose(
      model_B, jax.nn.log_softmax(jnp.float32(LOGITS_V))[tokens_B], atol=1e-5)


@pytest.mark.parametrize("name, wrong", [
    ("plain", {"temperature": 1.05}), ("cold", {"temperature": 0.52}),
    ("top_k", {"top_k": 6}), ("top_p", {"top_p": 0.75}),
    ("min_p", {"min_p": 0.3}), ("top_p, min_p", {"min_p": 0.0}),
    ("top_k, top_p", {"top_k": 0}),
    ("repetition", {"repetition_penalty": 1.5}),
    ("frequency", {"frequency_penalty": 0.45}),
    ("presence", {"presence_penalty": -0.7}),
    ("bias", {"logit_bias": ("0:2.6", "3:-inf", "6:-1")}),
    ("all", {"frequency_penalty": 0.0}), ("all", {"top_k": 8})])
@pytest.mark.slow
def test_the_chi_square_would_notice_another_setting(name, wrong):
  tokens_B, _, _ = drawn_tokens(dataclasses.replace(SAMPLERS[name], **wrong))
  exact = dict(enumerate(exact_probs(SAMPLERS[name])))
  assert p_value(tokens_B.tolist(), exact) < 1e-6


def test_history_is_kept_only_where_a_penalty_asks():
  prompts_BT, lengths_B = np.array([[3, 9, 1], [4, 1, 1]]), np.array([2, 1])
  assert init_history(prompts_BT, lengths_B, SAMPLERS["top_p"], 10) is None
  assert extend_history(None, jnp.array([1, 2])) is None
  seen = init_history(prompts_BT, lengths_B, SAMPLERS["repetition"], 10)
  assert seen.counts_BV is None
  assert [np.flatnonzero(row).tolist() for row in seen.seen_BV] == [[3, 9], [4]]
  counts = init_history(prompts_BT, lengths_B, SAMPLERS["presence"], 10)
  assert counts.seen_BV is None
  both = init_history(prompts_BT, lengths_B, SAMPLERS["all"], 10)
  both = extend_history(both, jnp.array([5, 6]), jnp.array([True, False]))
  assert [np.flatnonzero(row).tolist() for row in both.seen_BV] == [
      [3, 5, 9], [4]]
  np.testing.assert_array_equal(both.counts_BV.sum(-1), [1, 0])
  with pytest.raises(ValueError, match="history"):
    sampling.sample(jax.random.key(0), jnp.zeros((1, 10)), SAMPLERS["all"])


def test_top_p_of_equal_and_of_extreme_logits():
  def kept(logits, top_p):
    filtered = sampling.filter_logits(
        jnp.array([logits], jnp.float32), SamplingConfig(top_p=top_p))
    return np.flatnonzero(filtered[0] > -jnp.inf).tolist()

  assert kept([0.0] * 8, 0.45) == [0, 1, 2, 3]  # 3.6 of 8
  assert kept([1.0, 5.0, 1.0, 5.0, 1.0], 0.4) == [1]
  assert kept([1.0, 5.0, 1.0, 5.0, 1.0], 0.98) == [0, 1, 3]
  assert kept([-3.0, -2.0, -1e30, -2.0], 0.5) == [1, 3]
  assert kept([0.0, -np.inf, 1.0, -np.inf], 0.999) == [0, 2]
  assert kept([7.0], 0.1) == [0]
  assert kept([0.0, 200.0, -200.0], 0.9999) == [1]


def test_top_p_alone_sorts_nothing():
  logits_BV = jnp.zeros((2, 4096))
  for name in ("plain", "min_p", "top_p", "repetition"):
    text = str(jax.make_jaxpr(lambda x, config=SAMPLERS[name]: sampling.sample(
        jax.random.key(0), x, config, history_of(2, 4096, config)))(logits_BV))
    assert " sort[" not in text and "top_k" not in text
  assert "top_k" in str(jax.make_jaxpr(lambda x: sampling.filter_logits(
      x, SAMPLERS["top_k"]))(logits_BV))


def test_only_allowed_tokens_are_drawn():
  logits_BV = jax.random.normal(jax.random.key(0), (4000, 12))
  allowed_BV = jnp.tile(jnp.arange(12) % 5 == 2, (4000, 1))
  for config in (SamplingConfig(), SamplingConfig(0.0), SAMPLERS["min_p"]):
    tokens_B, logprobs_B, model_B = sampling.sample(
        jax.random.key(1), logits_BV, config, allowed_BV=allowed_BV)
    assert set(tokens_B.tolist()) == {2, 7}
    two_B2 = jax.nn.log_softmax(logits_BV[:, jnp.array([2, 7])])
    if config == SamplingConfig():
      np.testing.assert_allclose(
          logprobs_B, np.where(tokens_B == 2, two_B2[:, 0], two_B2[:, 1]),
          atol=1e-5)
    np.testing.assert_allclose(model_B, jnp.take_along_axis(
        jax.nn.log_softmax(logits_BV), tokens_B[:, None], 1)[:, 0], atol=1e-5)


@pytest.mark.parametrize("settings, told", [
    ({"min_p": 1.5}, "min_p"), ({"repetition_penalty": 0.0}, "repetition"),
    ({"frequency_penalty": float("nan")}, "frequency_penalty"),
    ({"stop": ("a", "")}, "empty text"), ({"logit_bias": ("x",)}, "ID:BIAS"),
    ({"logit_bias": ("3:inf",)}, "ID:BIAS"),
    ({"logit_bias": ("3:1", "3:2")}, "twice")])
def test_mistakes_are_told(settings, told):
  with pytest.raises(ConfigError, match=told):
    SamplingConfig(**settings).validate()


def test_reinforcement_learning_samples_the_model_itself():
  """Its log-probabilities are those of the model, at some temperature."""
  RlConfig(sampling=SamplingConfig(0.7, max_new_tokens=9,
                                   stop=("x",))).validate()
  for name in set(SAMPLERS) - {"plain", "cold"}:
    with pytest.raises(ConfigError, match="whole vocabulary"):
      RlConfig(sampling=SAMPLERS[name]).validate()


def test_a_bias_of_no_token_is_told():
  SamplingConfig(logit_bias=("50:-3.5",)).validate()
  with pytest.raises(ConfigError, match="names token 50"):
    sampling.sample(jax.random.key(0), jnp.zeros((1, 50)),
                    SamplingConfig(logit_bias=("50:-3.5",)))


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
