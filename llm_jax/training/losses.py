"""Losses of arrays. Each returns `(loss_sum, Aux)`; only `train_step` divides.

A sum and its weight add up over microbatches, devices and packed rows exactly,
whatever their masks; a mean does not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import chex
import flax.struct
import jax
import jax.numpy as jnp
import optax

from llm_jax.config import ModelConfig
from llm_jax.model.transformer import backbone, unembed


@flax.struct.dataclass
class Aux:
  """What a loss says beside its sum.

  Attributes:
    weight: scalar the loss sum is divided by, e.g. the number of tokens.
    metrics: name -> (sum, weight), divided likewise, each by its own weight.
  """
  weight: jax.Array
  metrics: dict[str, tuple[jax.Array, jax.Array]] = flax.struct.field(
      default_factory=dict)


LossFn = Callable[[Any, Any, dict[str, jax.Array], jax.Array],
                  tuple[jax.Array, Aux]]


def token_logprobs(logits_BTV: jax.Array, targets_BT: jax.Array) -> jax.Array:
  """log softmax(logits)[target], float32 [B, T]."""
  chex.assert_equal_shape_prefix((logits_BTV, targets_BT), 2)
  return -optax.softmax_cross_entropy_with_integer_labels(
      logits_BTV, targets_BT)


def next_token_loss(logits_BTV: jax.Array, targets_BT: jax.Array,
                    loss_mask_BT: jax.Array) -> tuple[jax.Array, Aux]:
  """Cross-entropy of the next token, in nats, summed over the mask.

  L = -Σ mask · log softmax(logits)[target]

  Args:
    logits_BTV: float32; position t predicts `targets_BT[:, t]`.
    targets_BT: int32 tokens, already shifted by one.
    loss_mask_BT: float32; 1 where the target is trained, 0 elsewhere.

  Returns:
    (loss_sum, Aux whose weight is the number of trained targets).
  """
  chex.assert_equal_shape((targets_BT, loss_mask_BT))
  loss_sum = -jnp.sum(token_logprobs(logits_BTV, targets_BT) * loss_mask_BT)
  return loss_sum, Aux(jnp.sum(loss_mask_BT))


def language_model_loss(params: Any, frozen: Any, batch: dict[str, jax.Array],
                        step: jax.Array, *,
                        config: ModelConfig) -> tuple[jax.Array, Aux]:
  """The `LossFn` of pretraining and of SFT, which differ in `loss_mask` only.

  Args:
    params: model parameters.
    frozen: unused.
    batch: `tokens`, `targets`, `loss_mask`, `segment_ids`, `positions`, each
      [B, T].
    step: unused.
    config: the model.

  Returns:
    `next_token_loss` of the batch. With experts, plus `moe.balance_coef` times
    their load-balancing loss, per target: a product of means, so that of a
    microbatch, not of the batch.
  """
  del frozen, step
  hidden_BTD, _, aux = backbone(params, batch["tokens"], config,
                                positions_BT=batch["positions"],
                                segment_ids_BT=batch["segment_ids"])
  loss_sum, told = next_token_loss(unembed(params, hidden_BTD, config),
                                   batch["targets"], batch["loss_mask"])
  if "balance_loss" in aux:
    balance = aux["balance_loss"] * told.weight
    loss_sum += config.moe.balance_coef * balance
    told = told.replace(metrics={"balance_loss": (balance, told.weight)})
  return loss_sum, told
