"""Each objective by hand, and against ten lines of NumPy, gradients too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_jax.rl import objectives
import objective_oracles as oracles

KINDS = {"clipped": (objectives.clipped_surrogate, oracles.clipped),
         "gspo": (objectives.gspo_surrogate, oracles.gspo),
         "cispo": (objectives.cispo_loss, oracles.cispo),
         "reinforce": (objectives.reinforce_loss, oracles.reinforce)}
LOW, HIGH = 0.2, 0.3


def losses(kind, logp, e, low=LOW, high=HIGH):
  if kind == "reinforce":
    return objectives.reinforce_loss(logp, e["adv"], e["mask"])
  return KINDS[kind][0](logp, e["old"], e["adv"], e["mask"], clip_low=low,
                        clip_high=high)


def array(*rows):
  return jnp.array(rows, jnp.float32)


def case(kind, ratios, adv, low=LOW, high=HIGH):
  """Loss of each token of one row, and its gradient, where logp is 1/2."""
  logp = jnp.log(array([0.5] * len(ratios)))
  e = {"old": logp - jnp.log(array(ratios)), "adv": array(adv),
       "mask": jnp.ones((1, len(ratios)))}
  loss, told = losses(kind, logp, e, low, high)
  gradient = jax.grad(lambda x: losses(kind, x, e, low, high)[0].sum())(logp)
  return loss[0], gradient[0], {name: x[0] for name, x in told.items()}


def close(actual, expected):
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_clipped_by_hand():
  loss, gradient, told = case(
      "clipped", [1, 1.5, 1.5, 0.5, 0.5], [2, 2, -2, 2, -2])
  close(loss, [-2, -2.6, 3, -1, 1.6])
  close(gradient, [-2, 0, 3, -1, 0])  # dr/dlogp = r, where no bound holds
  close(told["clip_fraction_high"], [0, 1, 0, 0, 0])
  close(told["clip_fraction_low"], [0, 0, 0, 0, 1])


def test_gspo_by_hand():
  # The root of 4 · 1 is 2, of 1 · 1/4 is 1/2; one ratio for both tokens.
  loss, gradient, told = case("gspo", [4, 1], [-3, -3])
  close(loss, [6, 6])
  close(gradient, [6, 6])  # of 2 · 6, each token has half of the exponent
  loss, gradient, told = case("gspo", [1, 0.25], [-3, -3])
  close(loss, [2.4, 2.4])
  close(gradient, [0, 0])
  close(told["clip_fraction_low"], [1, 1])


def test_cispo_by_hand():
  log_half = np.log(0.5)
  loss, gradient, told = case("cispo", [1, 2, 8, 0.1], [3, 3, -3, 3], 1.0, 4.0)
  close(loss, np.array([-3, -6, 15, -0.3]) * log_half)
  close(gradient, [-3, -6, 15, -0.3])  # clipped tokens keep theirs
  close(told["clip_fraction_high"], [0, 0, 1, 0])
  close(told["clip_fraction_low"], [0, 0, 0, 0])


def test_reinforce_by_hand():
  loss, gradient, told = case("reinforce", [1, 9], [3, -2])
  close(loss, np.array([-3, 2]) * np.log(0.5))
  close(gradient, [-3, 2])
  assert not told


def test_importance_weights_by_hand():
  weights, told = objectives.importance_weights(
      jnp.log(array([0.5, 0.5, 0.1, 0.5])),
      jnp.log(array([0.5, 0.1, 0.5, 0.0])), array([1, 1, 1, 0]), 2.0)
  close(weights, [[1, 2, 0.2, 0]])
  close(told["importance_capped"], [[0, 1, 0, 0]])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_value_and_gradient_are_the_oracles(kind, seed):
  with jax.enable_x64(True):
    e = oracles.ragged(seed)

    def loss(logp):
      return jnp.sum(e["weights"] * losses(kind, logp, e)[0])

    def oracle(logp):
      return KINDS[kind][1](logp, e["logp"], e["old"], e["adv"], e["mask"],
                            e["weights"], LOW, HIGH)
    value, gradient = jax.value_and_grad(loss)(jnp.asarray(e["logp"]))
    np.testing.assert_allclose(value, oracle(e["logp"]), rtol=1e-12)
    np.testing.assert_allclose(
        gradient, oracles.slopes(oracle, e["logp"], e["mask"]), rtol=0,
        atol=1e-6)
    assert np.abs(gradient).max() > 0.1


def test_importance_weights_are_the_oracles():
  with jax.enable_x64(True):
    e = oracles.ragged(3)
    weights, told = objectives.importance_weights(
        jnp.asarray(e["old"]), e["sampler"], e["mask"], 1.1)
    expected = oracles.importance(e["old"], e["sampler"], e["mask"], 1.1)
    np.testing.assert_allclose(weights, expected, rtol=1e-12)
    assert 0 < told["importance_capped"].sum() < e["mask"].sum()
    np.testing.assert_array_equal(told["importance_capped"], expected == 1.1)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_masked_may_be_infinite_and_has_no_gradient(kind):
  e = oracles.ragged(4)
  e = {name: jnp.asarray(x) for name, x in e.items()}

  def gradient(e):
    return jax.grad(lambda x: losses(kind, x, e)[0].sum())(e["logp"])
  expected = gradient(e)
  off = ~e["mask"]
  np.testing.assert_array_equal(expected[off], 0.0)
  wild = {**e, "old": jnp.where(off, -jnp.inf, e["old"]),
          "logp": jnp.where(off, jnp.inf, e["logp"]),
          "adv": jnp.where(off, jnp.nan, e["adv"])}
  np.testing.assert_array_equal(gradient(wild), expected)
  for x in (losses(kind, wild["logp"], wild)[0],
            *losses(kind, wild["logp"], wild)[1].values()):
    np.testing.assert_array_equal(x[off], 0.0)


def test_at_ratio_one_all_have_the_gradient_of_reinforce():
  e = oracles.ragged(5)
  e |= {"old": e["logp"], "adv": np.broadcast_to(e["adv"][:, :1], (5, 9))}
  gradients = {kind: jax.grad(lambda x, k=kind: losses(k, x, e)[0].sum())(
      jnp.asarray(e["logp"])) for kind in KINDS}
  for gradient in gradients.values():
    np.testing.assert_allclose(gradient, gradients["reinforce"], rtol=1e-5)
