"""What a section of the suite is made of: questions, ways of asking, verdicts.

A *case* is a question with its truth. A *condition* is one way to ask the cases
of a section: with a tool or without, in one breath or step by step. All models
are asked the same cases in the same order, and so are the conditions of a
section that are to be compared, so that every difference is a paired one.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from llm_jax.evals.generative import paired_difference
from llm_jax.evals.judging import CORRECT, REFUSED, VERDICTS, WRONG
from llm_jax.evals.knowledge import RATES, proportion
from llm_jax.evals.respondent import Ask

# {"role", "content"}, and the calls and results of tools.
Message = dict[str, Any]
_LETTER = {CORRECT: "c", WRONG: "w", REFUSED: "r"}
_SHOWN = 4  # transcripts of each condition, right and wrong ones


@dataclasses.dataclass(frozen=True)
class Case:
  """One question.

  Attributes:
    ask: how it is put.
    truth: what is so; "": nothing is.
    key: what two cases have equal that are one problem put in two ways; "":
      the question is what it is.
  """
  ask: Ask
  truth: str = ""
  key: str = ""


@dataclasses.dataclass(frozen=True)
class Said:
  """What a model made of a case.

  Attributes:
    messages: all that it appended: answers, calls and results.
    ended: whether its last answer ended by itself.
  """
  messages: tuple[Message, ...]
  ended: bool = True

  @property
  def text(self) -> str:
    """The words of its last answer."""
    return next((m["content"] or "" for m in reversed(self.messages)
                 if m["role"] == "assistant"), "")

  @property
  def calls(self) -> int:
    """How many tools it called."""
    return sum(len(m.get("tool_calls") or ()) for m in self.messages)


# (case, what was said) -> one of VERDICTS
Score = Callable[[Case, Said], str]


@dataclasses.dataclass(frozen=True)
class Condition:
  """A way of asking, and what is asked.

  Attributes:
    name: what it is called, such as "Python tool".
    cases: the questions.
    score: judges the answers.
    tools: names of the tools that are offered.
    max_new_tokens: of an answer at most.
  """
  name: str
  cases: Sequence[Case]
  score: Score
  tools: tuple[str, ...] = ()
  max_new_tokens: int = 64

  def digest(self) -> str:
    """Tells whether another condition or run asks the same."""
    text = "\0".join(f"{c.key or c.ask.question}\1{c.truth}"
                     for c in self.cases)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@dataclasses.dataclass(frozen=True)
class Section:
  """One property of a model.

  Attributes:
    name: the key of its results.
    title: for the page.
    told: what it is about, in a sentence or two, for the page.
    conditions: the ways of asking.
    contrasts: pairs of conditions with the same cases, (of, against), whose
      difference is told.
    shots: answered questions for a model that is no assistant.
  """
  name: str
  title: str
  told: str
  conditions: tuple[Condition, ...]
  contrasts: tuple[tuple[str, str], ...] = ()
  shots: tuple[tuple[str, str], ...] = ()


def condition_row(condition: Condition, said: Sequence[Said]
                  ) -> dict[str, Any]:
  """The rates of a condition, its verdicts, and some transcripts.

  Returns:
    `condition`, `items`, the rates of `knowledge.RATES` with their intervals,
    `ended` and `calls` (means), `tools`; `verdicts`, a letter for each case
    (c, w, r); `asked`, a digest of the cases; `transcripts`.
  """
  verdicts = [condition.score(case, each)
              for case, each in zip(condition.cases, said, strict=True)]
  letters = "".join(_LETTER[verdict] for verdict in verdicts)
  return {
      "condition": condition.name, "items": len(letters),
      **{k: v for name, verdict in RATES.items()
         for k, v in proportion(name, [v == verdict for v in verdicts]
                                ).items()},
      "ended": sum(s.ended for s in said) / len(said),
      "calls": sum(s.calls for s in said) / len(said),
      "tools": list(condition.tools), "verdicts": letters,
      "asked": condition.digest(),
      "transcripts": [
          {"question": condition.cases[i].ask.question,
           "opening": condition.cases[i].ask.opening,
           "truth": condition.cases[i].truth, "verdict": verdicts[i],
           "messages": list(said[i].messages)} for i in _to_show(verdicts)]}


def row_difference(of: dict[str, Any], against: dict[str, Any],
                   rate: str = "correct") -> dict[str, float] | None:
  """How much more of a rate one row has than another, on the same cases.

  Returns:
    `difference` with its 95% interval; None where the cases are not the same,
    or fewer than two.
  """
  if of["asked"] != against["asked"] or of["items"] < 2:
    return None
  letter = _LETTER[RATES[rate]]
  found = paired_difference(*([v == letter for v in row["verdicts"]]
                              for row in (against, of)))
  return {"difference": found.mean, "difference_low": found.low,
          "difference_high": found.high}


def _to_show(verdicts: Sequence[str]) -> list[int]:
  """Places of a few cases: the first two, so that two models' can be laid side
  by side, and of each verdict in turn."""
  shown = list(range(min(2, len(verdicts))))
  of = {verdict: [i for i, v in enumerate(verdicts)
                  if v == verdict and i not in shown]
        for verdict in VERDICTS}
  # Verdicts of which nothing is shown yet come first.
  order = sorted(VERDICTS, key=lambda v: v in [verdicts[i] for i in shown])
  while len(shown) < min(_SHOWN, len(verdicts)):
    for verdict in order:
      if of[verdict] and len(shown) < _SHOWN:
        shown.append(of[verdict].pop(0))
  return sorted(shown)
