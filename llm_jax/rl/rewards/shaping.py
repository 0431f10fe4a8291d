"""Rewards that a completion earns by its form: pure functions of text.

They are added to a reward for being right, with a small weight: a model that
is paid for form alone learns form alone.
"""

from __future__ import annotations

import re

from llm_jax.rl.answers import marked_answer

_THINK = re.compile(r"\s*<think>(?P<thought>.*?)</think>(?P<answer>.*)",
                    re.DOTALL)


def stated(text: str, stopped: bool) -> float:
  """1 where a completion marks an answer as its own (`rl/answers.py`), right
  or not, and ended by itself."""
  return float(stopped and bool(marked_answer(text)))


def think_format(text: str, stopped: bool) -> float:
  """1 for "<think>...</think>" and then an answer, and nothing before it.

  The format reward of DeepSeek-R1 (DeepSeek-AI 2025, section 2.2.2). Both tags
  come once; thought and answer are not empty, and the completion ended by
  itself. What form the answer has is left to `stated`.
  """
  match = _THINK.fullmatch(text)
  return float(
      stopped and match is not None and text.count("<think>") == 1
      and text.count("</think>") == 1 and bool(match["thought"].strip())
      and bool(match["answer"].strip()))


def length(tokens: int, length_tokens: int) -> float:
  """min(1, tokens / length_tokens); with a negative weight brevity is paid."""
  return min(1.0, tokens / length_tokens)


def overlong(tokens: int, max_tokens: int, buffer: int) -> float:
  """Soft overlong punishment (DAPO, Yu et al. 2025, eq. 13).

     0                                    |y| <= L_max - L_cache
     ((L_max - L_cache) - |y|) / L_cache  L_max - L_cache < |y| <= L_max
    -1                                    L_max < |y|

  Args:
    tokens: |y|, generated.
    max_tokens: L_max.
    buffer: L_cache.
  """
  return max(-1.0, min(0.0, (max_tokens - buffer - tokens) / buffer))


def repetition(text: str, words: int) -> float:
  """-(1 - different n-grams / n-grams), of n = `words` words in a row.

  0 where nothing is said twice, towards -1 where all is one phrase (Yeo et al.
  2025, arXiv:2502.03373, section 4.2, penalise repeated n-grams likewise).
  """
  said = text.split()
  grams = [tuple(said[i:i + words]) for i in range(len(said) - words + 1)]
  return len(set(grams)) / len(grams) - 1.0 if grams else 0.0
