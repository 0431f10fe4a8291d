"""Sums modulo two: the small problem that reinforcement learning gets.

    What is 7+8+5+9+3 modulo 2?      1,1,0,1,0
                                     #### 0

A person who writes demonstrations answers the way that suits a person. Some
write down the running remainders (7 -> 1, +8 -> 1, +5 -> 0, ...); some work it
out in their head and state the result at once ("#### 0"). Every demonstration
here is correct, in either style, and a model that imitates them learns to
answer in either style, as often as they did. But a model has no head to work
in: it has one pass through a few layers per token, and parity is the textbook
function that one pass of attention does not compute (Hahn 2020, "Theoretical
Limitations of Self-Attention", theorem 1), while one step of it is easy. The
labeller does not know that; nor is the loss of imitation ever told which style
leads to right answers. Reinforcement learning, which scores answers and not
styles, finds it out.

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
MODULUS = 2


@dataclasses.dataclass(frozen=True)
class SumProblem:
  """A chain of terms to be added."""
  terms: tuple[int, ...]

  def prompt(self) -> str:
    """The question, e.g. "What is 7+8+5 modulo 2?"."""
    return f"What is {'+'.join(map(str, self.terms))} modulo {MODULUS}?"

  def answer(self) -> str:
    """The remainder of the sum."""
    return str(sum(self.terms) % MODULUS)

  def demonstration(self, style: str) -> str:
    """A correct answer, ending in "#### N".

    Args:
      style: "steps", the remainder after each term, or "at_once", none.
    """
    require_choice("style", style, STYLES)
    lines = []
    if style == "steps":
      lines = [",".join(str(total % MODULUS)
                        for total in itertools.accumulate(self.terms))]
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
