"""Schulman's estimators: by hand, against NumPy, and on average."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_jax.config import ConfigError, ObjectiveConfig
from llm_jax.rl.kl import kl_estimate
from llm_jax.rl.policy_loss import policy_gradient_loss
import objective_oracles as oracles

KINDS = ("k1", "k2", "k3")


def test_by_hand():
  logp, ref = jnp.log(jnp.array([[0.5, 0.5]])), jnp.log(jnp.array([[1., .25]]))
  log2, ones = np.log(2), jnp.ones((1, 2))
  for kind, expected in (("k1", [-log2, log2]),
                         ("k2", [log2**2 / 2, log2**2 / 2]),
                         ("k3", [1 - log2, log2 - 0.5])):
    np.testing.assert_allclose(kl_estimate(logp, ref, ones, kind), [expected],
                               rtol=1e-5)
  with pytest.raises(ConfigError, match="k4"):
    kl_estimate(logp, ref, ones, "k4")


@pytest.mark.parametrize("kind", KINDS)
def test_value_and_gradient_are_the_oracles(kind):
  with jax.enable_x64(True):
    e = oracles.ragged(0)
    weights, off = e["weights"], ~e["mask"]
    found = kl_estimate(e["logp"], jnp.where(off, -jnp.inf, e["ref"]),
                        e["mask"], kind)
    np.testing.assert_allclose(
        found, oracles.kl(e["logp"], e["ref"], e["mask"], kind), rtol=1e-9,
        atol=1e-12)
    gradient = jax.grad(lambda x: jnp.sum(weights * kl_estimate(
        x, e["ref"], e["mask"], kind)))(jnp.asarray(e["logp"]))
    slopes = oracles.slopes(lambda x: np.sum(weights * oracles.kl(
        x, e["ref"], e["mask"], kind)), e["logp"], e["mask"])
    np.testing.assert_allclose(gradient, slopes, rtol=0, atol=1e-6)


def test_means_and_mean_gradients_are_what_the_docstring_says():
  """Exactly: the mean over all tokens of a vocabulary, by their chances."""
  with jax.enable_x64(True):
    rng = np.random.default_rng(1)
    logits, ref_logits = rng.normal(size=(2, 7))
    ref = jax.nn.log_softmax(ref_logits)
    ones = jnp.ones((1, 7))

    def mean(logits, kind, chances):
      logp = jax.nn.log_softmax(logits)
      return jnp.sum(chances * kl_estimate(logp[None], ref[None], ones,
                                           kind)[0])

    def forward(logits):
      logp = jax.nn.log_softmax(logits)
      return jnp.sum(jnp.exp(logp) * (logp - ref))

    def backward(logits):
      return jnp.sum(jnp.exp(ref) * (ref - jax.nn.log_softmax(logits)))
    chances = jax.nn.softmax(logits)
    for kind in ("k1", "k3"):
      np.testing.assert_allclose(mean(logits, kind, chances), forward(logits))
    assert abs(mean(logits, "k2", chances) - forward(logits)) > 1e-5  # biased
    for kind, expected in (("k1", np.zeros(7)),
                           ("k2", jax.grad(forward)(logits)),
                           ("k3", jax.grad(backward)(logits))):
      np.testing.assert_allclose(jax.grad(mean)(logits, kind, chances),
                                 expected, atol=1e-12)


@pytest.mark.parametrize("kind", ["k1", "k3"])
def test_times_the_ratio_its_mean_gradient_is_that_of_the_kl(kind):
  """Whatever the policy that sampled."""
  with jax.enable_x64(True):
    logits, old_logits, ref_logits = np.random.default_rng(2).normal(
        size=(3, 7))
    old, ref = jax.nn.log_softmax(old_logits), jax.nn.log_softmax(ref_logits)
    objective = ObjectiveConfig(kl_coef=1.0, kl_estimator=kind, kl_ratio=True)

    def loss_of(token, logits):
      logp = jax.nn.log_softmax(logits)
      one = jnp.ones((1, 1))
      return policy_gradient_loss(
          logp[token] * one, {"old_logprobs": old[token] * one,
                              "loss_mask": one, "advantages": 0 * one},
          objective, max_tokens=1, ref_logprobs_BT=ref[token] * one)[0]

    def mean(logits):
      return sum(jnp.exp(old[v]) * loss_of(v, logits) for v in range(7))

    def divergence(logits):
      logp = jax.nn.log_softmax(logits)
      return jnp.sum(jnp.exp(logp) * (logp - ref))
    np.testing.assert_allclose(mean(logits), divergence(logits), rtol=1e-6)
    np.testing.assert_allclose(jax.grad(mean)(logits),
                               jax.grad(divergence)(logits), atol=1e-7)
