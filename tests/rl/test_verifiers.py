"""Only one right answer, in the right form, that stopped, is worth anything."""

import pytest

from llm_jax.rl.verifiers import answer_reward, stated_answer


@pytest.mark.parametrize("completion, stated", [
    ("#### 32", 32),
    ("7+8=15\n15+5=20\n#### 20", 20),
    ("some text\n\n#### -4\n", -4),
    ("#### 032", 32),
    ("", None),
    ("32", None),
    ("####32", None),
    ("####  32", None),
    ("### 32", None),
    ("##### 32", None),
    ("the answer is #### 32", None),
    ("#### 32 apples", None),
    ("#### 3.5", None),
    ("#### 32\nor so", None),
    ("#### 31\n#### 32", None),
    ("#### 32 #### 32", None),
    ("#### ٣٢", None),
    ("#### " + "9" * 5000, None),
])
def test_stated_answer(completion, stated):
  assert stated_answer(completion) == stated


def test_answer_reward():
  assert answer_reward("7+8=15\n#### 15", True, "15") == 1.0
  assert answer_reward("7+8=15\n#### 15", True, 15) == 1.0
  assert answer_reward("7+8=15\n#### 15", False, "15") == 0.0
  assert answer_reward("7+8=16\n#### 16", True, "15") == 0.0
  assert answer_reward("15", True, "15") == 0.0
