"""From traces to rewards."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils

from llm_jax.rl.environments.protocol import Problem
from llm_jax.rl.rewards.scorer import Scorer, Scores
from llm_jax.rl.traces import Trace


def score_traces(scorer: Scorer, problems: Sequence[Problem],
                 traces: Sequence[Trace]) -> Scores:
  """The scores of traces, the same in every process.

  A verifier may depend on time or on a service, so of several processes the
  first one's word counts.

  Args:
    scorer: what gives rewards.
    problems: of each of the B traces.
    traces: B of them.

  Raises:
    RewardError: a reward failed, and that is to end the run.
  """
  scores = scorer.score(problems, [trace.completion for trace in traces])
  if jax.process_count() == 1:
    return scores
  names = sorted(scores.parts)
  table = np.stack([scores.rewards_B, scores.correct_B, scores.valid_B,
                    *(scores.parts[name] for name in names)])
  rewards_B, correct_B, valid_B, *parts = np.asarray(
      multihost_utils.broadcast_one_to_all(table.astype(np.float32)))
  return dataclasses.replace(
      scores, rewards_B=rewards_B, correct_B=correct_B, valid_B=valid_B > 0,
      parts=dict(zip(names, parts)))


def shuffled(scores: Scores, group_size: int, how: str,
             seed: Sequence[int]) -> Scores:
  """A control: the same rewards, of other samples.

  What a policy learns from them it does not learn from the task, though each
  step has the same rewards as before.

  Args:
    scores: of P·G rows.
    group_size: G.
    how: "batch", "group" (among the samples of a prompt), or "" for none.
    seed: of the lot.
  """
  if not how:
    return scores
  rng = np.random.default_rng(tuple(seed))
  rewards_B = scores.rewards_B.copy()
  size = len(rewards_B) if how == "batch" else group_size
  for start in range(0, len(rewards_B), size):
    rows = start + np.flatnonzero(scores.valid_B[start:start + size])
    rewards_B[rows] = rewards_B[rng.permutation(rows)]
  return dataclasses.replace(scores, rewards_B=rewards_B)
