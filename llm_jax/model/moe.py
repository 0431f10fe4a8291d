"""Mixtures of experts: a router, and MLPs of which each token visits a few.

Dropless (MegaBlocks, Gale et al. 2022, arXiv:2211.15841): the rows are sorted
by expert and each expert multiplies its own, however many they are, in one
`jax.lax.ragged_dot`. Nothing is padded to a capacity and no token is lost.

Over a mesh each device sorts its own tokens, multiplies those that belong to
the experts it holds (mesh axes of `rules.experts`), with its slice of their
width (those of `rules.mlp`), and the parts are summed over both.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from llm_jax.config import ModelConfig
from llm_jax.model import layers
from llm_jax.sharding import partition_spec


def moe(x_BTD: jax.Array, params: dict[str, Any], config: ModelConfig
        ) -> tuple[jax.Array, jax.Array]:
  """The feed-forward sub-block as a mixture of experts.

  Args:
    x_BTD: normed residual stream.
    params: `router` [D, E], `gate` and `up` [E, D, F], `down` [E, F, D]; also
      `router_bias` [E] and `shared` (an MLP) where the model has them.
    config: the model.

  Returns:
    (output_BTD, load-balancing loss: float32 scalar).
  """
  scores_BTE, weights_BTe, experts_BTe = route(
      x_BTD, params["router"], params.get("router_bias"), config)
  kernels = [params[name].astype(x_BTD.dtype) for name in ("gate", "up",
                                                           "down")]
  if layers.on_one_device():
    out_BTD = _local_experts(x_BTD, weights_BTe, experts_BTe, *kernels,
                             config=config)
  else:
    out_BTD = _split_experts(x_BTD, weights_BTe, experts_BTe, *kernels,
                             config=config)
  if "shared" in params:
    out_BTD += layers.mlp(x_BTD, params["shared"], config)
  return out_BTD, balance_loss(scores_BTE, experts_BTe)


def route(x_BTD: jax.Array, router_DE: jax.Array, bias_E: jax.Array | None,
          config: ModelConfig) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Which experts a token visits, and how much each counts; in float32.

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
  logits_BTE = jnp.einsum("btd,de->bte", x_BTD.astype(jnp.float32),
                          router_DE.astype(jnp.float32))
  scores_BTE = (jax.nn.sigmoid(logits_BTE) if moe_config.router == "sigmoid"
                else jax.nn.softmax(logits_BTE, axis=-1))
  choice_BTE = jax.lax.stop_gradient(scores_BTE)
  if bias_E is not None:
    choice_BTE += bias_E.astype(jnp.float32)[None, None, :]
  if moe_config.groups > 1:
    choice_BTE = _of_best_groups(choice_BTE, config)
  experts_BTe = jax.lax.top_k(choice_BTE, moe_config.experts_per_token)[1]
  weights_BTe = jnp.take_along_axis(scores_BTE, experts_BTe, axis=-1)
  if moe_config.normalize:
    weights_BTe /= weights_BTe.sum(axis=-1, keepdims=True) + 1e-20
  if moe_config.router == "sigmoid":
    scores_BTE /= scores_BTE.sum(axis=-1, keepdims=True)
  return scores_BTE, weights_BTe * moe_config.scale, experts_BTe


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
  visits_E = jax.nn.one_hot(experts_BTe, E).sum(axis=2).mean(axis=(0, 1))
  return E * jnp.sum(visits_E * scores_BTE.mean(axis=(0, 1)))


def _local_experts(x_BTD, weights_BTe, experts_BTe, gate_EDF, up_EDF, down_EFD,
                   *, config, first_expert=0):
  """Σ over the chosen experts among those whose kernels are given.

  Rows are (token, choice) pairs, sorted by expert; those of experts that are
  elsewhere come last, behind the groups, and count nothing.
  """
  B, T, D = x_BTD.shape
  num_experts, visits = gate_EDF.shape[0], experts_BTe.shape[-1]
  expert_R = experts_BTe.reshape(-1) - first_expert
  expert_R = jnp.where((expert_R >= 0) & (expert_R < num_experts), expert_R,
                       num_experts)
  order_R = jnp.argsort(expert_R, stable=True)
  sizes_E = jnp.bincount(expert_R, length=num_experts + 1)[:num_experts]
  here_R = jnp.arange(order_R.shape[0]) < sizes_E.sum()
  # What stands behind the groups is undefined, there and in the gradient: no
  # product with zero clears it, hence `where` at both ends.
  x_RD = jnp.where(here_R[:, None],
                   x_BTD.reshape(B * T, D)[order_R // visits], 0)
  product = functools.partial(jax.lax.ragged_dot,
                              group_sizes=sizes_E.astype(jnp.int32))
  hidden_RF = layers.activate(product(x_RD, up_EDF), product(x_RD, gate_EDF),
                              config)
  out_RD = jnp.where(here_R[:, None], product(hidden_RF, down_EFD), 0)
  out_RD *= weights_BTe.reshape(-1)[order_R][:, None].astype(x_BTD.dtype)
  out_ND = jnp.zeros((B * T, D), x_BTD.dtype).at[order_R // visits].add(out_RD)
  return out_ND.reshape(B, T, D)


def _split_experts(x_BTD, weights_BTe, experts_BTe, gate_EDF, up_EDF, down_EFD,
                   *, config):
  """`_local_experts` on each device of the mesh, and the sum of their parts."""
  rules = config.rules
  mesh = jax.sharding.get_abstract_mesh()
  tokens = partition_spec(("batch", "seq", None), rules)
  spread = (*rules.experts, *rules.mlp)
  held = config.moe.num_experts // math.prod(
      mesh.shape[axis] for axis in rules.experts)

  def part(*args):
    first = (jax.lax.axis_index(rules.experts) * held if rules.experts else 0)
    out_BTD = _local_experts(*args, config=config, first_expert=first)
    return jax.lax.psum(out_BTD, spread) if spread else out_BTD

  return jax.shard_map(
      part, out_specs=tokens,
      in_specs=(tokens, tokens, tokens,
                partition_spec(("experts", None, "mlp"), rules),
                partition_spec(("experts", None, "mlp"), rules),
                partition_spec(("experts", "mlp", None), rules)),
      check_vma=False)(x_BTD, weights_BTe, experts_BTe, gate_EDF, up_EDF,
                       down_EFD)
