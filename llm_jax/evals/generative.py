"""Accuracy on problems that the model answers in its own words.

An accuracy is an estimate, so it comes with an interval; and two models are
compared on the same problems, where the difference is known better than
either accuracy (Miller 2024, "Adding Error Bars to Evals", section 4.2).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import jax
import numpy as np

from llm_jax.config import ModelConfig, SamplingConfig, require
from llm_jax.inference.completions import generate_texts
from llm_jax.model.params import Params
from llm_jax.rl.environments.protocol import Environment, Problem
from llm_jax.rl.rollouts import encode_prompts
from llm_jax.tokenizer.chat import stop_ids
from llm_jax.tokenizer.protocol import Tokenizer

_Z95 = 1.959964  # two-sided 95% quantile of the normal distribution
_BUCKET = 16  # prompt lengths are rounded up, to compile once


@dataclasses.dataclass(frozen=True)
class GenerativeResult:
  """One sample for each of N problems (pass@1).

  Attributes:
    correct_N: 1.0 or 0.0 (the reward) of each problem, in order.
    truncated_N: whether the length limit cut the answer off.
    completions: what the model wrote.
  """
  correct_N: np.ndarray
  truncated_N: np.ndarray
  completions: list[str]

  @property
  def accuracy(self) -> float:
    """Share of the problems that were solved."""
    return float(self.correct_N.mean())

  @property
  def interval(self) -> tuple[float, float]:
    """95% interval of the accuracy."""
    return wilson_interval(float(self.correct_N.sum()), len(self.correct_N))

  def summary(self) -> dict[str, float]:
    """What a results file holds."""
    low, high = self.interval
    return {"problems": len(self.correct_N), "accuracy": self.accuracy,
            "accuracy_low": low, "accuracy_high": high,
            "truncated": float(self.truncated_N.mean())}


@dataclasses.dataclass(frozen=True)
class PairedDifference:
  """Mean of after - before over the same problems, and its 95% interval."""
  mean: float
  low: float
  high: float


def evaluate_problems(params: Params, problems: Sequence[Problem],
                      environment: Environment, tokenizer: Tokenizer,
                      sampling: SamplingConfig, model: ModelConfig, *,
                      key: jax.Array, batch_size: int = 64
                      ) -> GenerativeResult:
  """Samples one answer to each problem and has it checked.

  The draws of problem n depend on (key, n) alone, not on the batch size.

  Args:
    params: model parameters, on the ambient mesh where there is one.
    problems: N questions.
    environment: scores the answers.
    tokenizer: the model's.
    sampling: temperature, filters and `max_new_tokens`.
    model: the model.
    key: scalar key.
    batch_size: problems at once.

  Raises:
    ConfigError: no problems; a prompt that exceeds the context.
  """
  require(len(problems) > 0, "there are no problems to evaluate on.")
  prompts = encode_prompts(problems, tokenizer)
  longest = max(map(len, prompts))
  # The bucket must not refuse a prompt that fits by itself.
  room = max(longest, model.max_seq_len - sampling.max_new_tokens)
  prompt_len = min(-(-longest // _BUCKET) * _BUCKET, room)
  stops = stop_ids(tokenizer)
  correct, truncated, completions = [], [], []
  for start in range(0, len(problems), batch_size):
    chunk = problems[start:start + batch_size]
    samples, texts = generate_texts(
        params, prompts[start:start + batch_size], tokenizer, key, sampling,
        model, prompt_len=prompt_len, stop_ids=stops, first_row=start,
        num_rows=min(batch_size, len(problems)))
    correct += [environment.reward(*each) for each in
                zip(chunk, texts, map(bool, samples.stopped_B))]
    truncated += np.logical_not(samples.stopped_B).tolist()
    completions += texts
  return GenerativeResult(np.array(correct), np.array(truncated), completions)


def wilson_interval(successes: float, total: int) -> tuple[float, float]:
  """95% interval of a proportion (Wilson 1927).

  (p + z²/2n ± z·√(p(1-p)/n + z²/4n²)) / (1 + z²/n); unlike the textbook
  interval it stays within [0, 1] and is right where p is near either end.
  """
  p, z2 = successes / total, _Z95**2
  centre = p + z2 / (2 * total)
  margin = _Z95 * math.sqrt(p * (1 - p) / total + z2 / (4 * total**2))
  scale = 1 + z2 / total
  low, high = (centre - margin) / scale, (centre + margin) / scale
  return max(0.0, low), min(1.0, high)


def paired_difference(before_N: np.ndarray,
                      after_N: np.ndarray) -> PairedDifference:
  """How much better a second model is on the same problems in the same order.

  d = after - before; mean(d) ± 1.96 · std(d) / √N, the normal interval of a
  mean of independent problems (Miller 2024, section 4.2).

  Args:
    before_N: rewards of the first model.
    after_N: rewards of the second.
  """
  before_N, after_N = np.asarray(before_N, float), np.asarray(after_N, float)
  require(before_N.shape == after_N.shape and before_N.size >= 2,
          f"{before_N.size} results cannot be paired with {after_N.size}; "
          "evaluate both models on the same problems, at least two.")
  difference_N = after_N - before_N
  mean = float(difference_N.mean())
  margin = _Z95 * float(difference_N.std(ddof=1)) / math.sqrt(before_N.size)
  return PairedDifference(mean, mean - margin, mean + margin)
