"""Every family of reasoning-gym through the one adapter."""

import dataclasses
import json

import pytest

from llm_jax.config import ConfigError, CurriculumConfig, RlDataConfig
from llm_jax.rl.environments import gym
from llm_jax.rl.environments.loading import load_environment
from llm_jax.rl.environments.protocol import Completion, VerifierFault
from tests.rl.gym_solutions import SETTINGS, right_answer, wrong_answer

FAMILIES = """
  ab acre advanced_geometry aiw arc_1d arc_agi base_conversion basic_arithmetic
  bf binary_alternation binary_matrix bitwise_arithmetic boxnet caesar_cipher
  calendar_arithmetic chain_sum circuit_logic codeio coin_flip
  color_cube_rotation complex_arithmetic composite count_bits count_primes
  countdown course_schedule cryptarithm decimal_arithmetic decimal_chain_sum
  dice emoji_mystery family_relationships figlet_font fraction_simplification
  futoshiki game_of_life game_of_life_halting gcd graph_color group_anagrams
  gsm_symbolic intermediate_integration isomorphic_strings jugs kakurasu
  knight_swap knights_knaves largest_island lcm leg_counting letter_counting
  letter_jumble list_functions mahjong_puzzle manipulate_matrix maze mini_sudoku
  modulo_grid n_queens needle_haystack number_filtering number_format
  number_sequence number_sorting palindrome_generation palindrome_partitioning
  path_star polynomial_equations polynomial_multiplication pool_matrix
  power_function prime_factorization products propositional_logic puzzle24
  quantum_lock ransom_note rearc rectangle_count rotate_matrix rotten_oranges
  rubiks_cube rush_hour self_reference sentence_reordering shortest_path
  simple_equations simple_geometry simple_integration sokoban spell_backward
  spiral_matrix string_insertion string_manipulation string_splitting
  string_synthesis sudoku survo syllogism time_intervals tower_of_hanoi tsumego
  word_ladder word_sequence_reversal word_sorting zebra_puzzles""".split()
# Quick, and of different kinds: numbers, words, grids, no answer of its own,
# one whose problems depend on the hash seed, one that has settings of its own.
QUICK = ("chain_sum", "letter_counting", "gsm_symbolic", "maze", "graph_color",
         "boxnet", "isomorphic_strings", "composite", "tower_of_hanoi",
         "propositional_logic", "game_of_life_halting", "mini_sudoku")


def load(family, seconds=120.0, **settings):
  return load_environment(RlDataConfig(
      path=f"gym:{family}", workers=1, verify_seconds=seconds,
      **{"gym_settings": SETTINGS.get(family, ())} | settings), seed=0)


def shown(problems):
  return [(p.prompt, p.answer, p.columns["metadata"], p.source)
          for p in problems]


def answered(text):
  return Completion(f"Let me think.\n<answer>{text}</answer>", True)


def check(family):
  environment = load(family)
  problems = environment.train_problems(3, 2)
  for problem in problems:
    assert problem.source == family
    assert not gym.is_held_out(problem.prompt)
    json.dumps(problem.columns)
    right = right_answer(family, problem)
    assert environment.score(problem, answered(right)) == 1.0
    assert environment.score(
        problem, dataclasses.replace(answered(right), stopped=False)) == 0.0
    assert environment.score(
        problem, answered(wrong_answer(family, problem))) < 0.5
    assert environment.score(problem, Completion("", True)) < 0.5
  # Another process, in another order.
  other = load(family, seconds=121.0)
  assert shown(other.train_problems(3, 2)[1:]) == shown(problems[1:])
  assert shown(environment.train_problems(3, 2)) == shown(problems)


def test_there_are_106_families():
  assert len(set(FAMILIES)) == 106


@pytest.mark.parametrize("family", QUICK)
def test_a_family(family):
  check(family)


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(set(FAMILIES) - set(QUICK)))
def test_each_family(family):
  check(family)


def test_problems_depend_on_seed_step_and_place():
  config = RlDataConfig(path="gym:chain_sum", workers=1, verify_seconds=120.0,
                        gym_settings=("min_digits=5", "max_digits=6"))
  one, other = load_environment(config, 0), load_environment(config, 1)
  first = one.train_problems(0, 8)
  assert len({p.prompt for p in first}) == 8
  assert not {p.prompt for p in first} & {
      p.prompt for p in [*one.train_problems(1, 8),
                         *other.train_problems(0, 8)]}
  assert shown(one.train_problems(0, 4)) == shown(first[:4])
  held_out = one.held_out_problems(40)
  assert len({p.prompt for p in held_out}) == 40
  assert shown(held_out) == shown(other.held_out_problems(40))
  assert shown(held_out[:7]) == shown(other.held_out_problems(7))


def test_no_question_is_on_both_sides_where_there_are_few():
  """Sums of two digits: 81 and as many differences."""
  environment = load("chain_sum", gym_settings=(
      "min_terms=2", "max_terms=2", "min_digits=1", "max_digits=1"))
  held_out = {p.prompt for p in environment.held_out_problems(1000)}
  trained = {p.prompt for step in range(20)
             for p in environment.train_problems(step, 32)}
  assert 10 < len(held_out) < 60 and len(trained) > 80
  assert not held_out & trained


@pytest.mark.parametrize("text, right", [
    ("<think>2 or 3?</think>\n<answer>{}</answer>", True),
    ("so\n#### {}", True), (r"thus \boxed{{{}}}", True), ("well,\n{}", True),
    ("<think>{}", False), ("<answer>0</answer>\n{}", False)])
def test_the_answer_is_read_by_one_rule(text, right):
  environment = load("letter_counting")
  problem = next(p for p in environment.train_problems(0, 8)
                 if p.answer not in "0")
  score = environment.score(
      problem, Completion(text.format(problem.answer), True))
  assert (score == 1.0) == right


def test_settings_and_levels():
  environment = load("chain_sum", gym_settings=("min_terms=3", "max_terms=4"))
  terms = {p.columns["metadata"]["num_terms"]
           for p in environment.train_problems(0, 16)}
  assert terms == {3, 4}
  environment = load(
      "chain_sum", gym_settings=("min_terms=2", "max_terms=9"),
      curriculum=CurriculumConfig(kind="staged", levels=(
          "max_terms=2", "min_terms=5 max_terms=5")))
  assert environment.num_levels == 2
  made = environment.train_problems_at(0, [0, 1, 1, 0])
  assert [p.columns["metadata"]["num_terms"] for p in made] == [2, 5, 5, 2]
  assert [p.columns["level"] for p in made] == [0, 1, 1, 0]
  own = load("chain_sum", curriculum=CurriculumConfig(kind="adaptive"))
  assert own.num_levels > 5
  easy, hard = own.train_problems_at(0, [0, own.num_levels - 1])
  assert len(easy.prompt) < len(hard.prompt)


@pytest.mark.parametrize("family, settings, told", [
    ("chain_sums", (), "no family 'chain_sums'; did you mean 'chain_sum'"),
    ("qqqq", (), "its 106 are ab, acre"),
    ("chain_sum", ("min_term=3",), "did you mean min_terms="),
    ("chain_sum", ("seed=3",), "no setting 'seed=3'; its settings are"),
    ("chain_sum", ("min_terms",), "did you mean min_terms="),
    ("chain_sum", ("min_terms=many",), "min_terms='many', but .* int"),
    ("chain_sum", ("min_terms=6", "max_terms=5"), "max_terms must be"),
    ("composite", (), "at least one dataset"),
    ("chain_sum", ("gcd.min_numbers=2",), "the families are chain_sum")])
def test_what_is_not_there_is_told(family, settings, told):
  with pytest.raises(ConfigError, match=told):
    load(family, gym_settings=settings)


def test_an_answer_that_hangs_is_no_more_than_a_fault():
  environment = load("simple_equations", seconds=2.0)
  problem = environment.train_problems(0, 1)[0]
  countdown = load("countdown", seconds=2.0)
  hard = countdown.train_problems(0, 1)[0]
  with pytest.raises(VerifierFault, match="longer than 2 seconds"):
    countdown.score(hard, answered("9**9**9**9"))
  assert environment.score(problem, answered(problem.answer)) == 1.0


def test_a_mixture_has_settings_for_each():
  environment = load_environment(RlDataConfig(
      mixture=("gym:chain_sum:3", "gym:gcd:1", "sums:1"), workers=1,
      verify_seconds=120.0,
      gym_settings=("chain_sum.min_terms=3", "chain_sum.max_terms=3")), 0)
  problems = environment.train_problems(0, 50)
  assert {p.source for p in problems} == {"chain_sum", "gcd", "sums"}
  for problem in problems:
    if problem.source == "chain_sum":
      assert problem.columns["metadata"]["num_terms"] == 3
    text = f"#### {problem.answer}"
    assert environment.score(problem, Completion(text, True)) == 1.0
