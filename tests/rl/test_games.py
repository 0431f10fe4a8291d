"""Games: won by who plays well, lost by who does not, the same each time."""

import collections
import itertools
import json
import re

import pytest

from llm_jax.config import ConfigError, RlDataConfig
from llm_jax.rl.environments import games
from llm_jax.rl.environments.loading import load_environment
from llm_jax.rl.environments.protocol import Completion
from llm_jax.tokenizer.messages import check_messages

LEVELS = [(name, level) for name, rules in games.GAMES.items()
          for level in range(rules.num_levels)]


def load(name, level=0, seed=0, **settings):
  return load_environment(RlDataConfig(path=f"game:{name}", game_level=level,
                                       **settings), seed)


def halving(secret):
  """Guesses by halving, from what is told alone."""
  low, high = secret["low"], secret["high"]
  told = yield None
  while True:
    guess = (low + high) // 2
    told = yield f"I halve.\n#### {guess}"
    low, high = ((guess + 1, high) if "higher" in told else (low, guess - 1))


def compared(guess, code):
  bulls = sum(a == b for a, b in zip(guess, code))
  return bulls, len(set(guess) & set(code)) - bulls


def by_elimination(secret):
  """Codes that agree with all that was told."""
  digits = "0123456789"[:secret["digits"]]
  left = ["".join(c) for c in itertools.permutations(digits,
                                                     len(secret["code"]))]
  told = yield None
  while True:
    guess = left[0]
    told = yield f"<answer>{guess}</answer>"
    answer = tuple(map(int, re.findall(r"(?:bulls|cows) (\d)", told)))
    left = [code for code in left if answer == compared(guess, code)]


def depth_first(secret):
  """Walks on, and back where it is stuck, from what is told alone."""
  steps = {"north": (0, 1), "east": (1, 0), "south": (0, -1), "west": (-1, 0)}
  back = {"north": "south", "south": "north", "east": "west", "west": "east"}
  here = tuple(secret["start"])
  trail, tried = [], collections.defaultdict(set)
  seen = {here}
  told = yield None
  while True:
    x, y = here
    way = next((w for w, (dx, dy) in steps.items() if w not in tried[here]
                and (x + dx, y + dy) not in seen
                and 0 <= x + dx < secret["size"]
                and 0 <= y + dy < secret["size"]), None)
    going_back = way is None
    if going_back:
      way = back[trail.pop()]
    else:
      tried[here].add(way)
    told = yield f"I go {way}."
    if "wall" not in told:
      here = (x + steps[way][0], y + steps[way][1])
      seen.add(here)
      if not going_back:
        trail.append(way)


PLAYERS = {"guess_number": halving, "bulls_and_cows": by_elimination,
           "maze": depth_first}


def play(environment, problem, player):
  episode = environment.episode(problem)
  check_messages(episode.reset())
  player = player(json.loads(problem.answer))
  told, paid, turns = next(player), 0.0, 0
  while True:
    turn = episode.step(player.send(told))
    told, paid, turns = turn.observation, paid + turn.reward, turns + 1
    if turn.done:
      return paid, turns, told


@pytest.mark.parametrize("name, level", LEVELS)
def test_a_good_player_wins(name, level):
  environment = load(name, level)
  problems = environment.train_problems(0, 12)
  assert len(problems) == 12
  for problem in problems:
    paid, turns, told = play(environment, problem, PLAYERS[name])
    assert paid == 1.0, told
    assert environment.score(
        problem, Completion("", True, game_reward=paid)) == 1.0


def nonsense(secret):
  while True:
    yield "I do not know."


@pytest.mark.parametrize("name", games.GAMES)
def test_nonsense_loses_when_the_moves_are_used_up(name):
  environment = load(name)
  problem = environment.train_problems(0, 1)[0]
  paid, turns, told = play(environment, problem, nonsense)
  assert paid == 0 and "lost" in told
  assert turns == games.GAMES[name].moves(json.loads(problem.answer))
  for paid in (0.0, None):
    assert environment.score(
        problem, Completion(told, True, game_reward=paid)) == 0


@pytest.mark.parametrize("name", games.GAMES)
def test_secrets_are_apart_and_not_told(name):
  environment, other = load(name, seed=0), load(name, seed=1)
  held_out = environment.held_out_problems(30)
  assert held_out == other.held_out_problems(30)
  trained = [p for step in range(10)
             for p in environment.train_problems(step, 16)]
  assert trained[:16] == load(name).train_problems(0, 16)
  assert trained[:16] != other.train_problems(0, 16)
  assert not ({p.answer for p in held_out} & {p.answer for p in trained})
  for problem in trained[:10]:
    secret = json.loads(problem.answer)
    hidden = secret.get("code") or str(secret.get("open", "no such text"))
    assert hidden not in problem.prompt


def test_an_episode_begins_anew_and_ends():
  environment = load("guess_number", system="Halve.")
  problem = environment.train_problems(0, 1)[0]
  number = json.loads(problem.answer)["number"]
  episode = environment.episode(problem)
  first = episode.reset()
  assert [m["role"] for m in first] == ["system", "user"]
  turn = episode.step(f"#### {number + 1}")
  assert not turn.done and "lower" in turn.observation
  assert "left: 2" in turn.observation
  assert episode.reset() == first
  turn = episode.step(f"It is {number}.")
  assert turn.done and turn.reward == 1
  assert episode.step(f"{number}").reward == 0  # paid once


def test_bulls_and_cows_by_hand():
  rules = games.GAMES["bulls_and_cows"]
  secret = {"code": "123", "digits": 8}
  for guess, told in (("132", "bulls 1, cows 2"), ("1 2 4", "bulls 2, cows 0"),
                      ("456", "bulls 0, cows 0"), ("231", "bulls 0, cows 3"),
                      ("112", "not a code"), ("12", "not a code")):
    assert told in rules.move(secret, None, guess)[1]
  assert rules.move(secret, None, "<answer>123</answer>")[2]


@pytest.mark.parametrize("name, level, told", [
    ("guess_numbers", 0, "did you mean 'guess_number'"),
    ("chess", 0, "There are guess_number"), ("maze", 4, "levels 0 to 3")])
def test_what_is_not_there_is_told(name, level, told):
  with pytest.raises(ConfigError, match=told):
    load(name, level)
