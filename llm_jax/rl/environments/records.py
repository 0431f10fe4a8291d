"""Problems from the user's own file; what one holds is in `record_kinds.py`."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from llm_jax.config import ConfigError, RlDataConfig, require
from llm_jax.data.documents import unit_hash
from llm_jax.data.files import RECORD_SUFFIXES, find_files, read_records
from llm_jax.rl import code_verifier, verifiers
from llm_jax.rl.answers import read_answer
from llm_jax.rl.code_verifier import CodeVerifier
from llm_jax.rl.environments.protocol import Completion, Problem
from llm_jax.rl.environments.record_kinds import kind_of, problem_of
from llm_jax.rl.math_verifier import MathVerifier

# Of a small file no more than this share is held out.
_MAX_HELD_OUT_SHARE = 0.1


class RecordsEnvironment:
  """The problems of `.jsonl` or `.parquet` files, in an order of their hashes.

  The first `eval_problems` in that order, but at most a tenth (or two), are
  held out; or those of `eval_path`, where it is given. A prompt that comes
  twice counts once, the first time, so that none is on both sides. The order
  does not depend on the seed: evaluation is the same for every run on the file.

  Args:
    config: eval_path, errors, eval_problems, verifier with its settings,
      curriculum.
    path: the file, directory or glob.
    seed: the order of the training problems.

  Raises:
    ConfigError: a file or record that cannot be read, naming it; fewer than
      two problems; a verifier that this machine cannot run.
  """

  def __init__(self, config: RlDataConfig, path: str, seed: int):
    self._seed, self._tolerance = seed, config.tolerance
    self.verifier = "" if config.verifier == "auto" else config.verifier
    problems = self._read(path, config)
    if config.eval_path:
      held_out = self._read(config.eval_path, config)
      training = [p for prompt, p in problems.items() if prompt not in held_out]
      self._training = _by_hash(training)
      self._held_out = _by_hash(held_out.values())[:config.eval_problems]
      require(bool(training) and bool(held_out), f"{path} has {len(training)} "
              f"problems that are not in data.eval_path={config.eval_path}, "
              f"which has {len(held_out)}; one of each is needed.")
    else:
      require(len(problems) >= 2, f"{path} has {len(problems)} problems; "
              "at least two are needed, one to train on and one to hold out.")
      # Of two the spread is known; but half must be left to train on.
      most = max(min(2, len(problems) // 2),
                 int(len(problems) * _MAX_HELD_OUT_SHARE))
      number = min(config.eval_problems, most)
      ordered = _by_hash(problems.values())
      self._held_out, self._training = ordered[:number], ordered[number:]
    self._levels = _levels(self._training, config)
    self._code = CodeVerifier(config) if self.verifier == "code" else None
    self._math = None
    if self.verifier == "math":
      self._math = MathVerifier(config.workers, config.verify_seconds)
      self._math.start()

  @property
  def num_levels(self) -> int:
    """Levels of difficulty that a curriculum can choose from."""
    return len(self._levels)

  def train_problems(self, step: int, num_problems: int) -> list[Problem]:
    """See `Environment`; every problem once in each epoch."""
    return [self._number(self._training, number, 0) for number in
            range(step * num_problems, (step + 1) * num_problems)]

  def train_problems_at(self, step: int,
                        levels_P: Sequence[int]) -> list[Problem]:
    """See `Levelled`; a level's problems come in epochs of its own, as far as
    it is asked for at every place."""
    first = step * len(levels_P)
    chosen = [self._number(self._levels[level], first + place, 1 + level)
              for place, level in enumerate(levels_P)]
    return [dataclasses.replace(p, columns={**p.columns, "level": level})
            for p, level in zip(chosen, levels_P)]

  def held_out_problems(self, num_problems: int) -> list[Problem]:
    """See `Environment`; fewer than asked where the file is small."""
    return self._held_out[:num_problems]

  def all_problems(self) -> list[Problem]:
    """Every problem, those held out first."""
    return [*self._held_out, *self._training]

  def score(self, problem: Problem, completion: Completion) -> float:
    """See `Environment`."""
    text, answer = completion.text, problem.answer
    if self.verifier == "integer":
      return verifiers.answer_reward(text, completion.stopped, answer)
    if not completion.stopped:
      return 0.0
    if self.verifier == "code":
      program = code_verifier.program_of(text)
      if entry := problem.columns.get("entry_point"):
        program = code_verifier.completed(program, problem.prompt, entry)
      return self._code.passes(program, answer)
    given = read_answer(text)
    if self.verifier == "numeric":
      return verifiers.numeric_match(given, answer, self._tolerance)
    if self.verifier == "math":
      return self._math.equal(given, answer)
    if self.verifier == "choice":
      return verifiers.choice_match(given, answer, problem.columns["choices"])
    return verifiers.exact_match(given, answer)

  def episode(self, problem: Problem) -> None:
    """See `Environment`."""

  def close(self) -> None:
    """Ends the verifier's processes, where there are any."""
    if self._math is not None:
      self._math.close()

  def _read(self, path: str, config: RlDataConfig) -> dict[str, Problem]:
    problems: dict[str, Problem] = {}
    for file in find_files(path, RECORD_SUFFIXES):
      for record in read_records(file, None, config.errors):
        self.verifier = self.verifier or kind_of(record)
        problem = problem_of(record, self.verifier, config.system)
        problems.setdefault(problem.prompt, problem)
    return problems

  def _number(self, problems: Sequence[Problem], number: int,
              stream: int) -> Problem:
    """Number `number` of an endless row of epochs."""
    epoch, place = divmod(number, len(problems))
    return problems[_permutation(self._seed, stream, epoch,
                                 len(problems))[place]]


@functools.lru_cache(32)
def _permutation(seed: int, stream: int, epoch: int, size: int) -> np.ndarray:
  key = (seed, epoch, stream) if stream else (seed, epoch)
  return np.random.default_rng(key).permutation(size)


def _by_hash(problems: Any) -> list[Problem]:
  return sorted(problems, key=lambda p: (unit_hash(p.prompt, 0), p.prompt))


def _levels(problems: Sequence[Problem],
            config: RlDataConfig) -> list[list[Problem]]:
  """Problems cut into levels of equal size by a column; without one, one."""
  column = config.curriculum.column
  if not column:
    return [list(problems)]

  def difficulty(problem: Problem) -> float:
    value = problem.columns.get(column)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value):
      raise ConfigError(
          f"{problem.source}: curriculum.column={column} is {value!r}; it "
          "should be a number, the difficulty.")
    return value

  ordered = sorted(problems, key=difficulty)
  number = min(config.curriculum.num_levels, len(ordered))
  bounds = [len(ordered) * i // number for i in range(number + 1)]
  return [ordered[a:b] for a, b in zip(bounds, bounds[1:])]
