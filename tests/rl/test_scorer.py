"""Rewards that fail are named, with the completion; the others count."""

import json
import math
import re
import textwrap

import numpy as np
import pytest

from llm_jax.config import ConfigError, RewardsConfig, RlDataConfig
from llm_jax.rl.confined import Hung
from llm_jax.rl.environments.loading import load_environment
from llm_jax.rl.environments.protocol import (
    Completion, Problem, VerifierFault)
from llm_jax.rl.rewards.faults import RewardError
from llm_jax.rl.rewards.scorer import make_scorer

PROBLEMS = [Problem(f"What is {i}+{i}?", str(2 * i), columns={"level": i},
                    source=f"sums.jsonl:{i + 1}") for i in range(4)]
COMPLETIONS = [Completion(f"It is\n#### {2 * i}", True, tokens=10 * i)
               for i in range(4)]

# Each fails for the third completion only, whose answer is 4.
REWARDS = '''
    import time
    import numpy as np

    def good(prompt, completion):
      return len(completion)

    def sees(prompt, completion, answer, level, tokens, stopped=False, **rest):
      assert rest["source"].startswith("sums") and rest["messages"] == []
      return float(answer in completion) + level + tokens + stopped

    def needs(completion, absent):
      return 1.0

    def batched(prompts, completions, level, **columns):
      assert len(prompts) == len(completions) == len(columns["answer"])
      return np.array(level, np.float32) / 2

    def raises(prompt, completion, answer):
      return 1.0 / (int(answer) - 4)

    def nan(prompt, completion, answer):
      return float("nan") if answer == "4" else np.float32(0.5)

    def text(prompt, completion, answer):
      return "good" if answer == "4" else True

    def hangs(prompt, completion, answer):
      while answer == "4":
        time.sleep(0.01)
      return 1

    def spins(prompt, completion, answer):
      return 9**9**9 if answer == "4" else 1

    def dies(prompt, completion, answer):
      import os
      return os._exit(3) if answer == "4" else 1

    def swells(prompt, completion, answer):
      return len(bytearray(10 << 30)) if answer == "4" else 1

    def exits(prompt, completion, answer):
      raise SystemExit("no more")

    def short(prompts, completions):
      return [1.0] * (len(prompts) - 1)

    def none(prompts, completions):
      return None

    def batch_raises(prompts, completions, answer):
      return [1.0 / (int(a) - 4) for a in answer]

    def batch_nan(prompts, completions, answer):
      return [float("inf") if a == "4" else 1.0 for a in answer]

    def batch_hangs(prompts, completions):
      while True:
        time.sleep(0.01)

    def talks(prompt, completion):
      print("this is for the log")
      return 1

    not_a_function = 3

    def no_reward(x, y):
      return 1
'''


class Environment:
  """Right where the completion has the answer."""

  def score(self, problem, completion):
    return float(completion.text.endswith(f"#### {problem.answer}"))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
  path = tmp_path_factory.mktemp("rewards") / "my_rewards.py"
  path.write_text(textwrap.dedent(REWARDS))
  return path


@pytest.fixture
def score(file):
  made = []

  def run(*names, environment=None, **settings):
    names = [n if n.split(":")[0] in ("correct", "stated", "length", "return",
                                      "repetition", "think_format", "overlong")
             else f"{file}:{n}" for n in names]
    made.append(make_scorer(
        environment or Environment(),
        RewardsConfig(names=tuple(names), workers=1,
                      **{"timeout_s": 5.0} | settings)))
    return made[-1].score(PROBLEMS, COMPLETIONS)

  yield run
  for scorer in made:
    scorer.close()


def test_rewards_are_weighted_and_summed(score, file):
  scores = score("correct:2", "length:-0.5", "good:0.25", "batched",
                 length_tokens=20)
  assert scores.rewards_B.dtype == scores.correct_B.dtype == np.float32
  assert list(scores.parts) == ["correct", "length", f"{file}:good",
                                f"{file}:batched"]
  np.testing.assert_allclose(scores.parts["length"], [0, 0.5, 1, 1])
  np.testing.assert_allclose(scores.parts[f"{file}:batched"],
                             [0, 0.5, 1, 1.5])
  size = len(COMPLETIONS[0].text)
  np.testing.assert_allclose(
      scores.rewards_B,
      [2 - 0.5 * length + 0.25 * size + level / 2
       for level, length in enumerate([0, 0.5, 1, 1])])
  assert scores.valid_B.all() and not scores.faults


def test_accuracy_is_told_where_it_is_no_reward(score):
  scores = score("length", length_tokens=10)
  np.testing.assert_array_equal(scores.correct_B, 1)
  assert list(scores.parts) == ["length"]


def test_a_function_gets_what_it_names(score, file):
  scores = score("sees")
  np.testing.assert_allclose(scores.rewards_B, [2, 13, 24, 35])


FAILURES = {
    "raises": "ZeroDivisionError.*my_rewards.py, line",
    "nan": "returned nan", "text": "returned 'good', which is not a number",
    "hangs": "longer than 2 seconds", "spins": "longer than 2 seconds",
    "dies": "its process died", "swells": "MemoryError",
    "batch_nan": "returned inf",
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_named_with_its_completion(score, file, name):
  scores = score(f"{name}:1", "correct:1", on_error="zero", timeout_s=2.0,
                 memory_mb=1024)
  (fault,) = scores.faults
  assert (fault.row, fault.source, fault.count) == (2, "sums.jsonl:3", 1)
  told = str(fault)
  for part in (f"{file}:{name}", "What is 2+2?", "#### 4", "sums.jsonl:3"):
    assert part in told
  assert re.search(FAILURES[name], told), told
  # The others count, and those after it too.
  part = scores.parts[f"{file}:{name}"]
  assert part[2] == 0 and all(part[[0, 1, 3]])
  np.testing.assert_allclose(scores.rewards_B, part + 1)
  assert scores.valid_B.all()


def test_a_failed_completion_can_be_left_out(score):
  scores = score("correct", "nan", on_error="skip")
  assert scores.valid_B.tolist() == [True, True, False, True]
  np.testing.assert_allclose(scores.rewards_B, [1.5, 1.5, 0, 1.5])


@pytest.mark.parametrize("name, told", [
    ("raises", "ZeroDivisionError"), ("nan", "nan"),
    ("short", "3 values for 4"), ("hangs", "longer than 1 seconds")])
def test_the_run_can_be_ended(score, name, told):
  with pytest.raises(RewardError, match=f"(?s){name}.*{told}.*on_error=zero"):
    score("correct", name, timeout_s=1.0)


@pytest.mark.parametrize("name, told, row", [
    ("short", "returned 3 values for 4 completions", 0),
    ("none", "returned None for 4 completions", 0),
    ("batch_raises", "ZeroDivisionError", 2),
    ("batch_hangs", "longer than 1 seconds", 0)])
def test_a_whole_batch_fails_at_once(score, name, told, row):
  scores = score("correct", name, on_error="skip", timeout_s=1.0)
  (fault,) = scores.faults
  assert told in str(fault) and (fault.row, fault.count) == (row, 4)
  assert not scores.valid_B.any() and not scores.rewards_B.any()


def test_one_that_always_hangs_is_given_up(file):
  problems, completions = PROBLEMS[2:3] * 40, COMPLETIONS[2:3] * 40
  scorer = make_scorer(Environment(), RewardsConfig(
      names=(f"{file}:hangs",), workers=1, timeout_s=0.2, on_error="zero"))
  scores = scorer.score(problems, completions)
  counts = {fault.reason: fault.count for fault in scores.faults}
  assert counts["it took longer than 0.2 seconds"] == 8
  assert counts["not called, since the 8 before it hung"] == 32
  # The next batch is tried again.
  assert scorer.score(PROBLEMS[:1], COMPLETIONS[:1]).rewards_B == [1]
  scorer.close()


def test_a_missing_column_is_named(score):
  (fault,) = score("needs", on_error="zero").faults
  assert "'absent'" in fault.reason and fault.count == 4


def test_a_function_may_print_and_exit(score, capfd):
  assert score("talks").rewards_B.tolist() == [1] * 4
  assert "for the log" in capfd.readouterr().err
  assert "no more" in score("exits", on_error="zero").faults[0].reason


@pytest.mark.parametrize("name, told", [
    ("absent", "no function 'absent'.*good, sees"),
    ("not_a_function", "int, not a function"),
    ("no_reward", r"parameters \(x, y\)")])
def test_a_function_that_is_none_is_told_at_once(file, name, told):
  with pytest.raises(ConfigError, match=told):
    make_scorer(Environment(), RewardsConfig(names=(f"{file}:{name}",)))


def test_a_file_that_cannot_be_loaded_is_told_at_once(tmp_path):
  broken = tmp_path / "broken.py"
  broken.write_text("def reward(prompt, completion)\n  return 1\n")
  with pytest.raises(ConfigError, match=r"expected ':' \(.*broken.py, line 1"):
    make_scorer(Environment(), RewardsConfig(names=(f"{broken}:reward",)))
  broken.write_text("import no_such_package\n")
  with pytest.raises(ConfigError, match="no_such_package.*line 1"):
    make_scorer(Environment(), RewardsConfig(names=(f"{broken}:reward",)))
  with pytest.raises(ConfigError, match="no file .*nowhere.py"):
    make_scorer(Environment(), RewardsConfig(names=("nowhere.py:reward",)))


@pytest.mark.parametrize("settings, told", [
    ({"names": ()}, "empty"), ({"names": ("correct", "correct:2")}, "twice"),
    ({"names": ("corect",)}, "corect.*choose of correct"),
    ({"names": ("correct:nan",)}, "choose of"),
    ({"names": ("correct:1e999",)}, "finite"),
    ({"names": ("overlong",)}, "overlong_tokens"),
    ({"on_error": "ignore"}, "on_error"), ({"timeout_s": 0}, "timeout_s"),
    ({"workers": 0}, "workers")])
def test_settings_that_cannot_be(settings, told):
  with pytest.raises(ConfigError, match=told):
    make_scorer(Environment(), RewardsConfig(**settings))


class Hanging(Environment):
  """A verifier that does not come to an end."""

  def score(self, problem, completion):
    if problem.answer == "4":
      raise VerifierFault("it took longer than 1 seconds") from Hung("it")
    return 1.0


class Broken(Environment):
  def score(self, problem, completion):
    return math.nan if problem.answer == "4" else 1.0


def test_a_verifier_that_hangs_has_not_accepted(score):
  scores = score("correct", environment=Hanging())
  assert scores.correct_B.tolist() == [1, 1, 0, 1] and scores.valid_B.all()
  assert "longer than" in str(scores.faults[0]) and scores.faults[0].row == 2
  assert not score("correct", environment=Hanging(),
                   on_error="skip").valid_B[2]
  # Not even where it is given up.
  scorer = make_scorer(Hanging(), RewardsConfig(workers=1))
  scores = scorer.score(PROBLEMS[2:3] * 20, COMPLETIONS[2:3] * 20)
  assert sorted(fault.count for fault in scores.faults) == [8, 12]
  with pytest.raises(RewardError, match="correct: it returned nan"):
    score("correct", environment=Broken())


def test_a_file_of_ones_own_end_to_end(tmp_path, file):
  """As an experiment has it: a file of problems, a mixture of rewards."""
  path = tmp_path / "problems.jsonl"
  path.write_text("".join(json.dumps(
      {"question": f"What is {i}+{i}?", "answer": f"so\n#### {2 * i}",
       "level": i}) + "\n" for i in range(20)))
  environment = load_environment(RlDataConfig(path=str(path)), 0)
  scorer = make_scorer(environment, RewardsConfig(
      names=("correct:1", f"{file}:sees:0.5", f"{file}:raises:1"),
      on_error="zero", workers=2))
  problems = environment.train_problems(0, 8)
  completions = [Completion(f"#### {p.answer}", True) for p in problems]
  for problem in problems:
    assert problem.columns["solution"].startswith("so")
  scores = scorer.score(problems, completions)
  assert scores.correct_B.tolist() == [1] * 8
  assert len(scores.parts) == 3
  scorer.close()
