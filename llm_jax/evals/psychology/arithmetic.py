"""Arithmetic at once and with a tool; with the steps first, and after.

Problems are held out by hash (`data/synthetic/arithmetic.py`). A model does the
same work for each token, so a sum that is to be said at once has to be done in
one token's work; written out column by column it is many small ones, and a
program does not think at all.
"""

from __future__ import annotations

import decimal

import numpy as np

from llm_jax.data.synthetic.arithmetic import (
    ArithmeticProblem, arithmetic_question, draw_problem)
from llm_jax.evals.judging import CORRECT, WRONG, final_number
from llm_jax.evals.psychology.cases import Case, Condition, Said, Section
from llm_jax.evals.respondent import Ask

PYTHON = ("python",)
BARE, TOOL = "bare", "Python tool"
STEPS_FIRST, ANSWER_FIRST = "steps first", "answer first"
_SHOTS = (("What is 12 + 30?", "#### 42"), ("What is 90 - 15?", "#### 75"))


def arithmetic_section(items: int, digits: int, seed: int) -> Section:
  """Sums, differences and products of two numbers of so many digits."""
  rng = np.random.default_rng([seed, 2])
  cases = _cases(_problems(items, digits, rng, by_one_digit=False),
                 "at_once", rng)
  return Section(
      "arithmetic", "What it can compute",
      f"Sums, differences and products of numbers of {digits} digits, asked "
      "plainly: what it says at once, and what it says with a Python "
      "interpreter at hand.",
      (Condition(BARE, cases, score_number, max_new_tokens=64),
       Condition(TOOL, cases, score_number, PYTHON, max_new_tokens=64)),
      contrasts=((TOOL, BARE),), shots=_SHOTS)


def thinking_section(items: int, digits: int, seed: int) -> Section:
  """The same problems with the steps before the answer, and after it."""
  rng = np.random.default_rng([seed, 3])
  problems = _problems(items, digits, rng, by_one_digit=True)
  return Section(
      "thinking", "What it has to write down",
      "The same problems, asked for with the steps first and with the answer "
      "first. The words are the same in either order; but an answer that comes "
      "first is said before anything was worked out.",
      tuple(Condition(name, _cases(problems, style,
                                   np.random.default_rng([seed, 4])),
                      score, max_new_tokens=96)
            for name, style, score in (
                (STEPS_FIRST, "steps_first", score_number),
                (ANSWER_FIRST, "answer_first", score_first_number))),
      contrasts=((STEPS_FIRST, ANSWER_FIRST),), shots=_SHOTS)


def score_number(case: Case, said: Said) -> str:
  """Whether the answer ended, and with the right number."""
  right = final_number(said.text) == decimal.Decimal(case.truth)
  return CORRECT if right and said.ended else WRONG


def score_first_number(case: Case, said: Said) -> str:
  """Whether the first line states the right number: steps that come after may
  be cut off or wrong."""
  first = final_number(said.text.strip().split("\n")[0])
  return CORRECT if first == decimal.Decimal(case.truth) else WRONG


def _problems(items: int, digits: int, rng: np.random.Generator,
              by_one_digit: bool) -> list[ArithmeticProblem]:
  found: dict[str, ArithmeticProblem] = {}
  tried = 0
  while len(found) < items and tried < 100 * items:  # of one digit are few
    problem = draw_problem(rng, digits, "validation", by_one_digit)
    found.setdefault(str(problem), problem)
    tried += 1
  return list(found.values())


def _cases(problems: list[ArithmeticProblem], style: str,
           rng: np.random.Generator) -> list[Case]:
  return [Case(Ask(arithmetic_question(problem, style, rng)[1]),
               str(problem.answer()), key=str(problem))
          for problem in problems]
