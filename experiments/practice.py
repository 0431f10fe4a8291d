"""Imitation, then practice, beside more imitation: one task, several seeds.

    python -m experiments.practice --config=configs/practice_chain_sum.py

For each seed: demonstrations are written, a base model is finetuned on them,
and reinforcement learning goes on from there. The control goes on imitating,
further demonstrations, with at least as many operations. All three models
answer the same held-out problems, in `practice.json`; `--figure` draws the
seeds' curves. Finished runs are skipped, and one that was killed goes on.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from llm_jax import config_flags
from llm_jax.config import (
    PracticeConfig, RlConfig, SftConfig, ViewRolloutsConfig)

# Demonstrations of the control, which nobody has imitated before.
_FURTHER = 500_009


def run(config: PracticeConfig) -> dict[str, Any]:
  """Runs what is not yet done; returns what `practice.json` holds.

  Raises:
    ConfigError: a setting that cannot work, or a workdir with other runs.
  """
  from experiments import view_rollouts
  from llm_jax.convert.base_runs import base_run
  from llm_jax.paths import as_path
  from llm_jax.run_record import write_json
  from llm_jax.serving.svg_figures import require_matplotlib
  from llm_jax.workdir import enable_compilation_cache
  config.validate()
  if config.figure:
    require_matplotlib()
  enable_compilation_cache(f"{config.workdir}/run")
  check_room(base_run(dataclasses.replace(
      config.sft, workdir=f"{config.workdir}/seed{config.seeds[0]}/sft"),
      "sft"), config.rl)
  rows = [_seed(config, seed) for seed in config.seeds]
  report = {"task": config.rl.data.path, "rows": rows, "mean": {
      name: sum(row[name] for row in rows) / len(rows)
      for name in ("sft", "sft_continued", "rl", "gain", "gain_over_control")}}
  write_json(as_path(config.workdir) / "practice.json", report)
  if config.figure:
    view_rollouts.run(ViewRolloutsConfig(
        workdirs=tuple(f"practice={config.workdir}/seed{seed}/rl"
                       for seed in config.seeds), svg=config.figure,
        levels=("as much more imitation="
                f"{report['mean']['sft_continued']}",)))
  for row in rows:
    print(f"seed {row['seed']}: SFT {row['sft']:.1%}, as much SFT again "
          f"{row['sft_continued']:.1%}, RL {row['rl']:.1%}; RL over that "
          f"{100 * row['gain_over_control']:+.1f} points, 95% interval "
          f"{100 * row['gain_over_control_low']:+.1f} to "
          f"{100 * row['gain_over_control_high']:+.1f}", flush=True)
  return report


def check_room(origin: str, config: RlConfig) -> None:
  """Raises `ConfigError`, before imitation, where practice has no room.

  Args:
    origin: a run whose model and tokenizer will be practised with.
    config: the practice.
  """
  from llm_jax.inference.tools import load_tools
  from llm_jax.rl.environments.loading import load_environment
  from llm_jax.rl.rollouts import check_prompts
  from llm_jax.tokenizer.loading import load_tokenizer
  from llm_jax.training.saved_models import TOKENIZER, checkpoint_info
  from llm_jax.training.startup import model_of
  environment = load_environment(config.data, config.seed)
  check_prompts(environment, config, model_of(origin),
                load_tokenizer(str(checkpoint_info(origin)[0] / TOKENIZER)),
                load_tools(config.tools))
  if hasattr(environment, "close"):
    environment.close()


def _seed(config: PracticeConfig, seed: int) -> dict[str, Any]:
  """The three runs of a seed, and what they came to."""
  from experiments import rl, sft
  from experiments.quickstart import continued_sft
  from llm_jax.evals.generative import paired_difference
  from llm_jax.training.startup import model_of
  directory = f"{config.workdir}/seed{seed}"
  print(f"\n=== seed {seed}: imitation ===", flush=True)
  imitation = dataclasses.replace(
      config.sft, workdir=f"{directory}/sft", seed=seed)
  imitation = _demonstrated(config, imitation, directory, seed)
  imitated = sft.run(imitation)
  print(f"\n=== seed {seed}: practice ===", flush=True)
  practice = dataclasses.replace(
      config.rl, init_from=imitation.workdir, workdir=f"{directory}/rl",
      seed=seed)
  trained = rl.run(practice)
  print(f"\n=== seed {seed}: more imitation ===", flush=True)
  more = _demonstrated(config, continued_sft(
      imitation, practice, model_of(imitation.workdir),
      f"{directory}/sft_continued", trained["rollout_rows"]),
      f"{directory}/further", seed + _FURTHER)
  continued = sft.run(more)
  before, after = (held_out_answers(practice, step)
                   for step in (0, practice.num_steps))
  control = _evaluated(more, practice)
  row = {"seed": seed, "problems": len(after), "sft": _mean(before),
         "sft_continued": _mean(control), "rl": _mean(after),
         "sft_steps": imitated["steps"], "rl_steps": practice.num_steps,
         "sft_continued_steps": continued["steps"],
         "seconds": {"rl": trained["seconds"],
                     "sft_continued": continued["seconds"]}}
  for name, other in (("gain", before), ("gain_over_control", control)):
    difference = paired_difference(other, after)
    row |= {name: difference.mean, f"{name}_low": difference.low,
            f"{name}_high": difference.high}
  return row


def _demonstrated(config: PracticeConfig, imitation: SftConfig,
                  directory: str, seed: int) -> SftConfig:
  """The finetuning with demonstrations of its own, where they are asked for."""
  from experiments import demonstrate
  if not config.demonstrate.count:
    return imitation
  output = f"{directory}/demonstrations"
  demonstrate.run(dataclasses.replace(config.demonstrate, output=output,
                                      seed=seed))
  return dataclasses.replace(imitation, data=dataclasses.replace(
      imitation.data, path=f"{output}/conversations.jsonl"))


def _evaluated(imitation: SftConfig, practice: RlConfig) -> list[float]:
  """Whether the control solves each held-out problem of the practice.

  It is asked once; the answer is kept in the run's `held_out.json`.
  """
  from llm_jax.evals.generative import evaluate_as_in_run
  from llm_jax.inference.tools import load_tools
  from llm_jax.paths import as_path
  from llm_jax.rl.environments.loading import load_environment
  from llm_jax.run_record import write_json
  from llm_jax.training.saved_models import load_params
  kept = as_path(imitation.workdir) / "held_out.json"
  if kept.exists():
    return json.loads(kept.read_text(encoding="utf-8"))["correct"]
  params, model, tokenizer = load_params(imitation.workdir)
  environment = load_environment(practice.data, practice.seed)
  result = evaluate_as_in_run(
      params, environment.held_out_problems(practice.data.eval_problems),
      environment, tokenizer, model, practice, load_tools(practice.tools))
  if hasattr(environment, "close"):
    environment.close()
  write_json(kept, {**result.summary(), "correct": result.correct_N.tolist()})
  return result.correct_N.tolist()


def held_out_answers(config: RlConfig, step: int) -> list[float]:
  """How right a run's answers to its held-out problems were at a step."""
  from llm_jax.metric_writers import read_jsonl
  from llm_jax.paths import as_path
  return [record["correct"] for record in
          read_jsonl(as_path(config.workdir) / "samples.jsonl")
          if "eval" in record and record["step"] == step]


def _mean(values: Sequence[float]) -> float:
  return sum(values) / len(values)


if __name__ == "__main__":
  config_flags.launch(PracticeConfig, run)
