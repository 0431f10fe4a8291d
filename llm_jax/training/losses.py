"""Losses of arrays. Each returns `(loss_sum, Aux)`; only `train_step` divides.

A sum and its weight add up over microbatches, devices and packed rows exactly,
whatever their masks; a mean does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import functools
from typing import Any

import chex
import flax.struct
import jax
import jax.numpy as jnp
import optax

from llm_jax.config import LossConfig, ModelConfig
from llm_jax.model.transformer import backbone, unembed
from llm_jax.training.chunked_loss import chunked_loss
from llm_jax.training.vocab_chunked_loss import vocab_chunked_loss

_WHOLE = LossConfig()


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
                    loss_mask_BT: jax.Array, *,
                    z_coef: float = 0.0) -> tuple[jax.Array, Aux]:
  """Cross-entropy of the next token, in nats, summed over the mask.

  L = Σ mask · (-log softmax(logits)[target] + z_coef · logsumexp(logits)²)

  The second term keeps logits from drifting (z-loss, PaLM, Chowdhery et al.
  2022, arXiv:2204.02311, section 5).

  Args:
    logits_BTV: float32; position t predicts `targets_BT[:, t]`.
    targets_BT: int32 tokens, already shifted by one.
    loss_mask_BT: float32; 1 where the target is trained, 0 elsewhere.
    z_coef: weight of the second term.

  Returns:
    (loss_sum, Aux whose weight is the number of trained targets and which has
    the second term as the metric "z_loss", where there is one).
  """
  chex.assert_equal_shape((targets_BT, loss_mask_BT))
  loss_sum = -jnp.sum(token_logprobs(logits_BTV, targets_BT) * loss_mask_BT)
  weight, metrics = jnp.sum(loss_mask_BT), {}
  if z_coef:
    z_BT = jax.nn.logsumexp(logits_BTV, axis=-1)
    z_loss = z_coef * jnp.sum(jnp.square(z_BT) * loss_mask_BT)
    loss_sum, metrics = loss_sum + z_loss, {"z_loss": (z_loss, weight)}
  return loss_sum, Aux(weight, metrics)


def language_model_loss(params: Any, frozen: Any, batch: dict[str, jax.Array],
                        step: jax.Array, *, config: ModelConfig,
                        loss: LossConfig = _WHOLE) -> tuple[jax.Array, Aux]:
  """The `LossFn` of pretraining and of SFT, which differ in `loss_mask` only.

  Args:
    params: model parameters.
    frozen: unused.
    batch: `tokens`, `targets`, `loss_mask`, `segment_ids`, `positions`, each
      [B, T].
    step: unused.
    config: the model.
    loss: how it is computed, and the weight of the z-loss.

  Returns:
    `next_token_loss` of the batch. With experts, plus `moe.balance_coef` times
    their load-balancing loss, per target: a product of means, so that of a
    microbatch, not of the batch.
  """
  del frozen, step
  hidden_BTD, _, aux = backbone(params, batch["tokens"], config,
                                positions_BT=batch["positions"],
                                segment_ids_BT=batch["segment_ids"])
  if loss.chunk or loss.vocab_parts:
    of_parts = (functools.partial(chunked_loss, chunk=loss.chunk) if loss.chunk
                else functools.partial(vocab_chunked_loss,
                                       parts=loss.vocab_parts))
    loss_sum, z_sum = of_parts(params, hidden_BTD, batch["targets"],
                               batch["loss_mask"], config, z_coef=loss.z_coef)
    weight = jnp.sum(batch["loss_mask"])
    told = Aux(weight, {"z_loss": (loss.z_coef * z_sum, weight)}
               if loss.z_coef else {})
  else:
    loss_sum, told = next_token_loss(
        unembed(params, hidden_BTD, config), batch["targets"],
        batch["loss_mask"], z_coef=loss.z_coef)
  return with_balance(loss_sum, told, aux, config)


def with_balance(loss_sum: jax.Array, told: Aux, aux: Mapping[str, jax.Array],
                 model: ModelConfig) -> tuple[jax.Array, Aux]:
  """A loss with that of how evenly experts are used, where there are some.

  Args:
    loss_sum: of a loss.
    told: its `Aux`.
    aux: of `backbone`; {} without experts.
    model: moe.balance_coef.
  """
  if "balance_loss" in aux:
    balance = aux["balance_loss"] * told.weight
    loss_sum += model.moe.balance_coef * balance
    told = told.replace(
        metrics=told.metrics | {"balance_loss": (balance, told.weight)})
  if "dropped_share" in aux:
    told = told.replace(metrics=told.metrics | {
        "dropped_share": (aux["dropped_share"] * told.weight, told.weight)})
  return loss_sum, told
