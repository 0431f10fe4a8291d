"""The whole loss: against NumPy, and of a model, from logits to gradient."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from llm_jax.config import (
    ConfigError, CriticConfig, LoraConfig, LossConfig, ModelConfig, MoeConfig,
    ObjectiveConfig, RlConfig, SamplingConfig)
from llm_jax.model.lora import init_lora
from llm_jax.model.params import init_params
from llm_jax.model.transformer import backbone, forward
from llm_jax.rl.policy_logprobs import policy_logprobs
from llm_jax.rl.policy_loss import policy_gradient_loss, policy_loss_fn
from llm_jax.rl.policy_step import minibatch
from llm_jax.training.adapters import adapter_loss
from llm_jax.training.losses import token_logprobs
from llm_jax.training.train_step import TrainState, train_step
import objective_oracles as oracles

MODEL = ModelConfig(vocab_size=19, embed_dim=8, num_layers=1, num_heads=2,
                    num_kv_heads=1, head_dim=4, mlp_dim=12, max_seq_len=16,
                    init_std=0.5)

# --- of arrays ---------------------------------------------------------------

OBJECTIVES = {
    "grpo": ObjectiveConfig(normalization="response", kl_coef=0.4),
    "dapo": ObjectiveConfig(clip_high=0.28),
    "dr_grpo": ObjectiveConfig(normalization="constant"),
    "gspo": ObjectiveConfig(kind="gspo", normalization="response"),
    "cispo": ObjectiveConfig(kind="cispo", clip_low=1.0, clip_high=0.5,
                             importance_cap=1.1),
    "reinforce": ObjectiveConfig(kind="reinforce", kl_coef=0.1,
                                 kl_estimator="k2", importance_cap=1.2),
    "kl_ratio": ObjectiveConfig(kl_coef=0.2, kl_ratio=True),
    "reward_kl": ObjectiveConfig(kl_coef=0.3, kl_in="reward",
                                 kl_estimator="k1")}


def numpy_loss(logp, frozen, e, c):
  """What `policy_gradient_loss` says, in NumPy."""
  weights, denominator = oracles.weights(e["mask"], c.normalization, 11)
  scaled = weights
  if c.importance_cap:
    scaled = weights * oracles.importance(e["old"], e["sampler"], e["mask"],
                                          c.importance_cap)
  total = getattr(oracles, c.kind)(logp, frozen, e["old"], e["adv"], e["mask"],
                                   scaled, *c.clip_bounds)
  if c.kl_in == "loss":
    scale = np.exp(logp - e["old"]) if c.kl_ratio else 1.0
    total += c.kl_coef * np.sum(scale * weights * oracles.kl(
        logp, e["ref"], e["mask"], c.kl_estimator))
  return total, denominator


@pytest.mark.parametrize("name", OBJECTIVES)
def test_value_gradient_and_metrics_are_the_oracles(name):
  config, e = OBJECTIVES[name], oracles.ragged(1)
  config = dataclasses.replace(config, entropy_coef=0.25)
  mask = e["mask"]
  with jax.enable_x64(True):
    batch = {"loss_mask": mask.astype(float), "old_logprobs": e["old"],
             "sampler_logprobs": e["sampler"], "advantages": e["adv"]}

    def loss(logp, entropy):
      return policy_gradient_loss(
          logp, batch, config, max_tokens=11, entropy_BT=entropy,
          ref_logprobs_BT=e["ref"] if config.kl_coef else None)
    (value, aux), (gradient, bonus) = jax.value_and_grad(
        loss, has_aux=True, argnums=(0, 1))(
            jnp.asarray(e["logp"]), jnp.full(mask.shape, 1.5))
    expected, denominator = numpy_loss(e["logp"], e["logp"], e, config)
    weights, _ = oracles.weights(mask, config.normalization, 11)
    np.testing.assert_allclose(value, expected - 0.25 * 1.5 * weights.sum(),
                               rtol=1e-6)
    assert aux.weight == denominator
    np.testing.assert_allclose(gradient, oracles.slopes(
        lambda x: numpy_loss(x, e["logp"], e, config)[0], e["logp"], mask),
        rtol=0, atol=1e-6)
    np.testing.assert_allclose(bonus, -0.25 * weights, rtol=1e-6)
    told = {key: float(a / b) for key, (a, b) in aux.metrics.items()}
  log_ratio = (e["logp"] - e["old"])[mask]
  ratio = np.exp(log_ratio)
  wanted = {"ratio": ratio.mean(), "entropy": 1.5,
            "approx_kl": (ratio - 1 - log_ratio).mean()}
  if config.kl_coef:
    wanted["kl_ref"] = oracles.kl(
        e["logp"], e["ref"], mask, config.kl_estimator)[mask].mean()
  if config.kind == "clipped":
    wanted["clip_fraction_high"] = np.mean(
        (ratio > 1 + config.clip_bounds[1]) & (e["adv"][mask] > 0))
    wanted["clip_fraction_low"] = np.mean(
        (ratio < 0.8) & (e["adv"][mask] < 0))
    wanted["clip_fraction"] = (wanted["clip_fraction_low"]
                               + wanted["clip_fraction_high"])
    assert 0 < wanted["clip_fraction_low"] < wanted["clip_fraction"]
  if config.importance_cap:
    raw = np.exp(e["old"] - e["sampler"])[mask]
    wanted |= {
        "importance_weight": np.minimum(raw, config.importance_cap).mean(),
        "importance_capped": (raw > config.importance_cap).mean()}
  for key, number in wanted.items():
    np.testing.assert_allclose(told[key], number, rtol=1e-5, err_msg=key)
  assert ("clip_fraction" in told) == (config.kind != "reinforce")


# --- of a model --------------------------------------------------------------


def rl_config(temperature=1.0, chunk=0, **objective):
  return RlConfig(
      sampling=SamplingConfig(max_new_tokens=6, temperature=temperature),
      loss=LossConfig(chunk=chunk), objective=ObjectiveConfig(**objective))


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
  mask_BT = ((places_1T >= 1) & (places_1T < 1 + lengths_B1)).astype(float)
  logits_BTV, _ = jax.jit(forward, static_argnames="config")(
      params, tokens_BS[:, :-1], config=MODEL)
  logprobs_BT = token_logprobs(logits_BTV, tokens_BS[:, 1:])
  advantages_B1 = jnp.array([[1.0], [-0.5], [0.3], [-1.2], [0.8], [-0.4]])
  return {"tokens": tokens_BS[:, :-1], "targets": tokens_BS[:, 1:],
          "loss_mask": mask_BT, "old_logprobs": logprobs_BT,
          "sampler_logprobs": logprobs_BT,
          "advantages": advantages_B1 * mask_BT}


def test_the_first_step_on_policy_has_ratio_one(params, batch):
  loss_fn = policy_loss_fn(MODEL, rl_config())
  loss_sum, aux = jax.jit(loss_fn)(params, {}, batch, 0)
  told = {name: total / weight for name, (total, weight) in
          aux.metrics.items()}
  np.testing.assert_allclose(told["ratio"], 1.0, atol=1e-6)
  assert told["clip_fraction"] == 0
  np.testing.assert_allclose(told["approx_kl"], 0, atol=1e-6)
  # At ratio 1 the loss is minus the mean advantage of the tokens.
  np.testing.assert_allclose(loss_sum, -batch["advantages"].sum(), rtol=1e-5)
  logits_BTV, _ = forward(params, batch["tokens"], MODEL)
  chances = np.asarray(jax.nn.softmax(logits_BTV))
  entropy_BT = -(chances * np.log(chances)).sum(-1)
  mask = np.asarray(batch["loss_mask"])
  np.testing.assert_allclose(told["entropy"],
                             (entropy_BT * mask).sum() / mask.sum(), rtol=1e-5)


def test_its_gradient_is_that_of_reinforce(params, batch):
  loss_fn = policy_loss_fn(MODEL, rl_config())

  def reinforce(params):
    logits_BTV, _ = forward(params, batch["tokens"], MODEL)
    return -jnp.sum(token_logprobs(logits_BTV, batch["targets"])
                    * batch["advantages"])
  expected = jax.jit(jax.grad(reinforce))(params)
  actual = jax.jit(jax.grad(lambda p: loss_fn(p, {}, batch, 0)[0]))(params)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(
      a, b, rtol=1e-4, atol=1e-6), actual, expected)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [0, 4])
@pytest.mark.parametrize("kind, normalization", [
    ("clipped", "response"), ("clipped", "token"), ("clipped", "constant"),
    ("gspo", "response"), ("cispo", "token"), ("reinforce", "token")])
def test_accumulated_gradient_is_the_full_batchs(
    params, batch, kind, normalization, chunk):
  """Unequal lengths in every microbatch; logits in pieces, or not."""
  batch = {**batch, "old_logprobs": batch["old_logprobs"] + 0.1,
           "sampler_logprobs": batch["old_logprobs"] - 0.1}
  config = rl_config(kind=kind, normalization=normalization, kl_coef=0.1,
                     entropy_coef=0.1, importance_cap=1.1)
  tx = optax.sgd(1.0)
  state = TrainState(jnp.int32(0), params, tx.init(params))
  away = jax.tree.map(lambda x: 1.1 * x, params)
  states = [jax.jit(functools.partial(
      train_step, loss_fn=policy_loss_fn(MODEL, c), tx=tx,
      num_microbatches=m))(state, {"reference": away}, batch)
      for m, c in ((1, config), (3, dataclasses.replace(
          config, loss=LossConfig(chunk=chunk))))]
  jax.tree.map(lambda a, b: np.testing.assert_allclose(
      a, b, rtol=1e-4, atol=1e-6), states[0][0].params, states[1][0].params)
  for name, value in states[0][1].items():
    np.testing.assert_allclose(states[1][1][name], value, rtol=1e-4, atol=1e-6,
                               err_msg=name)
  moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()),
                       states[0][0].params, params)
  assert max(jax.tree.leaves(moved)) > 1e-3


@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_the_reference_model_pulls_back(params, batch, estimator):
  loss_fn = policy_loss_fn(MODEL, rl_config(kl_coef=0.5,
                                            kl_estimator=estimator))
  still = {**batch, "advantages": jnp.zeros((6, 10))}
  grad_fn = jax.jit(jax.grad(
      lambda p, ref: loss_fn(p, {"reference": ref}, still, 0)[0]))
  at_home = grad_fn(params, params)
  assert all(np.abs(g).max() < 1e-5 for g in jax.tree.leaves(at_home))
  away = jax.tree.map(lambda x: 1.1 * x, params)
  gradient = grad_fn(away, params)
  step = jax.tree.map(lambda p, g: p - 1e-3 * g, away, gradient)
  value_fn = jax.jit(lambda p: loss_fn(p, {"reference": params}, still, 0)[0])
  assert 0 < value_fn(step) < value_fn(away)


def test_an_entropy_bonus_flattens(params, batch):
  still = {**batch, "advantages": jnp.zeros((6, 10))}
  loss_fn = policy_loss_fn(MODEL, rl_config(entropy_coef=1.0))
  value_fn = jax.jit(jax.value_and_grad(
      lambda p: loss_fn(p, {}, still, 0), has_aux=True))
  (value, aux), gradient = value_fn(params)
  np.testing.assert_allclose(value, -aux.metrics["entropy"][0], rtol=1e-5)
  step = jax.tree.map(lambda p, g: p - 1e-3 * g, params, gradient)
  assert value_fn(step)[0][1].metrics["entropy"][0] > aux.metrics["entropy"][0]


def test_an_adapters_reference_is_the_frozen_model(params, batch):
  lora = LoraConfig(rank=2, targets=("q", "v"))
  adapter = init_lora(jax.random.key(2), MODEL, lora)
  loss_fn = functools.partial(
      adapter_loss, lora=lora,
      loss_fn=policy_loss_fn(MODEL, rl_config(kl_coef=0.5)))
  _, aux = jax.jit(loss_fn)(adapter, params, batch, 0)
  np.testing.assert_allclose(aux.metrics["kl_ref"][0], 0, atol=1e-6)
  np.testing.assert_allclose(aux.metrics["ratio"][0], 21, rtol=1e-5)
  moved = jax.tree.map(lambda x: x + 0.3, adapter)
  assert jax.jit(loss_fn)(moved, params, batch, 0)[1].metrics[
      "kl_ref"][0] > 1e-3


def test_a_temperature_is_part_of_the_policy(params, batch):
  logits_BTV, _ = forward(params, batch["tokens"], MODEL)
  old_BT = token_logprobs(logits_BTV / 0.7, batch["targets"])
  _, aux = policy_loss_fn(MODEL, rl_config(temperature=0.7))(
      params, {}, {**batch, "old_logprobs": old_BT}, 0)
  total, weight = aux.metrics["ratio"]
  np.testing.assert_allclose(total / weight, 1.0, atol=1e-5)


@pytest.mark.parametrize("chunk, num_microbatches", [(0, 1), (4, 3), (5, 2)])
def test_logprobs_some_rows_and_tokens_at_a_time(params, batch, chunk,
                                                 num_microbatches):
  logprobs_BT, entropy_BT = jax.jit(functools.partial(
      policy_logprobs, model=MODEL, chunk=chunk,
      num_microbatches=num_microbatches))(params, batch)
  np.testing.assert_allclose(logprobs_BT, batch["old_logprobs"], rtol=1e-5)
  assert entropy_BT.shape == (6, 10) and 0 < entropy_BT.min()
  assert entropy_BT.max() < np.log(19)


@pytest.mark.parametrize("changes, told", [
    ({"kind": "ppo"}, "objective.kind is 'ppo'"),
    ({"kl_estimator": "k4"}, "k1, k2, k3"),
    ({"clip_low": 1.5}, "never below 0"),
    ({"kl_coef": -1.0}, "cannot be negative"),
    ({"kl_coef": 0.1, "kl_estimator": "k1"}, "holds nothing"),
    ({"importance_cap": 0.5}, "give 1 or more"),
    ({"kind": "gspo", "advantages": "gae"}, "one ratio for a whole response")])
def test_what_cannot_work_is_told(changes, told):
  with pytest.raises(ConfigError, match=told):
    rl_config(**changes).validate()


@pytest.mark.parametrize("changes, told", [
    ({"minibatches": 3}, "dealt out evenly"),
    ({"minibatches": 2, "num_microbatches": 4, "batch_size": 4,
      "group_size": 3}, "rows of a minibatch"),
    ({"objective": ObjectiveConfig(kind="reinforce"), "minibatches": 2},
     "has no ratio"),
    ({"objective": ObjectiveConfig(kind="reinforce"), "ahead": True},
     "importance_cap"),
    ({"objective": ObjectiveConfig(advantages="batch"), "refill_rounds": 1},
     "refill_rounds takes"),
    ({"objective": ObjectiveConfig(kl_coef=0.1, kl_in="reward"),
      "refill_rounds": 1}, "refill_rounds takes"),
    ({"group_size": 1}, "two samples"),
    ({"group_size": 1, "shuffle_rewards": "group",
      "objective": ObjectiveConfig(advantages="batch")}, "two samples"),
    ({"objective": ObjectiveConfig(advantages="gae", critic=CriticConfig(
        warmup_steps=1000))}, "none of num_steps=1000"),
    ({"seed": -1}, "seed is -1"), ({"eval_every": -3}, "eval_every is -3")])
def test_runs_that_cannot_work_are_told(changes, told):
  with pytest.raises(ConfigError, match=told):
    dataclasses.replace(RlConfig(), **changes).validate()


def test_runs_that_work():
  for changes in ({"group_size": 1, "objective": ObjectiveConfig(
      advantages="batch")}, {"minibatches": 4, "num_microbatches": 8}):
    dataclasses.replace(RlConfig(), **changes).validate()
  warm = RlConfig(num_steps=10, minibatches=2, updates_per_rollout=3,
                  objective=ObjectiveConfig(
                      advantages="gae", critic=CriticConfig(warmup_steps=4)))
  assert warm.steps_per_rollout == 6 and warm.policy_steps == 36


@pytest.mark.parametrize("kind, bounds", [
    ("clipped", (0.2, 0.2)), ("gspo", (3e-4, 4e-4)), ("cispo", (1.0, 4.0))])
def test_bounds_that_are_not_set_are_the_papers(kind, bounds):
  assert ObjectiveConfig(kind=kind).clip_bounds == bounds
  assert ObjectiveConfig(kind=kind, clip_high=0.5).clip_bounds == (
      bounds[0], 0.5)


def test_minibatches_are_whole_groups():
  """Of 6 prompts with 2 samples each, 3 parts of 2 prompts."""
  batch = {"rewards": jnp.arange(12), "tokens": jnp.arange(24).reshape(12, 2)}
  parts = [minibatch(batch, i, 3, 2) for i in range(3)]
  assert [part["rewards"].tolist() for part in parts] == [
      [0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11]]
  assert parts[2]["tokens"][:, 1].tolist() == [9, 11, 21, 23]
  assert minibatch(batch, 0, 1, 2) is batch


def test_experts_are_balanced():
  """The policy's loss has what pretraining's has of the experts."""
  model = dataclasses.replace(MODEL, moe=MoeConfig(
      num_experts=4, experts_per_token=2, mlp_dim=8, balance_coef=0.5))
  params = init_params(jax.random.key(0), model)
  config = RlConfig(objective=ObjectiveConfig(kind="reinforce"))
  rng = np.random.default_rng(0)
  ints, floats = (lambda: jnp.asarray(rng.integers(0, 19, (4, 6))),
                  lambda: jnp.asarray(rng.normal(size=(4, 6)), jnp.float32))
  batch = {"tokens": ints(), "targets": ints(), "old_logprobs": floats(),
           "advantages": floats(), "loss_mask": jnp.ones((4, 6))}
  loss, aux = policy_loss_fn(model, config)(params, {}, batch, 0)
  free, _ = policy_loss_fn(dataclasses.replace(model, moe=dataclasses.replace(
      model.moe, balance_coef=0.0)), config)(params, {}, batch, 0)
  _, _, told = backbone(params, batch["tokens"], model)
  assert told["balance_loss"] > 0
  np.testing.assert_allclose(loss - free, 0.5 * 24 * told["balance_loss"],
                             rtol=1e-4)
  assert "balance_loss" in aux.metrics
