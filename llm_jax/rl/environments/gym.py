"""The families of reasoning-gym (Stojanovski et al. 2025), through one adapter.

    --data.path=gym:chain_sum --data.gym_settings=min_terms=3,max_terms=4

A family makes problems without end and checks answers by its own rules, partly
right ones too. Here a problem is a function of (seed, step, place in the step),
and whether it is for training or held out is a function of its question, so
that no question is ever both. Which part of a completion is its answer is
said in `rl/answers.py`.

The package itself lives in children (`gym_worker.py`), which are killed when an
answer makes them hang.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from llm_jax.config import ConfigError, RlDataConfig, require
from llm_jax.rl.answers import read_answer
from llm_jax.rl.confined import CallFailed, StartFailed, Workers
from llm_jax.rl.environments.protocol import Completion, Problem, VerifierFault

HELD_OUT_SHARE = 0.2
# Of one problem: some families search for a puzzle that has a solution.
_MAKE_SECONDS = 300.0
# Draws until there is a problem of the right side; of a family with so few
# questions that all of them are held out there is none.
_ATTEMPTS = 200


class GymEnvironment:
  """One family; its problems without end.

  Args:
    config: gym_settings, verify_seconds, workers, system, curriculum.levels.
    family: its name in reasoning-gym.
    seed: decides which problems come at which step.

  Raises:
    ConfigError: no such family or setting; reasoning-gym is not installed.
  """

  def __init__(self, config: RlDataConfig, family: str, seed: int):
    self._family, self._seed, self._system = family, seed, config.system
    self._workers = _workers(config.workers, config.verify_seconds)
    try:
      self._workers.start()
    except StartFailed as error:
      raise ConfigError(
          f"data.path=gym:{family} needs reasoning-gym, which cannot be loaded "
          f"({error}); run `pip install 'llm_jax[rl]'`.") from error
    self._settings = settings_of(config.gym_settings, family)
    levels = [tuple(level.split()) for level in config.curriculum.levels]
    if not levels and config.curriculum.kind != "none":
      levels = [tuple(each) for each in self._call("levels", family)]
    # What the user set holds at each level, unless the level sets it too.
    self._levels = [_joined(self._settings, level) for level in levels]
    for settings in [self._settings, *self._levels]:
      if told := self._call("check", family, settings):
        raise ConfigError(f"data.path=gym:{family}: {told}")

  @property
  def num_levels(self) -> int:
    """Levels of difficulty that a curriculum can choose from."""
    return max(len(self._levels), 1)

  def train_problems(self, step: int, num_problems: int) -> list[Problem]:
    """See `Environment`."""
    return [self._find(self._settings, False, (self._seed, step, place))
            for place in range(num_problems)]

  def train_problems_at(self, step: int,
                        levels_P: Sequence[int]) -> list[Problem]:
    """See `Levelled`."""
    if not self._levels:
      return self.train_problems(step, len(levels_P))
    return [self._find(self._levels[level], False, (self._seed, step, place),
                       level) for place, level in enumerate(levels_P)]

  def held_out_problems(self, num_problems: int) -> list[Problem]:
    """See `Environment`; different questions, the same for every seed. Fewer
    than asked for where the family does not have as many."""
    found: dict[str, Problem] = {}
    fruitless = number = 0
    while len(found) < num_problems and fruitless < 10 * _ATTEMPTS:
      for problem in self._make(self._settings,
                                [_number("held out", number + i)
                                 for i in range(10)]):
        number += 1
        fruitless += 1
        if (is_held_out(problem.prompt) and problem.prompt not in found
            and len(found) < num_problems):
          found[problem.prompt] = problem
          fruitless = 0
    require(bool(found), f"data.path=gym:{self._family} has too few different "
            "questions to hold one out; choose settings that allow more.")
    return list(found.values())

  def score(self, problem: Problem, completion: Completion) -> float:
    """See `Environment`; by the family's own `score_answer`."""
    if not completion.stopped:
      return 0.0
    columns = problem.columns
    try:
      return float(self._workers.call(
          "score", self._family, tuple(columns["gym_settings"]),
          columns["gym_entry"], read_answer(completion.text)))
    except StartFailed:
      raise  # which is not the answer's fault
    except CallFailed as error:
      raise VerifierFault(str(error)) from error

  def episode(self, problem: Problem) -> None:
    """See `Environment`."""

  def close(self) -> None:
    """Ends the children; other families' calls start new ones."""
    self._workers.close()

  def _find(self, settings: tuple[str, ...], held_out: bool,
            key: Iterable[Any], level: int = 0) -> Problem:
    """The first problem of the right side among the draws of `key`."""
    for attempt in range(_ATTEMPTS):
      (problem,) = self._make(settings, [_number(*key, attempt)], level)
      if is_held_out(problem.prompt) == held_out:
        return problem
    raise ConfigError(
        f"data.path=gym:{self._family} has so few different questions that "
        f"{_ATTEMPTS} draws gave none to train on; choose settings that allow "
        "more.")

  def _make(self, settings: tuple[str, ...], numbers: Sequence[int],
            level: int = 0) -> list[Problem]:
    made = self._call("problems", self._family, settings, list(numbers))
    return [Problem(
        each["question"], each["answer"], self._system,
        {"metadata": each["metadata"], "level": level,
         "gym_settings": list(settings), "gym_entry": each["entry"]},
        self._family) for each in made]

  def _call(self, *arguments: Any) -> Any:
    try:
      return self._workers.call(*arguments, seconds=_MAKE_SECONDS)
    except CallFailed as error:
      raise ConfigError(f"data.path=gym:{self._family}: reasoning-gym could "
                        f"not make a problem ({error}).") from error


@functools.lru_cache
def _workers(count: int, seconds: float) -> Workers:
  """The children, which serve all families: each has imported them all."""
  return Workers(f"{__package__}.gym_worker:make_family()", count, seconds)


def settings_of(entries: Sequence[str], family: str) -> tuple[str, ...]:
  """The settings for a family: "chain_sum.min_terms=3" is for that one only."""
  found = []
  for entry in entries:
    name, dot, setting = entry.partition(".")
    if not dot or "=" in name:
      found.append(entry)
    elif name == family:
      found.append(setting)
  return tuple(found)


def is_held_out(question: str) -> bool:
  """Whether a question is for evaluation only: about a fifth of them are."""
  return _hash("side", question) / 2.0**64 < HELD_OUT_SHARE


def _number(*key: Any) -> int:
  """A problem's number, as good as random."""
  return _hash(*key) % 2**40


def _hash(*key: Any) -> int:
  digest = hashlib.blake2b(repr(key).encode("utf-8", "surrogatepass"),
                           digest_size=8)
  return int.from_bytes(digest.digest(), "little")


def _joined(settings: tuple[str, ...], level: tuple[str, ...]
            ) -> tuple[str, ...]:
  names = {entry.partition("=")[0] for entry in level}
  return (*(entry for entry in settings
            if entry.partition("=")[0] not in names), *level)
