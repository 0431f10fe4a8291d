"""A model's own right answers, to be finetuned on.

    python -m experiments.rejection_sample --checkpoint=runs/rl \\
        --data.path=gym:chain_sum --workdir=runs/kept
    python -m experiments.sft --init_from=runs/sft \\
        --data.path=runs/kept/conversations.jsonl --workdir=runs/sft2

Each problem of training is answered `samples` times; of the answers whose
reward is high enough and that ended by themselves, `per_problem` different ones
become conversations for `experiments.sft`. All answers are in `samples.jsonl`,
a line for each batch; a run that was killed goes on with the next batch, and
one that is called again with another threshold chooses anew and samples
nothing.
"""

from __future__ import annotations

import dataclasses
import json
import time
from typing import Any

from llm_jax import config_flags
from llm_jax.config import RejectionSampleConfig, require

# What the samples do not depend on, and may be changed for a second choice.
_CHOICE = ("at_least", "per_problem", "prefer", "workdir", "problems")


def run(config: RejectionSampleConfig) -> dict[str, Any]:
  """Samples and chooses; returns what `manifest.json` holds.

  Raises:
    ConfigError: a model, problems or rewards that cannot be had; the workdir
      has samples of other settings; no answer is good enough.
  """
  config.validate()
  from llm_jax.metric_writers import JsonlWriter, read_jsonl
  from llm_jax.paths import as_path
  from llm_jax.rl.rejection import choose
  directory = as_path(config.workdir)
  directory.mkdir(parents=True, exist_ok=True)
  asked = json.loads(json.dumps({
      name: value for name, value in dataclasses.asdict(config).items()
      if name not in _CHOICE}))
  records = read_jsonl(directory / "samples.jsonl")
  before = records[0]["asked"] if records else asked
  for name, value in asked.items():
    require(before.get(name) == value, f"{config.workdir} holds samples with "
            f"{name}={before.get(name)!r}, not {value!r}; choose another "
            "--workdir.")
  batches = config.problems // config.batch_size
  done = max((r["step"] for r in records), default=1) - 1
  # Step 1 says what was asked, and each batch is a step after it.
  samples = JsonlWriter(directory / "samples.jsonl", done + 1 if records else 0)
  if not records:
    samples.write(1, {"asked": asked})
  if done < batches:
    _sample(config, samples, done, batches)
  samples.close()
  groups = [group for record in read_jsonl(directory / "samples.jsonl")
            if 1 < record["step"] <= batches + 1
            for group in record["groups"]]
  kept = [sample for group in groups for sample in choose(
      group, config.at_least, config.per_problem, config.prefer)]
  everything = [sample for group in groups for sample in group]
  manifest = {
      "checkpoint": config.checkpoint, "problems": len(groups),
      "samples": len(everything), "kept": len(kept),
      "problems_with_one": sum(bool(choose(
          group, config.at_least, 1, config.prefer)) for group in groups),
      "correct": sum(s["correct"] for s in everything) / len(everything),
      "tokens_of_samples": sum(s["tokens"] for s in everything)
                           / len(everything),
      "tokens_of_kept": sum(s["tokens"] for s in kept) / max(1, len(kept)),
      "config": dataclasses.asdict(config)}
  require(bool(kept), f"none of {len(everything)} answers has a reward of "
          f"at_least={config.at_least:g} and an end; lower it, or take a model "
          "that solves some of the problems.")
  (directory / "conversations.jsonl").write_text("".join(
      json.dumps({"messages": sample["messages"]}, ensure_ascii=False) + "\n"
      for sample in kept), encoding="utf-8")
  (directory / "manifest.json").write_text(json.dumps(manifest, indent=1))
  print(f"rejection: kept {len(kept):,} of {len(everything):,} answers, to "
        f"{manifest['problems_with_one']:,} of {len(groups):,} problems; in "
        f"{directory / 'conversations.jsonl'}", flush=True)
  return manifest


def _sample(config: RejectionSampleConfig, samples: Any, done: int, batches: int
            ) -> None:
  """Answers the batches that are not there yet."""
  import jax

  from llm_jax.convert import pretrained
  from llm_jax.metric_writers import format_seconds
  from llm_jax.rl.environments.loading import load_environment
  from llm_jax.rl.rejection import samples_of
  from llm_jax.rl.rewards.scorer import make_scorer
  from llm_jax.rl.traces import play
  environment = load_environment(config.data, config.seed)
  scorer = make_scorer(environment, config.rewards)
  params, model, tokenizer = pretrained.load_pretrained(
      str(pretrained.find(config.checkpoint, flag="--checkpoint").path))
  began = time.monotonic()
  for number in range(done, batches):
    batch = config.first_batch + number
    problems = environment.train_problems(batch, config.batch_size)
    traces = play(
        params, problems, environment, tokenizer, config.sampling, model,
        key=jax.random.fold_in(jax.random.key(config.seed), batch),
        row_len=config.seq_len or model.max_seq_len,
        samples_per_prompt=config.samples, num_prompts=config.batch_size)
    size = config.samples
    scores = scorer.score([p for p in problems for _ in range(size)],
                          [trace.completion for trace in traces])
    for fault in scores.faults:
      print(f"rejection: {fault}", flush=True)
    samples.write(number + 2, {"groups": [
        samples_of(traces[i * size:(i + 1) * size], scores, i * size)
        for i in range(len(problems))]})
    left = (time.monotonic() - began) / (number + 1 - done) * (
        batches - number - 1)
    print(f"rejection: batch {number + 1} of {batches}, "
          f"{100 * scores.correct_B.mean():.1f}% right, ETA "
          f"{format_seconds(left)}", flush=True)
  scorer.close()


if __name__ == "__main__":
  config_flags.launch(RejectionSampleConfig, run)
