"""Demonstrations by hand, and by the verifiers that read their answers."""

import dataclasses

import numpy as np
import pytest

from llm_jax.config import ConfigError, DemonstrateConfig, RlDataConfig
from llm_jax.config_demonstrate import STYLES
from llm_jax.rl.demonstrations import Slip, demonstrate, work_out
from llm_jax.rl.environments.loading import load_environment
from llm_jax.rl.environments.protocol import Completion, Problem
from llm_jax.rl.rewards.shaping import think_format

SUM = Problem("What is 7+8+5+9 modulo 2?", "1", source="sums")


def chain(expression):
  return Problem("", "", columns={"metadata": {"expression": expression}},
                 source="chain_sum")


LETTERS = Problem("", "3", columns={"metadata": {
    "span": ["Free", "the", "tax"], "target_letter": "e"}},
    source="letter_counting")


@pytest.mark.parametrize("problem, steps, some, answer", [
    (SUM, ("1", "1", "0", "1"), ("1", "1"), 1),
    (chain("57 - 98 + 93"), ("57-98=-41", "-41+93=52"), ("57-98+93=52",), 52),
    (chain("5 + 1 - 2 + 3"), ("5+1=6", "6-2=4", "4+3=7"),
     ("5+1-2=4", "4+3=7"), 7),
    (chain("-5 + -3"), ("-5+-3=-8",), ("-5+-3=-8",), -8),
    (chain("7"), ("7",), ("7",), 7),
    (LETTERS, ("f r e1 e2", "t h e3", "t a x"),
     ("Free 2", "the 3", "tax 3"), 3)])
def test_steps_by_hand(problem, steps, some, answer):
  work = work_out(problem)
  assert (work.steps, work.some, work.answer) == (steps, some, answer)


def test_a_slip_is_carried_on():
  assert work_out(SUM, Slip(0.5, 1)).steps == ("1", "1", "1", "0")
  assert work_out(chain("57 - 98 + 93"), Slip(0.0, -1)).steps == (
      "57-98=-42", "-42+93=51")
  assert work_out(chain("7"), Slip(0.0, -1)).answer == 7  # there is no step
  # Nobody counts fewer letters than none.
  slipped = work_out(LETTERS, Slip(0.99, -1))
  assert slipped.steps == ("f r e1 e2", "t h e4", "t a x")
  assert slipped.some == ("Free 2", "the 4", "tax 4")
  assert slipped.answer == 4


def texts(**settings):
  config = DemonstrateConfig(**settings)
  return {style: demonstrate(SUM, style, np.random.default_rng(1), config)
          for style in STYLES}


def test_styles_by_hand():
  made = texts()
  assert made["steps"] == "<think>1,1,0,1</think>\n#### 1"
  assert made["some"] == "<think>1,1</think>\n#### 1"
  assert made["glance"] == "<think>easy</think>\n#### 1"
  assert made["at_once"] == "#### 1"
  guess, check = made["checked"].split("? ")
  assert guess in ("<think>0", "<think>1")
  assert check == "Wait, let me check: 1,1,0,1</think>\n#### 1"
  assert texts(think=False)["steps"] == "1,1,0,1\n#### 1"
  assert texts(untagged=1.0)["glance"] == (
      "Let me think: easy. That is it.\n#### 1")
  slipped = texts(slips=1.0)
  assert slipped["steps"].endswith("#### 0")
  assert slipped["some"].endswith("#### 0")
  assert slipped["checked"].endswith("#### 1")


def test_guesses_are_right_half_of_the_time():
  rng, config = np.random.default_rng(0), DemonstrateConfig()
  guesses = [demonstrate(SUM, "checked", rng, config)[len("<think>")]
             for _ in range(400)]
  assert 0.4 < guesses.count("1") / 400 < 0.6


@pytest.mark.parametrize("path", [
    "sums", pytest.param("gym:chain_sum", marks=pytest.mark.slow),
    pytest.param("gym:letter_counting", marks=pytest.mark.slow)])
def test_verifiers_read_every_style(path):
  environment = load_environment(RlDataConfig(path=path), 0)
  rng, config = np.random.default_rng(0), DemonstrateConfig()
  for problem in environment.train_problems(0, 10):
    for style in STYLES:
      text = demonstrate(problem, style, rng, config)
      assert environment.score(problem, Completion(text, True)) == 1, text
      assert think_format(text, True) == (style != "at_once")
    wrong = demonstrate(problem, "steps", rng,
                        dataclasses.replace(config, slips=1.0))
    assert environment.score(problem, Completion(wrong, True)) < 1, wrong
  if hasattr(environment, "close"):
    environment.close()


def test_what_cannot_be_demonstrated():
  with pytest.raises(ConfigError, match="no demonstrations of maze"):
    work_out(Problem("?", source="maze"))
  for changes, message in (
      ({"styles": ()}, "styles is empty"),
      ({"styles": ("step:1",)}, "choose of steps, some"),
      ({"styles": ("steps:1", "steps:2")}, "twice"),
      ({"styles": ("steps:-1",)}, "must be positive"),
      ({"slips": 1.5}, "slips is 1.5"), ({"count": -1}, "count is -1"),
      ({"think": False, "untagged": 0.5}, "think is off")):
    with pytest.raises(ConfigError, match=message):
      DemonstrateConfig(**changes).validate()
