"""What a model can do, in numbers.

    python -m experiments.evaluate --checkpoint=runs/quickstart/rl
    python -m experiments.evaluate --checkpoint=runs/pretrain \\
        --suite=bits_per_byte --data.path=my_texts/ \\
        --data.validation_fraction=0
    python -m experiments.evaluate --checkpoint=runs/sft --suite=sums \\
        --problems.path=problems.jsonl --output=result.json
    python -m experiments.evaluate --checkpoint=organisation/name \\
        --suite=bits_per_byte --data.path=my_texts/

bits_per_byte predicts the held-out part of token shards or of raw text (with
--data.validation_fraction=0, all of it); sums has held-out problems answered,
one sample each, with a 95% interval. Prints JSON. The model may be anything
that experiments.convert takes as a source.
"""

from __future__ import annotations

import dataclasses
import json
import time
from typing import Any

from llm_jax import config_flags
from llm_jax.config import EvaluateConfig, require


def run(config: EvaluateConfig) -> dict[str, Any]:
  """Evaluates a checkpoint.

  Returns:
    `checkpoint`, of a run its `stage` and `step`, and for each suite what it
    found.

  Raises:
    ConfigError: no checkpoint, or text or problems that cannot be read.
  """
  config.validate()
  require(bool(config.checkpoint), "no model is named; give --checkpoint=RUN, "
          "the directory of a training run, such as runs/quickstart/rl.")
  from llm_jax.convert import pretrained
  from llm_jax.paths import as_path
  from llm_jax.training.saved_models import checkpoint_info
  from llm_jax.workdir import enable_compilation_cache
  start = time.monotonic()
  results: dict[str, Any] = {"checkpoint": config.checkpoint}
  source = pretrained.find(config.checkpoint, flag="--checkpoint")
  path = str(source.path)
  if source.kind == "run":
    directory, step, info = checkpoint_info(path)
    enable_compilation_cache(directory)
    path = str(directory / "checkpoints" / str(step))
    results |= {"stage": info["stage"], "step": step}
  loaded = pretrained.load_pretrained(path)
  require(loaded[2] is not None, f"{config.checkpoint} has no tokenizer; put "
          "the model's tokenizer.json there.")
  if config.suite in ("all", "bits_per_byte"):
    results["bits_per_byte"] = _bits_per_byte(config, *loaded)
  if config.suite in ("all", "sums"):
    name = "sums" if config.problems.path == "sums" else "problems"
    results[name] = _problems(config, *loaded)
  results["seconds"] = round(time.monotonic() - start, 2)
  text = json.dumps(results, indent=2)
  print(text, flush=True)
  if config.output:
    output = as_path(config.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text + "\n")
  return results


def _bits_per_byte(config: EvaluateConfig, params: Any, model: Any,
                   tokenizer: Any) -> dict[str, Any]:
  """Of token shards as they are, or of raw text, tokenised in passing."""
  import tempfile

  from llm_jax.data import documents, shard_writer, token_shards
  data = config.data
  if data.validation_path:  # then the rest need not be read
    data = dataclasses.replace(data, path=data.validation_path,
                               validation_path="", validation_fraction=0.0)
  if token_shards.read_meta(data.path) is not None:
    shards = token_shards.TokenShards.open(data.path, tokenizer)
    return _shards_bits(config, params, model, shards, "validation")
  split = "validation" if data.holds_out else "train"
  chosen = (("train", document) for side, document in
            documents.split_corpus(data, config.seed) if side == split)
  with tempfile.TemporaryDirectory() as directory:
    shard_writer.write_shards(chosen, tokenizer, directory,
                              progress=lambda line: None)
    shards = token_shards.TokenShards.open(directory)
    return _shards_bits(config, params, model, shards, "train")


def _shards_bits(config: EvaluateConfig, params: Any, model: Any, shards: Any,
                 split: str) -> dict[str, Any]:
  import grain

  from llm_jax.data.pipeline import WindowRows
  from llm_jax.evals.bits_per_byte import evaluate_bits_per_byte
  seq_len = min(config.seq_len, model.max_seq_len)
  rows = WindowRows(shards.tokens(split), shards.endoftext_id, seq_len)
  num_bytes, batch_size = shards.num_bytes(split), config.batch_size
  # Once, in order; numbers beyond the last row read as padding.
  numbers = grain.MapDataset.range(-(-len(rows) // batch_size) * batch_size)
  dataset = numbers.batch(batch_size).map(rows.read)
  return {"value": evaluate_bits_per_byte(params, dataset, num_bytes, model),
          "text": config.data.validation_path or config.data.path,
          "bytes": num_bytes,
          "tokens": shards.num_tokens(split), "seq_len": seq_len}


def _problems(config: EvaluateConfig, params: Any, model: Any,
              tokenizer: Any) -> dict[str, Any]:
  import jax

  from llm_jax.evals.generative import evaluate_problems
  from llm_jax.rl.environments.loading import load_environment
  environment = load_environment(config.problems, config.seed)
  if config.problems.path == "sums":
    problems = environment.held_out_problems(config.problems.eval_problems)
  else:
    # All of a file that was given to be evaluated on; held-out ones first.
    problems = environment.all_problems()[:config.problems.eval_problems]
  result = evaluate_problems(
      params, problems, environment, tokenizer, config.sampling, model,
      key=jax.random.key(config.seed), batch_size=config.batch_size)
  return result.summary()


if __name__ == "__main__":
  config_flags.launch(EvaluateConfig, run)
