"""What reinforcement learning asks of a task."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from llm_jax.tokenizer.messages import Message


@dataclasses.dataclass(frozen=True)
class Problem:
  """A question as the user's message, and what its verifier compares with.

  Attributes:
    prompt: the user's message.
    answer: what the verifier compares with.
    system: the system message; "" for none.
    columns: other fields of the record, for rewards of the user's own.
    source: where it is from, for messages and metrics.
  """
  prompt: str
  answer: str = ""
  system: str = ""
  columns: Mapping[str, Any] = dataclasses.field(
      default_factory=dict, hash=False)
  source: str = ""


@dataclasses.dataclass(frozen=True)
class Completion:
  """What a model made of a problem.

  Attributes:
    text: its last answer, without the stop token.
    stopped: a stop token ended it, rather than a length limit.
    tokens: generated, in all answers, stop tokens included.
    messages: all that came after the prompt.
    game_reward: what an episode paid, where there was one.
  """
  text: str
  stopped: bool
  tokens: int = 0
  messages: tuple[Message, ...] = ()
  game_reward: float | None = None


@dataclasses.dataclass(frozen=True)
class Turn:
  """What an episode says to an answer."""
  observation: str
  reward: float
  done: bool


class Episode(Protocol):
  """A task of several turns, in text."""

  def reset(self) -> list[Message]:
    """The first messages, those of system and user; the same at each call."""
    ...

  def step(self, answer: str) -> Turn:
    """What follows an answer."""
    ...


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

  def score(self, problem: Problem, completion: Completion) -> float:
    """The task's own verifier; 1 is solved.

    It may be called by several threads at once.

    Raises:
      VerifierFault: the answer could be neither accepted nor refused.
    """
    ...

  def episode(self, problem: Problem) -> Episode | None:
    """The problem as several turns; None: one question, one answer."""
    ...


@runtime_checkable
class Levelled(Protocol):
  """An environment whose problems have levels of difficulty, 0 the easiest."""

  num_levels: int

  def train_problems_at(self, step: int,
                        levels_P: Sequence[int]) -> list[Problem]:
    """One problem of each level that is asked for, in this order: a pure
    function of (seed, step, place, level)."""
    ...


class VerifierFault(Exception):
  """A verifier that hung or broke; its text is the reason in a few words."""
