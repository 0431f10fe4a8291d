"""Policy gradient objectives: the loss of each token, as functions of arrays.

Each takes log-probabilities and advantages [B, T] and returns the loss of each
token, which is to be summed with the weights of `token_weights.py`, and what is
to be known of each token beside it. All are 0 where `mask_BT` is, whatever the
log-probabilities there, even infinite ones.

With log π the trained policy's log-probability of a token that was sampled,
log π_old the same at the start of the update and A its advantage, r is
π / π_old. At the first update r = 1, and all four have the gradient -A ∇log π
(GSPO's shared out among a response's tokens); they differ in what they do when
the policy has moved.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

PerToken = dict[str, jax.Array]


def log_ratios(logprobs_BT: jax.Array, old_logprobs_BT: jax.Array,
               mask_BT: jax.Array) -> jax.Array:
  """log r = log π - log π_old; 0 where the mask is."""
  chex.assert_rank(logprobs_BT, 2)
  chex.assert_equal_shape((logprobs_BT, old_logprobs_BT, mask_BT))
  # Zeroed before exp, not after: 0 · exp(large) is NaN, in the gradient too.
  return jnp.where(mask_BT > 0, logprobs_BT - old_logprobs_BT, 0.0)


def _clipped(ratio: jax.Array, advantages_BT: jax.Array, mask_BT: jax.Array,
             clip_low: float, clip_high: float) -> tuple[jax.Array, PerToken]:
  """-min(r A, clip(r) A) of each token; `ratio` is [B, T] or [B, 1]."""
  advantages_BT = jnp.where(mask_BT > 0, advantages_BT, 0.0)
  ratio_BT = jnp.broadcast_to(ratio, advantages_BT.shape)
  bounded_BT = jnp.clip(ratio_BT, 1 - clip_low, 1 + clip_high)
  loss_BT = -jnp.minimum(ratio_BT * advantages_BT, bounded_BT * advantages_BT)
  told = {"clip_fraction_low": (ratio_BT < 1 - clip_low) & (advantages_BT < 0),
          "clip_fraction_high": ((ratio_BT > 1 + clip_high)
                                 & (advantages_BT > 0))}
  return _masked(loss_BT, told, mask_BT)


def _masked(loss_BT: jax.Array, told: PerToken, mask_BT: jax.Array
            ) -> tuple[jax.Array, PerToken]:
  """Both, 0 where the mask is; float."""
  used_BT = mask_BT > 0
  told = {name: jnp.where(used_BT, x_BT.astype(loss_BT.dtype), 0.0)
          for name, x_BT in told.items()}
  return jnp.where(used_BT, loss_BT, 0.0), told


def clipped_surrogate(
    logprobs_BT: jax.Array, old_logprobs_BT: jax.Array,
    advantages_BT: jax.Array, mask_BT: jax.Array, *, clip_low: float = 0.2,
    clip_high: float = 0.2) -> tuple[jax.Array, PerToken]:
  """Clipped surrogate of PPO (Schulman et al. 2017, arXiv:1707.06347, eq. 7).

  L_t = -min(r_t A_t, clip(r_t, 1 - clip_low, 1 + clip_high) A_t)

  A token whose ratio has already moved beyond the bound, in the direction that
  its advantage asks for, has no gradient any more. GRPO is the same with
  advantages of groups; DAPO with clip_high > clip_low ("clip-higher", Yu et al.
  2025, arXiv:2503.14476, eq. 10), so that unlikely tokens can become likely.

  Args:
    logprobs_BT: of the sampled tokens, under the policy that is trained.
    old_logprobs_BT: of the same, at the start of the update.
    advantages_BT: of the same.
    mask_BT: 0 on prompt, tool and padding tokens.
    clip_low: bound below, 1 - clip_low.
    clip_high: bound above, 1 + clip_high.

  Returns:
    (loss_BT, {"clip_fraction_low", "clip_fraction_high"}: 1 at tokens without
    gradient, because they were to become less or more likely).
  """
  ratio_BT = jnp.exp(log_ratios(logprobs_BT, old_logprobs_BT, mask_BT))
  chex.assert_equal_shape((ratio_BT, advantages_BT))
  return _clipped(ratio_BT, advantages_BT, mask_BT, clip_low, clip_high)


def gspo_surrogate(
    logprobs_BT: jax.Array, old_logprobs_BT: jax.Array,
    advantages_BT: jax.Array, mask_BT: jax.Array, *, clip_low: float = 3e-4,
    clip_high: float = 4e-4) -> tuple[jax.Array, PerToken]:
  """GSPO: one ratio for a whole response (Zheng et al. 2025).

  s = (π(y) / π_old(y))^(1/|y|) = exp(Σ_t log r_t / |y|)
  L_t = -min(s A, clip(s, 1 - clip_low, 1 + clip_high) A)

  (arXiv:2507.18071, eq. 5 and 7). A reward is given for a response, and so is
  the ratio. As a mean over tokens it moves little, hence the narrow bounds of
  section 5.1. Every token of a response has the same loss: with the weights of
  normalisation "response" they add up to the paper's.

  Args:
    logprobs_BT: of the sampled tokens, under the policy that is trained.
    old_logprobs_BT: of the same, at the start of the update.
    advantages_BT: of their responses, the same at all tokens of one.
    mask_BT: 0 on prompt, tool and padding tokens; |y| counts the others.
    clip_low: bound below, 1 - clip_low.
    clip_high: bound above, 1 + clip_high.

  Returns:
    As `clipped_surrogate`; a response is clipped as a whole.
  """
  log_ratio_BT = log_ratios(logprobs_BT, old_logprobs_BT, mask_BT)
  chex.assert_equal_shape((log_ratio_BT, advantages_BT))
  length_B1 = jnp.sum(mask_BT > 0, axis=1, keepdims=True)
  ratio_B1 = jnp.exp(jnp.sum(log_ratio_BT, axis=1, keepdims=True)
                     / jnp.maximum(length_B1, 1))
  return _clipped(ratio_B1, advantages_BT, mask_BT, clip_low, clip_high)


def cispo_loss(
    logprobs_BT: jax.Array, old_logprobs_BT: jax.Array,
    advantages_BT: jax.Array, mask_BT: jax.Array, *, clip_low: float = 1.0,
    clip_high: float = 4.0) -> tuple[jax.Array, PerToken]:
  """CISPO: the weight is clipped, not the gradient (MiniMax 2025).

  L_t = -sg[clip(r_t, 1 - clip_low, 1 + clip_high)] A_t log π_t

  (MiniMax-M1, arXiv:2506.13585, eq. 4 and 5; sg: no gradient.) Where PPO's clip
  drops a token, here it keeps a bounded weight, so the rare tokens on which a
  line of thought turns are learnt from at every update. The paper bounds the
  ratio above only: clip_low=1.

  Args:
    logprobs_BT: of the sampled tokens, under the policy that is trained.
    old_logprobs_BT: of the same, at the start of the update.
    advantages_BT: of the same.
    mask_BT: 0 on prompt, tool and padding tokens.
    clip_low: bound below, 1 - clip_low.
    clip_high: bound above, 1 + clip_high.

  Returns:
    (loss_BT, {"clip_fraction_low", "clip_fraction_high"}: 1 where the weight
    was raised to the lower or brought down to the upper bound).
  """
  ratio_BT = jnp.exp(log_ratios(logprobs_BT, old_logprobs_BT, mask_BT))
  chex.assert_equal_shape((ratio_BT, advantages_BT))
  weight_BT = jax.lax.stop_gradient(
      jnp.clip(ratio_BT, 1 - clip_low, 1 + clip_high))
  logprobs_BT, advantages_BT = (
      jnp.where(mask_BT > 0, x_BT, 0.0) for x_BT in (
          logprobs_BT, advantages_BT))
  return _masked(-weight_BT * advantages_BT * logprobs_BT,
                 {"clip_fraction_low": ratio_BT < 1 - clip_low,
                  "clip_fraction_high": ratio_BT > 1 + clip_high}, mask_BT)


def reinforce_loss(logprobs_BT: jax.Array, advantages_BT: jax.Array,
                   mask_BT: jax.Array) -> tuple[jax.Array, PerToken]:
  """REINFORCE (Williams 1992), per token.

  L_t = -A_t log π_t

  It has no ratio, and so holds at the first update after a rollout only.

  Args:
    logprobs_BT: of the sampled tokens, under the policy that is trained.
    advantages_BT: of the same.
    mask_BT: 0 on prompt, tool and padding tokens.

  Returns:
    (loss_BT, {}).
  """
  chex.assert_equal_shape((logprobs_BT, advantages_BT, mask_BT))
  logprobs_BT, advantages_BT = (
      jnp.where(mask_BT > 0, x_BT, 0.0) for x_BT in (
          logprobs_BT, advantages_BT))
  return _masked(-advantages_BT * logprobs_BT, {}, mask_BT)


def importance_weights(
    old_logprobs_BT: jax.Array, sampler_logprobs_BT: jax.Array,
    mask_BT: jax.Array, cap: float) -> tuple[jax.Array, PerToken]:
  """Truncated importance sampling from sampler to trainer, per token.

  w_t = min(π_old(y_t) / π_sampler(y_t), cap), without gradient

  A sampler in lower precision, or with weights of a step before, is another
  policy than the trainer's: its tokens are weighted by what the trainer thinks
  of them (Yao et al. 2025, "Your Efficient RL Framework Secretly Brings You
  Off-Policy RL Training"). The cap bounds the variance, as in Ionides 2008.

  Args:
    old_logprobs_BT: the trainer's, at the start of the update.
    sampler_logprobs_BT: of the same tokens, when they were sampled.
    mask_BT: 0 on prompt, tool and padding tokens.
    cap: greatest weight.

  Returns:
    (weights_BT, {"importance_weight", "importance_capped": 1 where the cap
    held}).
  """
  ratio_BT = jnp.exp(jax.lax.stop_gradient(
      log_ratios(old_logprobs_BT, sampler_logprobs_BT, mask_BT)))
  weights_BT = jnp.minimum(ratio_BT, cap)
  return _masked(weights_BT, {"importance_weight": weights_BT,
                              "importance_capped": ratio_BT > cap}, mask_BT)
