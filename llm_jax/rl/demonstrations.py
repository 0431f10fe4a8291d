"""Worked demonstrations for finetuning from: problems answered step by step.

    What is 7+8+5 modulo 2?

    steps     <think>1,1,0</think>                            each step
              #### 0
    some      <think>1</think>                                every second one
              #### 0
    checked   <think>1? Wait, let me check: 1,1,0</think>     a guess, then each
              #### 0
    glance    <think>easy</think>                             in tags, but none
              #### 0
    at_once   #### 0                                          only the answer

DeepSeek-R1 (2025, arXiv:2501.12948, section 2.3.1) is finetuned on a few
thousand long solutions before it is rewarded for any, so that its samples have
a form worth choosing from. People who write such solutions differ in patience
and slip now and then; a model that imitates them does all of it as often as
they did. What it does more of later is for rewards to decide.

A slip is one step that comes out wrong, with all that follows from it. Answers
have the form that every verifier reads (`rl/answers.py`).
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Sequence

import numpy as np

from llm_jax.config import ConfigError, DemonstrateConfig, require_choice
from llm_jax.config_demonstrate import STYLES
from llm_jax.data.sums import MODULUS
from llm_jax.rl.environments.protocol import Problem

CHECKING = "Wait, let me check"
_GLANCE = "easy"


@dataclasses.dataclass(frozen=True)
class Slip:
  """A step that goes wrong: where, as a share of the steps, and by how much."""
  place: float
  amount: int


@dataclasses.dataclass(frozen=True)
class Work:
  """A problem worked out.

  Attributes:
    steps: each step.
    some: fewer, or said in less detail.
    answer: where they lead.
    between: what stands between two steps.
  """
  steps: tuple[str, ...]
  some: tuple[str, ...]
  answer: int
  between: str


def work_out(problem: Problem, slip: Slip | None = None) -> Work:
  """The steps that lead to the answer of a problem.

  Args:
    problem: of an environment that `WORKERS` knows.
    slip: a step that goes wrong.

  Raises:
    ConfigError: another environment's.
  """
  worker = WORKERS.get(problem.source)
  if worker is None:
    raise ConfigError(f"there are no demonstrations of {problem.source}; there "
                      f"are some of {', '.join(WORKERS)}.")
  return worker(problem, slip)


def demonstrate(problem: Problem, style: str, rng: np.random.Generator,
                config: DemonstrateConfig) -> str:
  """An answer as someone might write it.

  Args:
    problem: see `work_out`.
    style: one of `STYLES`.
    rng: decides on slips, guesses and tags.
    config: slips, think, untagged.
  """
  require_choice("style", style, STYLES)
  # Drawn in any case, so that a style or share changes nothing of the others.
  slips, untagged, guesses_right = rng.random(3) < (config.slips,
                                                    config.untagged, 0.5)
  slip = Slip(rng.random(), int(rng.choice((-1, 1))))
  slipped = slips and style in ("steps", "some")
  work = work_out(problem, slip if slipped else None)
  answer = f"#### {work.answer}"
  if style == "at_once":
    return answer
  guess = work.answer if guesses_right else work_out(problem, slip).answer
  steps = work.between.join(work.steps)
  thought = {"steps": steps, "some": work.between.join(work.some),
             "checked": f"{guess}? {CHECKING}: {steps}",
             "glance": _GLANCE}[style]
  if not config.think:
    return f"{thought}\n{answer}"
  if untagged:  # about as many tokens as the tags
    return f"Let me think: {thought}. That is it.\n{answer}"
  return f"<think>{thought}</think>\n{answer}"


def _totals(amounts: Sequence[int], slip: Slip | None) -> list[int]:
  """Running totals; behind a slip all are off by its amount."""
  amounts = list(amounts)
  if slip is not None and amounts:
    amounts[int(slip.place * len(amounts))] += slip.amount
  return list(itertools.accumulate(amounts))


def _sum(problem: Problem, slip: Slip | None) -> Work:
  """7+8+5 modulo 2: the remainder after each term."""
  terms = re.findall(r"\d+", problem.prompt.removesuffix(f" modulo {MODULUS}?"))
  totals = [total % MODULUS for total in _totals(list(map(int, terms)), slip)]
  steps = tuple(map(str, totals))
  return Work(steps, steps[1::2], totals[-1], ",")


def _chain_sum(problem: Problem, slip: Slip | None) -> Work:
  """57 - 98 + 93: "57-98=-41;-41+93=52", or two terms at a time."""
  first, *signed = re.findall(r"(?:(?<=\s)[+-]\s)?-?\d+",
                              problem.columns["metadata"]["expression"])
  signed = [term.replace(" ", "") for term in signed]
  amounts = [int(term[1:]) if term[0] == "+" else -int(term[1:])
             for term in signed]
  totals = [int(first), *(int(first) + total
                          for total in _totals(amounts, slip))]

  def steps(stride: int) -> tuple[str, ...]:
    starts = range(0, len(signed), stride)
    return tuple(
        f"{totals[i]}{''.join(signed[i:i + stride])}="
        f"{totals[min(i + stride, len(signed))]}" for i in starts)

  return Work(steps(1) or (first,), steps(2) or (first,), totals[-1], ";")


def _letter_counting(problem: Problem, slip: Slip | None) -> Work:
  """How many "e": "f r e1 e2; t h e3", or "free 2; the 3"."""
  metadata = problem.columns["metadata"]
  words, letter = metadata["span"], metadata["target_letter"]
  if slip is not None:  # nobody counts fewer letters than none
    slip = dataclasses.replace(slip, amount=abs(slip.amount))
  counts = [word.lower().count(letter) for word in words]
  totals = [0, *_totals([1] * sum(counts), slip)]
  numbers = iter(totals[1:])
  spelt = tuple(" ".join(
      f"{one}{next(numbers)}" if one == letter else one
      for one in word.lower()) for word in words)
  plain = tuple(f"{word} {totals[seen]}" for word, seen in zip(
      words, itertools.accumulate(counts)))
  return Work(spelt, plain, totals[-1], "; ")


WORKERS: dict[str, Callable[[Problem, Slip | None], Work]] = {
    "sums": _sum, "chain_sum": _chain_sum,
    "letter_counting": _letter_counting}
