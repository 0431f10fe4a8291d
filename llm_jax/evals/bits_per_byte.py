"""Bits per byte: how well a model predicts text, whatever its vocabulary.

A loss per token cannot be compared between tokenizers, since a larger
vocabulary makes fewer, harder tokens. The same loss per byte of the text can,
and it is a compression rate: what `gzip` is measured in.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from llm_jax.config import LossConfig, ModelConfig, require
from llm_jax.model.params import Params
from llm_jax.sharding import global_batch
from llm_jax.training.losses import language_model_loss

Batch = dict[str, np.ndarray]


def sum_nll(params: Params, batches: Iterator[Batch], model: ModelConfig, *,
            chunk: int = 0) -> tuple[float, float]:
  """Total negative log-likelihood in nats, and the tokens it is of.

  Args:
    params: model parameters, on the ambient mesh where there is one.
    batches: dicts of [B, T] arrays, as `llm_jax/data/pipeline.py` makes them:
      where there is a mesh, the rows `sharding.process_rows` of this process.
    model: the model.
  """
  nll, tokens = [], []
  for batch in batches:
    loss_sum, weight = _nll(params, _placed(batch, model),
                            _without_balance(model), chunk)
    nll.append(loss_sum)
    tokens.append(weight)
  # Read at the end, so that no step waits; added up in float64.
  return math.fsum(map(float, nll)), math.fsum(map(float, tokens))


def evaluate_bits_per_byte(params: Params, dataset: Sequence[Batch],
                           num_bytes: int, model: ModelConfig, *,
                           max_batches: int = 0, chunk: int = 0) -> float:
  """Σ -log₂ p(token | before it in its window) / bytes of the text.

  The tokens between documents are predicted too, and stand for no byte: the
  rate is that of the text with its division into documents.

  Args:
    params: model parameters.
    dataset: validation batches, all of the same shape, `dataset[n]`.
    num_bytes: bytes of the text that the whole dataset holds.
    model: the model.
    max_batches: use the first so many, and the share of the bytes that their
      share of the tokens is; 0: all.
    chunk: tokens of a row whose logits exist at once; 0: all.

  Returns:
    Bits per byte.

  Raises:
    ConfigError: no text to evaluate on.
  """
  require(len(dataset) > 0 and num_bytes > 0, "there is no validation text; "
          "raise --data.validation_fraction and make the shards again.")
  count = min(max_batches or len(dataset), len(dataset))
  nll, tokens = sum_nll(params, (dataset[i] for i in range(count)), model,
                        chunk=chunk)
  if count < len(dataset):
    # All batches are full but for the last, so the total needs no pass.
    last_BT = _placed(dataset[len(dataset) - 1], model)["loss_mask"]
    total = (len(dataset) - 1) * last_BT.size + float(jnp.sum(last_BT))
    num_bytes = num_bytes * tokens / total
  require(tokens > 0, "the validation text has no token to predict; give more.")
  return nll / math.log(2) / num_bytes


def _placed(batch: Batch, model: ModelConfig) -> dict[str, Any]:
  """The global batch, on the ambient mesh where there is one."""
  mesh = jax.sharding.get_mesh()
  return batch if mesh.empty else global_batch(batch, mesh, model.rules)


def _without_balance(model):
  """The load of experts is none of the text's likelihood."""
  return dataclasses.replace(
      model, moe=dataclasses.replace(model.moe, balance_coef=0.0))


def _nll_step(params, batch, model, chunk):
  loss_sum, aux = language_model_loss(params, None, batch, 0, config=model,
                                      loss=LossConfig(chunk=chunk))
  return loss_sum, aux.weight


_nll = jax.jit(_nll_step, static_argnames=("model", "chunk"))
