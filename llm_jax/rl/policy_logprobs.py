"""Log-probabilities of sampled tokens, and the entropy where they were drawn.

One function computes them for the loss, for the model as it was at the start of
an update and for the reference, so that a ratio of 1 is 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from llm_jax.config import ModelConfig, RlConfig
from llm_jax.model.transformer import backbone, unembed
from llm_jax.training.chunked_logprobs import chunked_logprobs
from llm_jax.training.losses import token_logprobs


def logprobs_and_entropy(
    params: Any, batch: dict[str, jax.Array], model: ModelConfig,
    temperature: float = 1.0, *, chunk: int = 0
) -> tuple[jax.Array, jax.Array, dict[str, jax.Array]]:
  """log π(target) and H(π) = -Σ π log π at each position.

  π is the distribution that was sampled from: softmax(logits / temperature).

  Args:
    params: of the model; kernels may have a low-rank update attached.
    batch: `tokens`, `targets` [B, T].
    model: the model.
    temperature: of the sampler.
    chunk: tokens of a row whose logits exist at once; the backward pass makes
      them again. 0: all of them.

  Returns:
    (logprobs_BT, entropy_BT, what experts say of their loads), float32 or
    wider.
  """
  hidden_BTD, _, aux = backbone(params, batch["tokens"], model)
  targets_BT = batch["targets"]
  if 0 < chunk < targets_BT.shape[1]:
    return (*chunked_logprobs(params, hidden_BTD, targets_BT, model,
                              chunk=chunk, temperature=temperature), aux)
  logits_BTV = unembed(params, hidden_BTD, model)
  if temperature != 1.0:
    logits_BTV = logits_BTV / temperature
  logs_BTV = jax.nn.log_softmax(logits_BTV)
  entropy_BT = -jnp.sum(jnp.exp(logs_BTV) * logs_BTV, axis=-1)
  return token_logprobs(logits_BTV, targets_BT), entropy_BT, aux


def by_parts(function: Callable[[dict[str, jax.Array]], Any],
             batch: dict[str, jax.Array], count: int) -> Any:
  """A function of rows without gradient, of one part of them after another."""
  if count == 1:
    return jax.lax.stop_gradient(function(batch))

  # Strided, as in the train step, so that every device keeps its rows.
  def split(x):
    return x.reshape(-1, count, *x.shape[1:]).swapaxes(0, 1)

  found = jax.lax.map(function, jax.tree.map(split, batch))
  return jax.lax.stop_gradient(jax.tree.map(
      lambda x: x.swapaxes(0, 1).reshape(-1, *x.shape[2:]), found))


def policy_logprobs(
    params: Any, batch: dict[str, jax.Array], model: ModelConfig,
    temperature: float = 1.0, *, chunk: int = 0, num_microbatches: int = 1
) -> tuple[jax.Array, jax.Array]:
  """`logprobs_and_entropy` without gradient, some rows at a time.

  Args:
    params: as there.
    batch: as there; other fields are not read.
    model: the model.
    temperature: of the sampler.
    chunk: as there.
    num_microbatches: the rows are cut into so many, one after the other.

  Returns:
    (logprobs_BT, entropy_BT).
  """
  batch = {name: batch[name] for name in ("tokens", "targets")}
  return by_parts(
      lambda part: logprobs_and_entropy(params, part, model, temperature,
                                        chunk=chunk)[:2],
      batch, num_microbatches)


def ratio_error(params: Any, batch: dict[str, jax.Array], model: ModelConfig,
                config: RlConfig) -> jax.Array:
  """Mean of |log π_trainer - log π_sampler| over the sampled tokens.

  On policy both are one, and this is rounding.

  Args:
    params: those that sampled, as the trainer has them.
    batch: `tokens`, `targets`, `loss_mask`, `sampler_logprobs` [B, T].
    model: the model.
    config: sampling, loss.chunk, num_microbatches, minibatches.
  """
  logprobs_BT, _ = policy_logprobs(
      params, batch, model, config.sampling.temperature,
      chunk=config.loss.chunk,
      num_microbatches=config.num_microbatches * config.minibatches)
  mask_BT = batch["loss_mask"]
  apart_BT = jnp.where(
      mask_BT > 0, jnp.abs(logprobs_BT - batch["sampler_logprobs"]), 0.0)
  return jnp.sum(apart_BT) / jnp.maximum(jnp.sum(mask_BT), 1.0)
