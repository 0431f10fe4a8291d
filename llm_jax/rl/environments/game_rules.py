"""The rules of the games; how they are played is in `games.py`."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from llm_jax.rl.answers import read_answer, read_number

Secret = dict[str, Any]


class GuessNumber:
  """A number between two bounds; each guess is told to be too low or high.

  With n numbers halving needs ⌈log₂(n+1)⌉ guesses at most, and no more are
  given: at the higher levels one has to halve.
  """

  num_levels = 6

  def secret(self, rng: np.random.Generator, level: int) -> Secret:
    """A number of 7, 15, 31, ... from a start that differs too."""
    count = 2**(level + 3) - 1
    low = int(rng.integers(0, 1000))
    return {"low": low, "high": low + count - 1,
            "number": low + int(rng.integers(count))}

  def instructions(self, secret: Secret) -> str:
    """The rules, with the bounds."""
    return (f"I think of a whole number from {secret['low']} to "
            f"{secret['high']}. Guess it: answer with one number, and I say "
            f"whether mine is higher or lower. You have {self.moves(secret)} "
            "guesses.")

  def moves(self, secret: Secret) -> int:
    """As many as halving needs at most."""
    return (secret["high"] - secret["low"] + 1).bit_length()

  def begin(self, secret: Secret) -> None:
    """There is nothing to keep."""

  def move(self, secret: Secret, state: None,
           answer: str) -> tuple[None, str, bool]:
    """One guess."""
    guess = read_number(read_answer(answer))
    if guess is None or guess.denominator != 1:
      return None, "That is not one whole number.", False
    if guess == secret["number"]:
      return None, f"Yes, it is {guess}.", True
    way = "higher" if secret["number"] > guess else "lower"
    return None, f"My number is {way} than {guess}.", False


class BullsAndCows:
  """A code of different digits; each guess is told its bulls and cows."""

  num_levels = 3
  _SHAPES = ((2, 6), (3, 8), (4, 10))  # (places, digits) of each level

  def secret(self, rng: np.random.Generator, level: int) -> Secret:
    """A code of 2 to 4 places."""
    places, digits = self._SHAPES[level]
    code = rng.permutation(digits)[:places]
    return {"code": "".join(map(str, code)), "digits": digits}

  def instructions(self, secret: Secret) -> str:
    """The rules, with the length of the code."""
    return (f"I have a code of {len(secret['code'])} different digits, from 0 "
            f"to {secret['digits'] - 1}. Guess it: answer with a code, and I "
            "say how many digits are in their place (bulls), and how many are "
            f"in the code at another place (cows). You have "
            f"{self.moves(secret)} guesses.")

  def moves(self, secret: Secret) -> int:
    """Four for each place."""
    return 4 * len(secret["code"])

  def begin(self, secret: Secret) -> None:
    """There is nothing to keep."""

  def move(self, secret: Secret, state: None,
           answer: str) -> tuple[None, str, bool]:
    """One guess."""
    code = secret["code"]
    guess = re.sub(r"[\s,]", "", read_answer(answer))
    if not (re.fullmatch(r"[0-9]+", guess) and len(guess) == len(code)
            and len(set(guess)) == len(guess)):
      return None, (f"That is not a code of {len(code)} different "
                    "digits."), False
    if guess == code:
      return None, f"Yes, it is {code}.", True
    bulls = sum(a == b for a, b in zip(guess, code))
    cows = len(set(guess) & set(code)) - bulls
    return None, f"{guess}: bulls {bulls}, cows {cows}.", False


class Maze:
  """A grid with walls between its cells; the way to a cell is looked for.

  Walls are told of when one runs against them, so that what was said has to be
  remembered. The maze is a tree (cells joined by a random walk that turns back
  where it is stuck), so there is one way.
  """

  num_levels = 4
  _STEPS = {"north": (0, 1), "south": (0, -1), "east": (1, 0), "west": (-1, 0)}

  def secret(self, rng: np.random.Generator, level: int) -> Secret:
    """A maze of 2x2 to 5x5 cells, with a start and a goal."""
    size = level + 2
    trail, open_between = [(0, 0)], []
    seen = {(0, 0)}
    while trail:
      x, y = trail[-1]
      around = [(x + dx, y + dy) for dx, dy in self._STEPS.values()
                if 0 <= x + dx < size and 0 <= y + dy < size
                and (x + dx, y + dy) not in seen]
      if not around:
        trail.pop()
        continue
      cell = around[int(rng.integers(len(around)))]
      seen.add(cell)
      open_between.append(sorted([[x, y], list(cell)]))
      trail.append(cell)
    start, goal = (divmod(int(n), size)
                   for n in rng.permutation(size * size)[:2])
    return {"size": size, "open": sorted(open_between), "start": list(start),
            "goal": list(goal)}

  def instructions(self, secret: Secret) -> str:
    """The rules, with start and goal."""
    last = secret["size"] - 1
    return ("You are in a maze of cells (x, y), x and y from 0 to "
            f"{last}, with walls between some of them. You stand at "
            f"{_cell(secret['start'])} and want to reach "
            f"{_cell(secret['goal'])}. Answer with one step: north (y + 1), "
            "south (y - 1), east (x + 1) or west (x - 1). You have "
            f"{self.moves(secret)} steps.")

  def moves(self, secret: Secret) -> int:
    """Twice as many as looking everywhere takes, walls included."""
    return 4 * secret["size"]**2

  def begin(self, secret: Secret) -> list[int]:
    """The cell one stands on."""
    return list(secret["start"])

  def move(self, secret: Secret, state: list[int],
           answer: str) -> tuple[list[int], str, bool]:
    """One step."""
    words = re.findall(r"\b(north|south|east|west)\b",
                       read_answer(answer).lower())
    if len(set(words)) != 1:
      return state, "That is none of north, south, east, west.", False
    dx, dy = self._STEPS[words[0]]
    cell = [state[0] + dx, state[1] + dy]
    if sorted([state, cell]) not in secret["open"]:
      return state, (f"There is a wall; you stay at {_cell(state)}."), False
    if cell == secret["goal"]:
      return cell, f"You reach {_cell(cell)}, the goal.", True
    return cell, f"You stand at {_cell(cell)}.", False


def _cell(cell: list[int]) -> str:
  return f"({cell[0]}, {cell[1]})"
