"""What reinforcement learning asks of a task."""

from __future__ import annotations

import dataclasses
from typing import Protocol


@dataclasses.dataclass(frozen=True)
class Problem:
  """A question as the user's message, and what its verifier compares with."""
  prompt: str
  answer: str


class Environment(Protocol):
  """Problems with rewards. Training and held-out problems are disjoint."""

  def train_problems(self, step: int, num_problems: int) -> list[Problem]:
    """The problems of a training step: a pure function of (seed, step)."""
    ...

  def held_out_problems(self, num_problems: int) -> list[Problem]:
    """Problems that are never trained on; the same ones at each call.

    Raises:
      ConfigError: the task has none.
    """
    ...

  def reward(self, problem: Problem, completion: str, stopped: bool) -> float:
    """How good a completion is; 1 is solved.

    Args:
      problem: what was asked.
      completion: what the model wrote, without its stop token.
      stopped: whether a stop token ended it, rather than the length limit.
    """
    ...
