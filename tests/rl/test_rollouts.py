"""Rows line up: what was sampled is what is trained, token by token."""

import dataclasses
import functools
import json

import jax
import numpy as np
import optax
import pytest

from llm_jax.config import (
    ConfigError, CurriculumConfig, RewardsConfig, RlConfig, SamplingConfig)
from llm_jax.rl.collector import Collected, Collector
from llm_jax.rl.credit import assign_credit
from llm_jax.rl.curriculum import Curriculum
from llm_jax.rl.policy_logprobs import policy_logprobs, ratio_error
from llm_jax.rl.policy_loss import policy_loss_fn
from llm_jax.rl.rewards.scorer import make_scorer
from llm_jax.rl.rollouts import Rollouts, prompt_slots
from llm_jax.rl.traces import encode_prompts
from llm_jax.tokenizer.chat import stop_ids
from llm_jax.training.train_step import TrainState, train_step
from tiny_policy import Echo, Game, make_policy, make_tokenizer

P, G = 3, 4


@pytest.fixture(scope="module")
def tokenizer():
  return make_tokenizer()


@pytest.fixture(scope="module")
def config():
  return RlConfig(batch_size=P, group_size=G, seq_len=24, seed=5,
                  kept_rollouts=99,
                  sampling=SamplingConfig(max_new_tokens=14, temperature=0.9))


@pytest.fixture(scope="module")
def policy(tokenizer):
  return make_policy(tokenizer)


def collect(policy, tokenizer, config, step=7, environment=None, first=None,
            **changes):
  params, model = policy
  config = dataclasses.replace(config, **changes)
  environment = environment or Echo()
  collector = Collector(
      Curriculum(environment, CurriculumConfig(), 0),
      make_scorer(environment, RewardsConfig()), tokenizer, model, config)
  first = step * config.batch_size if first is None else first
  return collector.collect(params, step, first, step - 1)


@pytest.fixture(scope="module")
def collected(policy, tokenizer, config):
  return collect(policy, tokenizer, config)


def test_rows_are_prompt_then_completion(collected, tokenizer, config):
  rows = collected.rollouts
  problems = Echo().train_problems(7, P)
  prompts = encode_prompts(problems, tokenizer)
  stops = stop_ids(tokenizer)
  assert rows.tokens_BT.shape == (P * G, config.seq_len)
  assert 0 < rows.stopped_B.sum() < P * G  # both ends are tried
  assert len(collected.records) == P * G
  for row, record in enumerate(collected.records):
    prompt, length = prompts[row // G], int(rows.lengths_B[row])
    sequence = [*rows.tokens_BT[row], rows.targets_BT[row, -1]]
    np.testing.assert_array_equal(rows.targets_BT[row], sequence[1:])
    assert sequence[:len(prompt)] == prompt
    completion = sequence[len(prompt):len(prompt) + length]
    assert not any(sequence[len(prompt) + length:])
    assert rows.stopped_B[row] == (completion[-1] in stops)
    assert not set(stops) & set(completion[:-1])
    assert rows.stopped_B[row] or length == 14
    kept = completion[:-1] if rows.stopped_B[row] else completion
    assert record["text"] == tokenizer.decode(kept)
    assert record["problem"] == 7 * P + row // G
    mask = np.zeros(config.seq_len)
    mask[len(prompt) - 1:len(prompt) - 1 + length] = 1
    np.testing.assert_array_equal(rows.loss_mask_BT[row], mask)
    np.testing.assert_array_equal(rows.sampler_logprobs_BT[row] != 0, mask > 0)
    assert rows.rewards_B[row] == record["reward"] == (
        float(record["stopped"]) + 0.5 * float(len(record["text"]) % 2 == 0))


def complete(made, params, model, config):
  return jax.jit(functools.partial(assign_credit, model=model, config=config))(
      made.rollouts.batch(), made.rollouts.rewards_B, params, None, None,
      valid_B=made.rollouts.valid_B)[0]


def test_advantages_are_the_groups(collected, policy, config):
  rows = collected.rollouts
  rewards_PG = rows.rewards_B.reshape(P, G)
  mean, std = rewards_PG.mean(1, keepdims=True), rewards_PG.std(1, ddof=1)
  expected = (rewards_PG - mean) / (std[:, None] + 1e-4)
  batch = complete(collected, *policy, config)
  np.testing.assert_allclose(
      batch["advantages"], expected.reshape(-1, 1) * rows.loss_mask_BT,
      atol=1e-5)
  metrics = collected.metrics
  np.testing.assert_allclose(metrics["reward"], rewards_PG.mean(), rtol=1e-6)
  assert metrics["zero_variance"] == np.mean(std == 0) < 1
  assert metrics["completion_tokens"] == rows.lengths_B.mean()
  np.testing.assert_allclose(metrics["truncated"], 1 - rows.stopped_B.mean())
  np.testing.assert_allclose(
      metrics["entropy"],
      -rows.sampler_logprobs_BT.sum() / rows.loss_mask_BT.sum(), rtol=1e-5)


@pytest.mark.parametrize("environment", [Echo(), Game()],
                         ids=["question", "episode"])
def test_the_trainer_sees_the_policy_that_sampled(
    policy, tokenizer, config, environment):
  """From the sampler's numbers to the trainer's: every ratio is 1."""
  made = collect(policy, tokenizer, config, environment=environment,
                 seq_len=60)
  rows, batch = made.rollouts, made.rollouts.batch()
  params, model = policy
  logprobs_BT, _ = jax.jit(policy_logprobs, static_argnums=(2, 3))(
      params, batch, model, 0.9)
  trained = rows.loss_mask_BT > 0
  ratio = np.exp(np.asarray(logprobs_BT) - rows.sampler_logprobs_BT)[trained]
  assert len(ratio) == rows.lengths_B.sum() > 3 * P * G
  np.testing.assert_allclose(ratio, 1.0, atol=1e-5)
  assert jax.jit(functools.partial(ratio_error, model=model, config=config))(
      params, batch) < 1e-5
  _, aux = jax.jit(policy_loss_fn(model, config))(
      params, {}, complete(made, *policy, config), 0)
  total, weight = aux.metrics["ratio"]
  assert weight == trained.sum()
  np.testing.assert_allclose(total / weight, 1.0, atol=1e-5)


def test_a_batch_is_a_function_of_seed_step_and_problem(
    collected, policy, tokenizer, config):
  def tokens(**options):
    return collect(policy, tokenizer, config,
                   **options).rollouts.tokens_BT.tolist()
  assert tokens() == collected.rollouts.tokens_BT.tolist()
  # The same questions at another step: the samples are fresh.
  assert tokens(step=8, first=7 * P) != tokens()
  assert tokens(seed=6) != tokens()


def test_a_batch_survives_as_json_bit_for_bit(collected):
  text = json.dumps(collected.to_json())
  again = Collected.from_json(json.loads(text))
  for name in Rollouts.__dataclass_fields__:
    before, after = (getattr(each.rollouts, name)
                     for each in (collected, again))
    assert before.dtype == after.dtype
    np.testing.assert_array_equal(before, after)
  for name in ("metrics", "records", "next_problem", "sampled_after", "faults"):
    assert getattr(again, name) == getattr(collected, name)


def test_room_is_checked_first(policy, tokenizer, config):
  _, model = policy
  for changes, told in (({"seq_len": 65}, "max_seq_len=64"),
                        ({"seq_len": 14}, "no room")):
    with pytest.raises(ConfigError, match=told):
      prompt_slots(dataclasses.replace(config, **changes), model)
  with pytest.raises(ConfigError, match="room for 2 "):
    collect((None, model), tokenizer, config, seq_len=16)


class Brevity(Echo):
  """Reward for stopping."""

  def score(self, problem, completion):
    return float(completion.stopped)


def test_reward_rises(policy, tokenizer, config):
  """The whole of it, from sampling to the optimiser, on an easy task."""
  params, model = policy
  config = dataclasses.replace(
      config, batch_size=8, group_size=8, num_microbatches=2,
      sampling=SamplingConfig(max_new_tokens=4))
  tx = optax.adam(0.02)
  step_fn = jax.jit(functools.partial(
      train_step, loss_fn=policy_loss_fn(model, config), tx=tx,
      num_microbatches=2))
  state = TrainState(jax.numpy.int32(0), params, tx.init(params))
  rewards = []
  for step in range(16):
    made = collect((state.params, model), tokenizer, config, step=step,
                   environment=Brevity())
    state, _ = step_fn(state, {}, complete(made, params, model, config))
    rewards.append(made.metrics["reward"])
  assert np.mean(rewards[:2]) < 0.6
  assert np.mean(rewards[-2:]) > 0.9
