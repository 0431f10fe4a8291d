"""The objective against ten lines of NumPy, its gradient by differences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from llm_jax.config import ConfigError, ModelConfig, RlConfig, SamplingConfig
from llm_jax.model.params import init_params
from llm_jax.model.transformer import forward
from llm_jax.rl import objectives
from llm_jax.training.losses import token_logprobs
from llm_jax.training.train_step import TrainState, train_step

NORMALIZATIONS = ("response", "token", "constant")
MODEL = ModelConfig(vocab_size=19, embed_dim=8, num_layers=1, num_heads=2,
                    num_kv_heads=1, head_dim=4, mlp_dim=12, max_seq_len=16,
                    init_std=0.5)


def numpy_loss(logp, old, adv, weights, low, high, ref, kl_coef):
  """The equation, a token at a time."""
  total = 0.0
  for t in np.ndindex(logp.shape):
    if weights[t] == 0:
      continue
    ratio = np.exp(logp[t] - old[t])
    bounded = min(max(ratio, 1 - low), 1 + high)
    total -= weights[t] * min(ratio * adv[t], bounded * adv[t])
    log_ref = ref[t] - logp[t]
    total += kl_coef * weights[t] * (np.exp(log_ref) - log_ref - 1)
  return total


def example(seed=0, shape=(3, 7)):
  rng = np.random.default_rng(seed)
  logp, old, ref = -rng.exponential(1.0, (3, *shape))
  return {"logp": logp, "old": logp + 0.5 * (old + 1), "ref": ref,
          "adv": rng.normal(size=shape),
          "weights": rng.uniform(size=shape) * (rng.random(shape) < 0.7)}


def loss(logp, e, **kwargs):
  return objectives.policy_gradient_loss(
      logp, e["old"], e["adv"], e["weights"], denominator=5.0, clip_low=0.2,
      clip_high=0.3, **kwargs)


@pytest.mark.parametrize("kl_coef", [0.0, 0.4])
def test_value_and_gradient_match_numpy(kl_coef):
  with jax.enable_x64(True):
    e = example()
    def oracle(logp):
      return numpy_loss(logp, e["old"], e["adv"], e["weights"], 0.2, 0.3,
                        e["ref"], kl_coef)
    kwargs = {"ref_logprobs_BT": e["ref"], "kl_coef": kl_coef}
    (value, aux), gradient = jax.value_and_grad(loss, has_aux=True)(
        jnp.asarray(e["logp"]), e, **kwargs)
    np.testing.assert_allclose(value, oracle(e["logp"]), rtol=1e-10)
    assert aux.weight == 5.0
    for t in np.ndindex(e["logp"].shape):
      step = np.zeros(e["logp"].shape)
      step[t] = 1e-6
      slope = (oracle(e["logp"] + step) - oracle(e["logp"] - step)) / 2e-6
      np.testing.assert_allclose(gradient[t], slope, rtol=1e-5, atol=1e-8)


def test_metrics_are_means_over_generated_tokens():
  e = example(1)
  _, aux = loss(e["logp"], e, ref_logprobs_BT=e["ref"],
                entropy_BT=np.full((3, 7), 1.5))
  used = e["weights"] > 0
  log_ratio = (e["logp"] - e["old"])[used]
  ratio, adv = np.exp(log_ratio), e["adv"][used]
  clipped = ((adv > 0) & (ratio > 1.3)) | ((adv < 0) & (ratio < 0.8))
  assert clipped.any() and not clipped.all()
  to_ref = (e["ref"] - e["logp"])[used]
  expected = {"ratio": ratio.mean(), "clip_fraction": clipped.mean(),
              "approx_kl": (ratio - 1 - log_ratio).mean(), "entropy": 1.5,
              "kl_ref": (np.exp(to_ref) - to_ref - 1).mean()}
  assert set(aux.metrics) == set(expected)
  for name, (total, weight) in aux.metrics.items():
    np.testing.assert_allclose(total / weight, expected[name], rtol=1e-4)


def test_what_has_no_weight_may_be_infinite():
  e = example(2)
  off = e["weights"] == 0
  assert off.any()
  expected = jax.grad(lambda x: loss(x, e)[0])(jnp.asarray(e["logp"]))
  e["old"] = np.where(off, -np.inf, e["old"])
  gradient = jax.grad(lambda x: loss(x, e)[0])(jnp.asarray(e["logp"]))
  np.testing.assert_array_equal(gradient, expected)
  np.testing.assert_array_equal(gradient[off], 0.0)


def test_normalization_weights_by_hand():
  mask_BT = jnp.array([[0, 1, 1, 1, 1], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]])
  weights = functools.partial(objectives.normalization_weights, mask_BT)
  for name, rows, denominator in (
      ("token", [[0, 1, 1, 1, 1], [0, 0, 1, 0, 0], [0] * 5], 5),
      ("response", [[0, .25, .25, .25, .25], [0, 0, 1, 0, 0], [0] * 5], 2),
      ("constant", [[0, 1, 1, 1, 1], [0, 0, 1, 0, 0], [0] * 5], 2 * 9)):
    weights_BT, total = weights(name, 9)
    np.testing.assert_allclose(weights_BT, rows)
    assert total == denominator
  with pytest.raises(ConfigError, match="sequence"):
    weights("sequence", 9)


# --- with a model ------------------------------------------------------------


def rl_config(**kwargs):
  return RlConfig(sampling=SamplingConfig(max_new_tokens=6), **kwargs)


@pytest.fixture(scope="module")
def params():
  return jax.jit(init_params, static_argnames="config")(
      jax.random.key(0), config=MODEL)


@pytest.fixture(scope="module")
def batch(params):
  """Six rows: two tokens of prompt, then 1 to 6 generated ones, then none."""
  tokens_BS = jax.random.randint(jax.random.key(1), (6, 11), 0, 19)
  lengths_B1 = jnp.array([[1], [6], [3], [2], [5], [4]])
  places_1T = jnp.arange(10)[None, :]
  mask_BT = (places_1T >= 1) & (places_1T < 1 + lengths_B1)
  logits_BTV, _ = jax.jit(forward, static_argnames="config")(
      params, tokens_BS[:, :-1], config=MODEL)
  return {"tokens": tokens_BS[:, :-1], "targets": tokens_BS[:, 1:],
          "loss_mask": mask_BT.astype(jnp.float32),
          "old_logprobs": token_logprobs(logits_BTV, tokens_BS[:, 1:]),
          "advantages": jnp.array([1.0, -0.5, 0.3, -1.2, 0.8, -0.4])}


def test_the_first_step_on_policy_has_ratio_one(params, batch):
  loss_fn = objectives.policy_loss_fn(MODEL, rl_config())
  loss_sum, aux = jax.jit(loss_fn)(params, None, batch, 0)
  total, weight = aux.metrics["ratio"]
  np.testing.assert_allclose(total / weight, 1.0, atol=1e-6)
  assert aux.metrics["clip_fraction"][0] == 0
  np.testing.assert_allclose(aux.metrics["approx_kl"][0], 0, atol=1e-5)
  # At ratio 1 the loss is minus the mean advantage of the tokens.
  advantages = batch["advantages"][:, None] * batch["loss_mask"]
  np.testing.assert_allclose(loss_sum, -advantages.sum(), rtol=1e-5)


def test_its_gradient_is_that_of_reinforce(params, batch):
  loss_fn = objectives.policy_loss_fn(MODEL, rl_config())

  def reinforce(params):
    logits_BTV, _ = forward(params, batch["tokens"], MODEL)
    logp_BT = token_logprobs(logits_BTV, batch["targets"])
    return -jnp.sum(
        logp_BT * batch["advantages"][:, None] * batch["loss_mask"])

  expected = jax.jit(jax.grad(reinforce))(params)
  actual = jax.jit(jax.grad(lambda p: loss_fn(p, None, batch, 0)[0]))(params)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(
      a, b, rtol=1e-4, atol=1e-6), actual, expected)


def test_stop_token_has_gradient_and_prompt_and_padding_have_none(batch):
  """By the gradient of the log-probabilities, not by the mask."""
  weights_BT, denominator = objectives.normalization_weights(
      batch["loss_mask"], "token", 6)
  advantages_BT = jnp.broadcast_to(
      batch["advantages"][:, None], weights_BT.shape)
  gradient_BT = jax.grad(lambda x: objectives.policy_gradient_loss(
      x, batch["old_logprobs"], advantages_BT, weights_BT,
      denominator=denominator)[0])(batch["old_logprobs"])
  lengths_B = np.array([1, 6, 3, 2, 5, 4])
  for row, length in enumerate(lengths_B):
    generated = slice(1, 1 + length)  # the last of them is the stop token
    np.testing.assert_allclose(
        gradient_BT[row, generated], -batch["advantages"][row], rtol=1e-6)
    np.testing.assert_array_equal(gradient_BT[row, :1], 0.0)
    np.testing.assert_array_equal(gradient_BT[row, 1 + length:], 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_accumulated_gradient_is_the_full_batchs(params, batch, normalization):
  """Unequal lengths in every microbatch."""
  loss_fn = objectives.policy_loss_fn(
      MODEL, rl_config(loss_normalization=normalization))
  tx = optax.sgd(1.0)
  state = TrainState(jnp.int32(0), params, tx.init(params))
  states = [jax.jit(functools.partial(
      train_step, loss_fn=loss_fn, tx=tx, num_microbatches=m))(
          state, None, batch) for m in (1, 3)]
  jax.tree.map(lambda a, b: np.testing.assert_allclose(
      a, b, rtol=1e-4, atol=1e-6), states[0][0].params, states[1][0].params)
  np.testing.assert_allclose(
      states[0][1]["loss"], states[1][1]["loss"], rtol=1e-5, atol=1e-6)
  moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()),
                       states[0][0].params, params)
  assert max(jax.tree.leaves(moved)) > 1e-3


def test_the_reference_model_pulls_back(params, batch):
  loss_fn = objectives.policy_loss_fn(MODEL, rl_config(kl_coef=0.5))
  still = {**batch, "advantages": jnp.zeros(6)}
  grad_fn = jax.jit(jax.grad(lambda p, ref: loss_fn(p, ref, still, 0)[0]))
  at_home = grad_fn(params, params)
  assert all(np.abs(g).max() < 1e-5 for g in jax.tree.leaves(at_home))
  away = jax.tree.map(lambda x: 1.1 * x, params)
  gradient = grad_fn(away, params)
  step = jax.tree.map(lambda p, g: p - 1e-3 * g, away, gradient)
  value_fn = jax.jit(lambda p: loss_fn(p, params, still, 0)[0])
  assert 0 < value_fn(step) < value_fn(away)


def test_a_temperature_is_part_of_the_policy(params, batch):
  config = RlConfig(sampling=SamplingConfig(temperature=0.7, max_new_tokens=6))
  logits_BTV, _ = forward(params, batch["tokens"], MODEL)
  old_BT = token_logprobs(logits_BTV / 0.7, batch["targets"])
  _, aux = objectives.policy_loss_fn(MODEL, config)(
      params, None, {**batch, "old_logprobs": old_BT}, 0)
  total, weight = aux.metrics["ratio"]
  np.testing.assert_allclose(total / weight, 1.0, atol=1e-5)
