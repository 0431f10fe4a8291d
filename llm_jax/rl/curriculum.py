"""Which difficulty comes when.

A curriculum (Bengio et al. 2009) begins with what is easy. In reinforcement
learning the reason is plain: a problem that no sample solves has no gradient,
and neither has one that every sample solves, so the level that teaches most is
the one that is solved about half of the time.

A `Curriculum` is an environment like the one within it, that draws training
problems at a level of its own choosing; held-out problems are as before. What
an adaptive one has seen is three numbers (`state`), which belong into a
checkpoint: with them restored, a run draws what it would have drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llm_jax.config import CurriculumConfig, require
from llm_jax.rl.environments.protocol import (
    Completion, Environment, Episode, Levelled, Problem)


class Curriculum:
  """No curriculum: the environment as it is. The others are made of this.

  Args:
    environment: what gives problems.
    config: the settings.
    seed: decides which places of a step are for review.
  """

  def __init__(self, environment: Environment, config: CurriculumConfig,
               seed: int):
    self._environment, self._config, self._seed = environment, config, seed

  def train_problems(self, step: int, num_problems: int) -> list[Problem]:
    """See `Environment`; a function of (seed, step, state)."""
    return self._environment.train_problems(step, num_problems)

  def held_out_problems(self, num_problems: int) -> list[Problem]:
    """See `Environment`."""
    return self._environment.held_out_problems(num_problems)

  def score(self, problem: Problem, completion: Completion) -> float:
    """See `Environment`."""
    return self._environment.score(problem, completion)

  def episode(self, problem: Problem) -> Episode | None:
    """See `Environment`."""
    return self._environment.episode(problem)

  def observe(self, problems: Sequence[Problem],
              correct_B: np.ndarray) -> None:
    """Takes note of how samples were.

    Args:
      problems: of each sample.
      correct_B: what the task's verifier said of it; right is at least 1.
    """

  @property
  def level(self) -> int:
    """The level that most problems are drawn from now; for metrics."""
    return 0

  def state(self) -> dict[str, float]:
    """What decides which problems come, as JSON has it."""
    return {}

  def restore(self, state: Mapping[str, Any]) -> None:
    """Goes on from what `state` gave."""


class StagedCurriculum(Curriculum):
  """A level harder every `stage_steps` batches of problems, to the highest.

  A training step takes one batch, or more where it refills.
  """

  def __init__(self, environment: Environment, config: CurriculumConfig,
               seed: int):
    super().__init__(environment, config, seed)
    self._last = 0

  def train_problems(self, step: int, num_problems: int) -> list[Problem]:
    """See `Environment`."""
    self._last = self._level_at(step)
    return self._environment.train_problems_at(
        step, draw_levels(self._last, num_problems, self._config.review,
                          (self._seed, step)))

  @property
  def level(self) -> int:
    """See `Curriculum`; of the last step drawn."""
    return self._last

  def _level_at(self, step: int) -> int:
    return min(step // self._config.stage_steps,
               self._environment.num_levels - 1)


class AdaptiveCurriculum(Curriculum):
  """Harder when samples of the level are mostly right, easier when mostly not.

  After `window` samples of the level it is decided: up from a share of
  `raise_at` right ones, down from below `lower_at`; and counting begins anew.
  """

  def __init__(self, environment: Environment, config: CurriculumConfig,
               seed: int):
    super().__init__(environment, config, seed)
    self._level, self._seen, self._right = 0, 0, 0

  def train_problems(self, step: int, num_problems: int) -> list[Problem]:
    """See `Environment`."""
    return self._environment.train_problems_at(
        step, draw_levels(self._level, num_problems, self._config.review,
                          (self._seed, step)))

  def observe(self, problems: Sequence[Problem],
              correct_B: np.ndarray) -> None:
    """See `Curriculum`; samples of other levels count nothing."""
    highest = self._environment.num_levels - 1
    for problem, correct in zip(problems, np.asarray(correct_B), strict=True):
      if problem.columns.get("level", self._level) == self._level:
        self._seen += 1
        self._right += bool(correct >= 1)
    if self._seen >= self._config.window:
      share = self._right / self._seen
      self._level += ((share >= self._config.raise_at and
                       self._level < highest)
                      - (share < self._config.lower_at and self._level > 0))
      self._seen = self._right = 0

  @property
  def level(self) -> int:
    """See `Curriculum`."""
    return self._level

  def state(self) -> dict[str, float]:
    """See `Curriculum`."""
    return {"level": self._level, "seen": self._seen, "right": self._right}

  def restore(self, state: Mapping[str, Any]) -> None:
    """See `Curriculum`."""
    self._level, self._seen, self._right = (
        int(state[name]) for name in ("level", "seen", "right"))


def make_curriculum(environment: Environment, config: CurriculumConfig,
                    seed: int) -> Curriculum:
  """The curriculum of a config over an environment.

  Raises:
    ConfigError: one is asked for, and the environment has one level only.
  """
  config.validate()
  if config.kind == "none":
    return Curriculum(environment, config, seed)
  levels = (environment.num_levels if isinstance(environment, Levelled) else 1)
  require(levels >= 2, f"curriculum.kind={config.kind} needs levels of "
          "difficulty, and the problems have one; of a file name the column "
          "that tells it (curriculum.column), of a family of reasoning-gym the "
          "settings (curriculum.levels), of sums more terms (max_terms).")
  kind = StagedCurriculum if config.kind == "staged" else AdaptiveCurriculum
  return kind(environment, config, seed)


def draw_levels(level: int, number: int, review: float,
                key: tuple[int, ...]) -> list[int]:
  """`number` levels: `level`, and a share `review` of easier ones.

  Each place is decided by (key, place) alone.
  """
  levels = []
  for place in range(number):
    rng = np.random.default_rng((*key, place, 1))
    easier = level > 0 and rng.random() < review
    levels.append(int(rng.integers(level)) if easier else level)
  return levels
