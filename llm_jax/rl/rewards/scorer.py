"""Completions in, rewards out: named rewards, weighted and summed.

    --rewards.names=correct:1,think_format:0.1,my_rewards.py:brevity:0.2

  correct       the task's own verifier
  return        what the episode paid, of tasks with several turns
  stated, think_format, length, overlong, repetition    see `shaping.py`
  FILE.py:FUNCTION    the user's own, see `user_function.py`

A function of the user's own runs in other processes, with a time and a memory
(`confined.py`). One that raises, hangs, returns what is no number, or too few
numbers, is a `Fault` that names it and the completion; the run then ends, or
goes on with 0, or without the completion, as `rewards.on_error` says. A
verifier that hangs on an answer has not accepted it: that is a fault too, but
no reason to end.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import math
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from llm_jax.config import ConfigError, RewardsConfig, require
from llm_jax.rl.confined import CallFailed, Hung, StartFailed, Workers
from llm_jax.rl.environments.protocol import (
    Completion, Environment, Problem, VerifierFault)
from llm_jax.rl.rewards import faults as faults_lib
from llm_jax.rl.rewards import shaping
from llm_jax.rl.rewards.faults import Fault, RewardError

# Behind so many calls in a row that hung, the rest of a batch is not tried:
# else a reward that always hangs would take hours to be told.
_MAX_HANGS = 8
_NOT_CALLED = f"not called, since the {_MAX_HANGS} before it hung"


@dataclasses.dataclass(frozen=True)
class Scores:
  """What B completions are worth.

  Attributes:
    rewards_B: float32; the weighted sum, what is trained on.
    correct_B: float32; what the task's own verifier says, what accuracy is.
    parts: each named reward, unweighted, float32 [B].
    faults: of rewards that failed; a failed part is 0.
    valid_B: bool; False where a row is left out of training.
  """
  rewards_B: np.ndarray
  correct_B: np.ndarray
  parts: dict[str, np.ndarray]
  faults: tuple[Fault, ...]
  valid_B: np.ndarray


class _Part(NamedTuple):
  """What one reward says of B completions, what went wrong with each ("":
  nothing), and the row that a reason comes from, where it is of several."""
  values_B: np.ndarray
  reasons_B: list[str]
  culprits: dict[str, int] = {}


class Scorer:
  """Gives rewards to completions; made by `make_scorer`."""

  def __init__(self, environment: Environment, config: RewardsConfig,
               functions: dict[str, _UserFunction]):
    self._environment, self._config = environment, config
    self._functions = functions
    self._threads = concurrent.futures.ThreadPoolExecutor(
        config.workers, "rewards")

  def score(self, problems: Sequence[Problem],
            completions: Sequence[Completion]) -> Scores:
    """Scores of B completions, of the problem beside each.

    Raises:
      RewardError: a reward failed and `on_error` is "stop".
    """
    asked = list(zip(problems, completions, strict=True))
    correct, not_accepted_B = self._correct(asked)
    parts, valid_B = {}, np.ones(len(asked), bool)
    found: list[Fault] = []
    stopping: list[Fault] = []
    for name in dict.fromkeys(("correct", *self._config.weights)):
      part = correct if name == "correct" else self._part(name, asked)
      told = faults_lib.gather(name, part.reasons_B, problems, completions,
                               part.culprits)
      stopping += [fault for fault in told if name != "correct"
                   or not not_accepted_B[fault.row]]
      found += told
      if name in self._config.weights:
        parts[name] = part.values_B
        valid_B &= np.array([not reason for reason in part.reasons_B], bool)
    if stopping and self._config.on_error == "stop":
      raise RewardError(f"{stopping[0]}. Correct it, or go on without it: "
                        "--rewards.on_error=zero or skip.")
    if self._config.on_error != "skip":
      valid_B[:] = True
    rewards_B = sum((np.float32(weight) * parts[name] for name, weight
                     in self._config.weights.items()),
                    np.zeros(len(asked), np.float32))
    return Scores(np.where(valid_B, rewards_B, 0).astype(np.float32),
                  correct.values_B, parts, tuple(found), valid_B)

  def close(self) -> None:
    """Ends the processes of the user's functions and of the task."""
    self._threads.shutdown()
    for function in self._functions.values():
      function.workers.close()
    if hasattr(self._environment, "close"):
      self._environment.close()

  def _correct(self, asked: list[tuple[Problem, Completion]]
               ) -> tuple[_Part, list[bool]]:
    """The verifier's part, and where it could not come to an end."""
    not_accepted_B = [False] * len(asked)

    def check(row: int) -> Any:
      try:
        return self._environment.score(*asked[row])
      except VerifierFault:
        not_accepted_B[row] = True
        raise

    part = self._each(len(asked), lambda row: _number(check(row)))
    return part, [undone or reason == _NOT_CALLED for undone, reason
                  in zip(not_accepted_B, part.reasons_B)]

  def _part(self, name: str,
            asked: list[tuple[Problem, Completion]]) -> _Part:
    config = self._config
    if name in self._functions:
      function = self._functions[name]
      rows = [_row(*each) for each in asked]
      if function.batched:
        return function.call_batch(rows)
      return self._each(len(rows), lambda row: function.call(rows[row]))
    simple: dict[str, Callable[[Completion], float]] = {
        "return": lambda c: c.game_reward or 0.0,
        "stated": lambda c: shaping.stated(c.text, c.stopped),
        "think_format": lambda c: shaping.think_format(c.text, c.stopped),
        "length": lambda c: shaping.length(c.tokens, config.length_tokens),
        "overlong": lambda c: shaping.overlong(
            c.tokens, config.overlong_tokens, config.overlong_buffer),
        "repetition": lambda c: shaping.repetition(
            c.text, config.repetition_words)}
    values_B = [simple[name](completion) for _, completion in asked]
    return _Part(np.array(values_B, np.float32), [""] * len(asked))

  def _each(self, number: int, call: Callable[[int], float]) -> _Part:
    """`call` of each row, several at once; what it raises is the reason."""
    values_B, reasons_B = np.zeros(number, np.float32), [""] * number
    hangs, lock = 0, threading.Lock()

    def one(row: int) -> None:
      nonlocal hangs
      if hangs >= _MAX_HANGS:
        reasons_B[row] = _NOT_CALLED
        return
      hung = False
      try:
        values_B[row] = call(row)
      except Exception as error:  # whatever a verifier or reward may throw
        hung = isinstance(error, Hung) or isinstance(error.__cause__, Hung)
        plain = isinstance(error, (CallFailed, VerifierFault, _NoNumber))
        reasons_B[row] = str(error) if plain else (
            f"{type(error).__name__}: {error}")
      with lock:
        hangs = hangs + 1 if hung else 0

    list(self._threads.map(one, range(number)))
    return _Part(values_B, reasons_B)


def make_scorer(environment: Environment, config: RewardsConfig) -> Scorer:
  """The scorer of a config, with every function of the user's own loaded.

  Raises:
    ConfigError: an unknown reward, or a function that cannot be loaded: no
      such file, no such function, a syntax error; said before any training.
  """
  config.validate()
  functions = {}
  try:
    for name in config.functions:
      functions[name] = _UserFunction(name, config)
  except ConfigError:
    for function in functions.values():
      function.workers.close()
    raise
  return Scorer(environment, config, functions)


class _NoNumber(Exception):
  """A value that is no reward; its text says what it is."""


class _UserFunction:
  """One function of the user's own, in its processes."""

  def __init__(self, name: str, config: RewardsConfig):
    path, _, function = name.rpartition(":")
    path = os.path.abspath(os.path.expanduser(path))
    require(os.path.isfile(path), f"rewards.names has {name}, but there is no "
            f"file {path}.")
    self.workers = Workers(
        f"{__package__}.user_function:load({json.dumps(path)}, "
        f"{json.dumps(function)})", config.workers, config.timeout_s,
        config.memory_mb, locked=False)
    try:
      self.batched = self.workers.call(None)["batched"]
    except StartFailed as error:
      raise ConfigError(f"rewards.names has {name}, which cannot be loaded: "
                        f"{error}.") from error

  def call(self, row: dict[str, Any]) -> float:
    """The reward of one completion; raises what went wrong."""
    (answer,) = self.workers.call([row])
    return _value(answer)

  def call_batch(self, rows: list[dict[str, Any]]) -> _Part:
    """The rewards of all, by one call."""
    try:
      answers = self.workers.call(rows)
    except Exception as error:
      return self._all_failed(rows, str(error), isinstance(error, Hung))
    if isinstance(answers, dict):
      return self._all_failed(rows, answers["fault"], True)
    values_B, reasons_B = np.zeros(len(rows), np.float32), [""] * len(rows)
    for row, answer in enumerate(answers):
      try:
        values_B[row] = _value(answer)
      except _NoNumber as error:
        reasons_B[row] = str(error)
    return _Part(values_B, reasons_B)

  def _all_failed(self, rows: list[dict[str, Any]], reason: str,
                  whole: bool) -> _Part:
    """A call that failed; its culprit is the first row that fails by itself,
    where it is not what was returned for the `whole` that is wrong."""
    culprits = {}
    for row in range(0 if whole else len(rows)):
      try:
        self.workers.call([rows[row]])
      except Exception:
        culprits[reason] = row
        break
    return _Part(np.zeros(len(rows), np.float32), [reason] * len(rows),
                 culprits)


def _row(problem: Problem, completion: Completion) -> dict[str, Any]:
  """What a user's function may ask for; our names before the record's."""
  return {**problem.columns, "prompt": problem.prompt,
          "completion": completion.text, "answer": problem.answer,
          "system": problem.system, "source": problem.source,
          "stopped": completion.stopped, "tokens": completion.tokens,
          "messages": [dict(message) for message in completion.messages],
          "game_reward": completion.game_reward}


def _value(answer: Any) -> float:
  if "fault" in answer:
    raise _NoNumber(answer["fault"])
  return answer["value"]


def _number(value: Any) -> float:
  if not isinstance(value, (bool, int, float, np.number)) or not math.isfinite(
      value):
    raise _NoNumber(f"it returned {value!r}, which is not a finite number")
  return float(value)
