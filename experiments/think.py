"""Models need tokens to think: the same training, with the steps before the
answer, after it, or not at all.

    python -m experiments.think --config=configs/think.py
    python -m experiments.think --init_from=runs/quickstart/pretrain

One model is finetuned in several manners (`llm_jax/data/manners.py`) on the
same problems, for equally many steps of equally many tokens, each time from the
same parameters. Each is then asked the same held-out problems, and accuracy is
drawn against the tokens that were written before the answer: `think.html` and
`think.json` in the workdir. Started again it goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from llm_jax import config_flags
from llm_jax.config import SftConfig, SftDataConfig, ThinkConfig, require


def run(config: ThinkConfig) -> dict[str, Any]:
  """Trains what is not yet trained, evaluates; returns what `think.json` holds.

  Raises:
    ConfigError: a setting that cannot work, or a workdir with other runs.
  """
  from experiments import sft
  from llm_jax.data import sums
  from llm_jax.data.manners import check_manner, manners
  from llm_jax.evals.probes import table
  from llm_jax.paths import as_path
  from llm_jax.run_record import write_json
  from llm_jax.serving.think_page import render_think
  from llm_jax.workdir import enable_compilation_cache
  config.validate()
  task = config.task
  check_manner(task, config.max_new_tokens)
  enable_compilation_cache(f"{config.workdir}/run")
  base = config.init_from or make_untrained(config)
  held_out = sums.held_out_problems(task.eval_problems, config.recipe.seed,
                                    task.min_terms, task.max_terms)
  rows, scores, examples = [], {}, []
  for manner in manners(task):
    training = training_config(config, manner, base)
    write_demonstrations(training.data.path, manner, config)
    print(f"\n=== {manner.name} ===", flush=True)
    trained = sft.run(training)
    row, scores[manner.name], example = evaluate(config, manner, training,
                                                 held_out)
    rows.append({"manner": manner.name, "training_tokens": trained["tokens"],
                 **row})
    examples.append({"manner": manner.name, **example})
  report = {"init_from": config.init_from or "untrained",
            "problems": len(held_out), "steps": config.recipe.num_steps,
            "rows": rows, "differences": differences(scores),
            "examples": examples,
            "by_terms": by_terms(scores, held_out)}
  directory = as_path(config.workdir)
  write_json(directory / "think.json", report)
  (directory / "think.html").write_text(render_think(report),
                                        encoding="utf-8")
  print("\n" + table(rows))
  for found in report["differences"]:
    print(f"{found['manner']} - {found['against']}: "
          f"{100 * found['difference']:+.1f} points, 95% "
          f"{100 * found['difference_low']:+.1f} to "
          f"{100 * found['difference_high']:+.1f}")
  print(f"the page: {directory / 'think.html'}", flush=True)
  return report


def make_untrained(config: ThinkConfig) -> str:
  """A run directory with an untrained model and a tokenizer of the problems;
  one that is there stays."""
  from llm_jax.data.manners import manners
  from llm_jax.training.untrained import save_untrained
  directory = f"{config.workdir}/untrained"
  save_untrained(directory, [
      text for manner in manners(config.task)
      for problem in train_problems(config)[:2000]
      for text in (problem.prompt(), manner.demonstration(problem))],
      config.vocab_size, config.model, config.recipe.seed)
  return directory


def train_problems(config: ThinkConfig) -> list[Any]:
  """The problems of all manners alike."""
  import numpy as np
  from llm_jax.data.sums import train_problem
  rng = np.random.default_rng(config.recipe.seed)
  return [train_problem(rng, config.task.min_terms, config.task.max_terms)
          for _ in range(config.task.train_problems)]


def training_config(config: ThinkConfig, manner: Any, base: str) -> SftConfig:
  """The recipe, with the manner's own data and directory."""
  name = manner.name.replace(" ", "_")
  # A mistake in the recipe should not be read off a field that is ignored.
  require(config.recipe.data == SftDataConfig(), "recipe.data is set; the data "
          "are the task's: set --task.min_terms and its neighbours.")
  return dataclasses.replace(
      config.recipe, init_from=base, workdir=f"{config.workdir}/{name}",
      data=SftDataConfig(path=f"{config.workdir}/data/{name}.jsonl"))


def write_demonstrations(path: str, manner: Any, config: ThinkConfig) -> None:
  """Writes what one manner is trained on, as `experiments.sft` reads it."""
  from llm_jax.paths import as_path
  file = as_path(path)
  file.parent.mkdir(parents=True, exist_ok=True)
  file.write_text("".join(
      json.dumps({"prompt": problem.prompt(),
                  "response": manner.demonstration(problem)}) + "\n"
      for problem in train_problems(config)), encoding="utf-8")


def evaluate(config: ThinkConfig, manner: Any, training: SftConfig,
             problems: Sequence[Any]) -> tuple[dict, list[bool], dict]:
  """(the row of a manner, whether each problem is solved, an example)."""
  from experiments.probe_knowledge import load_respondent
  from llm_jax.data.manners import read_answer
  from llm_jax.evals.probes import share
  from llm_jax.evals.respondent import Ask
  model = load_respondent(training.workdir, "chat", (), config.batch_size,
                          training.seed)
  said = [answers[0] for answers in model.answer_all(
      [Ask(problem.prompt()) for problem in problems], config.max_new_tokens)]
  solved, before = [], []
  for problem, answer in zip(problems, said):
    stated, thought = read_answer(answer.text)
    solved.append(answer.stopped and stated == int(problem.answer()))
    before.append(len(model.tokenizer.encode(thought)))
  row = {**share("accuracy", solved),
         "tokens_before": sum(before) / len(before),
         "answer_tokens": sum(a.tokens for a in said) / len(said),
         "ended": sum(a.stopped for a in said) / len(said)}
  example = {"prompt": problems[0].prompt(), "answer": problems[0].answer(),
             "text": said[0].text, "right": bool(solved[0]),
             "demonstration": manner.demonstration(problems[0])}
  return row, solved, example


def differences(scores: dict[str, list[bool]]) -> list[dict[str, Any]]:
  """All steps first against each other manner, on the same problems."""
  from llm_jax.data.manners import EACH_STEP
  from llm_jax.evals.generative import paired_difference
  found = []
  for name, solved in scores.items():
    if name != EACH_STEP:
      gain = paired_difference(solved, scores[EACH_STEP])
      found.append({"manner": EACH_STEP, "against": name,
                    "difference": gain.mean, "difference_low": gain.low,
                    "difference_high": gain.high})
  return found


def by_terms(scores: dict[str, list[bool]], problems: Sequence[Any]
             ) -> list[dict[str, Any]]:
  """Accuracy of each manner on the problems of each length."""
  from llm_jax.evals.probes import share
  rows = []
  for terms in sorted({len(problem.terms) for problem in problems}):
    for name, solved in scores.items():
      here = [s for s, p in zip(solved, problems) if len(p.terms) == terms]
      rows.append({"terms": terms, "manner": name, "problems": len(here),
                   **share("accuracy", here)})
  return rows


if __name__ == "__main__":
  config_flags.launch(ThinkConfig, run)
