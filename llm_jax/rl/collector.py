"""One training batch: problems, their samples, rewards.

    problems -> prompts -> G samples each -> rewards -> rows

Everything in it is decided by the parameters, `config.seed`, the step, the
number of the first problem and what the curriculum has seen, so a run that goes
on collects what it would have collected.

Problems are numbered from 0 through the whole run, and a step takes the next
ones. With dynamic sampling (DAPO, Yu et al. 2025, section 3.2) a group whose
rewards are all alike, which has no gradient, is replaced by the group of a
further problem, up to `refill_rounds` times; what is lacking then is filled
with such groups, whose loss mask is zero. How many problems a step took is
part of what it returns, and each number is used once.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from llm_jax.config import ModelConfig, RlConfig
from llm_jax.inference.compaction import DecodeStats
from llm_jax.inference.tools import Tool
from llm_jax.model.params import Params
from llm_jax.rl import rollouts as rollouts_lib
from llm_jax.rl.curriculum import Curriculum
from llm_jax.rl.environments.protocol import Problem
from llm_jax.rl.rewards.scorer import Scorer, Scores
from llm_jax.rl.rollouts import Rollouts, lay_out
from llm_jax.rl.scoring import score_traces, shuffled
from llm_jax.rl.traces import Trace, play
from llm_jax.tokenizer.protocol import Tokenizer


@dataclasses.dataclass(frozen=True)
class Collected:
  """A training batch, and what there is to tell of it.

  Attributes:
    rollouts: rows of P·G samples.
    metrics: of all samples, those included that were replaced.
    records: of some samples, for `rollouts.jsonl`.
    next_problem: number of the first problem of the next step.
    sampled_after: training steps that the sampler's parameters had had.
    faults: rewards that failed, in words.
  """
  rollouts: Rollouts
  metrics: dict[str, float]
  records: list[dict[str, Any]]
  next_problem: int
  sampled_after: int
  faults: tuple[str, ...] = ()

  def to_json(self) -> dict[str, Any]:
    """As part of a checkpoint, bit for bit."""
    return {**dataclasses.asdict(dataclasses.replace(self, rollouts=None)),
            "rollouts": rollouts_lib.to_json(self.rollouts)}

  @classmethod
  def from_json(cls, saved: dict[str, Any]) -> Collected:
    """The batch that `to_json` wrote."""
    return cls(**{**saved, "faults": tuple(saved["faults"]),
                  "rollouts": rollouts_lib.from_json(saved["rollouts"])})


@dataclasses.dataclass
class _Group:
  """The samples of one problem."""
  number: int
  problem: Problem
  traces: list[Trace]
  scores: Scores  # of these G

  @property
  def informative(self) -> bool:
    """Whether its rewards differ, so that some samples are better."""
    rewards = self.scores.rewards_B[self.scores.valid_B]
    return len(rewards) > 1 and bool(np.ptp(rewards) > 0)


class Collector:
  """Collects training batches of one task.

  Args:
    curriculum: gives the problems, and is told how their samples were.
    scorer: gives the rewards.
    tokenizer: the model's.
    model: the model as it samples.
    config: batch_size (P), group_size (G), seq_len, sampling, refill_rounds,
      shuffle_rewards, mask_truncated, seed.
    tools: that the model may call.
  """

  def __init__(self, curriculum: Curriculum, scorer: Scorer,
               tokenizer: Tokenizer, model: ModelConfig, config: RlConfig,
               tools: Sequence[Tool] = ()):
    self._curriculum, self._scorer = curriculum, scorer
    self._tokenizer, self._model = tokenizer, model
    self._config, self._tools = config, tools

  def collect(self, params: Params, step: int, first_problem: int,
              sampled_after: int) -> Collected:
    """The batch of a training step.

    Args:
      params: of the policy, on the ambient mesh where there is one.
      step: names the random numbers.
      first_problem: number of the first problem to take.
      sampled_after: training steps that `params` have had.

    Raises:
      ConfigError: a prompt that leaves no room for `max_new_tokens`.
    """
    began, seconds_reward = time.monotonic(), 0.0
    config, position = self._config, first_problem
    stats: list[DecodeStats] = []
    kept: list[_Group] = []
    spare: list[_Group] = []
    for _ in range(1 + config.refill_rounds):
      lacking = config.batch_size - len(kept)
      if not lacking:
        break
      groups, seconds = self._sample(params, step, position, lacking,
                                     position - first_problem, stats)
      position += lacking
      seconds_reward += seconds
      for group in groups:
        stays = group.informative or not config.refill_rounds
        (kept if stays else spare).append(group)
    filling = spare[:config.batch_size - len(kept)]
    everything = [*kept, *spare]
    metrics = _metrics(everything) | {
        "level": float(self._curriculum.level),
        "problems": float(position - first_problem),
        "decode_wasted": _wasted(stats),
        "seconds_reward": seconds_reward,
        "seconds_rollout": time.monotonic() - began - seconds_reward}
    self._curriculum.observe(
        [group.problem for group in everything for _ in group.traces],
        np.concatenate([group.scores.correct_B for group in everything]))
    return Collected(
        self._rows(kept, filling), metrics,
        list(self._records([*kept, *filling])), position, sampled_after,
        tuple(str(fault) for group in everything
              for fault in group.scores.faults))

  def problems(self, first: int, count: int) -> list[Problem]:
    """Those with the numbers `first` to `first + count - 1`."""
    size = self._config.batch_size
    draws = {draw: self._curriculum.train_problems(draw, size)
             for draw in range(first // size, (first + count - 1) // size + 1)}
    return [draws[number // size][number % size]
            for number in range(first, first + count)]

  def _sample(self, params: Params, step: int, first: int, count: int,
              taken: int, stats: list[DecodeStats]
              ) -> tuple[list[_Group], float]:
    """Scored groups of the next `count` problems; the seconds of scoring."""
    config, size = self._config, self._config.group_size
    problems = self.problems(first, count)
    traces = play(
        params, problems, self._curriculum, self._tokenizer, config.sampling,
        self._model, row_len=config.seq_len, samples_per_prompt=size,
        key=jax.random.fold_in(jax.random.key(config.seed), step),
        first_row=taken * size, num_prompts=1 << (count - 1).bit_length()
        if taken else 0, tools=self._tools, limits=config.tools,
        max_turns=config.max_turns, stats=stats)
    began = time.monotonic()
    scores = shuffled(
        score_traces(self._scorer,
                     [p for p in problems for _ in range(size)], traces),
        size, config.shuffle_rewards, (config.seed, step, taken))
    seconds = time.monotonic() - began
    return [
        _Group(first + i, problem, traces[i * size:(i + 1) * size],
               _part(scores, slice(i * size, (i + 1) * size), not i))
        for i, problem in enumerate(problems)], seconds

  def _rows(self, kept: list[_Group], filling: list[_Group]) -> Rollouts:
    """Rows of both, of which `filling` is not trained on."""
    groups, config = [*kept, *filling], self._config
    rewards_B, correct_B, valid_B = (
        np.concatenate([getattr(group.scores, name) for group in groups])
        for name in ("rewards_B", "correct_B", "valid_B"))
    valid_B = valid_B & np.repeat(
        np.arange(len(groups)) < len(kept), config.group_size)
    rollouts = lay_out([trace for group in groups for trace in group.traces],
                       rewards_B, correct_B, valid_B, config.seq_len)
    if not config.mask_truncated:
      return rollouts
    return rollouts.replace(loss_mask_BT=rollouts.loss_mask_BT
                            * rollouts.stopped_B[:, None])

  def _records(self, groups: list[_Group]) -> Iterator[dict[str, Any]]:
    """Some of the samples, evenly chosen, as lines of `rollouts.jsonl`."""
    size = self._config.group_size
    number = min(self._config.kept_rollouts, len(groups) * size)
    for row in np.linspace(0, len(groups) * size - 1, number).astype(int):
      group, place = groups[row // size], row % size
      trace, scores = group.traces[place], group.scores
      yield {
          "problem": group.number, "prompt": group.problem.prompt,
          "source": group.problem.source, "text": trace.completion.text,
          **({"messages": list(trace.completion.messages)}
             if len(trace.completion.messages) > 1 else {}),
          "reward": float(scores.rewards_B[place]),
          "correct": float(scores.correct_B[place]),
          "parts": {name: float(part_B[place])
                    for name, part_B in scores.parts.items()},
          "row": int(row), "tokens": trace.completion.tokens,
          "stopped": trace.completion.stopped, "ended": trace.ended}


def _part(scores: Scores, rows: slice, with_faults: bool) -> Scores:
  """Those of some rows; faults go with one part."""
  return Scores(
      scores.rewards_B[rows], scores.correct_B[rows],
      {name: part_B[rows] for name, part_B in scores.parts.items()},
      scores.faults if with_faults else (), scores.valid_B[rows])


def _wasted(stats: Sequence[DecodeStats]) -> float:
  """The share of the decoding steps of rows whose token nobody wanted."""
  computed = sum(each.row_steps for each in stats)
  return 1 - sum(each.tokens for each in stats) / computed if computed else 0.0


def _metrics(groups: Sequence[_Group]) -> dict[str, float]:
  """Means over all samples of a step; of rewards, over those that count.

  `entropy` is that of the sampler, -log π of what was sampled on average.
  `zero_variance` is the share of prompts whose samples all have one reward,
  `faulty` the share of samples that the reward that failed most failed on.
  """
  traces = [trace for group in groups for trace in group.traces]
  rewards_B, correct_B, valid_B = (
      np.concatenate([getattr(group.scores, name) for group in groups])
      for name in ("rewards_B", "correct_B", "valid_B"))
  failed: dict[str, int] = {}  # samples that each reward failed on
  for fault in (f for group in groups for f in group.scores.faults):
    failed[fault.reward] = failed.get(fault.reward, 0) + fault.count
  counted_B = rewards_B[valid_B] if valid_B.any() else np.zeros(1)
  lengths_B = np.array([trace.completion.tokens for trace in traces])
  logprobs = np.concatenate([np.array(trace.logprobs)[np.array(trace.mask)]
                             for trace in traces])
  parts = {f"reward/{name}": float(np.concatenate(
      [group.scores.parts[name] for group in groups]).mean())
      for name in groups[0].scores.parts}
  tasks: dict[str, list[np.ndarray]] = {}
  for group in groups:
    if "task" in group.problem.columns:  # of a mixture
      tasks.setdefault(group.problem.columns["task"], []).append(
          group.scores.correct_B)
  return {
      "reward": float(counted_B.mean()), "reward_std": float(counted_B.std()),
      "reward_min": float(counted_B.min()),
      "reward_max": float(counted_B.max()),
      "correct": float(correct_B.mean()), **parts,
      **{f"correct/{name}": float(np.concatenate(found).mean())
         for name, found in tasks.items()},
      "faulty": max(failed.values(), default=0) / len(rewards_B),
      "truncated": float(np.mean([not trace.completion.stopped
                                  for trace in traces])),
      "completion_tokens": float(lengths_B.mean()),
      "completion_tokens_max": float(lengths_B.max()),
      "answers": float(np.mean([
          sum(m["role"] == "assistant" for m in trace.completion.messages)
          for trace in traces])),
      "entropy": float(-logprobs.mean()),
      "zero_variance": float(np.mean([not group.informative
                                      for group in groups]))}
