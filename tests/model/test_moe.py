"""Experts against a NumPy oracle that visits them one by one."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from families import DEEPSEEK_LIKE
from llm_jax.config import ModelConfig, MoeConfig
from llm_jax.model.moe import balance_loss, moe, route

D, E, F = 16, 6, 10
MIXTRAL = ModelConfig(vocab_size=32, embed_dim=D, moe=MoeConfig(
    num_experts=E, experts_per_token=2, mlp_dim=F))


def make(config, seed=0):
  rng = np.random.default_rng(seed)
  E, F, D = config.moe.num_experts, config.moe.mlp_dim, config.embed_dim
  params = {"router": rng.normal(size=(D, E)), "up": rng.normal(size=(E, D, F)),
            "gate": rng.normal(size=(E, D, F)),
            "down": rng.normal(size=(E, F, D))}
  if config.moe.correction_bias:
    params["router_bias"] = rng.normal(size=E)
  params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)
  return params, jnp.asarray(rng.normal(size=(2, 7, D)), jnp.float32)


def routed(x, params, config):
  """{expert: weight} of one token, in float64."""
  m = config.moe
  logits = x @ np.asarray(params["router"], np.float64)
  if m.router == "sigmoid":
    scores = 1 / (1 + np.exp(-logits))
  else:
    scores = np.exp(logits - logits.max())
    scores /= scores.sum()
  choice = scores + np.asarray(params.get("router_bias", 0.0), np.float64)
  size = m.num_experts // m.groups
  strength = [np.sort(choice[g * size:(g + 1) * size])[-m.group_top:].sum()
              for g in range(m.groups)]
  groups = np.argsort(strength)[-m.top_groups:]
  allowed = [e for e in range(m.num_experts) if e // size in groups]
  best = sorted(allowed, key=lambda e: -choice[e])[:m.experts_per_token]
  total = sum(scores[e] for e in best) if m.normalize else 1.0
  return {e: m.scale * scores[e] / total for e in best}


ROUTERS = {
    "mixtral": MIXTRAL,
    "not_normalised": dataclasses.replace(MIXTRAL, moe=dataclasses.replace(
        MIXTRAL.moe, normalize=False, scale=1.7, experts_per_token=3)),
    "deepseek_v2": dataclasses.replace(MIXTRAL, moe=dataclasses.replace(
        MIXTRAL.moe, groups=3, top_groups=2, group_top=1, normalize=False)),
    "deepseek_v3": dataclasses.replace(DEEPSEEK_LIKE, moe=dataclasses.replace(
        DEEPSEEK_LIKE.moe, shared_dim=0)),
}


@pytest.mark.parametrize("name", ROUTERS)
def test_equals_the_oracle(name):
  config = ROUTERS[name]
  params, x_BTD = make(config)
  out_BTD, _ = jax.jit(moe, static_argnums=2)(x_BTD, params, config)
  w = {k: np.asarray(v, np.float64) for k, v in params.items()}
  for b, t in np.ndindex(2, 7):
    x, expected = np.asarray(x_BTD[b, t], np.float64), 0.0
    for e, weight in routed(x, params, config).items():
      gate = x @ w["gate"][e]
      hidden = gate / (1 + np.exp(-gate)) * (x @ w["up"][e])
      expected += weight * (hidden @ w["down"][e])
    np.testing.assert_allclose(out_BTD[b, t], expected, rtol=1e-3, atol=1e-3)


def test_no_token_is_dropped_when_all_choose_the_same():
  """A capacity would lose most of them."""
  params, x_BTD = make(MIXTRAL)
  params["router"] = jnp.zeros((D, E)).at[:, 2].set(1.0)
  x_BTD = jnp.abs(x_BTD)
  _, weights_BTe, experts_BTe = route(x_BTD, params["router"], None, MIXTRAL)
  assert jnp.all(experts_BTe[..., 0] == 2)
  out_BTD, _ = moe(x_BTD, params, MIXTRAL)
  alone = jnp.stack([moe(x_BTD[:, t:t + 1], params, MIXTRAL)[0][:, 0]
                     for t in range(7)], axis=1)
  np.testing.assert_allclose(out_BTD, alone, rtol=1e-4, atol=1e-5)
  assert jnp.all(jnp.abs(out_BTD).max(-1) > 0)


def test_the_bias_moves_the_choice_and_not_the_weights():
  config = ROUTERS["deepseek_v3"]
  params, _ = make(config)
  x_BTD = jnp.asarray(np.random.default_rng(3).normal(
      size=(2, 7, config.embed_dim)), jnp.float32)
  scores_BTE, _, _ = route(x_BTD, params["router"], None, config)
  bias_E = jnp.zeros(8).at[5].set(10.0).at[4].set(10.0)
  _, weights_BTe, experts_BTe = route(x_BTD, params["router"], bias_E, config)
  assert jnp.all(jnp.any(experts_BTe == 5, axis=-1))
  chosen_BTe = jnp.take_along_axis(scores_BTE, experts_BTe, axis=-1)
  np.testing.assert_allclose(
      weights_BTe, 2.5 * chosen_BTe / chosen_BTe.sum(-1, keepdims=True),
      rtol=1e-5)


def test_balance_loss():
  """One where visits and scores are even; E where one expert has all."""
  even_BTE = jnp.full((1, 4, 4), 0.25)
  np.testing.assert_allclose(
      balance_loss(even_BTE, jnp.arange(4).reshape(1, 4, 1)), 1.0, rtol=1e-6)
  one_BTE = jnp.zeros((1, 4, 4)).at[..., 1].set(1.0)
  np.testing.assert_allclose(
      balance_loss(one_BTE, jnp.ones((1, 4, 1), jnp.int32)), 4.0, rtol=1e-6)
  # By hand: scores of two tokens over two experts, one visit each.
  scores_BTE = jnp.array([[[0.9, 0.1], [0.6, 0.4]]])
  np.testing.assert_allclose(
      balance_loss(scores_BTE, jnp.zeros((1, 2, 1), jnp.int32)),
      2 * (1.0 * 0.75 + 0.0 * 0.25), rtol=1e-6)
