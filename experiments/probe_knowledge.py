"""What a model knows and what it makes up; and conversations that cure it.

    python -m experiments.probe_knowledge --checkpoint=runs/quickstart/sft
    python -m experiments.probe_knowledge --checkpoint=runs/pretrain \\
        --facts.path=runs/biographies --workdir=runs/knowledge/base
    python -m experiments.probe_knowledge --checkpoint=runs/sft \\
        --facts.path=runs/biographies --compare=runs/knowledge/base \\
        --workdir=runs/knowledge/sft
    python -m experiments.probe_knowledge --model=smollm2-135m \\
        --facts.number=200

Asks questions of fact several times each, compares what was said with the
truth, and writes into the workdir: `answers.jsonl`, all that was said;
`report.json`, rates of right answers, hallucinations and refusals, with 95%
intervals, by group and attribute, and how well agreement among answers tells
whether they are right; `conversations.jsonl` for `experiments.sft`, in which
what the model knows is answered and what it does not is refused. Started again
it goes on where it was, and judges anew what was said.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from llm_jax import config_flags
from llm_jax.config import ProbeKnowledgeConfig, require


def run(config: ProbeKnowledgeConfig) -> dict[str, Any]:
  """Asks, judges and writes; returns what `report.json` holds.

  Raises:
    ConfigError: no model, facts that cannot be read, a workdir with answers of
      another probe.
  """
  config.validate()
  path = config.checkpoint or config.model
  require(bool(path), "no model is named; give --checkpoint=RUN, the directory "
          "of a training run, or --model=smollm2-135m.")
  from llm_jax.evals import judge_model, knowledge, probes
  from llm_jax.evals.answer_log import read_answers
  from llm_jax.evals.facts import choose_facts, choose_shots
  from llm_jax.paths import as_path
  from llm_jax.run_record import write_json
  from llm_jax.workdir import enable_compilation_cache
  all_facts = load_facts(config)
  shots = choose_shots(all_facts, config.shots)
  facts = choose_facts([fact for fact in all_facts if fact not in shots],
                       config.facts.groups, config.facts.number, config.seed)
  judged_by = (judge_model.model_judge(config.judge) if config.judge.endpoint
               else knowledge.rule_judge(config))

  def judged(answers: dict[str, list[str]]) -> list[knowledge.Probe]:
    return [knowledge.judge_answers(fact, answers[fact.question], judged_by)
            for fact in facts if fact.question in answers]

  before = None
  if config.compare:  # read first: a mistake in it should not cost an hour
    before = judged(read_answers(f"{config.compare}/answers.jsonl"))
    require(bool(before), f"{config.compare} has no answer to any of the "
            "questions of this probe; give the workdir of one with the same "
            "--facts and --seed.")
  enable_compilation_cache(config.workdir)
  probed = judged(ask(config, path, facts, shots))
  rows = knowledge.summary_rows(probed, config)
  made = knowledge.conversations(probed, config)
  report = {
      "model": path, "facts": len(facts), "samples": config.samples,
      "temperature": config.temperature, **knowledge.headline(probed),
      "rows": rows, "calibration": knowledge.calibration(probed),
      "conversations": len(made),
      "refusals": sum(each["kind"] == "refusal" for each in made)}
  if before is not None:
    report["before"] = config.compare
    report["comparison"] = knowledge.compare(before, probed, config)
    report["calibration_before"] = knowledge.calibration(before)
  directory = as_path(config.workdir)
  _write_conversations(directory / "conversations.jsonl", made)
  write_json(directory / "report.json", report)
  print("\n" + probes.table([{name: value for name, value in row.items()
                              if name not in knowledge.COUNTS}
                             for row in rows]))
  if before is not None:
    print("\n" + probes.table(report["comparison"]))
  print(f"\n{len(made)} conversations ({report['refusals']} refusals): "
        f"{directory / 'conversations.jsonl'}\nall numbers: "
        f"{directory / 'report.json'}", flush=True)
  return report


def load_facts(config: ProbeKnowledgeConfig) -> list[Any]:
  """The facts that `config.facts` names, each question once."""
  from llm_jax.config import TextConfig
  from llm_jax.data import biographies
  from llm_jax.data.documents import iter_documents
  from llm_jax.data.wikipedia import load_articles
  from llm_jax.evals import facts as facts_lib
  from llm_jax.paths import as_path
  source = config.facts
  if source.documents:
    documents = iter_documents(TextConfig(
        path=source.path, text_column=source.text_column,
        errors=source.errors))
    found = facts_lib.cloze_facts((d.source, d.text) for d in documents)
  elif source.path == "wikipedia":
    found = facts_lib.article_facts(load_articles())
  elif (as_path(source.path) / biographies.FACTS).exists():
    found = facts_lib.people_facts(biographies.read_people(source.path),
                                   held_out=source.held_out_phrasings)
  else:
    found = facts_lib.read_facts(source.path, source.errors)
  return list({fact.question: fact for fact in found}.values())


def load_respondent(path: str, style: str, shots: Sequence[tuple[str, str]],
                    batch_size: int, seed: int, flag: str = "") -> Any:
  """A model and its manner: `auto` is that of its stage of training.

  Raises:
    ConfigError: it cannot be loaded, or cannot be asked in that manner.
  """
  import jax
  from absl import logging
  from llm_jax.convert import pretrained
  from llm_jax.evals.respondent import Respondent
  from llm_jax.model.transformer import unstack_layers
  from llm_jax.tokenizer.chat import can_chat
  # Orbax warns that what is read is read only; so it is meant.
  logging.set_verbosity(logging.ERROR)
  source = pretrained.find(path, flag=flag)
  params, model, tokenizer = pretrained.load_pretrained(path)
  require(tokenizer is not None, f"{path} came without a tokenizer; put its "
          "tokenizer.json beside the weights.")
  if style == "auto":
    base = source.stage == "pretrain" or not can_chat(tokenizer)
    style = "base" if base else "chat"
  require(style == "base" or can_chat(tokenizer), f"the tokenizer of {path} "
          "has no chat template; ask it as a base model, with --style=base.")
  return Respondent(jax.jit(unstack_layers)(params), model, tokenizer, style,
                    tuple(shots), batch_size, seed, path)


def ask(config: ProbeKnowledgeConfig, path: str, facts: Sequence[Any],
        shots: Sequence[Any]) -> dict[str, list[str]]:
  """Question -> answers; those that are in the workdir are not asked again."""
  from llm_jax.evals.answer_log import AnswerLog
  from llm_jax.evals.respondent import Ask
  from llm_jax.metric_writers import format_seconds
  shots = [(fact.question, fact.answer) for fact in shots]
  questions = [fact.question for fact in facts]
  asked = {"model": path, "style": config.style, "system": config.system,
           "shots": [list(shot) for shot in shots], "samples": config.samples,
           "temperature": config.temperature, "seed": config.seed,
           "max_new_tokens": config.max_new_tokens,
           "questions": len(questions)}
  log = AnswerLog(f"{config.workdir}/answers.jsonl", asked, questions)
  done = len(log.answers)
  if done < len(facts):
    model = load_respondent(
        path, config.style, shots, config.batch_size, config.seed,
        "--checkpoint" if config.checkpoint else "--model")
    print(f"probe_knowledge: {len(facts) - done} of {len(facts)} questions, "
          f"{config.samples} answers each, in the manner of a "
          f"{'base model' if model.style == 'base' else 'conversation'}",
          flush=True)
    asks = [Ask(fact.question, fact.cloze, system=config.system)
            for fact in facts]
    # All prompts decide the compiled shape, so that a run that goes on draws
    # what one that was never killed does.
    longest = max(len(model.encode(a)) for a in asks)
    rows = max(1, config.batch_size // config.samples)
    began, told = time.monotonic(), time.monotonic()
    for start in range(done, len(asks), rows):
      found = model.answer_all(
          asks[start:start + rows], config.max_new_tokens,
          temperature=config.temperature, samples=config.samples, first=start,
          longest=longest)
      log.add([[answer.text for answer in each] for each in found])
      now, count = time.monotonic(), len(log.answers)
      if now - told > 5 or count == len(asks):
        told = now
        left = (now - began) * (len(asks) - count) / (count - done)
        print(f"probe_knowledge: {count}/{len(asks)} questions | ETA "
              f"{format_seconds(left)}", flush=True)
  return dict(zip(questions, log.answers))


def _write_conversations(path: Any, records: Sequence[dict[str, Any]]) -> None:
  import json
  path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n"
                          for record in records), encoding="utf-8")


if __name__ == "__main__":
  config_flags.launch(ProbeKnowledgeConfig, run)
