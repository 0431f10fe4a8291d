"""Hallucination, its calibration, and the search tool: questions on people.

Known people are in what the model was pretrained on, half of them also as
questions and answers; of the unlearned there are facts that it never read; the
invented have no facts at all, and names of the same parts. Asked are people of
whom finetuning does not speak (`biographies.side_of`), in phrasings that no
text for training has.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from llm_jax.config import require
from llm_jax.data import biographies
from llm_jax.data.documents import unit_hash
from llm_jax.evals.facts import (
    ASKED, INVENTED, KNOWN, UNLEARNED, Fact, choose_shots, people_facts)
from llm_jax.evals.judging import judge
from llm_jax.evals.psychology.cases import Case, Condition, Said, Section
from llm_jax.evals.respondent import Ask

SEARCH_TOOLS = ("search", "open")
MAX_NEW_TOKENS = 48


def score_fact(case: Case, said: Said, phrases: Sequence[str] = ()) -> str:
  """The rules of `judging.py` on the last answer."""
  return judge(said.text, case.truth, case.ask.question, phrases=phrases)


def facts_of(people: biographies.People, items: int, seed: int,
             groups: Sequence[str]) -> dict[str, list[Fact]]:
  """`items` facts of each group, about people whom finetuning leaves alone.

  Raises:
    ConfigError: a group has fewer.
  """
  spare = [fact for fact in people_facts(people, seed, held_out=True)
           if biographies.side_of(fact.name) == "validation"]
  found = {}
  for group in groups:
    here = [fact for fact in spare
            if fact.group in ((KNOWN, ASKED) if group == KNOWN else (group,))]
    require(len(here) >= items, f"there are {len(here)} held-out questions on "
            f"{group} people, fewer than psychology.items={items}; make more "
            "people with experiments.make_biographies, or ask for fewer.")
    order = sorted(here, key=lambda fact: unit_hash(fact.question, seed))
    chosen = {id(fact) for fact in order[:items]}
    found[group] = [fact for fact in here if id(fact) in chosen]
  return found


def hallucination_section(people: biographies.People, items: int, seed: int,
                          shots: int, phrases: Sequence[str] = ()) -> Section:
  """What is said of known, unlearned and invented people, without tools."""
  score = functools.partial(score_fact, phrases=phrases)
  facts = facts_of(people, items, seed, (KNOWN, UNLEARNED, INVENTED))
  return Section(
      "hallucination", "What it does not know",
      "Questions on people who are in the training text, on people with facts "
      "that were never in it, and on names that nobody bears. A hallucination "
      "is an answer that is neither right nor a refusal.",
      tuple(Condition(group, _cases(chosen), score,
                      max_new_tokens=MAX_NEW_TOKENS)
            for group, chosen in facts.items()),
      shots=_shots(people, shots))


def search_section(people: biographies.People, items: int, seed: int,
                   shots: int, phrases: Sequence[str] = ()) -> Section:
  """The unlearned, with a search tool that finds them and without."""
  score = functools.partial(score_fact, phrases=phrases)
  cases = _cases(facts_of(people, items, seed, (UNLEARNED,))[UNLEARNED])
  return Section(
      "search", "What it can look up",
      "Facts that no training text has, but the search index does. The same "
      "questions with the tools search and open, and without.",
      (Condition("no tool", cases, score, max_new_tokens=MAX_NEW_TOKENS),
       Condition("search tool", cases, score, SEARCH_TOOLS, MAX_NEW_TOKENS)),
      contrasts=(("search tool", "no tool"),), shots=_shots(people, shots))


def _cases(facts: Sequence[Fact]) -> list[Case]:
  return [Case(Ask(fact.question), fact.answer) for fact in facts]


def _shots(people: biographies.People, number: int
           ) -> tuple[tuple[str, str], ...]:
  asked = [fact for fact in people_facts(people) if fact.group == ASKED
           and biographies.side_of(fact.name) == "train"]
  return tuple((fact.question, fact.answer)
               for fact in choose_shots(asked, number))
