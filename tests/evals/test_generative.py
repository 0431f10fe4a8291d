"""Accuracy, its interval, and the difference of two models."""

import jax
import numpy as np
import pytest

from llm_jax.config import ConfigError, ModelConfig, SamplingConfig
from llm_jax.config import TokenizerConfig
from llm_jax.evals import generative
from llm_jax.model.params import init_params
from llm_jax.rl.environments.protocol import Completion, Problem
from llm_jax.tokenizer.bpe import train_bpe


class Vowels:
  """Solved by a completion with an even number of characters that stops."""

  def score(self, problem, completion):
    return float(len(completion.text) % 2 == int(problem.answer))

  def episode(self, problem):
    return None


@pytest.fixture(scope="module")
def setup():
  tokenizer = train_bpe(["What is this?"] * 4, TokenizerConfig(vocab_size=264))
  model = ModelConfig(
      vocab_size=264, embed_dim=16, num_layers=1, num_heads=2, num_kv_heads=2,
      head_dim=8, mlp_dim=16, max_seq_len=40)
  params = jax.jit(init_params, static_argnames="config")(
      jax.random.key(0), config=model)
  problems = [Problem("?" * (1 + i % 5), str(i % 2)) for i in range(7)]
  return params, problems, tokenizer, model


def evaluate(setup, batch_size, max_new_tokens=6):
  params, problems, tokenizer, model = setup
  return generative.evaluate_problems(
      params, problems, Vowels(), tokenizer,
      SamplingConfig(max_new_tokens=max_new_tokens), model,
      key=jax.random.key(0), batch_size=batch_size)


@pytest.mark.slow
def test_the_batch_size_changes_nothing(setup):
  once, in_parts = evaluate(setup, 7), evaluate(setup, 3)
  assert once.completions == in_parts.completions
  np.testing.assert_array_equal(once.correct_N, in_parts.correct_N)
  np.testing.assert_array_equal(once.truncated_NK, in_parts.truncated_NK)
  assert len(set(once.completions)) > 1


def test_the_result_counts_what_the_environment_says(setup):
  result = evaluate(setup, 64)
  expected = [Vowels().score(p, Completion(text, True))
              for p, text in zip(setup[1], result.completions)]
  np.testing.assert_array_equal(result.correct_N, expected)
  summary = result.summary()
  assert summary["problems"] == 7
  assert summary["accuracy"] == np.mean(expected)
  assert summary["accuracy_low"] < np.mean(expected) < summary["accuracy_high"]
  assert summary["truncated"] == result.truncated_NK.mean()


def test_what_does_not_fit_is_told(setup):
  with pytest.raises(ConfigError, match="max_new_tokens=36"):
    evaluate(setup, 7, max_new_tokens=36)
  with pytest.raises(ConfigError, match="no problems"):
    generative.evaluate_problems(
        None, [], Vowels(), setup[2], SamplingConfig(), setup[3],
        key=jax.random.key(0))


def test_wilson_interval_of_known_counts():
  # Wilson 1927; values of statsmodels' proportion_confint(method="wilson").
  np.testing.assert_allclose(
      generative.wilson_interval(8, 10), (0.490162, 0.943318), atol=1e-6)
  low, high = generative.wilson_interval(0, 20)
  assert low == 0.0 and 0.15 < high < 0.17
  assert generative.wilson_interval(20, 20)[1] == 1.0


def test_wilson_interval_covers_95_percent():
  rng = np.random.default_rng(0)
  counts = rng.binomial(200, 0.1, 4000)
  inside = [low <= 0.1 <= high for low, high in
            (generative.wilson_interval(c, 200) for c in counts)]
  assert 0.93 < np.mean(inside) < 0.97


def test_paired_difference_by_hand():
  before = [0, 0, 1, 1, 0, 1, 0, 0]
  after = [1, 0, 1, 0, 1, 1, 1, 0]
  d = np.array([1, 0, 0, -1, 1, 0, 1, 0])
  result = generative.paired_difference(before, after)
  margin = 1.959964 * np.sqrt(d.var(ddof=1) / 8)
  np.testing.assert_allclose(
      (result.mean, result.low, result.high),
      (0.25, 0.25 - margin, 0.25 + margin))
  with pytest.raises(ConfigError, match="same problems"):
    generative.paired_difference(before, after[:-1])


def test_pairing_is_narrower_than_two_independent_intervals():
  rng = np.random.default_rng(0)
  hard = rng.random(500)
  before, after = (hard < 0.5).astype(float), (hard < 0.6).astype(float)
  paired = generative.paired_difference(before, after)
  low, high = generative.wilson_interval(before.sum(), 500)
  assert paired.high - paired.low < high - low


def test_pass_at_k_by_hand():
  correct_NK = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0],
                         [1, 1, 1, 1.0]])
  np.testing.assert_allclose(generative.pass_at_k_N(correct_NK, 2),
                             [1 - 3 / 6, 1 - 1 / 6, 0, 1])
  np.testing.assert_allclose(generative.pass_at_k(correct_NK, 1),
                             correct_NK.mean())
  assert generative.pass_at_k(correct_NK, 4) == 0.75
  # What is partly right has not solved it.
  assert generative.pass_at_k(np.array([[0.9, 0.0]]), 2) == 0
  with pytest.raises(ConfigError, match="pass@5 needs 5 samples"):
    generative.pass_at_k(correct_NK, 5)


def test_pass_at_k_is_unbiased():
  rng = np.random.default_rng(0)
  shares = rng.uniform(size=4000)
  correct_NK = (rng.uniform(size=(4000, 6)) < shares[:, None]).astype(float)
  np.testing.assert_allclose(generative.pass_at_k(correct_NK, 3),
                             np.mean(1 - (1 - shares)**3), atol=0.015)


def test_the_summary_has_pass_at_k_with_intervals():
  correct_NK = (np.arange(60).reshape(10, 6) % 7 == 0).astype(float)
  summary = generative.GenerativeResult(
      correct_NK, np.zeros((10, 6)), np.full((10, 6), 5), [""] * 10).summary()
  names = [name for name in summary if name.startswith("pass_at_")]
  assert names == [f"pass_at_{k}{suffix}" for k in (2, 4, 6)
                   for suffix in ("", "_low", "_high")]
  for k in (2, 4, 6):
    assert summary[f"pass_at_{k}"] == generative.pass_at_k(correct_NK, k)
    assert (summary[f"pass_at_{k}_low"] < summary[f"pass_at_{k}"]
            < summary[f"pass_at_{k}_high"])


def test_the_difference_of_two_means():
  found = generative.mean_difference([1, 3], [4, 6, 8])
  assert found.mean == 4
  np.testing.assert_allclose(found.high - 4, 1.959964 * np.sqrt(2 / 2 + 4 / 3))
  with pytest.raises(ConfigError, match="two values"):
    generative.mean_difference([1], [2, 3])
