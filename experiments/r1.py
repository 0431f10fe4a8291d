"""The recipe of DeepSeek-R1, small and whole.

    python -m experiments.r1 --config=configs/r1.py

    base model -> finetuning -> rewards -> its own right answers
    base model                          -> finetuning -> rewards

DeepSeek-R1 (2025, arXiv:2501.12948, section 2.3): a base model is finetuned on
a cold start of long solutions; reinforcement learning rewards right answers in
the right form; the right ones of its answers are kept, and the base model is
finetuned anew, on those; reinforcement learning follows again. Nothing rewards
length. The control is the first reinforcement learning once more, with the same
rewards given to samples by lot. A base model that is not given is made first:
it reads worked problems, more or less of each, as large models have in books.

Each stage is a run in `<workdir>`; finished ones are skipped, and one that was
killed goes on from where it was. `r1.html` shows what became of accuracy and
length, `r1.json` has the numbers.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from llm_jax import config_flags
from llm_jax.config import (
    DemonstrateConfig, R1Config, RejectionSampleConfig, RlConfig, SftConfig,
    require)

# Conversations that a vocabulary is learnt from.
_VOCABULARY_OF = 2000
_READ = 700_001


@dataclasses.dataclass(frozen=True)
class Stages:
  """The settings of each stage, with its place and its problems."""
  untrained: str
  worked: DemonstrateConfig
  base: SftConfig | None
  demonstrate: DemonstrateConfig
  sft: SftConfig
  rl: RlConfig
  rejection: RejectionSampleConfig
  sft_again: SftConfig
  rl_again: RlConfig
  control: RlConfig | None


def stages_of(config: R1Config) -> Stages:
  """What each stage is run with.

  Raises:
    ConfigError: a setting of the recipe or of a stage that cannot work.
  """
  config.validate()
  place, data, seed = config.workdir, config.problems, config.seed
  untrained, origin = f"{place}/untrained", config.init_from or f"{place}/base"

  def finetuning(stage: SftConfig, name: str, source: str, origin: str = origin
                 ) -> SftConfig:
    return dataclasses.replace(
        stage, init_from=origin, workdir=f"{place}/{name}", seed=seed,
        data=dataclasses.replace(
            stage.data, path=f"{place}/{source}/conversations.jsonl"))

  def rewarded(stage: RlConfig, name: str, origin: str, **more: Any
               ) -> RlConfig:
    return dataclasses.replace(
        stage, data=data, init_from=f"{place}/{origin}",
        workdir=f"{place}/{name}", seed=seed, **more)

  stages = Stages(
      untrained=untrained,
      # Of the base model's problems none need be in the cold start.
      worked=dataclasses.replace(
          config.worked, data=data, output=f"{place}/worked",
          seed=seed + _READ),
      base=None if config.init_from else finetuning(
          config.base, "base", "worked", untrained),
      demonstrate=dataclasses.replace(
          config.demonstrate, data=data, output=f"{place}/cold_start",
          seed=seed),
      sft=finetuning(config.sft, "sft", "cold_start"),
      rl=rewarded(config.rl, "rl", "sft"),
      rejection=dataclasses.replace(
          config.rejection, checkpoint=f"{place}/rl", data=data,
          workdir=f"{place}/kept", seed=seed),
      sft_again=finetuning(config.sft_again, "sft_again", "kept"),
      rl_again=rewarded(config.rl_again, "rl_again", "sft_again"),
      control=rewarded(config.rl, "control", "sft", shuffle_rewards="batch")
      if config.control else None)
  for stage in (*([stages.worked, stages.base] if stages.base else ()),
                stages.demonstrate, stages.sft, stages.rl, stages.rejection,
                stages.sft_again, stages.rl_again):
    stage.validate()
  return stages


def run(config: R1Config) -> dict[str, Any]:
  """Runs what is not yet done; returns what `r1.json` holds.

  Raises:
    ConfigError: a setting that cannot work, or a workdir with other runs.
  """
  from experiments import demonstrate, rejection_sample, rl, sft
  from experiments.practice import check_room
  from llm_jax.convert.base_runs import base_run
  from llm_jax.paths import as_path
  from llm_jax.run_record import write_json
  from llm_jax.serving.r1_page import render_r1
  from llm_jax.serving.rl_run import load_run
  from llm_jax.workdir import enable_compilation_cache
  began = time.monotonic()
  stages = stages_of(config)
  enable_compilation_cache(f"{config.workdir}/run")
  print("\n=== cold start: demonstrations ===", flush=True)
  shown = demonstrate.run(stages.demonstrate)
  if stages.base is not None:
    print("\n=== base model ===", flush=True)
    demonstrate.run(stages.worked)
    make_untrained(config, stages)
  origin = base_run(stages.sft, "sft") if config.init_from else stages.untrained
  for stage in (stages.rl, stages.rl_again):
    check_room(origin, stage)
  if stages.base is not None:
    sft.run(stages.base)
  print("\n=== cold start: finetuning ===", flush=True)
  sft.run(stages.sft)
  print("\n=== rewards ===", flush=True)
  rl.run(stages.rl)
  if stages.control is not None:
    print("\n=== control: the same rewards by lot ===", flush=True)
    rl.run(stages.control)
  print("\n=== its own right answers ===", flush=True)
  check_order(stages)
  kept = rejection_sample.run(stages.rejection)
  print("\n=== finetuning on those ===", flush=True)
  sft.run(stages.sft_again)
  print("\n=== rewards again ===", flush=True)
  rl.run(stages.rl_again)
  rewarded = [("rl", stages.rl), ("rl_again", stages.rl_again)]
  if stages.control is not None:
    rewarded.append(("control", stages.control))
  report = {
      "demonstrations": {name: shown[name] for name in (
          "demonstrations", "styles", "right")},
      "kept": {name: value for name, value in kept.items()
               if name != "config"},
      "rewards": list(stages.rl.rewards.names),
      "stages": stage_rows(stages),
      "changes": {name: change(stage) for name, stage in rewarded},
      "examples": examples(stages)}
  directory = as_path(config.workdir)
  write_json(directory / "r1.json", report)
  (directory / "r1.html").write_text(
      render_r1(report, {name: load_run(stage.workdir)
                         for name, stage in rewarded}), encoding="utf-8")
  print(f"\n=== done in {time.monotonic() - began:.0f} s ===")
  for row in report["stages"]:
    print(f"{row['stage']}: {row['accuracy']:.1%} of held-out problems, "
          f"{row['tokens']:.1f} tokens an answer")
  print(f"the page: {directory / 'r1.html'}", flush=True)
  return report


def make_untrained(config: R1Config, stages: Stages) -> None:
  """What becomes the base model, with a vocabulary of the demonstrations."""
  from llm_jax.metric_writers import read_jsonl
  from llm_jax.paths import as_path
  from llm_jax.training.untrained import save_untrained
  save_untrained(stages.untrained, [
      message["content"] for stage in (stages.worked, stages.demonstrate)
      for conversation in read_jsonl(
          as_path(stage.output) / "conversations.jsonl")[:_VOCABULARY_OF]
      for message in conversation["messages"]],
      config.vocab_size, config.model, config.seed)


def check_order(stages: Stages) -> None:
  """Raises `ConfigError` where answers were kept of a model that is no more."""
  from llm_jax.paths import as_path
  samples = as_path(stages.rejection.workdir) / "samples.jsonl"
  model = as_path(stages.rl.workdir) / "results.json"
  require(not samples.exists()
          or model.stat().mtime <= samples.stat().mtime,
          f"{stages.rejection.workdir} has answers of an earlier model than "
          f"the one now in {stages.rl.workdir}; delete it, or choose another "
          "--workdir.")


def stage_rows(stages: Stages) -> list[dict[str, Any]]:
  """Accuracy and length of each model on the same held-out problems."""
  from llm_jax.training.results import read_metrics
  places = [("finetuned on the cold start", stages.rl, 0),
            ("rewarded", stages.rl, stages.rl.num_steps),
            ("finetuned on its right answers", stages.rl_again, 0),
            ("rewarded again", stages.rl_again, stages.rl_again.num_steps)]
  if stages.control is not None:
    places.append(("control: rewards by lot", stages.control,
                   stages.control.num_steps))
  rows = []
  for name, stage, step in places:
    (record,) = [r for r in read_metrics(stage.workdir, "eval_accuracy")
                 if r["step"] == step]
    rows.append({"stage": name, "problems": record["eval_problems"],
                 **{each: record[f"eval_{each}"] for each in (
                     "accuracy", "accuracy_low", "accuracy_high", "truncated")},
                 "tokens": record["eval_completion_tokens"]})
  return rows


def change(config: RlConfig) -> dict[str, float]:
  """How much a run changed accuracy on held-out problems (paired), and the
  length of its samples, from the first step to the last."""
  import numpy as np
  from experiments.practice import held_out_answers
  from llm_jax.evals.generative import mean_difference, paired_difference
  from llm_jax.metric_writers import read_jsonl
  from llm_jax.paths import as_path
  gain = paired_difference(held_out_answers(config, 0),
                           held_out_answers(config, config.num_steps))
  steps = read_jsonl(as_path(config.workdir) / "rewards.jsonl")
  longer = mean_difference(np.array(steps[0]["tokens"]),
                           np.array(steps[-1]["tokens"]))
  return {f"{name}{suffix}": value
          for name, found in (("accuracy", gain), ("tokens", longer))
          for suffix, value in (("", found.mean), ("_low", found.low),
                                ("_high", found.high))}


def examples(stages: Stages, count: int = 6) -> list[dict[str, Any]]:
  """The same held-out problems, answered before, between and after."""
  from llm_jax.metric_writers import read_jsonl
  from llm_jax.paths import as_path

  def answers(stage: RlConfig, step: int) -> list[dict[str, Any]]:
    return [record for record in
            read_jsonl(as_path(stage.workdir) / "samples.jsonl")
            if "eval" in record and record["step"] == step][:count]

  columns = (("cold start", answers(stages.rl, 0)),
             ("rewarded", answers(stages.rl, stages.rl.num_steps)),
             ("rewarded again", answers(stages.rl_again,
                                        stages.rl_again.num_steps)))
  return [{"prompt": columns[0][1][i]["prompt"],
           "answer": columns[0][1][i]["answer"],
           "said": [{"stage": name, "text": found[i]["text"],
                     "right": found[i]["correct"] == 1}
                    for name, found in columns]}
          for i in range(len(columns[0][1]))]


if __name__ == "__main__":
  config_flags.launch(R1Config, run)
