"""The loop end to end: one policy samples and trains, and its files say so."""

import json

import jax
import numpy as np
import pytest

from experiments import rl
from llm_jax import config_flags
from llm_jax.config import ConfigError, RlConfig
from llm_jax.rl.environments.sums import SumsEnvironment
from llm_jax.training.saved_models import load_params
from test_rl_resume import make_model

NUM_STEPS = 3


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  directory = tmp_path_factory.mktemp("rl")
  make_model(directory)
  return directory


def run(data, name, *flags):
  workdir = data / name
  chosen = config_flags.parse(RlConfig, [
      "rl", f"--workdir={workdir}", f"--init_from={data / 'first'}",
      f"--num_steps={NUM_STEPS}", "--logging.every=1",
      "--nologging.tensorboard", "--mesh.data=2", "--mesh.fsdp=2",
      "--mesh.tensor=2", "--batch_size=4", "--group_size=2", "--seq_len=64",
      "--sampling.max_new_tokens=8", "--data.eval_problems=4",
      "--data.min_terms=2", "--data.max_terms=2", "--optimizer.warmup_steps=1",
      "--optimizer.learning_rate=0.01", *flags])
  results = rl.run(chosen)
  metrics = [json.loads(line) for line in
             (workdir / "metrics.jsonl").read_text().splitlines()]
  return results, workdir, [m for m in metrics if "reward" in m], metrics


@pytest.fixture(autouse=True)
def varied_rewards(monkeypatch):
  """What an untrained model gets varied rewards for."""
  monkeypatch.setattr(SumsEnvironment, "score", lambda self, problem,
                      completion: len(completion.text) % 5 / 4)


@pytest.mark.parametrize("name, flags", [
    ("whole", ["--eval_samples=2", "--kept_rollouts=5"]),
    pytest.param("adapter", ["--lora.rank=2", "--sampling.temperature=0.8",
                             "--objective.kl_coef=0.1"],
                 marks=pytest.mark.slow),
    pytest.param("critic", ["--objective.advantages=gae",
                            "--objective.importance_cap=2"],
                 marks=pytest.mark.slow)])
def test_one_policy_samples_and_trains(data, name, flags):
  results, workdir, steps, metrics = run(data, name, *flags)
  assert [m["step"] for m in steps] == [1, 2, 3]
  # From the sampler's log-probabilities to the trainer's, token by token.
  assert steps[0]["ratio_error"] < 1e-5
  for step in steps:
    np.testing.assert_allclose(step["ratio"], 1.0, atol=1e-5)
    assert step["approx_kl"] < 1e-6
    assert step["staleness"] == 0
    assert 0 < step["entropy"] < np.log(300)
    assert 0 <= step["zero_variance"] <= 1
    for part in ("rollout", "reward", "train"):
      assert step[f"seconds_{part}"] > 0
  rewards = [json.loads(line) for line in
             (workdir / "rewards.jsonl").read_text().splitlines()]
  assert [len(r["rewards"]) for r in rewards] == [8] * NUM_STEPS
  for step, record in zip(steps, rewards):
    np.testing.assert_allclose(np.mean(record["rewards"]), step["reward"],
                               rtol=1e-6)
  before, after = (jax.tree.leaves(load_params(str(path))[0])
                   for path in (data / "first", workdir))
  assert any((np.asarray(a) != np.asarray(b)).any()
             for a, b in zip(before, after, strict=True))
  assert results["rollout_rows"] == 8 * NUM_STEPS
  if name == "whole":
    lines = (workdir / "rollouts.jsonl").read_text().splitlines()
    samples = [json.loads(line) for line in lines]
    assert [s["step"] for s in samples] == [1] * 5 + [2] * 5 + [3] * 5
    assert {s["problem"] for s in samples} <= set(range(12))
    assert all(s["tokens"] <= 8 and s["prompt"].startswith("What")
               for s in samples)
    last = [m for m in metrics if "eval_accuracy" in m][-1]
    assert last["eval_accuracy"] <= last["eval_pass_at_2"] + 1
    assert last["eval_problems"] == 4


@pytest.mark.slow
def test_minibatches_are_steps_of_their_own(data):
  """The first of a rollout is on policy, the mean over all of them is not."""
  results, _, steps, _ = run(
      data, "minibatches", "--minibatches=2", "--updates_per_rollout=2",
      "--batch_size=8")
  assert steps[0]["ratio_error"] < 1e-5
  assert all(step["approx_kl"] > 1e-7 for step in steps)
  assert results["rollout_rows"] == 16 * NUM_STEPS


def test_a_problem_of_training_that_is_too_long_is_told_at_once(data, tmp_path):
  path = tmp_path / "problems.jsonl"
  path.write_text("".join(json.dumps({
      "prompt": "word " * (60 if i == 7 else 1) + str(i), "answer": i}) + "\n"
      for i in range(40)))
  with pytest.raises(ConfigError, match="'word word .* leaves room for 56"):
    run(data, "long", f"--data.path={path}")
  assert not (data / "long").exists()


def test_a_reward_that_cannot_be_loaded_spoils_no_workdir(data):
  with pytest.raises(ConfigError, match="nowhere.py"):
    run(data, "spoilt", "--rewards.names=correct:1,nowhere.py:f:0.1")
  assert not (data / "spoilt").exists()


@pytest.mark.slow
def test_ahead_is_one_step_stale(data):
  _, _, steps, _ = run(data, "ahead", "--ahead")
  assert [step["staleness"] for step in steps] == [0, 1, 1]
  np.testing.assert_allclose(steps[0]["ratio"], 1.0, atol=1e-5)
  assert abs(steps[2]["ratio"] - 1) > 1e-5 or steps[2]["approx_kl"] > 1e-7
