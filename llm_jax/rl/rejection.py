"""Which of a model's own answers it is to be finetuned on.

Rejection sampling is expert iteration with one round (Anthony et al. 2017,
arXiv:1705.08439): answer each problem several times, keep what is right, and
imitate that. DeepSeek-R1 (2025, arXiv:2501.12948, section 2.3.3) does so
between its two stages of reinforcement learning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llm_jax.rl.rewards.scorer import Scores
from llm_jax.rl.traces import Trace

Sample = Mapping[str, Any]


def samples_of(traces: Sequence[Trace], scores: Scores, first: int
               ) -> list[dict[str, Any]]:
  """The answers to a problem as records, ready for JSON.

  Args:
    traces: the problem's.
    scores: of a batch.
    first: row of its first answer in the batch.
  """
  return [{
      "messages": [*map(dict, trace.prompt), *_answered(trace)],
      "reward": float(scores.rewards_B[row]),
      "correct": float(scores.correct_B[row]),
      "valid": bool(scores.valid_B[row]) and trace.completion.stopped,
      "tokens": trace.completion.tokens}
      for row, trace in enumerate(traces, start=first)]


def choose(samples: Sequence[Sample], at_least: float, per_problem: int,
           prefer: str) -> list[Sample]:
  """The answers to one problem that are kept, none of them twice.

  Args:
    samples: of `samples_of`.
    at_least: reward that is enough.
    per_problem: how many at most.
    prefer: "first", "shortest" or "best".
  """
  order = {"first": lambda sample: 0, "shortest": lambda s: s["tokens"],
           "best": lambda sample: -sample["reward"]}[prefer]
  right = [s for s in samples if s["valid"] and s["reward"] >= at_least]
  kept: dict[str, Sample] = {}
  for sample in sorted(right, key=order):
    if len(kept) < per_problem:
      kept.setdefault(repr(sample["messages"]), sample)
  return list(kept.values())


def _answered(trace: Trace) -> list[dict[str, Any]]:
  return [dict(message) for message in trace.completion.messages] or [
      {"role": "assistant", "content": trace.completion.text}]
