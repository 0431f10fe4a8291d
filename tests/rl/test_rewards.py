"""Rewards: each rule by hand, and what becomes of those that fail."""

import math

import numpy as np
import pytest

from llm_jax.config import ConfigError, RewardsConfig
from llm_jax.rl.environments.protocol import Completion, Problem
from llm_jax.rl.rewards.rules import RULES, Lengths
from llm_jax.rl.rewards.scorer import Scorer

PROBLEM = Problem("What?", "4", columns={"level": 3}, source="p.jsonl:7")
LENGTHS = Lengths(most=100, buffer=20)


class Fours:
  """Right is whoever says "4"."""

  def score(self, problem, completion):
    if completion.text == "burn":
      raise RuntimeError("on fire")
    return math.nan if completion.text == "nan" else float(
        completion.text == problem.answer)


def rule(name, text="", stopped=True, tokens=0, **fields):
  return RULES[name](PROBLEM, Completion(text, stopped, tokens, **fields),
                     LENGTHS)


@pytest.mark.parametrize("text, stopped, value", [
    ("<think>a</think>b", True, 1), (" <think>a\nb</think>\n\n4", True, 1),
    ("<think>a</think>b", False, 0), ("<think></think>b", True, 0),
    ("<think>a</think> ", True, 0), ("a <think>b</think>c", True, 0),
    ("<think>a</think>b</think>", True, 0), ("4", True, 0),
    ("<think><think>a</think>b", True, 0)])
def test_think_format(text, stopped, value):
  assert rule("think_format", text, stopped) == value


@pytest.mark.parametrize("tokens, stopped, value", [
    (0, True, 0), (80, True, 0), (85, True, -0.25), (90, True, -0.5),
    (100, True, -1), (140, True, -1), (30, False, -1)])
def test_overlong(tokens, stopped, value):
  assert rule("overlong", tokens=tokens, stopped=stopped) == value


def test_other_rules():
  assert rule("length", tokens=25) == 0.75 and rule("length", tokens=120) == 0
  assert rule("stated", "So\n#### 5") == 1 and rule("stated", "5") == 0
  assert rule("stated", "#### 5", stopped=False) == 0
  assert rule("return", game_reward=0.5) == 0.5 and rule("return") == 0
  assert rule("repetition", "a b c d e f") == 0 == rule("repetition", "a b")
  # Pieces abcd bcda cdab dabc abcd: one of five has been there before.
  assert rule("repetition", "a b c d a b c d") == pytest.approx(-0.2)


def test_weights_add_up():
  scorer = Scorer(Fours(), RewardsConfig(names=(
      "correct:2", "overlong:0.5", "length:-1")), 100)
  scores = scorer.score([PROBLEM] * 2, [Completion("4", True, 50),
                                        Completion("5", True, 90)])
  np.testing.assert_allclose(scores.rewards_B, [2 - 0.5, -0.25 - 0.1],
                             rtol=1e-6)
  np.testing.assert_array_equal(scores.correct_B, [1, 0])
  assert scores.rewards_B.dtype == scores.correct_B.dtype == np.float32
  assert list(scores.parts) == ["correct", "overlong", "length"]
  assert scores.valid_B.all() and not scores.faults


USER = '''
import time
print("imported")

def level(prompt, completion, level, **columns):
  assert columns["source"] == "p.jsonl:7" and columns["answer"] == "4"
  return level + len(completion)

def lengths(prompts, completions, tokens):
  return [len(c) / t for c, t in zip(completions, tokens)]

def faulty(prompt, completion):
  print("scoring", completion)
  if completion == "raise":
    raise ValueError("cannot read that")
  if completion == "hang":
    time.sleep(1000)
  if completion == "exit":
    import os
    os._exit(3)
  return {"nan": float("nan"), "inf": float("inf"), "none": None,
          "text": "1", "object": object(), "bool": True}.get(completion, 0.5)

def short(prompts, completions, **columns):
  return [1.0]

def batch(prompts, completions):
  if "hang" in completions:
    time.sleep(1000)
  return [float("nan") if c == "nan" else 1.0 for c in completions]

def odd(question):
  return 1.0

NUMBER = 5
'''


@pytest.fixture(scope="module")
def file(tmp_path_factory):
  path = tmp_path_factory.mktemp("rewards") / "mine.py"
  path.write_text(USER)
  return str(path)


def score(file, function, texts, on_error="zero", timeout_s=30.0):
  scorer = Scorer(Fours(), RewardsConfig(
      names=(f"{file}:{function}:1", "correct:1"), on_error=on_error,
      timeout_s=timeout_s), 100)
  try:
    return scorer.score([PROBLEM] * len(texts),
                        [Completion(text, True, 4) for text in texts])
  finally:
    scorer.close()


def test_functions_of_the_user(file):
  scores = score(file, "level", ["4", "abc"], on_error="stop")
  np.testing.assert_array_equal(scores.rewards_B, [4 + 1, 6])
  scores = score(file, "lengths", ["4", "ab"], on_error="stop")
  np.testing.assert_array_equal(scores.parts[f"{file}:lengths"], [0.25, 0.5])


def test_each_fault_is_named_and_the_rest_scored(file):
  texts = ["fine", "raise", "nan", "inf", "none", "text", "object", "exit",
           "hang", "bool", "last"]
  scores = score(file, "faulty", texts, timeout_s=3.0)
  np.testing.assert_array_equal(
      scores.rewards_B, [0.5, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0.5])
  told = [str(fault) for fault in scores.faults]
  for words in ("cannot read that", "nan, which is not finite",
                "inf, which is not finite", "None, which is no number",
                "'1', which is no number", "status 3", "more than 3 s"):
    assert sum(words in each for each in told) == 1, words
  assert len(told) == 8 and scores.valid_B.all()
  hung = next(each for each in told if "more than 3 s" in each)
  assert "mine.py:faulty" in hung and "p.jsonl:7" in hung and "'hang'" in hung
  skipped = score(file, "faulty", texts[:3], on_error="skip")
  assert skipped.valid_B.tolist() == [True, False, False]
  with pytest.raises(ConfigError, match="faulty failed: it raised ValueError: "
                     "cannot read that.*'raise'.*rewards.on_error=skip"):
    score(file, "faulty", texts[:3], on_error="stop")


def test_batches_that_fail(file):
  scores = score(file, "short", ["4", "x"])
  assert "returned 1 rewards for 2 completions" in str(scores.faults[0])
  assert scores.rewards_B.tolist() == [1, 0] and scores.faults[0].rows == 2
  scores = score(file, "batch", ["4", "nan", "x"], on_error="skip")
  assert scores.valid_B.tolist() == [True, False, True]
  scores = score(file, "batch", ["4", "hang"], timeout_s=1.0, on_error="skip")
  assert not scores.valid_B.any() and "more than 1 s" in str(scores.faults[0])


def test_a_verifier_that_fails(file):
  scorer = Scorer(Fours(), RewardsConfig(on_error="skip"), 100)
  scores = scorer.score([PROBLEM] * 3, [
      Completion(text, True) for text in ("burn", "nan", "4")])
  assert scores.correct_B.tolist() == [0, 0, 1]
  assert scores.valid_B.tolist() == [False, False, True]
  assert "RuntimeError: on fire" in str(scores.faults[0])


@pytest.mark.parametrize("names, message", [
    (("{file}:nothing:1",), "no function nothing; it has .*batch"),
    (("{file}:NUMBER:1",), "no function NUMBER"),
    (("{file}:odd:1",), r"takes \(question\)"),
    (("nowhere.py:f:1",), "no file nowhere.py"),
    (("accuracy:1",), "rewards.names"), (("correct",), "NAME:WEIGHT"),
    (("correct:nan",), "NAME:WEIGHT"), (("correct:1", "correct:2"), "twice"),
    ((), "empty")])
def test_mistakes(file, names, message):
  names = tuple(name.format(file=file) for name in names)
  with pytest.raises(ConfigError, match=message):
    Scorer(Fours(), RewardsConfig(names=names), 100)


def test_a_file_that_cannot_be_imported(tmp_path):
  path = tmp_path / "broken.py"
  path.write_text("def f(:\n")
  with pytest.raises(ConfigError, match="cannot be imported: SyntaxError"):
    Scorer(Fours(), RewardsConfig(names=(f"{path}:f:1",)), 100)
