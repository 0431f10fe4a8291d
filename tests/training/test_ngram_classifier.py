"""The classifier's loss and gradient, against NumPy by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from llm_jax.data.crawl.classifier import NgramModel, pad_bags, score
from llm_jax.training.ngram_classifier import (
    classifier_logits, classifier_loss, init_classifier)

V, D = 11, 3


def example(rng, sizes=(4, 1, 7, 0)):
  params = {"table_VD": rng.normal(size=(V, D)), "linear_D": rng.normal(size=D),
            "bias": rng.normal()}
  bags = [rng.integers(0, V, n).astype(np.int32) for n in sizes]
  return params, bags, rng.uniform(size=len(sizes))


def batch_of(bags, labels, rows):
  batch = pad_bags(bags, rows)
  spare = (0, rows - len(bags))
  return batch | {"labels_B": np.pad(labels, spare),
                  "weights_B": np.pad(np.ones(len(bags)), spare)}


def by_hand(params, bags, labels):
  """(loss, gradients) with a loop over documents and n-grams."""
  table, linear, bias = (params[k] for k in ("table_VD", "linear_D", "bias"))
  grads = {k: np.zeros_like(np.asarray(v)) for k, v in params.items()}
  total = 0.0
  for bag, label in zip(bags, labels):
    mean = sum((table[i] for i in bag), np.zeros(D)) / max(len(bag), 1)
    p = 1 / (1 + np.exp(-(mean @ linear + bias)))
    total -= label * np.log(p) + (1 - label) * np.log(1 - p)
    grads["bias"] = grads["bias"] + p - label
    grads["linear_D"] += (p - label) * mean
    for i in bag:
      grads["table_VD"][i] += (p - label) * linear / len(bag)
  return total, grads


@pytest.mark.parametrize("rows", [4, 9])
def test_loss_and_gradient_are_those_by_hand(rows):
  params, bags, labels = example(np.random.default_rng(0))
  (loss, aux), grads = jax.value_and_grad(classifier_loss, has_aux=True)(
      jax.tree.map(jnp.float32, params), None, batch_of(bags, labels, rows),
      jnp.zeros((), jnp.int32))
  expected_loss, expected_grads = by_hand(params, bags, labels)
  assert float(loss) == pytest.approx(expected_loss, rel=1e-5)
  assert float(aux.weight) == len(bags)
  for name, expected in expected_grads.items():
    np.testing.assert_allclose(grads[name], expected, atol=2e-6, rtol=2e-5)


def test_numpy_scores_as_jax_does():
  params, bags, _ = example(np.random.default_rng(1), (5, 30, 1, 0, 13))
  padded = pad_bags(bags, 8)
  logits = classifier_logits(jax.tree.map(jnp.float32, params),
                             padded["ids_N"], padded["rows_N"],
                             padded["shares_N"], 8)
  model = NgramModel(params["table_VD"], params["linear_D"], params["bias"], 1)
  scores = [score(bag, model.row_scores(), model.bias) for bag in bags]
  np.testing.assert_allclose(scores, jax.nn.sigmoid(logits)[:len(bags)],
                             rtol=1e-5)


def test_an_ngram_that_was_never_seen_says_nothing():
  params = init_classifier(jax.random.key(0), V, D)
  seen = [np.array([1, 2], np.int32), np.array([3, 4], np.int32)]
  batch = batch_of(seen, np.array([1.0, 0.0]), 2)
  tx = optax.adam(0.1)
  state = tx.init(params)
  losses = []
  for step in range(20):
    (loss, _), grads = jax.value_and_grad(classifier_loss, has_aux=True)(
        params, None, batch, jnp.int32(step))
    updates, state = tx.update(grads, state)
    params = optax.apply_updates(params, updates)
    losses.append(float(loss))
  assert losses[0] == pytest.approx(2 * np.log(2)) and losses[-1] < 0.1
  moved = np.flatnonzero(np.abs(np.asarray(params["table_VD"])).sum(1))
  assert moved.tolist() == [1, 2, 3, 4]
