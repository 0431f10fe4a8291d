"""Mixtures of experts: a router, and MLPs of which each token visits a few.

`experts.py` runs the MLPs, on one device and over a mesh.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from llm_jax.config import ModelConfig
from llm_jax.model import layers
from llm_jax.model.experts import run_experts
from llm_jax.sharding import fitting_spec

Aux = dict[str, jax.Array]


def moe(x_BTD: jax.Array, params: dict[str, Any], config: ModelConfig
        ) -> tuple[jax.Array, Aux]:
  """The feed-forward sub-block as a mixture of experts.

  Args:
    x_BTD: normed residual stream.
    params: `router` [D, E], `gate` and `up` [E, D, F], `down` [E, F, D]; also
      `router_bias` [E] and `shared` (an MLP) where the model has them.
    config: the model.

  Returns:
    (output_BTD, what `no_aux` has of one layer).
  """
  scores_BTE, weights_BTe, experts_BTe = route(
      x_BTD, params["router"], params.get("router_bias"), config)
  kernels = tuple(params[name].astype(x_BTD.dtype)
                  for name in ("gate", "up", "down"))
  out_BTD, dropped = run_experts(x_BTD, weights_BTe, experts_BTe, kernels,
                                 config)
  if "shared" in params:
    out_BTD += layers.mlp(x_BTD, params["shared"], config)
  aux = {"balance_loss": balance_loss(scores_BTE, experts_BTe)}
  if config.moe.capacity_factor:
    aux["dropped_share"] = dropped
  return out_BTD, aux


def no_aux(config: ModelConfig) -> Aux:
  """What a layer without experts adds to the sums over layers: zeros.

  `balance_loss` is that of the router; `dropped_share`, where a capacity bounds
  the load, the share of the visits that were left out.
  """
  if not config.moe.num_experts:
    return {}
  names = ["balance_loss"] + (
      ["dropped_share"] if config.moe.capacity_factor else [])
  return {name: jnp.zeros(()) for name in names}


def route(x_BTD: jax.Array, router_DE: jax.Array, bias_E: jax.Array | None,
          config: ModelConfig) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Which experts a token visits, and how much each counts; in float32 (or
  wider).

  The `experts_per_token` highest scores win. With groups (DeepSeek-V2 and V3)
  only experts of the `top_groups` best groups may. The correction bias moves
  the choice and not the weights (Wang et al. 2024, arXiv:2408.15664).

  Args:
    x_BTD: normed residual stream.
    router_DE: a column per expert.
    bias_E: correction bias, or None.
    config: the model.

  Returns:
    (scores_BTE: each token's sum to one over the experts; weights_BTe;
    experts_BTe, int32), e running over the chosen.
  """
  moe_config = config.moe
  wide = jnp.promote_types(x_BTD.dtype, jnp.float32)
  logits_BTE = jnp.einsum("btd,de->bte", x_BTD.astype(wide),
                          router_DE.astype(wide))
  scores_BTE = (jax.nn.sigmoid(logits_BTE) if moe_config.router == "sigmoid"
                else jax.nn.softmax(logits_BTE, axis=-1))
  choice_BTE = jax.lax.stop_gradient(scores_BTE)
  if bias_E is not None:
    choice_BTE += bias_E.astype(wide)[None, None, :]
  experts_BTe = _choose(choice_BTE, config)
  weights_BTe = jnp.take_along_axis(scores_BTE, experts_BTe, axis=-1)
  if moe_config.normalize:
    weights_BTe /= weights_BTe.sum(axis=-1, keepdims=True) + 1e-20
  if moe_config.router == "sigmoid":
    scores_BTE /= scores_BTE.sum(axis=-1, keepdims=True)
  return scores_BTE, weights_BTe * moe_config.scale, experts_BTe


def _choose(choice_BTE, config):
  """The best experts of each token [B, T, e], on the device that has it."""
  def best(choice_BTE):
    if config.moe.groups > 1:
      choice_BTE = _of_best_groups(choice_BTE, config)
    return jax.lax.top_k(choice_BTE, config.moe.experts_per_token)[1]
  if layers.on_one_device():
    return best(choice_BTE)
  # GSPMD would gather all tokens' scores for `top_k`.
  tokens = fitting_spec(choice_BTE.shape, ("batch", "seq", None), config.rules,
                        jax.sharding.get_abstract_mesh())
  return jax.shard_map(best, in_specs=tokens, out_specs=tokens,
                       check_vma=False)(choice_BTE)


def _of_best_groups(choice_BTE, config):
  """-inf outside the best groups of each token."""
  moe_config = config.moe
  B, T, E = choice_BTE.shape
  choice_BTGe = choice_BTE.reshape(B, T, moe_config.groups, -1)
  best_BTGe = jax.lax.top_k(choice_BTGe, moe_config.group_top)[0]
  groups_BTg = jax.lax.top_k(best_BTGe.sum(axis=-1), moe_config.top_groups)[1]
  kept_BTG = jax.nn.one_hot(groups_BTg, moe_config.groups).sum(axis=2) > 0
  return jnp.where(kept_BTG[..., None], choice_BTGe, -jnp.inf).reshape(B, T, E)


def balance_loss(scores_BTE: jax.Array, experts_BTe: jax.Array) -> jax.Array:
  """E · Σ_i f_i P_i: lowest where the tokens are spread evenly.

  f_i is the number of visits to expert i per token and P_i its mean score
  (Switch Transformer, Fedus et al. 2021, arXiv:2101.03961, eqs. 4-6, with
  more than one expert per token as in Mixtral). A product of means: over
  microbatches or devices of different loads it does not add up, so it is that
  of each microbatch.
  """
  E = scores_BTE.shape[-1]
  visits_BTE = jax.nn.one_hot(experts_BTe, E, dtype=scores_BTE.dtype).sum(2)
  visits_E = visits_BTE.mean(axis=(0, 1))
  return E * jnp.sum(visits_E * scores_BTE.mean(axis=(0, 1)))
