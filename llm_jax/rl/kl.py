"""Estimators of the KL divergence of the policy to a reference, per token."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from llm_jax.config import require_choice


def kl_estimate(logprobs_BT: jax.Array, ref_logprobs_BT: jax.Array,
                mask_BT: jax.Array, estimator: str = "k3") -> jax.Array:
  """KL(π ‖ π_ref) at each token, of the one token that was sampled.

  With d = log π - log π_ref of a token that π sampled (Schulman 2020,
  "Approximating KL Divergence", joschu.net/blog/kl-approx.html),

  - k1 = d: unbiased, and negative half of the time;
  - k2 = d² / 2: biased, never negative;
  - k3 = exp(-d) - 1 + d: unbiased and never negative.

  Those are properties of the value. As a term of the loss it is the gradient
  that matters, and there, for a token from π, E[∇k1] = 0, which pulls nowhere;
  E[∇k2] = ∇KL(π ‖ π_ref); E[∇k3] = ∇KL(π_ref ‖ π) (Tang and Munos 2025,
  arXiv:2506.09477). GRPO has k3 in the loss; k1 belongs in the reward, where it
  is not differentiated, or is to be multiplied by the ratio (`kl_ratio`).

  Args:
    logprobs_BT: of the sampled tokens, under the policy.
    ref_logprobs_BT: of the same, under the reference.
    mask_BT: 0 where a token does not count. What both are there may be
      anything, even infinite.
    estimator: `k1`, `k2` or `k3`.

  Returns:
    kl_BT, 0 where the mask is.

  Raises:
    ConfigError: unknown estimator.
  """
  require_choice("objective.kl_estimator", estimator, ("k1", "k2", "k3"))
  chex.assert_equal_shape((logprobs_BT, ref_logprobs_BT, mask_BT))
  # Zeroed before exp, not after: 0 · exp(large) is NaN, in the gradient too.
  away_BT = jnp.where(mask_BT > 0, logprobs_BT - ref_logprobs_BT, 0.0)
  if estimator == "k1":
    return away_BT
  if estimator == "k2":
    return 0.5 * jnp.square(away_BT)
  return jnp.expm1(-away_BT) + away_BT
