"""Where an answer stands, and the numbers in it, by hand."""

import time
from fractions import Fraction

import pytest

from llm_jax.rl.answers import marked_answer, read_answer, read_number


@pytest.mark.parametrize("text, answer", [
    ("<answer>42</answer>", "42"),
    ("<think>1? 2?</think> <answer> 42\n</answer>", "42"),
    ("<answer>1</answer> no, <answer>2</answer>", "2"),
    ("<answer>never closed <answer>2</answer>", "2"),
    ("<answer>a\nb</answer>", "a\nb"),
    ("<think>it is <answer>1</answer></think> <answer>2</answer>", "2"),
    ("so\n#### 42", "42"),
    ("#### 1\n#### 2\nor so", "2"),
    ("##### 1", None),
    ("the answer is #### 1", None),
    (r"so \boxed{42}.", "42"),
    (r"\boxed{\frac{1}{2}} and \boxed{x_{1}^{2}}", "x_{1}^{2}"),
    (r"\boxed{1} then \boxed{2", "1"),
    (r"\fbox {7}", "7"),
    (r"\boxed{1}" "\n#### 2", "2"),
    (r"#### 2" "\n<answer>3</answer>", "3"),
    ("It is 42.", None),
    ("<think>#### 1</think>\nwell", None),
    ("<think>it goes on #### 1", None),
    ("", None),
])
def test_what_is_marked(text, answer):
  assert marked_answer(text) == answer
  if answer is not None:
    assert read_answer(text) == answer


@pytest.mark.parametrize("text, answer", [
    ("a\nb\n\n", "b"), ("<think>x</think>\n It is 42. ", "It is 42."),
    ("<think>x", ""), ("", ""), ("<think>x</think>", "")])
def test_else_the_last_line(text, answer):
  assert read_answer(text) == answer


@pytest.mark.parametrize("text, number", [
    ("42", 42), ("-7", -7), ("\u22127", -7), ("1,234.50", Fraction(2469, 2)),
    ("1,234,567", 1234567), ("2/3", Fraction(2, 3)), ("6e2", 600),
    ("$5.00", 5), ("42 apples", 42), ("The answer is 42.", 42), ("x = 3", 3),
    (r"\frac{2}{3}", Fraction(2, 3)), (r"-\dfrac{1}{2}", Fraction(-1, 2)),
    ("50%", 50), (".5", Fraction(1, 2)), ("+1", 1), ("3 + 4", None),
    ("x2", None), ("1/0", None), ("", None), ("many", None), ("٣", None),
    ("5-3", None), ("9" * 5000, None)])
def test_the_one_number(text, number):
  assert read_number(text) == number


@pytest.mark.parametrize("text, answer", [
    ("\\boxed{" * 5000, None), ("<answer>" * 20000, None),
    ("#### " * 20000, ("#### " * 19999).strip()),
    ("<answer>" + "</answer" * 20000, None),
    ("\\boxed{" * 5000 + "1}", "1")], ids=[
        "boxes", "answers", "hashes", "ends", "closed"])
def test_hostile_texts_are_quick(text, answer):
  start = time.process_time()
  assert marked_answer(text) == answer
  # Milliseconds; a rule that looked at each from each would take minutes.
  assert time.process_time() - start < 2
