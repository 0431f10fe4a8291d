"""Policy gradient objectives, and the weights that normalise them.

An objective here sums over tokens and divides by nothing: `weights_BT` and
`denominator` are the normalisation, and only the train step divides. Both add
up over microbatches, so that accumulated gradients are exact.
"""

from __future__ import annotations

from typing import Any

import chex
import jax
import jax.numpy as jnp

from llm_jax.config import ModelConfig, RlConfig, require_choice
from llm_jax.model.transformer import forward
from llm_jax.training.losses import Aux, LossFn, token_logprobs


def normalization_weights(
    mask_BT: jax.Array, normalization: str, max_tokens: int
) -> tuple[jax.Array, jax.Array]:
  """The weight of each token, and what their weighted sum is divided by.

  - `response`, mask / length over responses: each response counts alike
    (GRPO, Shao et al. 2024).
  - `token`, mask over tokens: each token counts alike (DAPO, Yu et al. 2025).
  - `constant`, mask over responses × max_tokens: each token counts alike and
    the scale does not move with the lengths (Dr. GRPO, Liu et al. 2025).

  The denominators are sums over rows, so those of microbatches add up to that
  of their batch. A row without tokens (padding of the batch) is no response.

  Args:
    mask_BT: 1 on the tokens that were generated, 0 elsewhere.
    normalization: `response`, `token` or `constant`.
    max_tokens: longest completion there can be; for `constant`.

  Returns:
    (weights_BT, denominator), float32.

  Raises:
    ConfigError: unknown normalisation.
  """
  require_choice("loss_normalization", normalization,
                 ("response", "token", "constant"))
  mask_BT = mask_BT.astype(jnp.float32)
  lengths_B1 = jnp.sum(mask_BT, axis=1, keepdims=True)
  if normalization == "token":
    return mask_BT, jnp.sum(mask_BT)
  responses = jnp.sum(lengths_B1 > 0).astype(jnp.float32)
  if normalization == "response":
    return mask_BT / jnp.maximum(lengths_B1, 1.0), responses
  return mask_BT, responses * max_tokens


def policy_gradient_loss(
    logprobs_BT: jax.Array, old_logprobs_BT: jax.Array,
    advantages_BT: jax.Array, weights_BT: jax.Array, *,
    denominator: jax.Array, clip_low: float = 0.2, clip_high: float = 0.2,
    ref_logprobs_BT: jax.Array | None = None, kl_coef: float = 0.0,
    entropy_BT: jax.Array | None = None,
) -> tuple[jax.Array, Aux]:
  """Clipped surrogate of PPO (Schulman et al. 2017, eq. 7), per token.

  L = -Σ w · min(r·A, clip(r, 1-clip_low, 1+clip_high)·A) + kl_coef · Σ w · KL
  r = exp(logπ - logπ_old)
  KL = π_ref/π - log(π_ref/π) - 1, the non-negative estimator "k3" of
       KL(π ‖ π_ref) (Schulman 2020, "Approximating KL Divergence"), where a
       reference is given

  `weights_BT` is zero on prompt, tool and padding tokens and carries the
  normalisation of the chosen algorithm; the sum is divided by the train step.
  Log-probabilities where the weight is zero may be anything, even infinite.

  Args:
    logprobs_BT: of the sampled tokens, under the policy that is trained.
    old_logprobs_BT: of the same, under the distribution that sampled them.
    advantages_BT: of the same.
    weights_BT: see `normalization_weights`.
    denominator: scalar, becomes `Aux.weight`.
    clip_low: the ratio gains nothing below 1 - clip_low ...
    clip_high: ... or above 1 + clip_high.
    ref_logprobs_BT: of the same tokens, under the reference model.
    kl_coef: weight of the KL term.
    entropy_BT: of the policy at each token; reported, not trained.

  Returns:
    (loss_sum, Aux). Metrics are means over tokens of weight > 0: `ratio`,
    `clip_fraction` (where the clipped branch was the smaller, so that no
    gradient flows), `approx_kl` (k3 of KL(π_old ‖ π)), and where given
    `kl_ref` and `entropy`.
  """
  chex.assert_rank(logprobs_BT, 2)
  chex.assert_equal_shape(
      (logprobs_BT, old_logprobs_BT, advantages_BT, weights_BT))
  used_BT = weights_BT > 0
  # Zeroed before exp, not after: 0 · exp(large) is NaN, in the gradient too.
  log_ratio_BT = jnp.where(used_BT, logprobs_BT - old_logprobs_BT, 0.0)
  ratio_BT = jnp.exp(log_ratio_BT)
  clipped_BT = jnp.clip(ratio_BT, 1 - clip_low, 1 + clip_high)
  plain_BT, bounded_BT = ratio_BT * advantages_BT, clipped_BT * advantages_BT
  loss_sum = -jnp.sum(weights_BT * jnp.minimum(plain_BT, bounded_BT))
  tokens = jnp.sum(used_BT).astype(jnp.float32)

  def over_tokens(x_BT):
    return jnp.sum(jnp.where(used_BT, x_BT, 0.0)), tokens

  metrics = {
      "ratio": over_tokens(ratio_BT),
      "clip_fraction": over_tokens((bounded_BT < plain_BT).astype(jnp.float32)),
      "approx_kl": over_tokens(ratio_BT - 1 - log_ratio_BT),
  }
  if ref_logprobs_BT is not None:
    chex.assert_equal_shape((logprobs_BT, ref_logprobs_BT))
    toward_BT = jnp.where(used_BT, ref_logprobs_BT - logprobs_BT, 0.0)
    kl_BT = jnp.exp(toward_BT) - toward_BT - 1
    loss_sum += kl_coef * jnp.sum(weights_BT * kl_BT)
    metrics["kl_ref"] = over_tokens(kl_BT)
  if entropy_BT is not None:
    metrics["entropy"] = over_tokens(entropy_BT)
  metrics = jax.tree.map(jax.lax.stop_gradient, metrics)
  return loss_sum, Aux(jnp.asarray(denominator, jnp.float32), metrics)


def policy_loss_fn(model: ModelConfig, rl: RlConfig) -> LossFn:
  """The `LossFn` of group-relative policy gradient for `train_step`.

  Args:
    model: the model.
    rl: clip_low, clip_high, loss_normalization, kl_coef, sampling.

  Returns:
    A function of (params, frozen, batch, step). Its batch is
    `Rollouts.batch()`: `tokens`, `targets`, `loss_mask`, `old_logprobs`
    [B, T] and `advantages` [B]. `frozen` holds the parameters of the reference
    model where `rl.kl_coef` is positive, and is not read otherwise.
  """
  temperature = rl.sampling.temperature

  def logits_of(params: Any, tokens_BT: jax.Array) -> jax.Array:
    # The policy is the distribution that was sampled from.
    logits_BTV, _ = forward(params, tokens_BT, model)
    return logits_BTV if temperature == 1.0 else logits_BTV / temperature

  def loss_fn(params, frozen, batch, step):
    del step
    logits_BTV = logits_of(params, batch["tokens"])
    logprobs_BT = token_logprobs(logits_BTV, batch["targets"])
    ref_logprobs_BT = None
    if rl.kl_coef > 0:
      ref_logprobs_BT = jax.lax.stop_gradient(token_logprobs(
          logits_of(frozen, batch["tokens"]), batch["targets"]))
    weights_BT, denominator = normalization_weights(
        batch["loss_mask"], rl.loss_normalization, rl.sampling.max_new_tokens)
    advantages_BT = jnp.broadcast_to(
        batch["advantages"][:, None], logprobs_BT.shape)
    return policy_gradient_loss(
        logprobs_BT, batch["old_logprobs"], advantages_BT, weights_BT,
        denominator=denominator, clip_low=rl.clip_low, clip_high=rl.clip_high,
        ref_logprobs_BT=ref_logprobs_BT, kl_coef=rl.kl_coef)

  return loss_fn
