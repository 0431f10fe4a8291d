"""Accuracy on problems that the model answers in its own words.

An accuracy is an estimate, so it comes with an interval; and two models are
compared on the same problems, where the difference is known better than
either accuracy (Miller 2024, "Adding Error Bars to Evals", section 4.2).
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import math
from collections.abc import Sequence

import jax
import numpy as np

from llm_jax.config import (
    ModelConfig, RlConfig, SamplingConfig, ToolsConfig, require)
from llm_jax.inference.tools import Tool
from llm_jax.model.params import Params
from llm_jax.rl.environments.protocol import (
    Environment, Problem, VerifierFault)
from llm_jax.rl.traces import play
from llm_jax.tokenizer.protocol import Tokenizer

_THREADS = 4  # answers checked at once
_Z95 = 1.959964  # two-sided 95% quantile of the normal distribution


@dataclasses.dataclass(frozen=True)
class GenerativeResult:
  """K samples for each of N problems; pass@1 is their mean.

  Attributes:
    correct_NK: what the task's own verifier says of each, 1 is solved.
    truncated_NK: whether a length limit cut the answer off.
    tokens_NK: that were generated.
    completions: what the model wrote last, of each problem's first sample.
  """
  correct_NK: np.ndarray
  truncated_NK: np.ndarray
  tokens_NK: np.ndarray
  completions: list[str]

  @property
  def correct_N(self) -> np.ndarray:
    """The mean of each problem's samples."""
    return self.correct_NK.mean(axis=1)

  @property
  def accuracy(self) -> float:
    """Share of the problems that were solved: pass@1."""
    return float(self.correct_NK.mean())

  @property
  def interval(self) -> tuple[float, float]:
    """95% interval of the accuracy; of problems, samples of one are alike."""
    return wilson_interval(float(self.correct_N.sum()), len(self.correct_N))

  def summary(self) -> dict[str, float]:
    """What a results file holds."""
    low, high = self.interval
    return {"problems": len(self.correct_N), "accuracy": self.accuracy,
            "accuracy_low": low, "accuracy_high": high, **self._passes(),
            "truncated": float(self.truncated_NK.mean()),
            "completion_tokens": float(self.tokens_NK.mean())}

  def _passes(self) -> dict[str, float]:
    """pass@k, with its interval, for k = 2, 4, ... and K."""
    num_samples = self.correct_NK.shape[1]
    powers = {2**i for i in range(1, num_samples.bit_length())}
    found: dict[str, float] = {}
    for k in sorted(powers | {num_samples} - {1}):
      values_N = pass_at_k_N(self.correct_NK, k)
      # Of N problems: as wide as were each solved or not, which is never less
      # than what shares of them vary by.
      low, high = wilson_interval(float(values_N.sum()), len(values_N))
      found |= {f"pass_at_{k}": float(values_N.mean()),
                f"pass_at_{k}_low": low, f"pass_at_{k}_high": high}
    return found


@dataclasses.dataclass(frozen=True)
class Difference:
  """Mean of after - before, and its 95% interval."""
  mean: float
  low: float
  high: float


def evaluate_problems(params: Params, problems: Sequence[Problem],
                      environment: Environment, tokenizer: Tokenizer,
                      sampling: SamplingConfig, model: ModelConfig, *,
                      key: jax.Array, batch_size: int = 64,
                      num_samples: int = 1, row_len: int = 0,
                      tools: Sequence[Tool] = (),
                      limits: ToolsConfig | None = None, max_turns: int = 16
                      ) -> GenerativeResult:
  """Samples answers to each problem and has them checked.

  The draws of sample k of problem n depend on (key, n·K + k) alone, not on the
  batch size.

  Args:
    params: model parameters, on the ambient mesh where there is one.
    problems: N questions, or episodes of several turns.
    environment: scores the answers.
    tokenizer: the model's.
    sampling: temperature, filters and `max_new_tokens` of an answer.
    model: the model.
    key: scalar key.
    batch_size: samples at once.
    num_samples: K.
    row_len: tokens of a conversation at most; 0: what the model can read.
    tools: that the model may call.
    limits: of those calls.
    max_turns: answers to an episode at most.

  Raises:
    ConfigError: no problems; a prompt that exceeds the context.
  """
  require(len(problems) > 0, "there are no problems to evaluate on.")
  at_once = min(max(1, batch_size // num_samples), len(problems))
  traces = []
  for start in range(0, len(problems), at_once):
    traces += play(
        params, problems[start:start + at_once], environment, tokenizer,
        sampling, model, key=key, row_len=row_len or model.max_seq_len,
        samples_per_prompt=num_samples, first_row=start * num_samples,
        num_prompts=at_once, tools=tools, limits=limits, max_turns=max_turns)
  completions = [trace.completion for trace in traces]
  asked = [p for p in problems for _ in range(num_samples)]

  def check(problem, completion):
    try:
      return environment.score(problem, completion)
    except VerifierFault:  # what could not be accepted is not right
      return 0.0

  def table(values):
    return np.array(values).reshape(len(problems), num_samples)

  with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
    correct = list(pool.map(check, asked, completions))
  return GenerativeResult(
      table(correct),
      table([not each.stopped for each in completions]),
      table([each.tokens for each in completions]),
      [each.text for each in completions[::num_samples]])


def evaluate_as_in_run(params: Params, problems: Sequence[Problem],
                       environment: Environment, tokenizer: Tokenizer,
                       model: ModelConfig, config: RlConfig,
                       tools: Sequence[Tool] = ()) -> GenerativeResult:
  """`evaluate_problems` as a run of reinforcement learning does it.

  So another model can be asked the same, under the same rules.

  Args:
    params: of the model that is asked, on the ambient mesh where there is one.
    problems: N questions, or episodes.
    environment: scores the answers.
    tokenizer: the model's.
    model: the model.
    config: sampling, seed, seq_len, batch_size, group_size, eval_samples,
      tools, max_turns; of the run.
    tools: of `config.tools`, loaded.

  Raises:
    ConfigError: no problems; a prompt that exceeds `seq_len`.
  """
  return evaluate_problems(
      params, problems, environment, tokenizer, config.sampling, model,
      key=jax.random.key(config.seed), row_len=config.seq_len,
      batch_size=config.batch_size * config.group_size,
      num_samples=config.eval_samples, tools=tools, limits=config.tools,
      max_turns=config.max_turns)


def pass_at_k(correct_NK: np.ndarray, k: int) -> float:
  """How likely one of k samples of a problem solves it, on average; see
  `pass_at_k_N`."""
  return float(pass_at_k_N(correct_NK, k).mean())


def pass_at_k_N(correct_NK: np.ndarray, k: int) -> np.ndarray:
  """How likely one of k samples solves each problem.

  1 - C(n - c, k) / C(n, k) for c solved of n samples, which is unbiased (Chen
  et al. 2021, "Evaluating Large Language Models Trained on Code", eq. 1).

  Args:
    correct_NK: of n = K samples of each problem; solved is 1.
    k: at most K.

  Raises:
    ConfigError: more samples are asked about than there are.
  """
  total = correct_NK.shape[1]
  require(1 <= k <= total, f"pass@{k} needs {k} samples of each problem, and "
          f"there are {total}; sample more, or choose a smaller k.")
  solved_N = (correct_NK >= 1).sum(axis=1)
  return np.array([
      1 - math.comb(total - solved, k) / math.comb(total, k)
      for solved in solved_N.tolist()])


def mean_difference(before_N: np.ndarray,
                    after_M: np.ndarray) -> Difference:
  """How much larger one mean is than another, of samples that are not paired.

  d ± 1.96 · √(var/N + var/M), Welch's normal interval.

  Args:
    before_N: values of one kind.
    after_M: values of the other.
  """
  before_N, after_M = np.asarray(before_N, float), np.asarray(after_M, float)
  require(min(before_N.size, after_M.size) >= 2, "an interval needs two values "
          "of each kind at least.")
  mean = float(after_M.mean() - before_N.mean())
  margin = _Z95 * math.sqrt(before_N.var(ddof=1) / before_N.size
                            + after_M.var(ddof=1) / after_M.size)
  return Difference(mean, mean - margin, mean + margin)


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
                      after_N: np.ndarray) -> Difference:
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
  return Difference(mean, mean - margin, mean + margin)
