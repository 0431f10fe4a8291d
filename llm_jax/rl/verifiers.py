"""Rewards that are checked by a rule rather than judged by a model."""

from __future__ import annotations

import re

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
