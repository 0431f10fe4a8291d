"""One step ahead: which parameters sample what, and what a checkpoint holds."""

import json
import threading

import jax
import numpy as np
import pytest

from llm_jax.rl.ahead import RolloutSource
from llm_jax.rl.collector import Collected
from llm_jax.rl.rollouts import Rollouts

NUM_STEPS = 6


class Collecting:
  """Makes batches that say what they were made of."""

  def __init__(self):
    self.calls, self.threads = [], set()

  def __call__(self, params, step, first_problem, sampled_after):
    self.calls.append((step, first_problem, sampled_after))
    self.threads.add(threading.current_thread())
    value = np.asarray(params["w"])
    rows = np.full((1, 2), value + np.float32(0.1) * step, np.float32)
    rollouts = Rollouts(rows.astype(np.int32), rows.astype(np.int32), rows,
                        rows, rows[0], rows[0], rows[0] > 0,
                        rows[0].astype(np.int32), rows[0] > 0)
    return Collected(rollouts, {"reward": float(value)}, [{"n": step}],
                     first_problem + step, sampled_after)


def run(ahead, stop_at=None, waiting=None, start=0, next_problem=0):
  """Steps of a run whose parameters are the number of steps trained."""
  collect, made, saved = Collecting(), [], {}
  with RolloutSource(collect, ahead=ahead, num_steps=NUM_STEPS,
                     waiting=waiting) as source:
    for step in range(start + 1, NUM_STEPS + 1):
      params = {"w": jax.numpy.float32(step - 1)}
      collected = source.next(params, step, next_problem)
      params["w"].delete()  # as a train step that it was donated to does
      next_problem = collected.next_problem
      made.append((collected.records, collected.metrics["reward"],
                   collected.sampled_after, collected.next_problem,
                   collected.rollouts.sampler_logprobs_BT.tolist()))
      saved[step] = (json.dumps(source.state()), next_problem)
      if step == stop_at:
        break
  return made, saved, collect


def test_on_policy_the_newest_parameters_sample():
  made, saved, collect = run(ahead=False)
  assert [each[1] for each in made] == [0, 1, 2, 3, 4, 5]
  assert [each[2] for each in made] == [0, 1, 2, 3, 4, 5]
  assert {text for text, _ in saved.values()} == {"{}"}
  assert collect.threads == {threading.current_thread()}


def test_ahead_those_before_them_sample():
  made, _, collect = run(ahead=True)
  assert [each[1] for each in made] == [0, 0, 1, 2, 3, 4]
  assert [each[2] for each in made] == [0, 0, 1, 2, 3, 4]
  assert [step for step, _, _ in collect.calls] == [1, 2, 3, 4, 5, 6]
  # Problems go on from where the batch before ended.
  assert [first for _, first, _ in collect.calls] == [0, 1, 3, 6, 10, 15]
  assert threading.current_thread() in collect.threads
  assert len(collect.threads) == 2


@pytest.mark.parametrize("stop_at", [1, 3, 5])
def test_what_waits_is_saved_and_not_made_again(stop_at):
  whole, _, _ = run(ahead=True)
  before, saved, _ = run(ahead=True, stop_at=stop_at)
  text, next_problem = saved[stop_at]
  after, _, collect = run(ahead=True, waiting=json.loads(text), start=stop_at,
                          next_problem=next_problem)
  assert before + after == whole
  assert [step for step, _, _ in collect.calls] == list(
      range(stop_at + 2, NUM_STEPS + 1))


def test_a_failure_in_the_thread_comes_to_the_loop():
  def failing(params, step, first_problem, sampled_after):
    if step == 2:
      raise ValueError("reward of step 2")
    return Collecting()(params, step, first_problem, sampled_after)
  with pytest.raises(ValueError, match="reward of step 2"):
    with RolloutSource(failing, ahead=True, num_steps=3) as source:
      params = {"w": jax.numpy.float32(0)}
      source.next(params, 1, 0)
      source.next(params, 2, 0)


def test_the_thread_has_the_mesh():
  seen = []
  def collect(params, step, first_problem, sampled_after):
    seen.append(dict(jax.sharding.get_mesh().shape))
    return Collecting()(params, step, first_problem, sampled_after)
  mesh = jax.make_mesh((2,), ("data",),
                       axis_types=(jax.sharding.AxisType.Auto,))
  with jax.set_mesh(mesh), RolloutSource(
      collect, ahead=True, num_steps=2) as source:
    params = {"w": jax.numpy.float32(0)}
    source.next(params, 1, 0)
    source.next(params, 2, 0)
  assert seen == [{"data": 2}, {"data": 2}]
