"""Each verifier of text by hand: what is right, and what only looks it."""

import pytest

from llm_jax.rl.rewards import shaping
from llm_jax.rl.verifiers import (
    choice_match, chosen_letter, exact_match, gsm8k_answer, numeric_match)


@pytest.mark.parametrize("solution, answer", [
    ("He has 3+4=<<3+4=7>>7.\n#### 7", "7"), ("so\n#### 1,234", "1234"),
    ("#### -3", "-3"), ("#### $20", "20"), ("#### 2.5 ", "2.5"), ("7", None),
    ("#### seven", None), ("#### 7 or 8", None), ("", None)])
def test_gsm8k(solution, answer):
  assert gsm8k_answer(solution) == answer


@pytest.mark.parametrize("given, answer, right", [
    ("Paris", "Paris", 1), (" paris. ", "Paris", 1),
    ("New  York", "new york", 1),
    ("Paris, France", "Paris", 0), ("", "", 0), ("", "Paris", 0)])
def test_exact(given, answer, right):
  assert exact_match(given, answer) == right


@pytest.mark.parametrize("given, answer, tolerance, right", [
    ("42", "42", 0, 1), ("42.0", "42", 0, 1), ("84/2", "42", 0, 1),
    ("43", "42", 0, 0), ("0.333333", "1/3", 1e-6, 1),
    ("0.333333", "1/3", 0, 0), ("0.33", "1/3", 1e-6, 0),
    ("1010", "1000", 0.01, 1), ("1011", "1000", 0.01, 0),
    ("0.0000005", "0", 1e-6, 1), ("4 2", "42", 0, 0), ("forty", "42", 0, 0),
    ("1,000", "1000", 0, 1), ("It is 42!", "42", 0, 1)])
def test_numeric(given, answer, tolerance, right):
  assert numeric_match(given, answer, tolerance) == right


@pytest.mark.parametrize("given, letter", [
    ("B", "B"), ("b", "B"), ("(B)", "B"), ("B.", "B"), ("B. London", "B"),
    ("b) London", "B"), ("(C) Rome", "C"), ("london", "B"), ("London.", "B"),
    ("The answer is B.", "B"), ("answer: (c)", "C"), ("A cat", None),
    ("E", None), ("B or C", None), ("", None), ("Berlin", None),
    ("I think so", None)])
def test_a_choice_is_named(given, letter):
  assert chosen_letter(given, ["Paris", "London", "Rome"]) == letter


def test_choice():
  assert choice_match("(b)", "B", ["x", "y"]) == 1
  assert choice_match("x", "B", ["x", "y"]) == 0
  assert choice_match("", "B", ["x", "y"]) == 0
  # A text that two choices have names neither.
  assert choice_match("x", "A", ["x", "x"]) == 0


@pytest.mark.parametrize("text, stopped, worth", [
    ("<think>a</think> b", True, 1),
    ("<think>\na\n</think>\n<answer>b</answer>", True, 1),
    (" <think>a</think>b", True, 1), ("<think>a</think> b", False, 0),
    ("<think></think> b", True, 0), ("<think>a</think> ", True, 0),
    ("so <think>a</think> b", True, 0), ("<think>a b", True, 0), ("b", True, 0),
    ("<think>a<think>c</think> b", True, 0),
    ("<think>a</think> b </think> c", True, 0)])
def test_think_format(text, stopped, worth):
  assert shaping.think_format(text, stopped) == worth


def test_stated():
  assert shaping.stated("#### 4", True) == 1
  assert shaping.stated(r"\boxed{4}", True) == 1
  assert shaping.stated("#### 4", False) == 0
  assert shaping.stated("it is 4", True) == 0
  assert shaping.stated("<answer></answer>", True) == 0


@pytest.mark.parametrize("tokens, worth", [
    (0, 0), (80, 0), (81, -0.05), (90, -0.5), (99, -0.95), (100, -1),
    (150, -1)])
def test_overlong(tokens, worth):
  """L_max = 100, L_cache = 20, by the equation."""
  assert shaping.overlong(tokens, 100, 20) == pytest.approx(worth)


def test_length():
  assert [shaping.length(n, 10) for n in (0, 5, 10, 20)] == [0, 0.5, 1, 1]


@pytest.mark.parametrize("text, worth", [
    ("", 0), ("a b", 0), ("a b c d", 0),
    ("a b a b a b", -3 / 5),  # ab ba ab ba ab: two of five are different
    ("a a a a a", -3 / 4)])
def test_repetition(text, worth):
  assert shaping.repetition(text, 2) == pytest.approx(worth)
