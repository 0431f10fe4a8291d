"""The whole story, small and real: raw text in, a model to talk to out.

    python -m experiments.quickstart --config=configs/quickstart.py

Makes a crawl of web pages and cleans it; trains a tokenizer, a base model, an
assistant and a reasoner on two CPU cores, one after the other, by calling the
`run()` of each experiment; then asks all three models the same questions and
writes `<workdir>/report.html` (to look at) and `report.json` (to read).
Finished stages are recognised and skipped; one that was killed goes on from
where it was, or from its last checkpoint.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import lzma
import math
import os
import time
from collections.abc import Callable
from typing import Any

from llm_jax import config_flags
from llm_jax.config import QuickstartConfig, RlConfig, SftConfig, TextConfig

SETUP_SECONDS = "SETUP_SECONDS"  # set by the Makefile, if it set anything up


def sft_step_flops(config: SftConfig, model: Any) -> float:
  """Operations of one step of supervised finetuning."""
  from llm_jax.flops import flops_per_token
  return (config.batch_size * config.seq_len
          * flops_per_token(model, config.seq_len))


def rl_flops(config: RlConfig, model: Any, rollout_rows: int) -> float:
  """Operations of an RL run, all that is sampled, read and trained.

  A forward pass is a third of a training step's operations.

  Args:
    config: of the run.
    model: that was trained.
    rollout_rows: that were sampled, also those that were not trained on.
  """
  from llm_jax.flops import flops_per_token
  objective = config.objective
  rollouts = config.num_steps * config.batch_size * config.group_size
  updates = rollouts * config.updates_per_rollout
  forward = rollout_rows + rollouts * (
      (objective.importance_cap > 0) + objective.needs_critic)
  if objective.needs_reference:
    forward += updates if objective.kl_in == "loss" else rollouts
  trained = updates * (1 + objective.needs_critic)
  return ((trained + forward / 3) * config.seq_len
          * flops_per_token(model, config.seq_len))


def continued_sft(sft: SftConfig, rl: RlConfig, model: Any, workdir: str,
                  rollout_rows: int) -> SftConfig:
  """More SFT from the finished SFT model, with at least the RL's operations.

  It is the control: what the same computation gives without rewards. Data of
  another seed, so that none of it has been seen.
  """
  steps = math.ceil(rl_flops(rl, model, rollout_rows)
                    / sft_step_flops(sft, model))
  return dataclasses.replace(
      sft, init_from=sft.workdir, workdir=workdir, seed=sft.seed + 1,
      plateau_metric="", num_steps=steps)


def compressed_bits_per_byte(data: TextConfig, seed: int) -> dict[str, float]:
  """What general compressors make of the held-out text."""
  from llm_jax.data.documents import split_corpus
  text = "\n".join(document.text for split, document in
                   split_corpus(data, seed, report=lambda line: None)
                   if split == "validation").encode()
  return {"gzip_bits_per_byte": 8 * len(gzip.compress(text, 9)) / len(text),
          "xz_bits_per_byte": 8 * len(lzma.compress(text, preset=9))
          / len(text)}


def answer(model: tuple, prompts: tuple[str, ...], max_new_tokens: int,
           temperature: float, seed: int) -> list[str]:
  """Answers of an assistant `(params, config, tokenizer)`, one per prompt."""
  import jax
  from llm_jax.config import SamplingConfig
  from llm_jax.inference.completions import completion_texts, generate_tokens
  from llm_jax.tokenizer.chat import render_prompt, stop_ids
  params, config, tokenizer = model
  ids = [render_prompt([{"role": "user", "content": prompt}], tokenizer)
         for prompt in prompts]
  samples = generate_tokens(
      params, ids, jax.random.key(seed),
      SamplingConfig(temperature=temperature, max_new_tokens=max_new_tokens),
      config, prompt_len=max(map(len, ids)), stop_ids=stop_ids(tokenizer))
  return completion_texts(samples, tokenizer)


def _curve(workdir: str, name: str) -> list[list[float]]:
  """[[step, value], ...] of a metric."""
  from llm_jax.training.results import read_metrics
  return [[r["step"], r[name]] for r in read_metrics(workdir, name)]


def _samples(workdir: str) -> list[dict[str, Any]]:
  from llm_jax.metric_writers import read_jsonl
  from llm_jax.paths import as_path
  return read_jsonl(as_path(workdir) / "samples.jsonl")


class _Stopwatch:
  """Seconds of each stage, over all starts, in `<workdir>/seconds.json`."""

  def __init__(self, workdir: str):
    from llm_jax.paths import as_path
    self._path = as_path(workdir) / "seconds.json"
    self._path.parent.mkdir(parents=True, exist_ok=True)
    self.seconds: dict[str, float] = (
        json.loads(self._path.read_text()) if self._path.exists() else {})
    if os.environ.get(SETUP_SECONDS):
      self._put("setup", float(os.environ[SETUP_SECONDS]))

  def _put(self, stage: str, seconds: float) -> None:
    self.seconds[stage] = seconds
    self._path.write_text(json.dumps(self.seconds))

  def time(self, stage: str, call: Callable[[], Any]) -> Any:
    """Calls; a stage that was finished before keeps its time."""
    print(f"\n=== {stage} ===", flush=True)
    began = time.monotonic()
    result = call()
    if stage not in self.seconds:
      self._put(stage, time.monotonic() - began)
    return result

  def train(self, stage: str, call: Callable[[], Any]) -> Any:
    """Calls a training stage, whose results say how long it trained."""
    print(f"\n=== {stage} ===", flush=True)
    result = call()
    self._put(stage, result["seconds"])
    return result


def run(config: QuickstartConfig) -> dict[str, Any]:
  """Runs what is not yet done; returns what `report.json` holds."""
  # datatrove's bars over files of milliseconds; read when tqdm is imported.
  os.environ.setdefault("TQDM_DISABLE", "1")
  from experiments import (
      curate, make_sample_crawl, pretrain, rl, sft, tokenize_corpus,
      train_tokenizer)
  from llm_jax.paths import as_path
  began = time.monotonic()
  watch = _Stopwatch(config.workdir)
  # Before JAX is there: these stages fork, which its threads do not survive.
  watch.time("crawl", lambda: make_sample_crawl.run(config.crawl))
  funnel = watch.time("curate", lambda: curate.run(config.curate))
  from llm_jax import workdir as run_directory
  run_directory.enable_compilation_cache(f"{config.workdir}/stage")
  tokenizer = watch.time("tokenizer",
                         lambda: train_tokenizer.run(config.tokenizer))
  watch.time("corpus", lambda: tokenize_corpus.run(config.corpus))
  compressors = compressed_bits_per_byte(config.corpus.data,
                                         config.corpus.seed)
  base = watch.train("pretrain", lambda: pretrain.run(config.pretrain))
  print(f"validation bits per byte: {base['val_bits_per_byte_end']:.3f}; "
        f"gzip -9: {compressors['gzip_bits_per_byte']:.3f}, "
        f"xz -9: {compressors['xz_bits_per_byte']:.3f}", flush=True)
  tuned = watch.train("sft", lambda: sft.run(config.sft))
  reasoner = watch.train("rl", lambda: rl.run(config.rl))
  from llm_jax.training.startup import model_of
  model = model_of(config.sft.workdir)
  control = continued_sft(config.sft, config.rl, model,
                          f"{config.workdir}/sft_continued",
                          reasoner["rollout_rows"])
  continued = watch.train("sft_continued", lambda: sft.run(control))
  report = watch.time("report", lambda: _report(
      config, model, tokenizer, base | compressors, tuned,
      continued | {
          "flops": continued["steps"] * sft_step_flops(control, model),
          "workdir": control.workdir}, reasoner) | {"funnel": funnel})
  report["seconds"] = watch.seconds | {
      "total": sum(seconds for stage, seconds in watch.seconds.items()
                   if stage != "setup")}
  write_report(config, report)
  gain = report["rl"]
  print(f"""
=== done in {time.monotonic() - began:.0f} s ===
bits per byte {base['val_bits_per_byte_start']:.2f} -> \
{base['val_bits_per_byte_end']:.2f}
sums solved: SFT {gain['accuracy_before']:.1%}, as much SFT again \
{gain['accuracy_sft_continued']:.1%}, RL {gain['accuracy_after']:.1%} \
(gain {100 * gain['gain']:.1f} points, 95% interval \
{100 * gain['gain_low']:.1f} to {100 * gain['gain_high']:.1f})
the report:    {as_path(config.workdir) / 'report.html'}
talk to it:    python -m experiments.chat --checkpoint={config.rl.workdir}
""", flush=True)
  return report


def _report(config: QuickstartConfig, model: Any, tokenizer: dict,
            base: dict, tuned: dict, continued: dict,
            reasoner: dict) -> dict[str, Any]:
  """Asks the three models and gathers all that the report shows."""
  from llm_jax import workdir as run_directory
  from llm_jax.evals.generative import evaluate_as_in_run
  from llm_jax.inference.completions import complete
  from llm_jax.inference.tools import load_tools
  from llm_jax.model.params import param_table
  from llm_jax.rl.environments.loading import load_environment
  from llm_jax.training.saved_models import load_params

  base_model, sft_model, rl_model, control_model = (
      load_params(path) for path in (
          config.pretrain.workdir, config.sft.workdir, config.rl.workdir,
          continued["workdir"]))
  environment = load_environment(config.rl.data, config.rl.seed)
  control = evaluate_as_in_run(
      control_model[0],
      environment.held_out_problems(config.rl.data.eval_problems),
      environment, control_model[2], model, config.rl,
      load_tools(config.rl.tools))
  prompts = config.report_prompts
  answers = zip(
      prompts,
      complete(base_model[0], prompts, base_model[2], model, 64,
               temperature=config.report_temperature, seed=config.rl.seed),
      *(answer(chosen, prompts, 96, config.report_temperature,
               config.rl.seed) for chosen in (sft_model, rl_model)))
  evaluated = [r for r in _samples(config.rl.workdir) if "eval" in r]
  before, after = ({r["eval"]: r for r in evaluated if r["step"] == step}
                   for step in (0, config.rl.num_steps))
  kinds = sorted(name.removeprefix("val_loss/").removesuffix("_end")
                 for name in tuned
                 if name.startswith("val_loss/") and name.endswith("_end"))
  return {
      "tokenizer": {name: tokenizer[name]
                    for name in ("vocab_size", "bytes_per_token")},
      "pretrain": base | {
          "curve": _curve(config.pretrain.workdir, "loss"),
          "val_curve": _curve(config.pretrain.workdir, "val_bits_per_byte")},
      "sft": tuned | {
          "curve": _curve(config.sft.workdir, "loss"),
          "val_curves": {kind: _curve(config.sft.workdir, f"val_loss/{kind}")
                         for kind in kinds}},
      "sft_continued": {"steps": continued["steps"],
                        "accuracy": control.accuracy,
                        "flops": continued["flops"]},
      "rl": reasoner | {
          "accuracy_sft_continued": control.accuracy,
          "flops": rl_flops(config.rl, model, reasoner["rollout_rows"]),
          "eval_curve": _curve(config.rl.workdir, "eval_accuracy"),
          "length_curve": _curve(config.rl.workdir, "completion_tokens")},
      "training_samples": [
          {name: r[name] for name in ("step", "prompt", "text")}
          for r in _samples(config.pretrain.workdir)],
      "samples": [dict(zip(("prompt", "base", "sft", "rl"), each))
                  for each in answers],
      "rl_examples": [
          {"prompt": after[i]["prompt"], "answer": after[i]["answer"],
           "before": before[i]["text"], "after": after[i]["text"],
           "correct_before": bool(before[i]["correct"]),
           "correct_after": bool(after[i]["correct"])} for i in range(6)],
      "parameter_table": [list(row) for row in param_table(model)],
      "versions": run_directory.run_info(),
  }


def write_report(config: QuickstartConfig, report: dict[str, Any]) -> None:
  """Writes report.json and report.html."""
  from llm_jax.data.sums import SumProblem
  from llm_jax.paths import as_path
  from llm_jax.serving.report import render_report
  from llm_jax.tokenizer.loading import load_tokenizer
  from llm_jax.tokenizer.view import show_conversation
  problem = SumProblem((7, 8, 5, 9, 3, 4, 1, 6))
  conversation = show_conversation(
      [{"role": "user", "content": "who are you?"},
       {"role": "assistant",
        "content": config.sft.data.synthetic.identity_facts},
       {"role": "user", "content": problem.prompt()},
       {"role": "assistant", "content": problem.demonstration("steps")}],
      load_tokenizer(config.tokenizer.output))
  directory = as_path(config.workdir)
  (directory / "report.json").write_text(
      json.dumps(report, indent=1, ensure_ascii=False), encoding="utf-8")
  (directory / "report.html").write_text(
      render_report(report, conversation=conversation.html()),
      encoding="utf-8")


if __name__ == "__main__":
  config_flags.launch(QuickstartConfig, run)
