"""Arithmetic with numbers of so many digits: at once, in steps, or by a tool.

    What is 4827 + 1596? Steps first.      7+6+0=13, 2+9+1=12, 8+5+1=14, 4+1+1=6
                                           #### 6423

The steps are the columns from the right, each with what is carried into it:
the tens of the column before. In a subtraction one is borrowed where the upper
digit is too small ("12-9-0=3, 7-5-1=1"). "Answer first" says the same in the
other order, so it has the same tokens; but then nothing is worked out yet when
the answer is said. `sums.py` has the smaller problem for reinforcement
learning.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from llm_jax.config import require_choice
from llm_jax.data.conversations import single_turn
from llm_jax.data.documents import unit_hash
from llm_jax.data.synthetic.drafts import Draft

HELD_OUT_SHARE = 0.1
OPERATIONS = ("+", "-", "*")
STYLES = {"arithmetic": "at_once", "arithmetic_steps": "steps_first",
          "arithmetic_answer_first": "answer_first"}
QUESTIONS = ("What is {problem}?", "Compute {problem}.",
             "How much is {problem}?", "What does {problem} give?",
             "Work out {problem}.", "Please compute {problem}.")
WISHES = {"at_once": "", "steps_first": " Steps first.",
          "answer_first": " Answer first."}


@dataclasses.dataclass(frozen=True)
class ArithmeticProblem:
  """Two numbers and what is done with them."""
  left: int
  operation: str
  right: int

  def __str__(self) -> str:
    return f"{self.left} {self.operation} {self.right}"

  def answer(self) -> int:
    """The result."""
    if self.operation == "+":
      return self.left + self.right
    if self.operation == "-":
      return self.left - self.right
    return self.left * self.right

  def steps(self) -> str:
    """The columns from the right; of a product, by a number of one digit."""
    carry, columns = 0, []
    for place in range(len(str(self.left))):
      upper = self.left // 10**place % 10
      if self.operation == "*":
        value = upper * self.right + carry
        columns.append(f"{upper}*{self.right}+{carry}={value}")
        carry = value // 10
        continue
      lower = self.right // 10**place % 10
      if self.operation == "+":
        columns.append(f"{upper}+{lower}+{carry}={upper + lower + carry}")
        carry = (upper + lower + carry) // 10
      else:
        borrowed = upper < lower + carry
        upper += 10 * borrowed
        columns.append(f"{upper}-{lower}-{carry}={upper - lower - carry}")
        carry = int(borrowed)
    return ", ".join(columns)

  def demonstration(self, style: str) -> str:
    """A correct answer.

    Args:
      style: "at_once", "steps_first" or "answer_first".
    """
    require_choice("style", style, tuple(WISHES))
    stated = f"#### {self.answer()}"
    if style == "at_once":
      return stated
    lines = (self.steps(), stated)
    return "\n".join(lines if style == "steps_first" else lines[::-1])


def draw_problem(rng: np.random.Generator, digits: int, split: str,
                 by_one_digit: bool = False) -> ArithmeticProblem:
  """A problem of one side of the split; each operation is as likely.

  Args:
    rng: decides.
    digits: of both numbers.
    split: "train" or "validation".
    by_one_digit: products are by a number of one digit, 2 to 9.
  """
  while True:
    operation = OPERATIONS[rng.integers(len(OPERATIONS))]
    left, right = rng.integers(10**(digits - 1), 10**digits, 2).tolist()
    if operation == "*" and by_one_digit:
      right = int(rng.integers(2, 10))
    if operation == "-" and left < right:
      left, right = right, left
    problem = ArithmeticProblem(left, operation, right)
    if side_of_problem(str(problem)) == split:
      return problem


def side_of_problem(problem: str) -> str:
  """Whether a problem may be trained on; "a + b" and "b + a" are one."""
  left, operation, right = problem.split()
  if operation != "-":
    left, right = sorted((left, right))
  return ("validation" if unit_hash(f"{left}{operation}{right}", 0)
          < HELD_OUT_SHARE else "train")


def arithmetic_question(problem: ArithmeticProblem, style: str,
                        rng: np.random.Generator) -> tuple[str, str]:
  """(template, question) that asks for an answer in a style."""
  template = QUESTIONS[rng.integers(len(QUESTIONS))] + WISHES[style]
  return template, template.format(problem=problem)


def compute(kind: str, digits: int, split: str, rng: np.random.Generator
            ) -> Iterator[Draft]:
  """Problems of a kind of `STYLES`, without end.

  Those of the two kinds with steps are alike; at once, products are of two
  numbers of so many digits.
  """
  style = STYLES[kind]
  while True:
    problem = draw_problem(rng, digits, split, style != "at_once")
    template, question = arithmetic_question(problem, style, rng)
    yield Draft(single_turn(question, problem.demonstration(style), kind),
                (("problem", str(problem)),), problem.operation + template)
