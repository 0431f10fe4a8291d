"""What is minimised: imitation of a record of games, then self-play.

Both also predict the result of the game, as cross-entropy on three tokens. Its
expectation is the value that advantages are measured from.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from llm_jax.config import ImprovementConfig, ModelConfig, ObjectiveConfig
from llm_jax.model.transformer import forward
from llm_jax.rl.objectives import log_ratios
from llm_jax.rl.policy_loss import policy_gradient_loss
from llm_jax.rl.selfplay.episodes import Record
from llm_jax.rl.selfplay.game_text import column_logprobs, result_logprobs
from llm_jax.training.losses import Aux, LossFn


def game_advantages(values_BT: jax.Array, played_BT: jax.Array,
                    results_BT: jax.Array, gae_lambda: float) -> jax.Array:
  """Generalised advantages of a game of two (Schulman et al. 2016, eq. 16).

  A position that is good for one player is as bad for the other, so that signs
  alternate:

    δ_t = -v_{t+1} - v_t, after the last move result - v_t
    A_t = δ_t - λ A_{t+1}

  With λ = 1 it is A_t = result - v_t.

  Args:
    values_BT: of each position for the player to move, in [-1, 1].
    played_BT: bool; false from the end of the game.
    results_BT: for the player to move.
    gae_lambda: λ.

  Returns:
    float32 [B, T]; 0 from the end of the game.
  """
  chex.assert_equal_shape((values_BT, played_BT, results_BT))
  following_BT = jnp.pad(played_BT[:, 1:], ((0, 0), (0, 1)))
  next_BT = jnp.pad(values_BT[:, 1:], ((0, 0), (0, 1)))
  delta_BT = jnp.where(following_BT, -next_BT, results_BT) - values_BT

  def back(later_B, ply):
    delta_B, played_B = ply
    advantage_B = jnp.where(played_B, delta_B - gae_lambda * later_B, 0.0)
    return advantage_B, advantage_B
  _, advantages_TB = jax.lax.scan(
      back, jnp.zeros(values_BT.shape[0]), (delta_BT.T, played_BT.T),
      reverse=True)
  return advantages_TB.T


def imitation_batch(record: Record) -> dict[str, jax.Array]:
  """A record as the batch of `imitation_loss_fn`."""
  return {"tokens": record.tokens_BT, "choices": record.choices_BTW,
          "columns": record.columns_BT, "chosen": record.chosen_BT,
          "results": record.results_BT, "logprobs": record.logprobs_BTW}


def improvement_batch(record: Record, trained_BT: jax.Array,
                      config: ImprovementConfig) -> dict[str, jax.Array]:
  """A record as the batch of `improvement_loss_fn`.

  Args:
    record: games of the model that is trained, with itself or another.
    trained_BT: bool; the moves that are its own.
    config: gae_lambda, normalize_std.
  """
  advantages_BT = game_advantages(record.values_BT, record.played_BT,
                                  record.results_BT, config.gae_lambda)
  mask_BT = (record.chosen_BT & trained_BT).astype(jnp.float32)
  if config.normalize_std:
    count = jnp.maximum(jnp.sum(mask_BT), 1.0)
    mean = jnp.sum(advantages_BT * mask_BT) / count
    square = jnp.sum(jnp.square(advantages_BT - mean) * mask_BT) / count
    advantages_BT /= jnp.sqrt(square) + 1e-6
  return {"tokens": record.tokens_BT, "choices": record.choices_BTW,
          "columns": record.columns_BT, "chosen": record.chosen_BT,
          "results": record.results_BT, "loss_mask": mask_BT,
          "old_logprobs": record.column_logprobs_BT,
          "advantages": advantages_BT}


def _predictions(params, batch, model):
  """(log π over columns, of the columns played, of the results)."""
  logits_BTV, _ = forward(params, batch["tokens"], model)
  logprobs_BTW = column_logprobs(logits_BTV, batch["choices"])
  played_BT = jnp.take_along_axis(logprobs_BTW, batch["columns"][..., None],
                                  axis=2)[..., 0]
  # Win, draw, loss of the player to move.
  class_BT = 1 - batch["results"].astype(jnp.int32)
  result_BT = jnp.take_along_axis(result_logprobs(logits_BTV),
                                  class_BT[..., None], axis=2)[..., 0]
  return logprobs_BTW, played_BT, result_BT


def _expected(p_logprobs_BTW, logprobs_BTW):
  """Σ_w p_w log q_w, with 0 · log 0 = 0."""
  p_BTW = jnp.exp(p_logprobs_BTW)
  return jnp.sum(p_BTW * jnp.where(p_BTW > 0, logprobs_BTW, 0.0), axis=-1)


def imitation_loss_fn(model: ModelConfig, value_coef: float) -> LossFn:
  """Cross-entropy of the teacher's moves and of the results.

  L = -Σ [log π(move) + value_coef · log p(result)]

  Only moves that were chosen count, those of random openings do not. Metrics,
  means over them: `move_loss`; `excess`, the expected move_loss less the
  teacher's own entropy, which is KL(teacher ‖ model) and 0 for a perfect
  imitator; `result_loss`.

  Returns:
    A `LossFn` on `imitation_batch`.
  """
  def loss_fn(params, frozen, batch, step):
    del frozen, step
    logprobs_BTW, move_BT, result_BT = _predictions(params, batch, model)
    chosen_BT = batch["chosen"].astype(jnp.float32)
    count = jnp.sum(chosen_BT)
    # Zeroed by choice, not by product: beyond the end they may be infinite.
    move_sum, result_sum = (
        -jnp.sum(jnp.where(batch["chosen"], x_BT, 0.0))
        for x_BT in (move_BT, result_BT))
    said_BTW = batch["logprobs"]
    kl_BT = _expected(said_BTW, said_BTW) - _expected(said_BTW, logprobs_BTW)
    excess = jnp.sum(jnp.where(batch["chosen"], kl_BT, 0.0))
    return move_sum + value_coef * result_sum, Aux(count, {
        "move_loss": (move_sum, count), "result_loss": (result_sum, count),
        "excess": (jax.lax.stop_gradient(excess), count)})
  return loss_fn


def improvement_loss_fn(model: ModelConfig,
                        config: ImprovementConfig) -> LossFn:
  """The clipped policy gradient on the model's own moves, and the results.

  L = clipped surrogate - entropy_coef · Σ H(π) - value_coef · Σ log p(result)

  The first two are over the moves that are trained, the third over all that
  were chosen, an earlier self's too; all are divided by the number of the
  former.

  Returns:
    A `LossFn` on `improvement_batch`; metrics are those of
    `policy_gradient_loss`, `result_loss`, and `ratio_error`, the mean of
    |ratio - 1|.
  """
  objective = ObjectiveConfig(
      clip_low=config.clip_low, clip_high=config.clip_high,
      entropy_coef=config.entropy_coef)

  def loss_fn(params, frozen, batch, step):
    del frozen, step
    logprobs_BTW, move_BT, result_BT = _predictions(params, batch, model)
    mask_BT = batch["loss_mask"]
    loss_sum, aux = policy_gradient_loss(
        move_BT, batch, objective, max_tokens=mask_BT.shape[1],
        entropy_BT=-_expected(logprobs_BTW, logprobs_BTW))
    result_sum = -jnp.sum(jnp.where(batch["chosen"], result_BT, 0.0))
    count = jnp.sum(batch["chosen"]).astype(jnp.float32)
    error_BT = jnp.abs(jnp.expm1(
        log_ratios(move_BT, batch["old_logprobs"], mask_BT)))
    metrics = {"result_loss": (result_sum, count),
               "ratio_error": (jnp.sum(error_BT), jnp.sum(mask_BT))}
    return loss_sum + config.value_coef * result_sum, aux.replace(
        metrics=aux.metrics | jax.lax.stop_gradient(metrics))
  return loss_fn
