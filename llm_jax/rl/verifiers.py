"""Rewards that are checked by a rule rather than judged by a model.

Those here are pure functions of text. What may hang or do harm is elsewhere:
algebra in `math_verifier.py`, programs in `code_verifier.py`.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from fractions import Fraction

from llm_jax.rl.answers import read_number

# 100 digits: int() of a text of thousands is slow, and then an error.
_INTEGER = r"-?[0-9]{1,100}"
_ANSWER = re.compile(rf"(?:.*\n)?#### ({_INTEGER})\s*", re.DOTALL)


def is_integer(text: str) -> bool:
  """Whether `text` is an integer that `answer_reward` can compare with."""
  return re.fullmatch(_INTEGER, text) is not None


def stated_answer(completion: str) -> int | None:
  """The integer on a completion's last line "#### N"; None where malformed.

  Well-formed means that "####" comes once, at the start of the last line,
  followed by one space and one integer. What comes before is free; a model
  that states two answers has stated none.
  """
  match = _ANSWER.fullmatch(completion)
  if match is None or completion.count("####") != 1:
    return None
  return int(match.group(1))


def answer_reward(completion: str, stopped: bool, answer: str | int) -> float:
  """1 for a right answer in the right form that ended by itself, else 0.

  Args:
    completion: what the model wrote, without its stop token.
    stopped: whether a stop token ended it; one cut at the length limit may
      look finished but is not.
    answer: the right integer.
  """
  return float(stopped and stated_answer(completion) == int(answer))


def gsm8k_answer(solution: str) -> str | None:
  """The number behind "####" that ends a solution of GSM8K (Cobbe et al. 2021),
  without the commas of its thousands; None where there is none."""
  _, hashes, last = solution.rpartition("####")
  number = last.strip().replace(",", "").lstrip("$")
  return number if hashes and read_number(number) is not None else None


def exact_match(given: str, answer: str) -> float:
  """1 where two texts are one but for case, blanks and a last full stop."""
  return float(bool(given.strip()) and _plain(given) == _plain(answer))


def numeric_match(given: str, answer: str, tolerance: float = 1e-6) -> float:
  """1 where both texts have one number each, and these are close.

  |given - answer| <= tolerance · max(1, |answer|), computed with fractions, so
  that with a tolerance of 0 "1/3" is itself and not 0.333.
  """
  found, wanted = read_number(given), read_number(answer)
  if found is None or wanted is None:
    return 0.0
  return float(abs(found - wanted)
               <= Fraction(tolerance) * max(Fraction(1), abs(wanted)))


def choice_match(given: str, answer: str, choices: Sequence[str]) -> float:
  """1 where `given` names the right one of several choices.

  Args:
    given: the choice's letter ("B", "(b)", "B. Paris", "The answer is B"), or
      its text.
    answer: the letter of the right one.
    choices: texts of all of them, A first.
  """
  return float(chosen_letter(given, choices) == answer)


def chosen_letter(given: str, choices: Sequence[str]) -> str | None:
  """The letter of the choice that a text names, or None."""
  letters = string.ascii_uppercase[:len(choices)]
  same = [letter for letter, choice in zip(letters, choices)
          if _plain(given) == _plain(choice)]
  if len(same) == 1:
    return same[0]
  given = given.strip()
  match = (re.fullmatch(r"\(?([A-Za-z])\)?[.:,]?", given)
           or re.match(r"(?:\(([A-Za-z])\)|([A-Za-z])[.:)])\s", given)
           or re.search(r"\banswer(?: is)?:?\s*\(?([A-Za-z])\)?[.:]?$", given,
                        re.IGNORECASE))
  if match is None:
    return None
  letter = next(group for group in match.groups() if group).upper()
  return letter if letter in letters else None


def _plain(text: str) -> str:
  return " ".join(text.split()).removesuffix(".").casefold()
