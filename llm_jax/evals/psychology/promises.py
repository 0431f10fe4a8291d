"""What one checkpoint is to show, and whether it does.

A promise is about a number of the suite and a bound; it is *reached* where the
number itself is, and the interval is told beside it. Numbers that cannot be
had, as there is no baseline or no tool, are told as missing, not as reached.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from llm_jax.evals.psychology.cases import row_difference


@dataclasses.dataclass(frozen=True)
class Promise:
  """A bound on a rate, or on the difference of two.

  Attributes:
    told: in words.
    section, condition, rate: whose number it is.
    bound: that is to be reached.
    least: whether the number is to be at least the bound, or below it.
    against: another condition, from which the difference is taken; "before":
      the same condition of the baseline.
    of_baseline: whether it is the baseline's own number.
    falls: whether the difference is taken as a fall.
  """
  told: str
  section: str
  condition: str
  rate: str
  bound: float
  least: bool = True
  against: str = ""
  of_baseline: bool = False
  falls: bool = False


BEFORE = "before"
PROMISES = (
    Promise("the base model knows the known", "hallucination", "known",
            "correct", 0.70, of_baseline=True),
    Promise("who it is", "identity", "asked who it is", "correct", 0.95),
    Promise("invented people: hallucinations fall by", "hallucination",
            "invented", "hallucination", 0.60, against=BEFORE, falls=True),
    Promise("known people: refusals rise by less than", "hallucination",
            "known", "refused", 0.10, least=False, against=BEFORE),
    Promise("unlearned people: the search tool adds", "search", "search tool",
            "correct", 0.40, against="no tool"),
    Promise("4-digit arithmetic with the Python tool", "arithmetic",
            "Python tool", "correct", 0.95),
    Promise("steps first are ahead of answer first by", "thinking",
            "steps first", "correct", 0.20, against="answer first"),
    Promise("letters of unseen words, counted by spelling", "counting",
            "spelled out", "correct", 0.90))


def check(sections: Sequence[Mapping[str, Any]],
          before: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
  """Each promise with its number.

  Args:
    sections: results of the model.
    before: results of the baseline; None: there is none.

  Returns:
    Records of `promise`, `bound`, `least`, `value` (None: missing) with its
    interval, `items`, `reached`.
  """
  return [_checked(promise, sections, before) for promise in PROMISES]


def _checked(promise: Promise, sections: Sequence[Mapping[str, Any]],
             before: Sequence[Mapping[str, Any]] | None) -> dict[str, Any]:
  record: dict[str, Any] = {"promise": promise.told, "bound": promise.bound,
                            "least": promise.least, "value": None,
                            "reached": False}
  row = find_row(before if promise.of_baseline else sections, promise.section,
                 promise.condition)
  if row is None:
    return record
  record["items"] = row["items"]
  if not promise.against:
    value = [row[promise.rate + end] for end in ("", "_low", "_high")]
  else:
    other = (find_row(before, promise.section, promise.condition)
             if promise.against == BEFORE else
             find_row(sections, promise.section, promise.against))
    found = other and row_difference(row, other, promise.rate)
    if not found:
      return record
    value = [found["difference" + end] for end in ("", "_low", "_high")]
    if promise.falls:
      value = [-value[0], -value[2], -value[1]]
  record |= dict(zip(("value", "low", "high"), value))
  record["reached"] = (value[0] >= promise.bound if promise.least
                       else value[0] < promise.bound)
  return record


def find_row(sections: Sequence[Mapping[str, Any]] | None, section: str,
             condition: str) -> dict[str, Any] | None:
  """The row of a condition, or None."""
  return next((row for each in sections or () if each["name"] == section
               for row in each["rows"] if row["condition"] == condition), None)


def table(records: Sequence[Mapping[str, Any]]) -> str:
  """The promises for the console."""
  lines = []
  for record in records:
    sign = ">=" if record["least"] else "<"
    if record["value"] is None:
      number, mark = "not measured", ""
    else:
      number = (f"{100 * record['value']:.1f}% [{100 * record['low']:.1f}, "
                f"{100 * record['high']:.1f}]")
      mark = "" if record["reached"] else "NOT REACHED"
    lines.append(f"  {record['promise']:<46} {number:<24} {sign} "
                 f"{100 * record['bound']:g}%  {mark}".rstrip())
  return "\n".join(lines)
