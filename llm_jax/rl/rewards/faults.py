"""What went wrong with a reward, and with which completion."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from llm_jax.config import ConfigError
from llm_jax.rl.environments.protocol import Completion, Problem

_EXCERPT = 200


class RewardError(ConfigError):
  """A reward failed, and `rewards.on_error` is "stop"."""


@dataclasses.dataclass(frozen=True)
class Fault:
  """A reward that raised, hung, or gave what is no number.

  Attributes:
    reward: its name, as in `rewards.names`.
    reason: what happened.
    row: of the first completion it happened to.
    source: of that completion's problem.
    prompt: the problem's, shortened.
    completion: its text, shortened.
    count: completions of the batch that it happened to.
  """
  reward: str
  reason: str
  row: int
  source: str
  prompt: str
  completion: str
  count: int = 1

  def __str__(self) -> str:
    more = f" (and {self.count - 1} more)" if self.count > 1 else ""
    where = f" of {self.source}" if self.source else ""
    return (f"reward {self.reward}: {self.reason}; at row {self.row}{where}, "
            f"prompt {self.prompt!r}, completion {self.completion!r}{more}")


def gather(reward: str, reasons_B: Sequence[str], problems: Sequence[Problem],
           completions: Sequence[Completion],
           culprits: Mapping[str, int]) -> list[Fault]:
  """Faults of one reward, those with one reason as one.

  Args:
    reward: its name.
    reasons_B: what happened to each completion; "": nothing.
    problems: of each.
    completions: of each.
    culprits: reason -> the row that it is known to come from, where that need
      not be the first.
  """
  found: dict[str, Fault] = {}
  for row, reason in enumerate(reasons_B):
    if reason in found:
      found[reason] = dataclasses.replace(found[reason],
                                          count=found[reason].count + 1)
    elif reason:
      row = culprits.get(reason, row)
      found[reason] = Fault(reward, reason, row, problems[row].source,
                            excerpt(problems[row].prompt),
                            excerpt(completions[row].text))
  return list(found.values())


def excerpt(text: str) -> str:
  """A text's beginning and end, where it is long."""
  if len(text) <= _EXCERPT:
    return text
  return f"{text[:_EXCERPT // 2]} ... {text[-_EXCERPT // 2:]}"
