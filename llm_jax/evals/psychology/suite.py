"""All sections, put to one model, and two models beside each other."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llm_jax.config import PsychologyConfig
from llm_jax.data import biographies
from llm_jax.evals.facts import KNOWN, UNLEARNED
from llm_jax.evals.judging import judge
from llm_jax.evals.knowledge import RATES, calibration, judge_answers
from llm_jax.evals.psychology import people as people_sections
from llm_jax.evals.psychology.asking import Subject, answers, can_be_asked
from llm_jax.evals.psychology.cases import (
    Section, condition_row, row_difference)
from llm_jax.evals.respondent import Ask
from llm_jax.metric_writers import format_seconds

Tell = Callable[[str], None]


def run_sections(sections: Sequence[Section], subject: Subject, tell: Tell
                 ) -> list[dict[str, Any]]:
  """Puts all sections to a model.

  Returns:
    Of each `name`, `title`, `told`, `rows` (`condition_row`), `contrasts`
    between them, and `left_out`: conditions that this model cannot be put in.
  """
  found = []
  for section in sections:
    rows, left_out = [], []
    for condition in section.conditions:
      if not can_be_asked(condition, subject):
        left_out.append(condition.name)
        continue
      began = told = time.monotonic()

      def progress(done, condition=condition, began=began):
        nonlocal told
        now, total = time.monotonic(), len(condition.cases)
        if now - told > 10 and done < total:
          told = now
          tell(f"{condition.name}: {done}/{total} | ETA "
               f"{format_seconds((now - began) * (total - done) / done)}")

      said = answers(condition, section, subject, progress)
      row = condition_row(condition, said)
      row["seconds"] = round(time.monotonic() - began, 1)
      rows.append(row)
      tell(f"{section.name}, {condition.name}: {100 * row['correct']:.1f}% "
           f"right, {100 * row['refused']:.1f}% refused of {row['items']} in "
           f"{format_seconds(row['seconds'])}")
    found.append({"name": section.name, "title": section.title,
                  "told": section.told, "rows": rows, "left_out": left_out,
                  "contrasts": _contrasts(section, rows)})
  return found


def _contrasts(section: Section, rows: Sequence[dict[str, Any]]
               ) -> list[dict[str, Any]]:
  by_name = {row["condition"]: row for row in rows}
  found = []
  for of, against in section.contrasts:
    if of in by_name and against in by_name:
      difference = row_difference(by_name[of], by_name[against])
      if difference:
        found.append({"of": of, "against": against, **difference})
  return found


def compare(before: Sequence[Mapping[str, Any]],
            after: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
  """Every rate of every condition that both models were put in, and how it
  differs on the same cases."""
  earlier = {(section["name"], row["condition"]): row for section in before
             for row in section["rows"]}
  found = []
  for section in after:
    for row in section["rows"]:
      old = earlier.get((section["name"], row["condition"]))
      for rate in RATES if old else ():
        difference = row_difference(row, old, rate)
        if difference:
          found.append({"section": section["name"],
                        "condition": row["condition"], "rate": rate,
                        "items": row["items"], "before": old[rate],
                        "after": row[rate], **difference})
  return found


def calibration_of(people: biographies.People, config: PsychologyConfig,
                   seed: int, subject: Subject) -> dict[str, Any]:
  """How well agreement among several answers tells whether they are right.

  Half of the facts are known to the corpus and half are not, so that there is
  something to tell.
  """
  number = max(1, config.calibration_facts // 2)
  facts = [fact for chosen in people_sections.facts_of(
      people, number, seed, (KNOWN, UNLEARNED)).values() for fact in chosen]
  section = people_sections.hallucination_section(people, 1, seed,
                                                  config.shots)
  model = dataclasses.replace(subject.model, shots=section.shots)
  found = model.answer_all(
      [Ask(fact.question) for fact in facts], people_sections.MAX_NEW_TOKENS,
      temperature=config.calibration_temperature,
      samples=config.calibration_samples)
  probes = [judge_answers(
      fact, [answer.text for answer in each],
      lambda question, truth, answer: judge(
          answer, truth, question, phrases=config.refusal_phrases))
            for fact, each in zip(facts, found)]
  return calibration(probes)
