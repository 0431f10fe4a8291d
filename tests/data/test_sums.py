"""Every demonstration is right; evaluation is apart from training."""

import itertools

import numpy as np
import pytest

from llm_jax.config import ConfigError
from llm_jax.data import sums


def test_texts():
  problem = sums.SumProblem((7, 8, 5))
  assert problem.prompt() == "What is 7+8+5 modulo 2?"
  assert problem.answer() == "0"
  assert problem.demonstration("at_once") == "#### 0"
  assert problem.demonstration("steps") == "1,1,0\n#### 0"
  with pytest.raises(ConfigError, match="choose one of steps, at_once"):
    problem.demonstration("guess")


def test_every_step_of_a_demonstration_is_true():
  rng = np.random.default_rng(0)
  for _ in range(300):
    problem = sums.train_problem(rng, 2, 8)
    steps, last = problem.demonstration("steps").split("\n")
    digits = [int(digit) for digit in steps.split(",")]
    assert digits == [sum(problem.terms[:n + 1]) % 2
                      for n in range(len(problem.terms))]
    assert last == f"#### {digits[-1]}"


def test_training_and_evaluation_are_disjoint_in_any_order_of_terms():
  rng = np.random.default_rng(0)
  trained = {tuple(sorted(sums.train_problem(rng).terms))
             for _ in range(20_000)}
  held_out = sums.held_out_problems(1024)
  assert len(set(held_out)) == 1024
  assert not trained & {tuple(sorted(p.terms)) for p in held_out}
  for problem in held_out[:50]:
    for terms in itertools.permutations(problem.terms):
      assert sums.is_held_out(sums.SumProblem(terms))


def test_about_a_tenth_of_all_problems_is_held_out():
  problems = [sums.SumProblem(terms) for terms in
              itertools.combinations_with_replacement(range(1, 10), 5)]
  share = np.mean([sums.is_held_out(problem) for problem in problems])
  assert 0.07 < share < 0.13


def test_lengths_and_terms():
  problems = sums.held_out_problems(600, 3, 4, 6)
  counts = np.bincount([len(problem.terms) for problem in problems])
  assert counts[:4].sum() == 0 and len(counts) == 7
  assert counts[4:].min() > 100
  assert {t for p in problems for t in p.terms} == set(range(1, 10))


def test_deterministic():
  assert sums.held_out_problems(50, 1) == sums.held_out_problems(50, 1)
  assert sums.held_out_problems(50, 1) != sums.held_out_problems(50, 2)


def test_impossible_wishes():
  with pytest.raises(ConfigError, match="only .* held-out sums of 2 to 2"):
    sums.held_out_problems(1024, 0, 2, 2)
  with pytest.raises(ConfigError, match="at least 2"):
    sums.train_problem(np.random.default_rng(0), 1, 3)
  with pytest.raises(ConfigError, match="at least 2"):
    sums.held_out_problems(4, 0, 5, 4)
