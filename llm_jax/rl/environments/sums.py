"""Sums modulo two (`llm_jax/data/sums.py`) as an environment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llm_jax.config import RlDataConfig
from llm_jax.data import sums
from llm_jax.rl.environments.protocol import Completion, Problem
from llm_jax.rl.verifiers import answer_reward


class SumsEnvironment:
  """Endless fresh problems; those held out by hash never come in training.

  A level of difficulty is a number of terms.

  Args:
    config: number of terms, system.
    seed: decides which problems come at which step.

  Raises:
    ConfigError: numbers of terms that cannot be.
  """

  def __init__(self, config: RlDataConfig, seed: int):
    sums.check_terms(config.min_terms, config.max_terms)
    self._terms = (config.min_terms, config.max_terms)
    self._seed, self._system = seed, config.system
    self.num_levels = config.max_terms - config.min_terms + 1

  def train_problems(self, step: int, num_problems: int) -> list[Problem]:
    """See `Environment`."""
    rng = np.random.default_rng((self._seed, step))
    return [self._problem(sums.train_problem(rng, *self._terms))
            for _ in range(num_problems)]

  def train_problems_at(self, step: int,
                        levels_P: Sequence[int]) -> list[Problem]:
    """See `Levelled`."""
    made = []
    for place, level in enumerate(levels_P):
      # A place has its own generator, so that the others' levels count nothing.
      rng = np.random.default_rng((self._seed, step, place))
      terms = self._terms[0] + level
      made.append(self._problem(sums.train_problem(rng, terms, terms)))
    return made

  def held_out_problems(self, num_problems: int) -> list[Problem]:
    """See `Environment`; the same for every seed, so that runs compare."""
    return [self._problem(problem) for problem in
            sums.held_out_problems(num_problems, 0, *self._terms)]

  def score(self, problem: Problem, completion: Completion) -> float:
    """See `Environment`."""
    return answer_reward(completion.text, completion.stopped, problem.answer)

  def episode(self, problem: Problem) -> None:
    """See `Environment`."""

  def _problem(self, problem: sums.SumProblem) -> Problem:
    return Problem(
        problem.prompt(), problem.answer(), self._system,
        {"level": len(problem.terms) - self._terms[0]}, "sums")
