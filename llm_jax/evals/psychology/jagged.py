"""Jagged edges: what is easy beside what is not, as a model sees it.

A person who adds numbers of three digits adds those of six, who knows that
Tom Lee's home is Oslo can say who comes from there, and does not take 9.11 for
more than 9.9. A model may do the one and not the other (Berglund et al. 2023,
"The Reversal Curse", arXiv:2309.12288; Dziri et al. 2023, arXiv:2305.18654).
Nothing here is trained for on purpose, and nothing is promised.
"""

from __future__ import annotations

import collections
import decimal
import random
import re
from collections.abc import Sequence

from llm_jax.data import biographies
from llm_jax.data.attributes import with_article
from llm_jax.data.synthetic.arithmetic import side_of_problem
from llm_jax.evals.judging import (
    CORRECT, WRONG, final_number, judge, numbers)
from llm_jax.evals.psychology.cases import Case, Condition, Said, Section
from llm_jax.evals.respondent import Ask

SUM_DIGITS = (1, 2, 3, 4, 5, 6)
_SHOTS = (("Which is larger, 3.2 or 1.8?", "3.2"), ("What is 5 + 3?", "8"))


def jagged_section(people: biographies.People, items: int, seed: int
                   ) -> Section:
  """Easy and hard cells, about `items` cases in all, at least 50 a cell."""
  each = max(50, items // (len(SUM_DIGITS) + 6))
  cells = [
      Condition("larger of two decimals", _decimals(each, seed, False),
                score_larger),
      Condition("larger of two decimals, the longer one smaller",
                _decimals(each, seed, True), score_larger)]
  cells += [Condition(f"sums of {digits} digit{'s' if digits > 1 else ''}",
                      _sums(each, digits, seed), score_number,
                      max_new_tokens=96)
            for digits in SUM_DIGITS]
  cells += [Condition(f"products of {digits} digit{'s' if digits > 1 else ''}",
                      _products(each, digits, seed), score_number,
                      max_new_tokens=96) for digits in (1, 2)]
  chosen = reversible(people.known)
  random.Random(f"reversed {seed}").shuffle(chosen)
  cells += [Condition("facts, forwards", _forwards(chosen[:each]), score_text),
            Condition("facts, backwards", _backwards(chosen[:each]),
                      score_text)]
  return Section(
      "jagged", "Jagged edges",
      "Tasks that are one to a person, and not to a model: longer sums, facts "
      "asked the other way round, decimals of which the longer is smaller.",
      tuple(cell for cell in cells if cell.cases), shots=_SHOTS)


def score_larger(case: Case, said: Said) -> str:
  """Whether the number that is named first is the larger one; after "smaller"
  or "less", whether it is the other one."""
  pair = {n for n in numbers(case.ask.question)}
  named = [n for n in numbers(said.text) if n in pair]
  if not named:
    return WRONG
  right = named[0] == decimal.Decimal(case.truth)
  if re.search(r"\b(smaller|less|lower)\b", said.text.lower()):
    right = not right
  return CORRECT if right else WRONG


def score_number(case: Case, said: Said) -> str:
  """Whether the answer ends with the number."""
  right = final_number(said.text) == decimal.Decimal(case.truth)
  return CORRECT if right and said.ended else WRONG


def score_text(case: Case, said: Said) -> str:
  """The rules of `judging.py`."""
  return judge(said.text, case.truth, case.ask.question)


def reversible(persons: Sequence[biographies.Person]
               ) -> list[biographies.Person]:
  """Those who are told by birthplace, year and occupation alone."""
  count = collections.Counter(map(_description, persons))
  return [person for person in persons if count[_description(person)] == 1]


def _description(person: biographies.Person) -> tuple[str, str, str]:
  return (person.value("birthplace"), person.value("birth_year"),
          person.value("occupation"))


def _forwards(persons: Sequence[biographies.Person]) -> list[Case]:
  return [Case(Ask(f"In which year was {person.name} born?"),
               person.value("birth_year")) for person in persons]


def _backwards(persons: Sequence[biographies.Person]) -> list[Case]:
  cases = []
  for person in persons:
    place, year, work = _description(person)
    cases.append(Case(Ask(f"Who was born in {place} in {year} and works as "
                          f"{with_article(work)}?"), person.name))
  return cases


def _decimals(number: int, seed: int, longer_is_smaller: bool) -> list[Case]:
  rng = random.Random(f"decimals {seed} {longer_is_smaller}")
  cases = []
  while len(cases) < number:
    whole = rng.randrange(1, 100)
    if longer_is_smaller:  # 9.11 and 9.9
      short, long = rng.randrange(2, 10), rng.randrange(11, 100)
      if long % 10 == 0 or long // 10 >= short:
        continue
      larger, smaller = f"{whole}.{short}", f"{whole}.{long}"
    else:
      first, second = rng.sample(range(1, 10), 2)
      larger, smaller = (f"{whole}.{max(first, second)}",
                         f"{whole}.{min(first, second)}")
    one, other = rng.sample((larger, smaller), 2)
    cases.append(Case(Ask(f"Which is larger, {one} or {other}?"), larger))
  return cases


def _sums(number: int, digits: int, seed: int) -> list[Case]:
  low, high = (10 ** (digits - 1), 10 ** digits) if digits > 1 else (1, 10)
  return [Case(Ask(f"What is {a} + {b}?"), str(a + b))
          for a, b in _pairs(number, "+", low, high, seed)]


def _products(number: int, digits: int, seed: int) -> list[Case]:
  low, high = max(2, 10 ** (digits - 1)), 10 ** digits
  return [Case(Ask(f"What is {a} * {b}?"), str(a * b))
          for a, b in _pairs(number, "*", low, high, seed)]


def _pairs(number: int, operation: str, low: int, high: int, seed: int
           ) -> list[tuple[int, int]]:
  """Pairs of numbers below `high`, none of which is trained on; of one digit
  all, as there are too few to hold any out."""
  rng = random.Random(f"{operation} {low} {seed}")
  pairs: list[tuple[int, int]] = []
  while len(pairs) < number:
    a, b = rng.randrange(low, high), rng.randrange(low, high)
    if high <= 10 or side_of_problem(f"{a} {operation} {b}") == "validation":
      pairs.append((a, b))
  return pairs
