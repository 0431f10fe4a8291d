"""Learns to tell good text from bad, from a few hundred labelled documents.

    python -m experiments.train_quality_classifier --data=labelled.jsonl \\
        --output=runs/quality_classifier
    python -m experiments.curate --curate.classifier.enabled \\
        --curate.classifier.model=runs/quality_classifier

Each line of the data is an object with `text` and `label`, 0 (bad) to 1 (good);
grades between are labels, too. It writes `model.npz`, `config.json`, `run.json`
and `results.json`, with what it is worth on documents that were held out. The
last table there tells which threshold to choose: of documents that score 0.7,
about 70% should be good.
"""

from __future__ import annotations

import json
import time
from typing import Any

from llm_jax import config_flags
from llm_jax.config import TrainQualityClassifierConfig

_REPORTS = 10  # lines of progress


def run(config: TrainQualityClassifierConfig) -> dict[str, Any]:
  """Trains, saves and measures; returns `results.json`.

  Raises:
    ConfigError: data that is missing or not as it should be.
  """
  config.validate()
  import dataclasses
  import functools
  import jax
  import numpy as np
  import optax
  from llm_jax import run_record
  from llm_jax.data import labelled
  from llm_jax.data.crawl import classifier
  from llm_jax.evals import binary_scores
  from llm_jax.metric_writers import format_line
  from llm_jax.paths import as_path
  from llm_jax.training.ngram_classifier import (
      classifier_loss, init_classifier)
  from llm_jax.training.train_step import TrainState, train_step

  sides = labelled.split_labelled(
      labelled.read_labelled(config.data, config.text_column,
                             config.label_column),
      config.seed, config.validation_fraction)
  train, held_out = (
      ([classifier.ngram_ids(e.text, config.ngrams, config.buckets)
        for e in side], np.array([e.label for e in side], np.float32))
      for side in sides)
  output = as_path(config.output)
  run_record.write_record(output, config, run_record.program_info(
      ("jax", "optax", "numpy", "xxhash")))

  def batch_of(chosen: np.ndarray) -> dict[str, np.ndarray]:
    """The batch of some training documents, padded to the full size."""
    batch = classifier.pad_bags([train[0][i] for i in chosen],
                                config.batch_size)
    spare = (0, config.batch_size - len(chosen))
    batch["labels_B"] = np.pad(train[1][chosen], spare)
    batch["weights_B"] = np.pad(np.ones(len(chosen), np.float32), spare)
    return batch

  def model_of(params: dict[str, jax.Array]) -> classifier.NgramModel:
    table_VD, linear_D, bias = (
        np.asarray(params[name]) for name in ("table_VD", "linear_D", "bias"))
    return classifier.NgramModel(table_VD, linear_D, float(bias),
                                 config.ngrams)

  def held_out_scores(model: classifier.NgramModel) -> np.ndarray:
    row_scores = model.row_scores()
    return np.array([classifier.score(ids, row_scores, model.bias)
                     for ids in held_out[0]])

  tx = optax.adam(config.learning_rate)
  params = init_classifier(jax.random.key(config.seed), config.buckets,
                           config.embed_dim)
  state = TrainState(jax.numpy.zeros((), "int32"), params, tx.init(params))
  step_fn = jax.jit(functools.partial(train_step, loss_fn=classifier_loss,
                                      tx=tx), donate_argnums=0)
  print(f"classifier: {len(train[0])} documents to learn from, "
        f"{len(held_out[0])} held out", flush=True)
  start = time.monotonic()
  for epoch in range(1, config.epochs + 1):
    order = np.random.default_rng((config.seed, epoch)).permutation(
        len(train[0]))
    losses = []
    for first in range(0, len(order), config.batch_size):
      state, metrics = step_fn(
          state, None, batch_of(order[first:first + config.batch_size]))
      losses.append((metrics["loss"], metrics["weight"]))
    if epoch % max(config.epochs // _REPORTS, 1) and epoch != config.epochs:
      continue
    values = np.array(jax.device_get(losses))
    scores = held_out_scores(model_of(state.params))
    seconds = time.monotonic() - start
    print(format_line(epoch, config.epochs, {
        "loss": float(np.average(values[:, 0], weights=values[:, 1])),
        "held_out_loss": binary_scores.cross_entropy(scores, held_out[1]),
    }, eta_seconds=seconds / epoch * (config.epochs - epoch)).replace(
        "step", "epoch", 1), flush=True)

  model = model_of(state.params)
  classifier.save_model(output, model)
  scores, labels = held_out_scores(model), held_out[1]
  positive = labels >= labelled.POSITIVE
  results = {
      "train_documents": len(train[0]), "held_out_documents": len(labels),
      "held_out_positive": int(positive.sum()),
      "auc": binary_scores.auc(scores, positive),
      "accuracy": binary_scores.accuracy(scores, positive),
      "loss": binary_scores.cross_entropy(scores, labels),
      "calibration": [dataclasses.asdict(b) for b in
                      binary_scores.calibration(scores, labels)]}
  (output / "results.json").write_text(json.dumps(results, indent=1) + "\n")
  print(_table(results) + f"\nsaved in {output}", flush=True)
  return results


def _table(results: dict[str, Any]) -> str:
  """What was measured, for the terminal."""
  lines = [f"held out: AUC {results['auc']:.4f}, accuracy "
           f"{results['accuracy']:.1%}, cross-entropy {results['loss']:.3f}",
           "score       documents  mean score  mean label"]
  lines += [f"{b['low']:.1f} to {b['high']:.1f}  {b['items']:9,}  "
            f"{b['mean_score']:10.3f}  {b['mean_label']:10.3f}"
            for b in results["calibration"]]
  return "\n".join(lines)


if __name__ == "__main__":
  config_flags.launch(TrainQualityClassifierConfig, run)
