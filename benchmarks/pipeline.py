"""Batches made per second beside those that a small model takes.

    python -m benchmarks.pipeline

Tokenises the Wikipedia introductions, then measures in one process

* the pipeline alone: tokens per second of batches read from token shards,
  shuffled and laid out by the background threads of `pipeline.iterate`, of one
  corpus and of a mixture of two;
* training: `experiments.pretrain` with the model of the quickstart (1.4 M
  parameters), whose `metrics.jsonl` says how many tokens per second it took
  and what share of its steps it waited for a batch.

Prints one JSON line and appends a row to `benchmarks/RESULTS.md`. `ratio` is
pipeline over training; `data_wait_share` is Σ waited / Σ step times over all
records but the first.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import tempfile
import time
from typing import Any

from absl import app
from absl import flags
from absl import logging

from benchmarks.results import append_row, surroundings
from llm_jax.host_memory import keep_freed_memory

_STEPS = flags.DEFINE_integer("steps", 80, "steps of training", 20)
_BATCHES = flags.DEFINE_integer("batches", 2000, "batches of the pipeline", 100)
_REPEATS = flags.DEFINE_integer("repeats", 5, "passes over these", 3)
_APPEND = flags.DEFINE_bool("append", True, "append to benchmarks/RESULTS.md")

COLUMNS = ("date", "ratio", "ratio_mixture", "data_wait_share",
           "pipeline_tokens_per_s", "mixture_tokens_per_s",
           "train_tokens_per_s", "steps", "repeats", "load_average")


def make_shards(directory: str) -> list[str]:
  """A vocabulary of 4,096 and two sets of token shards of the introductions."""
  from experiments import tokenize_corpus, train_tokenizer
  from llm_jax.config import (
      TextConfig, TokenizeCorpusConfig, TokenizerConfig, TrainTokenizerConfig)
  tokenizer = f"{directory}/tokenizer"
  train_tokenizer.run(TrainTokenizerConfig(
      tokenizer=TokenizerConfig(vocab_size=4096), output=tokenizer))
  outputs = []
  for seed in range(2):
    outputs.append(f"{directory}/shards_{seed}")
    tokenize_corpus.run(TokenizeCorpusConfig(
        data=TextConfig(), tokenizer=tokenizer, output=outputs[-1], seed=seed))
  return outputs


def pipeline_speed(paths: list[str], seq_len: int, batch_size: int,
                   num_batches: int) -> float:
  """Tokens per second of batches that nobody trains on."""
  from llm_jax.data import pipeline
  from llm_jax.data.token_shards import TokenShards
  dataset = pipeline.mixture_dataset(
      [(TokenShards.open(path), 1 / len(paths)) for path in paths],
      seq_len, batch_size)
  batches = pipeline.iterate(dataset)
  next(batches)  # the threads have started
  began = time.perf_counter()
  for _ in range(num_batches):
    next(batches)
  seconds = time.perf_counter() - began
  batches.close()
  return num_batches * batch_size * seq_len / seconds


def train(path: str, directory: str, num_steps: int) -> list[dict[str, Any]]:
  """Records of a run of the quickstart's model, those of its first apart."""
  from configs import quickstart_pretrain
  from experiments import pretrain
  from llm_jax.training.results import read_metrics
  config = quickstart_pretrain.get_config()
  workdir = f"{directory}/run"
  pretrain.run(dataclasses.replace(
      config, workdir=workdir, num_steps=num_steps, eval_every=0,
      eval_batches=1, sample_tokens=0,
      data=dataclasses.replace(config.data, path=path),
      logging=dataclasses.replace(config.logging, every=10)))
  return read_metrics(workdir, "data_wait_seconds")


def run(num_steps: int, num_batches: int, repeats: int) -> dict[str, Any]:
  """Measures both, and returns the record."""
  from configs import quickstart_pretrain
  config = quickstart_pretrain.get_config()
  shape = (config.seq_len, config.batch_size)
  with tempfile.TemporaryDirectory() as directory:
    paths = make_shards(directory)
    alone = statistics.median(
        pipeline_speed(paths[:1], *shape, num_batches) for _ in range(repeats))
    mixture = statistics.median(
        pipeline_speed(paths, *shape, num_batches) for _ in range(repeats))
    records = train(paths[0], directory, num_steps)
  trained = statistics.median(r["tokens_per_second"] for r in records)
  waited = (sum(r["data_wait_seconds"] for r in records)
            / sum(r["step_seconds"] for r in records))
  return {"benchmark": "pipeline", "ratio": alone / trained,
          "ratio_mixture": mixture / trained, "data_wait_share": waited,
          "pipeline_tokens_per_s": alone, "mixture_tokens_per_s": mixture,
          "train_tokens_per_s": trained, "steps": num_steps,
          "repeats": repeats} | surroundings()


def main(argv: list[str]) -> None:
  """Runs the benchmark on two cores, whatever the machine has."""
  del argv
  if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
  keep_freed_memory()
  logging.set_verbosity(logging.WARNING)
  record = run(_STEPS.value, _BATCHES.value, _REPEATS.value)
  print(json.dumps(record))
  if _APPEND.value:
    append_row(record, COLUMNS)


if __name__ == "__main__":
  app.run(main)
