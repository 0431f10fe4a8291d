"""What a model knows, from what it says when asked several times.

Llama 3's cure of hallucinations (Grattafiori et al. 2024, arXiv:2407.21783,
section 4.3.6) does not teach facts: it asks the model what it was trained on,
several times, compares with the truth, and writes conversations in which the
model says what it knows and refuses what it does not. Here are the judgement,
the rates, the calibration and those conversations; `respondent.py` asks.

A *hallucination* is an answer that is neither right nor a refusal. Rates are
means over facts of the share of a fact's answers, with Wilson's interval of as
many independent facts: too wide if anything, as a mean of several answers
varies less than one does.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from llm_jax.config_knowledge import ProbeKnowledgeConfig
from llm_jax.data.documents import unit_hash
from llm_jax.evals import binary_scores
from llm_jax.evals.facts import INVENTED, KNOWN, Fact, is_held_out
from llm_jax.evals.generative import paired_difference, wilson_interval
from llm_jax.evals.judging import (
    CORRECT, REFUSED, WRONG, Judge, answer_key, judge)

STATES = KNOWS, UNSURE, DOES_NOT_KNOW = ("knows", "unsure", "does not know")
COUNTS = tuple(state.replace(" ", "_") for state in STATES)
# What a rate is called and the verdict it counts.
RATES = {"correct": CORRECT, "hallucination": WRONG, "refused": REFUSED}


@dataclasses.dataclass(frozen=True)
class Probe:
  """A fact, and what became of asking about it.

  Attributes:
    fact: what was asked.
    answers: what was said, one or more times.
    verdicts: of each answer.
    agreement: the share of the answers that say what most of them say.
    common: the verdict on what most of them say.
  """
  fact: Fact
  answers: tuple[str, ...]
  verdicts: tuple[str, ...]
  agreement: float
  common: str

  def share(self, verdict: str) -> float:
    """The share of the answers with this verdict."""
    return self.verdicts.count(verdict) / len(self.verdicts)


def rule_judge(config: ProbeKnowledgeConfig) -> Judge:
  """The rules of `judging.py`, as (question, truth, answer) -> verdict."""
  rules = functools.partial(judge, min_f1=config.judge.min_f1,
                            phrases=config.judge.refusal_phrases)
  return lambda question, truth, answer: rules(answer, truth, question)


def judge_answers(fact: Fact, answers: Sequence[str], judged_by: Judge
                  ) -> Probe:
  """Judges what was said about a fact; equal answers are judged once."""
  of = {answer: judged_by(fact.question, fact.answer, answer)
        for answer in dict.fromkeys(answers)}
  keys = [(REFUSED,) if of[answer] == REFUSED
          else answer_key(answer, fact.question) for answer in answers]
  (key, count), = collections.Counter(keys).most_common(1)
  return Probe(fact, tuple(answers), tuple(of[a] for a in answers),
               count / len(keys), of[answers[keys.index(key)]])


def state_of(probe: Probe, config: ProbeKnowledgeConfig) -> str:
  """Whether the model knows a fact: one of `STATES`."""
  if not probe.fact.answer or probe.share(CORRECT) <= config.does_not_know:
    return DOES_NOT_KNOW
  return KNOWS if probe.share(CORRECT) >= config.knows else UNSURE


def proportion(name: str, shares: Sequence[float]) -> dict[str, float]:
  """{name, name_low, name_high}: the mean of values in [0, 1], one of each
  item, and Wilson's interval of so many items."""
  low, high = wilson_interval(sum(map(float, shares)), len(shares))
  return {name: sum(map(float, shares)) / len(shares), f"{name}_low": low,
          f"{name}_high": high}


def summary_rows(probes: Sequence[Probe], config: ProbeKnowledgeConfig
                 ) -> list[dict[str, Any]]:
  """The rates of each group, and within it of each attribute."""
  rows = []
  for group in dict.fromkeys(p.fact.group for p in probes):
    here = [p for p in probes if p.fact.group == group]
    kinds = list(dict.fromkeys(p.fact.attribute for p in here))
    for kind in ("all", *(kinds if len(kinds) > 1 else ())):
      chosen = [p for p in here if kind in ("all", p.fact.attribute)]
      states = [state_of(p, config) for p in chosen]
      rows.append({
          "group": group, "attribute": kind, "facts": len(chosen),
          **{k: v for name, verdict in RATES.items() for k, v in
             proportion(name, [p.share(verdict) for p in chosen]).items()},
          "agreement": float(np.mean([p.agreement for p in chosen])),
          **{name: states.count(state)
             for name, state in zip(COUNTS, STATES)}})
  return rows


def headline(probes: Sequence[Probe]) -> dict[str, float]:
  """The rates that a cure is measured by, where the groups allow it.

  Returns:
    `correct_rate` and `hallucination_rate` of all that were asked,
    `hallucination_rate_invented` of the invented, `correct_rate_known` and
    `over_refusal_rate` of the known; each with its interval.
  """
  found = {}
  for name, group, verdict in (
      ("correct_rate", None, CORRECT), ("hallucination_rate", None, WRONG),
      ("hallucination_rate_invented", INVENTED, WRONG),
      ("correct_rate_known", KNOWN, CORRECT),
      ("over_refusal_rate", KNOWN, REFUSED)):
    shares = [p.share(verdict) for p in probes
              if group in (None, p.fact.group)]
    if shares:
      found |= proportion(name, shares)
  return found


def calibration(probes: Sequence[Probe], bins: int = 10) -> dict[str, Any]:
  """Agreement among a fact's answers against the truth of what most say.

  Facts about which most answers refuse claim nothing and are left out.

  Returns:
    `facts`; `points`, of each bin of agreement its facts, their mean agreement
    and their accuracy with its interval; `expected_calibration_error`,
    Σ (facts in bin / all) · |accuracy - agreement| (Guo et al. 2017,
    arXiv:1706.04599, eq. 5), None where no fact is left.
  """
  claimed = [p for p in probes if p.common != REFUSED]
  if not claimed:
    return {"facts": 0, "points": [], "expected_calibration_error": None}
  points = []
  for found in binary_scores.calibration(
      np.array([p.agreement for p in claimed]),
      np.array([float(p.common == CORRECT) for p in claimed]), bins):
    low, high = wilson_interval(found.mean_label * found.items, found.items)
    points.append({"facts": found.items, "agreement": found.mean_score,
                   "accuracy": found.mean_label, "accuracy_low": low,
                   "accuracy_high": high})
  error = sum(p["facts"] * abs(p["accuracy"] - p["agreement"])
              for p in points) / len(claimed)
  return {"facts": len(claimed), "points": points,
          "expected_calibration_error": error}


def compare(before: Sequence[Probe], after: Sequence[Probe],
            config: ProbeKnowledgeConfig) -> list[dict[str, Any]]:
  """Rates of the same facts before and after, and their paired differences.

  Args:
    before: of one model.
    after: of another; facts are matched by their questions.
    config: says what counts as known.

  Returns:
    A row for each group and rate; and the rate of refusals of what the first
    model knew, whatever group that is of.
  """
  earlier = {p.fact.question: p for p in before}
  pairs = [(earlier[p.fact.question], p) for p in after
           if p.fact.question in earlier]
  chosen = {group: [pair for pair in pairs if pair[1].fact.group == group]
            for group in dict.fromkeys(p.fact.group for _, p in pairs)}
  rows = [_difference(group, name, verdict, here)
          for group, here in chosen.items() if len(here) > 1
          for name, verdict in RATES.items()]
  knew = [pair for pair in pairs if state_of(pair[0], config) == KNOWS]
  if len(knew) > 1:
    rows.append(_difference("known before", "refused", REFUSED, knew))
  return rows


def _difference(group: str, name: str, verdict: str,
                pairs: Sequence[tuple[Probe, Probe]]) -> dict[str, Any]:
  sides = [np.array([pair[i].share(verdict) for pair in pairs])
           for i in (0, 1)]
  found = paired_difference(*sides)
  return {"group": group, "rate": name, "facts": len(pairs),
          "before": float(sides[0].mean()), "after": float(sides[1].mean()),
          "difference": found.mean, "difference_low": found.low,
          "difference_high": found.high}


def conversations(probes: Sequence[Probe], config: ProbeKnowledgeConfig
                  ) -> list[dict[str, Any]]:
  """What to finetune on, so that the model says what it knows and no more.

  The truth where it knows, a refusal where it does not, nothing where it is
  unsure or where the fact is held out. Refusals beyond `refusal_share` of all
  are left out, chosen by a hash.

  Returns:
    Records of `messages`, as `experiments.sft` reads them, in the order of the
    probes, with `kind` and `state` for whoever looks at them.
  """
  wanted: list[tuple[float, str, Probe]] = []
  for probe in probes:
    fact = probe.fact
    if (is_held_out(fact, config.held_out_fraction)
        or config.train_groups and fact.group not in config.train_groups):
      continue
    state = state_of(probe, config)
    if state != UNSURE:
      wanted.append((unit_hash(fact.question, config.seed), state, probe))
  known = sum(state == KNOWS for _, state, _ in wanted)
  refused = sorted(place for place, state, _ in wanted if state != KNOWS)
  if config.refusal_share < 1:
    share = config.refusal_share
    refused = refused[:round(known * share / (1 - share))]
  kept, made = set(refused), []
  for place, state, probe in wanted:
    if state != KNOWS and place not in kept:
      continue
    text = (known_answer(probe) if state == KNOWS
            else refusal(probe.fact, place, config.refusals))
    made.append({"messages": [{"role": "user", "content": probe.fact.question},
                              {"role": "assistant", "content": text}],
                 "kind": "knowledge" if state == KNOWS else "refusal",
                 "state": state, "group": probe.fact.group})
  return made


def known_answer(probe: Probe) -> str:
  """A sentence that answers rightly: the given one, that of the cloze, or what
  the model itself said rightly; at last the bare truth."""
  fact = probe.fact
  if fact.response or fact.cloze:
    return fact.response or f"{fact.cloze} {fact.answer.rstrip('.')}."
  own = [answer for answer, verdict in zip(probe.answers, probe.verdicts)
         if verdict == CORRECT]
  return own[0] if own else fact.answer


def refusal(fact: Fact, place: float, refusals: Sequence[str]) -> str:
  """One of the wordings, by a number in [0, 1); {name} is filled in."""
  wording = refusals[int(place * 1e6) % len(refusals)]
  return wording.replace("{name}", fact.name or "that")
