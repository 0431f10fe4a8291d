"""What a model can do, in numbers.

    python -m experiments.evaluate --checkpoint=runs/quickstart/rl
    python -m experiments.evaluate --checkpoint=runs/pretrain \\
        --suite=bits_per_byte --data.path=my_texts/ \\
        --data.validation_fraction=0
    python -m experiments.evaluate --checkpoint=runs/sft --suite=problems \\
        --problems.path=problems.jsonl --samples=8 --output=result.json
    python -m experiments.evaluate --checkpoint=organisation/name \\
        --suite=bits_per_byte --data.path=my_texts/
    python -m experiments.evaluate --checkpoint=runs/sft --suite=psychology \\
        --baseline=runs/pretrain --output=runs/psychology/sft.json

bits_per_byte predicts the held-out part of token shards or of raw text (with
--data.validation_fraction=0, all of it). problems has the held-out problems of
any task answered (a file's, reasoning-gym's, a game's; docs/rewards.md), with
95% intervals, and with several --samples of each also pass@k. Prints JSON. The
model may be anything that experiments.convert takes as a source.

psychology asks who the model is, what it knows and makes up, what it can look
up, compute, spell and count, alone and with tools, and how much that differs
from a baseline on the same questions (docs/psychology.md). With --output it
also writes a page beside the JSON file, of the same name and .html.
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
    ConfigError: no checkpoint, or text, problems or people that cannot be
      read.
  """
  config.validate()
  require(bool(config.checkpoint), "no model is named; give --checkpoint=RUN, "
          "the directory of a training run, such as runs/quickstart/rl.")
  require(config.suite != "psychology" or not config.output
          or config.output.endswith(".json"), f"output={config.output} does "
          "not end in .json; the page beside it has the same name and .html.")
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
  if config.suite == "psychology":
    results["psychology"] = _psychology(config, path, source)
  else:
    results |= _predicted_and_solved(config, path)
  results["seconds"] = round(time.monotonic() - start, 2)
  print(json.dumps(_without_transcripts(results), indent=2), flush=True)
  if config.output:
    output = as_path(config.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(results, indent=2) + "\n")
    if config.suite == "psychology":
      from llm_jax.serving.psychology_page import render_psychology
      page = output.with_suffix(".html")
      page.write_text(render_psychology(results["psychology"]),
                      encoding="utf-8")
      print(f"the page: {page}", flush=True)
  return results


def _predicted_and_solved(config: EvaluateConfig, path: str) -> dict[str, Any]:
  """The suites `bits_per_byte` and `problems`, as far as they are asked for."""
  from llm_jax.convert import pretrained
  results: dict[str, Any] = {}
  loaded = pretrained.load_pretrained(path)
  require(loaded[2] is not None, f"{config.checkpoint} has no tokenizer; put "
          "the model's tokenizer.json there.")
  if config.suite in ("all", "bits_per_byte"):
    results["bits_per_byte"] = _bits_per_byte(config, *loaded)
  if config.suite in ("all", "sums", "problems"):
    name = "sums" if config.problems.path == "sums" else "problems"
    results[name] = _problems(config, *loaded)
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
  if not hasattr(environment, "all_problems"):
    problems = environment.held_out_problems(config.problems.eval_problems)
  else:
    # All of a file that was given to be evaluated on; held-out ones first.
    problems = environment.all_problems()[:config.problems.eval_problems]
  result = evaluate_problems(
      params, problems, environment, tokenizer, config.sampling, model,
      key=jax.random.key(config.seed), batch_size=config.batch_size,
      num_samples=config.samples)
  if hasattr(environment, "close"):
    environment.close()
  return result.summary()


def _psychology(config: EvaluateConfig, path: str,
                source: Any) -> dict[str, Any]:
  """The model, and the baseline, put to the sections."""
  from experiments.probe_knowledge import load_respondent
  from llm_jax.data import biographies
  from llm_jax.evals.psychology import identity, promises, sections, suite
  from llm_jax.evals.psychology.asking import Subject
  from llm_jax.inference.tools import load_tools
  from llm_jax.training.saved_models import checkpoint_info
  wanted = config.psychology
  before = earlier_results(config.baseline) if config.baseline.endswith(
      ".json") else None
  people = None
  if set(wanted.sections) & set(sections.ABOUT_PEOPLE):
    people = biographies.read_people(wanted.people)
  tools = {tool.name: tool for tool in load_tools(wanted.offered)}
  facts = wanted.identity_facts
  if not facts and source.kind == "run":
    facts = identity.facts_of_run(checkpoint_info(path)[0])
  require(bool(facts) or "identity" not in wanted.sections, "what the model "
          f"was trained to say of itself is not known of {config.checkpoint}; "
          "give it as --psychology.identity_facts, or leave the section "
          "identity out of --psychology.sections.")
  made = sections.make_sections(wanted, people, facts, config.seed)

  def put_to(name: str, where: str, flag: str) -> dict[str, Any]:
    model = load_respondent(where, wanted.style, (), config.batch_size,
                            config.seed, flag)
    subject = Subject(model, tools, wanted.temperature,
                      wanted.tools.max_calls, wanted.max_new_tokens)
    found = {"sections": suite.run_sections(
        made, subject, lambda line: print(f"{name}: {line}", flush=True)),
             "calibration": None}
    if people is not None and wanted.calibration_facts:
      found["calibration"] = suite.calibration_of(people, wanted, config.seed,
                                                  subject)
    return found

  if config.baseline and before is None:
    before = put_to("before", config.baseline, "--baseline")
  after = put_to("after" if before else config.checkpoint, path,
                 "--checkpoint")
  old = before["sections"] if before else None
  checked = promises.check(after["sections"], old)
  print("\n" + promises.table(checked) + "\n", flush=True)
  return {"model": config.checkpoint, "baseline": config.baseline,
          "promises": checked, **after, "sections_before": old,
          "calibration_before": before["calibration"] if before else None,
          "comparison": suite.compare(old or (), after["sections"])}


def earlier_results(path: str) -> dict[str, Any]:
  """What an earlier evaluation found with `--suite=psychology`.

  Raises:
    ConfigError: there is no such file, or it is of another suite.
  """
  from llm_jax.paths import as_path
  file = as_path(path)
  require(file.exists(), f"baseline={path} does not exist; give a model, or "
          "the --output of an earlier evaluation.")
  try:
    found = json.loads(file.read_text(encoding="utf-8"))
  except json.JSONDecodeError:
    found = {}
  require("psychology" in found, f"baseline={path} is not the --output of an "
          "evaluation with --suite=psychology; give one that is, or a model.")
  return found["psychology"]


def _without_transcripts(value: Any) -> Any:
  """Results as they are printed: numbers, not conversations."""
  if isinstance(value, dict):
    return {name: _without_transcripts(inner) for name, inner in value.items()
            if name not in ("transcripts", "verdicts", "sections_before")}
  if isinstance(value, list):
    return [_without_transcripts(inner) for inner in value]
  return value


if __name__ == "__main__":
  config_flags.launch(EvaluateConfig, run)
