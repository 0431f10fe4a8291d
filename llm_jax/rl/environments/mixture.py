"""Several environments as one, each with its share of the problems."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from llm_jax.rl.environments.protocol import (
    Completion, Environment, Episode, Levelled, Problem)

# So many problems in a row have the shares exactly, but for a rounded one.
BLOCK = 1000


class MixtureEnvironment:
  """Problems of several environments, by weights.

  Problem number n of the run (step · P + place) belongs to a part that its
  block of 1,000 decides: a shuffled block with each part's share in it. Each
  part counts its own problems, so that one which reads a file still comes to
  each of them once in an epoch. Held-out problems are those of the parts, in
  the same shares.

  Args:
    parts: name -> (environment, weight).
    seed: of the shuffling.
  """

  def __init__(self, parts: Mapping[str, tuple[Environment, float]], seed: int):
    self._names = tuple(parts)
    self._parts = {name: environment for name, (environment, _) in
                   parts.items()}
    self._seed = seed
    total = sum(weight for _, weight in parts.values())
    self._counts = _shares([weight / total for _, weight in parts.values()],
                           BLOCK)
    self.num_levels = max(getattr(part, "num_levels", 1)
                          for part in self._parts.values())

  @property
  def parts(self) -> tuple[Environment, ...]:
    """The environments that it is made of."""
    return tuple(self._parts.values())

  def train_problems(self, step: int, num_problems: int) -> list[Problem]:
    """See `Environment`."""
    return [self._named(name, self._parts[name].train_problems(number, 1)[0])
            for name, number in self._places(step, num_problems)]

  def train_problems_at(self, step: int,
                        levels_P: Sequence[int]) -> list[Problem]:
    """See `Levelled`; a part without so high a level gives its highest."""
    made = []
    for level, (name, number) in zip(levels_P,
                                     self._places(step, len(levels_P))):
      part = self._parts[name]
      if isinstance(part, Levelled):
        level = min(level, part.num_levels - 1)
        (problem,) = part.train_problems_at(number, [level])
      else:
        (problem,) = part.train_problems(number, 1)
      made.append(self._named(name, problem))
    return made

  def held_out_problems(self, num_problems: int) -> list[Problem]:
    """See `Environment`; at least one of each part."""
    counts = _shares([c / BLOCK for c in self._counts], num_problems)
    return [self._named(name, problem) for name, count in zip(
        self._names, counts)
        for problem in self._parts[name].held_out_problems(max(count, 1))]

  def score(self, problem: Problem, completion: Completion) -> float:
    """See `Environment`; by the part that the problem is of."""
    return self._parts[problem.columns["task"]].score(problem, completion)

  def episode(self, problem: Problem) -> Episode | None:
    """See `Environment`."""
    return self._parts[problem.columns["task"]].episode(problem)

  def close(self) -> None:
    """Closes the parts that can be."""
    for part in self._parts.values():
      if hasattr(part, "close"):
        part.close()

  def _places(self, step: int, num_problems: int) -> list[tuple[str, int]]:
    """(part, the part's own number) of each problem of a step."""
    found = []
    for number in range(step * num_problems, (step + 1) * num_problems):
      block, place = divmod(number, BLOCK)
      part, rank = _block(self._seed, block, self._counts)[place]
      found.append((self._names[part], block * self._counts[part] + rank))
    return found

  def _named(self, name: str, problem: Problem) -> Problem:
    return Problem(problem.prompt, problem.answer, problem.system,
                   {**problem.columns, "task": name}, problem.source)


def _shares(weights: Sequence[float], total: int) -> tuple[int, ...]:
  """`total` cut by weights that sum to 1, by the largest remainders."""
  counts = [int(weight * total) for weight in weights]
  rest = sorted(range(len(weights)),
                key=lambda i: (counts[i] - weights[i] * total, i))
  for i in rest[:total - sum(counts)]:
    counts[i] += 1
  return tuple(counts)


@functools.lru_cache(8)
def _block(seed: int, block: int,
           counts: tuple[int, ...]) -> list[tuple[int, int]]:
  """(part, how many of it came before in the block) of each place."""
  parts = np.repeat(np.arange(len(counts)), counts)
  np.random.default_rng((seed, block)).shuffle(parts)
  seen = [0] * len(counts)
  found = []
  for part in parts.tolist():
    found.append((part, seen[part]))
    seen[part] += 1
  return found
