"""An objective, its weights, KL and entropy put together: a `LossFn`."""

from __future__ import annotations

from collections.abc import Mapping

import chex
import jax
import jax.numpy as jnp

from llm_jax.config import ModelConfig, ObjectiveConfig, RlConfig
from llm_jax.rl import objectives
from llm_jax.rl.kl import kl_estimate
from llm_jax.rl.policy_logprobs import logprobs_and_entropy
from llm_jax.rl.token_weights import normalization_weights
from llm_jax.training.losses import Aux, LossFn, with_balance


def policy_gradient_loss(
    logprobs_BT: jax.Array, batch: Mapping[str, jax.Array],
    objective: ObjectiveConfig, *, max_tokens: int,
    ref_logprobs_BT: jax.Array | None = None,
    entropy_BT: jax.Array | None = None) -> tuple[jax.Array, Aux]:
  """The loss of arrays that `objective` describes.

  L = Σ w_t · (i_t L_t + kl_coef · KL_t - entropy_coef · H_t)

  L_t is of `objectives.py`, w of `normalization_weights`, i the truncated
  importance weight where `importance_cap` is positive, KL of `kl_estimate`
  where it is counted in the loss. With `kl_ratio` it is r_t · KL_t: that is
  unbiased though the tokens are of π_old, and as r is differentiated, too, the
  mean gradient is that of KL(π ‖ π_ref) for k1 and k3, whose values have that
  mean (DeepSeek-V3.2, arXiv:2512.02556).

  Args:
    logprobs_BT: of the sampled tokens, under the policy that is trained.
    batch: `loss_mask`, `old_logprobs`, `advantages` [B, T], and with an
      importance cap `sampler_logprobs`. Where the mask is 0 they may be
      anything.
    objective: what is maximised.
    max_tokens: longest completion there can be.
    ref_logprobs_BT: of the same tokens under the reference, where there is one.
    entropy_BT: of the policy where each was drawn; reported in any case.

  Returns:
    (loss_sum, Aux). `Aux.weight` is the denominator. Metrics are means over
    the tokens of the mask: `ratio`, `clip_fraction` with its parts
    `clip_fraction_low` and `clip_fraction_high` (but for REINFORCE),
    `approx_kl` (k3 of KL(π_old ‖ π)), and where there are such `kl_ref`,
    `entropy`, `importance_weight` and `importance_capped`.
  """
  mask_BT, advantages_BT = batch["loss_mask"], batch["advantages"]
  old_logprobs_BT = batch["old_logprobs"]
  chex.assert_rank(logprobs_BT, 2)
  chex.assert_equal_shape(
      (logprobs_BT, old_logprobs_BT, advantages_BT, mask_BT))
  if objective.kind == "reinforce":
    loss_BT, told = objectives.reinforce_loss(
        logprobs_BT, advantages_BT, mask_BT)
  else:
    of_kind = {"clipped": objectives.clipped_surrogate,
               "gspo": objectives.gspo_surrogate,
               "cispo": objectives.cispo_loss}[objective.kind]
    clip_low, clip_high = objective.clip_bounds
    loss_BT, told = of_kind(
        logprobs_BT, old_logprobs_BT, advantages_BT, mask_BT,
        clip_low=clip_low, clip_high=clip_high)
    told["clip_fraction"] = (told["clip_fraction_low"]
                             + told["clip_fraction_high"])
  log_ratio_BT = objectives.log_ratios(logprobs_BT, old_logprobs_BT, mask_BT)
  told["ratio"] = jnp.exp(log_ratio_BT)
  told["approx_kl"] = jnp.expm1(log_ratio_BT) - log_ratio_BT
  if objective.importance_cap > 0:
    importance_BT, seen = objectives.importance_weights(
        old_logprobs_BT, batch["sampler_logprobs"], mask_BT,
        objective.importance_cap)
    loss_BT, told = loss_BT * importance_BT, told | seen
  if ref_logprobs_BT is not None:
    told["kl_ref"] = kl_estimate(logprobs_BT, ref_logprobs_BT, mask_BT,
                                 objective.kl_estimator)
    if objective.kl_in == "loss":
      scale_BT = told["ratio"] if objective.kl_ratio else 1.0
      loss_BT += objective.kl_coef * scale_BT * told["kl_ref"]
  if entropy_BT is not None:
    told["entropy"] = entropy_BT
    loss_BT -= objective.entropy_coef * jnp.where(mask_BT > 0, entropy_BT, 0.0)

  weights_BT, denominator = normalization_weights(
      mask_BT, objective.normalization, max_tokens)
  tokens = jnp.sum(mask_BT > 0).astype(jnp.float32)
  metrics = {name: (jnp.sum(jnp.where(mask_BT > 0, x_BT, 0.0)), tokens)
             for name, x_BT in told.items()}
  return jnp.sum(weights_BT * loss_BT), Aux(
      denominator, jax.lax.stop_gradient(metrics))


def policy_loss_fn(model: ModelConfig, config: RlConfig) -> LossFn:
  """The `LossFn` of a policy for `train_step`.

  Args:
    model: the model.
    config: objective, sampling, loss.chunk.

  Returns:
    A function of (params, frozen, batch, step). The batch has, all [B, T],
    `tokens`, `targets`, and what `policy_gradient_loss` reads. `frozen` holds
    `reference`, the initial model's parameters, where the KL to it is counted
    in the loss, and is not read otherwise. The gradient of the log-
    probabilities alone is taken where the entropy is not rewarded. Experts
    are balanced as in pretraining.
  """
  objective, sampling = config.objective, config.sampling

  def loss_fn(params, frozen, batch, step):
    del step
    logprobs_BT, entropy_BT, aux = logprobs_and_entropy(
        params, batch, model, sampling.temperature, chunk=config.loss.chunk)
    if not objective.entropy_coef:
      entropy_BT = jax.lax.stop_gradient(entropy_BT)
    ref_logprobs_BT = None
    if objective.needs_reference and objective.kl_in == "loss":
      ref_logprobs_BT = jax.lax.stop_gradient(logprobs_and_entropy(
          frozen["reference"], batch, model, sampling.temperature,
          chunk=config.loss.chunk)[0])
    return with_balance(*policy_gradient_loss(
        logprobs_BT, batch, objective, max_tokens=sampling.max_new_tokens,
        ref_logprobs_BT=ref_logprobs_BT, entropy_BT=entropy_BT), aux, model)

  return loss_fn
