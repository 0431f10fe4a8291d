"""Problems: the same for the same step, never the held-out ones."""

import json
import re

import numpy as np
import pytest

from llm_jax.config import ConfigError, RlDataConfig
from llm_jax.rl.environments.loading import load_environment
from llm_jax.rl.environments.protocol import Completion


def problems_file(path, number):
  lines = [json.dumps({"prompt": f"What is {i} + {i}?", "answer": 2 * i})
           for i in range(number)]
  path.write_text("\n".join(lines))
  return RlDataConfig(path=str(path), eval_problems=5)


def sorted_terms(problem):
  return tuple(sorted(map(int, re.findall(
      r"\d+", problem.prompt.removesuffix("modulo 2?")))))


@pytest.fixture(params=["sums", "file"])
def make(request, tmp_path):
  config = (RlDataConfig() if request.param == "sums"
            else problems_file(tmp_path / "problems.jsonl", 60))
  return lambda seed: load_environment(config, seed)


def test_problems_are_a_function_of_seed_and_step(make):
  one, again, other = make(0), make(0), make(1)
  later = again.train_problems(3, 8)  # asked for first, in another order
  assert again.train_problems(0, 8) == one.train_problems(0, 8)
  assert later == one.train_problems(3, 8)
  assert later != one.train_problems(2, 8)
  assert later != other.train_problems(3, 8)
  assert one.held_out_problems(5) == other.held_out_problems(5)
  assert len(set(one.held_out_problems(5))) == 5


def test_held_out_problems_are_never_trained_on(make):
  environment = make(0)
  held_out = {sorted_terms(p) for p in environment.held_out_problems(400)}
  trained = {sorted_terms(p) for step in range(50)
             for p in environment.train_problems(step, 32)}
  assert len(trained) >= 54 and not held_out & trained


def test_a_reward_is_for_the_answer(make):
  environment = make(0)
  problem = environment.held_out_problems(1)[0]
  total = sum(sorted_terms(problem))
  if problem.prompt.endswith("modulo 2?"):
    total %= 2
  assert str(total) == problem.answer
  right = f"#### {problem.answer}"
  assert environment.score(problem, Completion(right, True)) == 1.0
  assert environment.score(problem, Completion(right, False)) == 0.0
  assert environment.score(problem, Completion(right + "1", True)) == 0.0


def test_each_epoch_has_every_problem_of_the_file_once(tmp_path):
  environment = load_environment(
      problems_file(tmp_path / "p.jsonl", 40), seed=0)
  assert len(environment.held_out_problems(100)) == 4  # a tenth, not five
  assert len(environment.all_problems()) == 40
  epochs = [[p for step in range(4 * e, 4 * e + 4)
             for p in environment.train_problems(step, 9)] for e in range(2)]
  assert set(epochs[0]) == set(epochs[1]) and len(set(epochs[0])) == 36
  assert epochs[0] != epochs[1]


@pytest.mark.parametrize("line, told", [
    ('{"prompt": "a", "answer": "many"}', "p.jsonl:2.*integer"),
    ('{"prompt": "a", "answer": 1.5}', "p.jsonl:2.*integer"),
    ('{"prompt": "a", "answer": true}', "p.jsonl:2.*integer"),
    ('{"prompt": " ", "answer": 1}', "p.jsonl:2.*prompt"),
    ('{"prompt": "a"}', "p.jsonl:2 lacks.*answer"),
    ('{"prompt": "b", "answer": 2}', "1 problems"),
])
def test_a_bad_file_is_told(tmp_path, line, told):
  path = tmp_path / "p.jsonl"
  path.write_text('{"prompt": "b", "answer": "1,000"}\n' + line)
  with pytest.raises(ConfigError, match=told):
    load_environment(RlDataConfig(path=str(path)), 0)
  with pytest.raises(ConfigError, match="nowhere.jsonl"):
    load_environment(RlDataConfig(path=str(tmp_path / "nowhere.jsonl")), 0)
  with pytest.raises(ConfigError, match="terms"):
    load_environment(RlDataConfig(min_terms=5, max_terms=4), 0)


@pytest.mark.parametrize("number, held_out", [
    (2, 1), (3, 1), (4, 2), (19, 2), (40, 4)])
def test_of_a_small_file_two_are_held_out(tmp_path, number, held_out):
  environment = load_environment(
      problems_file(tmp_path / "p.jsonl", number), seed=0)
  assert len(environment.held_out_problems(100)) == held_out


def test_answers_are_compared_as_integers(tmp_path):
  path = tmp_path / "p.jsonl"
  path.write_text('{"prompt": "a", "answer": "1,000"}\n'
                  '{"prompt": "b", "answer": -7}\n')
  environment = load_environment(RlDataConfig(path=str(path)), 0)
  answers = {p.prompt: p.answer for p in environment.all_problems()}
  assert answers == {"a": "1000", "b": "-7"}


def test_step_numbers_do_not_run_into_seeds():
  """(seed 0, step 1) and (seed 1, step 0) are different problems."""
  config = RlDataConfig()
  one = load_environment(config, 0).train_problems(1, 8)
  assert one != load_environment(config, 1).train_problems(0, 8)
  assert np.mean([len(sorted_terms(p)) for p in one]) <= 6
