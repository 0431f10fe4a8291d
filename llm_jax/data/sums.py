"""Chains of one-digit sums: the small problem that reinforcement learning gets.

    What is 7+8+5+9+3?      7+8=15
                            15+5=20
                            20+9=29
                            29+3=32
                            #### 32

A person who writes demonstrations answers the way that suits a person. Some
write the running totals down; some add in their head and state the result at
once ("#### 32"). Every demonstration here is correct, in either style, and a
model that imitates them learns to answer in either style, as often as they
did. But a model of a million parameters has no head to add in: it has one pass
through a few layers per token, in which it can add two numbers but not six.
The labeller does not know that; nor is the loss of imitation ever told which
style leads to right answers. Reinforcement learning, which scores answers and
not styles, finds it out.

Training and evaluation are apart by construction. A problem is held out by a
hash of its terms in sorted order, so no reordering of an evaluation problem is
ever trained on; `train_problem` rejects those and `held_out_problems` the rest.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools

import numpy as np

from llm_jax.config import require, require_choice

HELD_OUT_SHARE = 0.1
STYLES = ("steps", "at_once")
SMALLEST_TERM, LARGEST_TERM = 1, 9


@dataclasses.dataclass(frozen=True)
class SumProblem:
  """A chain of terms to be added."""
  terms: tuple[int, ...]

  def prompt(self) -> str:
    """The question, e.g. "What is 7+8+5?"."""
    return f"What is {'+'.join(map(str, self.terms))}?"

  def answer(self) -> str:
    """The sum, in decimal."""
    return str(sum(self.terms))

  def demonstration(self, style: str) -> str:
    """A correct answer, ending in "#### N".

    Args:
      style: "steps", one line for each addition, or "at_once", none.
    """
    require_choice("style", style, STYLES)
    lines = []
    if style == "steps":
      totals = list(itertools.accumulate(self.terms))
      lines = [f"{before}+{term}={after}" for before, term, after
               in zip(totals, self.terms[1:], totals[1:])]
    return "\n".join([*lines, f"#### {self.answer()}"])


def is_held_out(problem: SumProblem) -> bool:
  """Whether a problem is for evaluation only: about 10% of them are."""
  terms = ",".join(map(str, sorted(problem.terms)))
  digest = hashlib.blake2b(terms.encode(), digest_size=8).digest()
  return int.from_bytes(digest, "little") / 2.0**64 < HELD_OUT_SHARE


def train_problem(rng: np.random.Generator, min_terms: int = 4,
                  max_terms: int = 6) -> SumProblem:
  """A problem that is not held out; each number of terms is as likely.

  Raises `ConfigError` for lengths that cannot be.
  """
  check_terms(min_terms, max_terms)
  while True:
    problem = _draw(rng, min_terms, max_terms)
    if not is_held_out(problem):
      return problem


def held_out_problems(num_problems: int, seed: int = 0, min_terms: int = 4,
                      max_terms: int = 6) -> list[SumProblem]:
  """Different problems, all held out; the same for the same arguments.

  Raises `ConfigError` where there are not as many.
  """
  check_terms(min_terms, max_terms)
  rng = np.random.default_rng(seed)
  found: dict[SumProblem, None] = {}  # ordered, unlike a set
  for _ in range(30 * num_problems + 10_000):
    if len(found) == num_problems:
      break
    problem = _draw(rng, min_terms, max_terms)
    if is_held_out(problem):
      found[problem] = None
  require(len(found) == num_problems, f"only {len(found)} held-out sums of "
          f"{min_terms} to {max_terms} terms were found, not {num_problems}; "
          "ask for fewer, or for longer ones.")
  return list(found)


def check_terms(min_terms: int, max_terms: int) -> None:
  """Raises `ConfigError` unless 2 <= min_terms <= max_terms."""
  require(2 <= min_terms <= max_terms, f"sums of {min_terms} to {max_terms} "
          "terms: the fewest must be at least 2, the most not less than that.")


def _draw(rng: np.random.Generator, min_terms: int,
          max_terms: int) -> SumProblem:
  num_terms = rng.integers(min_terms, max_terms + 1)
  terms = rng.integers(SMALLEST_TERM, LARGEST_TERM + 1, size=num_terms)
  return SumProblem(tuple(terms.tolist()))
