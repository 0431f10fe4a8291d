"""From rewards of responses to advantages of tokens."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_jax.config import (
    CriticConfig, ModelConfig, ObjectiveConfig, RlConfig, SamplingConfig)
from llm_jax.model.heads import scores, with_score_head
from llm_jax.model.params import init_params
from llm_jax.rl.advantages import group_advantages
from llm_jax.rl.credit import assign_credit, rewards_of_tokens
from llm_jax.rl.policy_logprobs import policy_logprobs
import objective_oracles as oracles

MODEL = ModelConfig(vocab_size=19, embed_dim=8, num_layers=1, num_heads=2,
                    num_kv_heads=1, head_dim=4, mlp_dim=12, max_seq_len=16,
                    init_std=0.5)
REWARDS = jnp.array([1.0, 0.0, 0.5, 2.0])


@pytest.fixture(scope="module")
def params():
  return jax.jit(init_params, static_argnames="config")(
      jax.random.key(0), config=MODEL)


@pytest.fixture(scope="module")
def batch():
  tokens_BS = jax.random.randint(jax.random.key(1), (4, 10), 0, 19)
  mask_BT = oracles.ragged(0)["mask"][:4].astype(np.float32)
  return {"tokens": tokens_BS[:, :-1], "targets": tokens_BS[:, 1:],
          "loss_mask": jnp.asarray(mask_BT),
          "sampler_logprobs": -3.0 * mask_BT}


def credit(batch, params, critic_params=None, reference=None, valid=None,
           **objective):
  config = RlConfig(group_size=2, sampling=SamplingConfig(temperature=0.8),
                    objective=ObjectiveConfig(**objective))
  return jax.jit(functools.partial(
      assign_credit, model=MODEL, config=config))(
          batch, REWARDS, params, critic_params, reference, valid_B=valid)


def test_a_reward_is_at_the_last_token_of_the_last_turn():
  mask_BT = jnp.array([[0, 1, 1, 0], [1, 0, 1, 0], [0, 0, 0, 0]])
  np.testing.assert_array_equal(
      rewards_of_tokens(jnp.array([5.0, 6.0, 7.0]), mask_BT),
      [[0, 0, 5, 0], [0, 0, 6, 0], [0, 0, 0, 0]])


def test_a_samples_advantage_is_that_of_its_tokens(batch, params):
  found, told = credit(batch, params)
  expected = group_advantages(REWARDS.reshape(2, 2)).reshape(4, 1)
  np.testing.assert_allclose(found["advantages"],
                             expected * batch["loss_mask"], rtol=1e-5)
  np.testing.assert_array_equal(found["old_logprobs"],
                                batch["sampler_logprobs"])
  assert not told
  found, _ = credit(batch, params, valid=jnp.array([True, False, True, True]))
  assert not found["advantages"][:2].any() and found["advantages"][2:].any()


def test_kl_in_the_reward_and_logprobs_of_the_trainer(batch, params):
  away = jax.tree.map(lambda x: 0.9 * x, params)
  found, told = credit(
      batch, params, reference=away, kl_in="reward", kl_coef=0.5,
      kl_estimator="k1", importance_cap=2.0, normalize_std=False)
  of = jax.jit(functools.partial(policy_logprobs, model=MODEL,
                                 temperature=0.8))
  old, ref = of(params, batch)[0], of(away, batch)[0]
  np.testing.assert_allclose(found["old_logprobs"], old, rtol=1e-5)
  kl_BT = np.asarray((old - ref) * batch["loss_mask"])
  np.testing.assert_allclose(told["kl_ref"],
                             kl_BT.sum() / batch["loss_mask"].sum(), rtol=1e-4)
  rewards = REWARDS - 0.5 * kl_BT.sum(1)
  centred = (rewards.reshape(2, 2) - rewards.reshape(2, 2).mean(
      1, keepdims=True)).reshape(4, 1)
  np.testing.assert_allclose(found["advantages"], centred * batch["loss_mask"],
                             rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("normalize_std", [False, True])
def test_credit_of_a_critic(batch, params, normalize_std):
  critic_params = with_score_head(params) | {"score": {
      "kernel": jnp.linspace(-1, 1, 8), "bias": jnp.array(0.5)}}
  found, told = credit(
      batch, params, critic_params, advantages="gae",
      normalize_std=normalize_std,
      critic=CriticConfig(discount=0.9, trace=0.8))
  mask = np.asarray(batch["loss_mask"]) > 0
  values = np.asarray(scores(critic_params, batch["tokens"], MODEL))
  advantages, returns = oracles.gae(
      np.asarray(rewards_of_tokens(REWARDS, batch["loss_mask"])), values, mask,
      0.9, 0.8)
  if normalize_std:
    kept = advantages[mask]
    advantages = (advantages - kept.mean()) / (kept.std(ddof=1) + 1e-4) * mask
  np.testing.assert_allclose(found["advantages"], advantages, rtol=1e-3,
                             atol=1e-5)
  np.testing.assert_allclose(found["returns"], returns, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(found["values"], values * mask, rtol=1e-4,
                             atol=1e-5)
  assert told["explained_variance"] < 1
