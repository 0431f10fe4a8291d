"""How much better than expected each sample, or each token, turned out.

The four kinds differ in what is expected: the mean of the samples of the same
prompt (group), of the others of them (RLOO), of the batch, or what a trained
critic foresaw (GAE).

Rows that count for nothing, because no reward could be had, are left out of
every mean and have advantage 0: `valid` is False there.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from llm_jax.config import ObjectiveConfig

# What torch.std + 1e-4 gives, so that numbers are those of other trainers.
_EPSILON = 1e-4


def _centred(x: jax.Array, valid: jax.Array, axes: int | None) -> jax.Array:
  """x less its mean over the axis, of what is valid; 0 elsewhere."""
  count = jnp.maximum(jnp.sum(valid, axes, keepdims=True), 1)
  mean = jnp.sum(jnp.where(valid, x, 0.0), axes, keepdims=True) / count
  return jnp.where(valid, x - mean, 0.0)


def _over_std(centred: jax.Array, valid: jax.Array, axes: int | None,
              epsilon: float) -> jax.Array:
  """centred / (std + ε); the std is the sample's, with one less in the
  denominator."""
  degrees = jnp.maximum(jnp.sum(valid, axes, keepdims=True) - 1, 1)
  std = jnp.sqrt(jnp.sum(jnp.square(centred), axes, keepdims=True) / degrees)
  return centred / (std + epsilon)


def _checked(rewards_PG: jax.Array,
             valid_PG: jax.Array | None) -> tuple[jax.Array, jax.Array]:
  """Both as arrays of one shape; all are valid by default."""
  chex.assert_rank(rewards_PG, 2)
  if valid_PG is None:
    return rewards_PG, jnp.ones(rewards_PG.shape, bool)
  chex.assert_equal_shape((rewards_PG, valid_PG))
  return rewards_PG, valid_PG.astype(bool)


def group_advantages(rewards_PG: jax.Array, valid_PG: jax.Array | None = None,
                     *, normalize_std: bool = True,
                     epsilon: float = _EPSILON) -> jax.Array:
  """Rewards relative to the other samples of the same prompt.

  A = r - mean(r), divided by std(r) + ε where `normalize_std`.

  With the division this is GRPO (Shao et al. 2024, DeepSeekMath,
  arXiv:2402.03300, section 4.1.2); without it, Dr. GRPO (Liu et al. 2025,
  arXiv:2503.20783, section 3.2), which gives problems that are nearly always or
  nearly never solved no extra weight. The std is that of a sample, divided by
  G - 1. A group whose rewards are all alike says nothing and has advantage 0.

  Args:
    rewards_PG: rewards of G samples for each of P prompts.
    valid_PG: which of them count; None: all.
    normalize_std: whether to divide by the group's std.
    epsilon: added to the std.

  Returns:
    advantages_PG, each row of mean zero.
  """
  rewards_PG, valid_PG = _checked(rewards_PG, valid_PG)
  centred_PG = _centred(rewards_PG, valid_PG, 1)
  if not normalize_std:
    return centred_PG
  return _over_std(centred_PG, valid_PG, 1, epsilon)


def leave_one_out_advantages(rewards_PG: jax.Array,
                             valid_PG: jax.Array | None = None) -> jax.Array:
  """Rewards relative to the mean of the prompt's other samples (RLOO).

  A_i = r_i - Σ_{j≠i} r_j / (G - 1)  =  G / (G - 1) · (r_i - mean(r))

  A sample's own reward is not in its baseline, so the gradient is unbiased
  (Kool et al. 2019; Ahmadian et al. 2024, arXiv:2402.14740, section 3.2).

  Args:
    rewards_PG: rewards of G samples for each of P prompts.
    valid_PG: which of them count; None: all. One alone has nothing to be
      compared with, and advantage 0.

  Returns:
    advantages_PG.
  """
  rewards_PG, valid_PG = _checked(rewards_PG, valid_PG)
  count_P1 = jnp.sum(valid_PG, 1, keepdims=True)
  return (_centred(rewards_PG, valid_PG, 1) * count_P1
          / jnp.maximum(count_P1 - 1, 1))


def batch_advantages(rewards_PG: jax.Array, valid_PG: jax.Array | None = None,
                     *, normalize_std: bool = False,
                     epsilon: float = _EPSILON) -> jax.Array:
  """Rewards relative to the mean of the whole batch.

  A = r - mean(r), a baseline for REINFORCE (Williams 1992), divided by
  std(r) + ε where `normalize_std` (as in REINFORCE++, Hu 2025,
  arXiv:2501.03262).

  Args:
    rewards_PG: rewards, of any grouping.
    valid_PG: which of them count; None: all.
    normalize_std: whether to divide by the batch's std.
    epsilon: added to the std.

  Returns:
    advantages_PG, of mean zero.
  """
  rewards_PG, valid_PG = _checked(rewards_PG, valid_PG)
  centred_PG = _centred(rewards_PG, valid_PG, None)
  if not normalize_std:
    return centred_PG
  return _over_std(centred_PG, valid_PG, None, epsilon)


def sample_advantages(rewards_PG: jax.Array, valid_PG: jax.Array | None,
                      objective: ObjectiveConfig) -> jax.Array:
  """The advantages that an objective asks for, where they are of samples.

  Args:
    rewards_PG: rewards of G samples for each of P prompts.
    valid_PG: which of them count; None: all.
    objective: `advantages` is group, rloo or batch; `normalize_std`.

  Returns:
    advantages_PG.
  """
  if objective.advantages == "rloo":
    return leave_one_out_advantages(rewards_PG, valid_PG)
  of_kind = {"group": group_advantages, "batch": batch_advantages}
  return of_kind[objective.advantages](
      rewards_PG, valid_PG, normalize_std=objective.normalize_std)


def generalized_advantages(
    rewards_BT: jax.Array, values_BT: jax.Array, mask_BT: jax.Array, *,
    discount: float, trace: float) -> tuple[jax.Array, jax.Array]:
  """Generalised advantage estimation, GAE (Schulman et al. 2015).

  δ_t = r_t + γ V_t' - V_t
  A_t = δ_t + γ λ A_t'        R_t = A_t + V_t

  (arXiv:1506.02438, eq. 16), where t' is the next token that the model
  generated: prompts, what tools and users say, and padding are no steps, so
  that γ and λ count generated tokens alone, and a turn's last token looks
  ahead to the next turn's first. Past the last token V and A are 0: the
  response is over, for whatever reason.

  Args:
    rewards_BT: of each generated token; not read elsewhere.
    values_BT: the critic's, before that token; not read elsewhere.
    mask_BT: 1 on generated tokens, 0 elsewhere.
    discount: γ.
    trace: λ.

  Returns:
    (advantages_BT, returns_BT), both 0 where the mask is.
  """
  chex.assert_rank(rewards_BT, 2)
  chex.assert_equal_shape((rewards_BT, values_BT, mask_BT))

  def back(carry, step):
    next_value_B, next_advantage_B = carry
    reward_B, value_B, mask_B = step
    delta_B = reward_B + discount * next_value_B - value_B
    advantage_B = delta_B + discount * trace * next_advantage_B
    carry = (jnp.where(mask_B, value_B, next_value_B),
             jnp.where(mask_B, advantage_B, next_advantage_B))
    return carry, jnp.where(mask_B, advantage_B, 0.0)

  mask_BT = mask_BT > 0
  steps = tuple(x.T for x in (rewards_BT, values_BT, mask_BT))
  zeros_B = jnp.zeros_like(values_BT[:, 0])
  _, advantages_TB = jax.lax.scan(back, (zeros_B, zeros_B), steps,
                                  reverse=True)
  advantages_BT = advantages_TB.T
  return advantages_BT, jnp.where(mask_BT, advantages_BT + values_BT, 0.0)


def whiten(advantages_BT: jax.Array, mask_BT: jax.Array,
           epsilon: float = _EPSILON) -> jax.Array:
  """Advantages of tokens, of mean 0 and standard deviation 1 over the mask.

  What PPO's implementations do to those of GAE (Andrychowicz et al. 2020,
  arXiv:2006.05990).
  """
  chex.assert_equal_shape((advantages_BT, mask_BT))
  valid_BT = mask_BT > 0
  return _over_std(_centred(advantages_BT, valid_BT, None), valid_BT, None,
                   epsilon)
