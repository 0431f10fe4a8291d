"""Sums modulo two (`llm_jax/data/sums.py`) as an environment."""

from __future__ import annotations

import numpy as np

from llm_jax.config import RlDataConfig
from llm_jax.data import sums
from llm_jax.rl.environments.protocol import Problem
from llm_jax.rl.verifiers import answer_reward


class SumsEnvironment:
  """Endless fresh problems; those held out by hash never come in training.

  Args:
    config: number of terms.
    seed: decides which problems come at which step.

  Raises:
    ConfigError: numbers of terms that cannot be.
  """

  def __init__(self, config: RlDataConfig, seed: int):
    sums.check_terms(config.min_terms, config.max_terms)
    self._terms = (config.min_terms, config.max_terms)
    self._seed = seed

  def train_problems(self, step: int, num_problems: int) -> list[Problem]:
    """See `Environment`."""
    rng = np.random.default_rng((self._seed, step))
    return [_problem(sums.train_problem(rng, *self._terms))
            for _ in range(num_problems)]

  def held_out_problems(self, num_problems: int) -> list[Problem]:
    """See `Environment`; the same for every seed, so that runs compare."""
    return [_problem(problem) for problem in
            sums.held_out_problems(num_problems, 0, *self._terms)]

  def reward(self, problem: Problem, completion: str, stopped: bool) -> float:
    """See `Environment`."""
    return answer_reward(completion, stopped, problem.answer)


def _problem(problem: sums.SumProblem) -> Problem:
  return Problem(problem.prompt(), problem.answer())
