"""A classifier of texts by their n-grams: parameters and loss.

  z = b + v · mean of E[g] over the n-grams g of a text
  L = -Σ w · (y log σ(z) + (1 - y) log(1 - σ(z)))

fastText's supervised model (Joulin et al. 2016, arXiv:1607.01759) for one label
y between 0 and 1. `llm_jax/data/crawl/classifier.py` makes the n-grams, and
scores texts with the result.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from llm_jax.training.losses import Aux


def init_classifier(key: jax.Array, buckets: int,
                    embed_dim: int) -> dict[str, jax.Array]:
  """Fresh parameters: `table_VD`, `linear_D` and `bias`.

  The table begins at zero (fastText: at random), so that an n-gram that is in
  no labelled document, as most are where those are few, says nothing.
  """
  return {"table_VD": jnp.zeros((buckets, embed_dim)),
          "linear_D": jax.random.normal(key, (embed_dim,)) / embed_dim**0.5,
          "bias": jnp.zeros(())}


def classifier_logits(params: dict[str, jax.Array], ids_N: jax.Array,
                      rows_N: jax.Array, shares_N: jax.Array,
                      num_rows: int) -> jax.Array:
  """The logits [B] of texts whose n-grams lie behind each other.

  Args:
    params: of `init_classifier`.
    ids_N: rows of the table.
    rows_N: the text that each is of.
    shares_N: one over the number of n-grams of that text; 0: padding.
    num_rows: B.
  """
  mean_BD = jax.ops.segment_sum(
      params["table_VD"][ids_N] * shares_N[:, None], rows_N, num_rows)
  return mean_BD @ params["linear_D"] + params["bias"]


def classifier_loss(params: dict[str, jax.Array], frozen: Any,
                    batch: dict[str, jax.Array],
                    step: jax.Array) -> tuple[jax.Array, Aux]:
  """Binary cross-entropy with soft labels, summed; weight: documents.

  Args:
    params: of `init_classifier`.
    frozen: not used.
    batch: `ids_N`, `rows_N`, `shares_N`, `labels_B` and `weights_B` (0 where a
      row is padding).
    step: not used.
  """
  del frozen, step
  weights_B = batch["weights_B"]
  logits_B = classifier_logits(params, batch["ids_N"], batch["rows_N"],
                               batch["shares_N"], len(weights_B))
  loss_B = optax.sigmoid_binary_cross_entropy(logits_B, batch["labels_B"])
  return (loss_B * weights_B).sum(), Aux(weights_B.sum())
