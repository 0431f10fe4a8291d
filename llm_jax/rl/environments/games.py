"""Games of several turns, in text: `--data.path=game:NAME`.

  guess_number      a number is found by "higher" and "lower"
  bulls_and_cows    a code is found by how many digits are right, and where
  maze              a way is found by steps; walls are met, not seen

The first message says the rules; each answer of the model is one move, read as
`rl/answers.py` reads any answer, and the game says what came of it. A game is
won or not: the winning turn pays 1, all others 0, and so much is left to learn
that no single answer shows. A move that cannot be read costs a turn.

A problem is a number from which the game's secret follows. Which secrets are
held out is decided by their hash, so that none is ever played in training.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from llm_jax.config import RlDataConfig, require
from llm_jax.rl.environments import game_rules
from llm_jax.rl.environments.protocol import Completion, Problem, Turn
from llm_jax.tokenizer.messages import Message

HELD_OUT_SHARE = 0.2


class Rules(Protocol):
  """One game: what its secrets are, and what follows a move."""

  num_levels: int

  def secret(self, rng: np.random.Generator, level: int) -> dict[str, Any]:
    """A secret of a difficulty, as JSON has it."""
    ...

  def instructions(self, secret: dict[str, Any]) -> str:
    """The first message; tells the rules and not the secret."""
    ...

  def moves(self, secret: dict[str, Any]) -> int:
    """Moves at most."""
    ...

  def begin(self, secret: dict[str, Any]) -> Any:
    """The state before the first move."""
    ...

  def move(self, secret: dict[str, Any], state: Any,
           answer: str) -> tuple[Any, str, bool]:
    """(next state, what is said of it, whether it has won)."""
    ...


GAMES: dict[str, Rules] = {
    "guess_number": game_rules.GuessNumber(),
    "bulls_and_cows": game_rules.BullsAndCows(), "maze": game_rules.Maze()}
_ATTEMPTS = 1000


class GameEpisode:
  """One game being played; see `protocol.Episode`."""

  def __init__(self, rules: Rules, problem: Problem):
    self._rules, self._problem = rules, problem
    self._secret = json.loads(problem.answer)
    self.reset()

  def reset(self) -> list[Message]:
    """See `Episode`; the game begins anew."""
    self._state, self._left = (self._rules.begin(self._secret),
                               self._rules.moves(self._secret))
    self._won = False
    system = self._problem.system
    first = [{"role": "system", "content": system}] if system else []
    return [*first, {"role": "user", "content": self._problem.prompt}]

  def step(self, answer: str) -> Turn:
    """See `Episode`; after the end nothing more is paid."""
    if self._won or not self._left:
      return Turn("The game is over.", 0.0, True)
    self._state, told, self._won = self._rules.move(
        self._secret, self._state, answer)
    self._left -= 1
    if not self._won:
      told += (f" Moves left: {self._left}." if self._left
               else " No moves are left; the game is lost.")
    return Turn(told, float(self._won), self._won or not self._left)


class GameEnvironment:
  """One game, its secrets without end.

  Args:
    config: game_level, system.
    name: of the game.
    seed: decides which secrets come at which step.

  Raises:
    ConfigError: no such game or level.
  """

  def __init__(self, config: RlDataConfig, name: str, seed: int):
    near = difflib.get_close_matches(name, GAMES, 1)
    require(name in GAMES, f"data.path=game:{name} is not a game; "
            + (f"did you mean {near[0]!r}? " if near else "")
            + f"There are {', '.join(GAMES)}.")
    self._name, self._rules = name, GAMES[name]
    self.num_levels = self._rules.num_levels
    require(0 <= config.game_level < self.num_levels, "data.game_level is "
            f"{config.game_level}; {name} has the levels 0 to "
            f"{self.num_levels - 1}.")
    self._level, self._seed = config.game_level, seed
    self._system = config.system

  def train_problems(self, step: int, num_problems: int) -> list[Problem]:
    """See `Environment`."""
    return self.train_problems_at(step, [self._level] * num_problems)

  def train_problems_at(self, step: int,
                        levels_P: Sequence[int]) -> list[Problem]:
    """See `Levelled`."""
    return [self._draw(np.random.default_rng((self._seed, step, place)), level,
                       False) for place, level in enumerate(levels_P)]

  def held_out_problems(self, num_problems: int) -> list[Problem]:
    """See `Environment`; different ones, fewer than asked for where there are
    not as many."""
    rng, found = np.random.default_rng(0), {}
    for _ in range(20 * num_problems + _ATTEMPTS):
      problem = self._draw(rng, self._level, True)
      found.setdefault(problem.answer, problem)
      if len(found) == num_problems:
        break
    return list(found.values())

  def score(self, problem: Problem, completion: Completion) -> float:
    """See `Environment`; 1 for a game that was won."""
    return float((completion.game_reward or 0.0) >= 1.0)

  def episode(self, problem: Problem) -> GameEpisode:
    """See `Environment`."""
    return GameEpisode(self._rules, problem)

  def _draw(self, rng: np.random.Generator, level: int,
            held_out: bool) -> Problem:
    for _ in range(_ATTEMPTS):
      secret = self._rules.secret(rng, level)
      text = json.dumps(secret, sort_keys=True)
      if is_held_out(text) == held_out:
        return Problem(self._rules.instructions(secret), text, self._system,
                       {"level": level}, self._name)
    raise AssertionError(f"{self._name} has secrets of one side only")


def is_held_out(secret: str) -> bool:
  """Whether a secret is for evaluation only: about a fifth of them are."""
  digest = hashlib.blake2b(secret.encode(), digest_size=8).digest()
  return int.from_bytes(digest, "little") / 2.0**64 < HELD_OUT_SHARE
