"""Rollouts line up: what was sampled is what is trained, token by token."""

import dataclasses
import functools

import jax
import numpy as np
import optax
import pytest

from llm_jax.config import ConfigError, ModelConfig, RlConfig, SamplingConfig
from llm_jax.config import TokenizerConfig
from llm_jax.model.params import init_params
from llm_jax.rl import rollouts as rollouts_lib
from llm_jax.rl.environments.protocol import Problem
from llm_jax.rl.objectives import policy_loss_fn
from llm_jax.tokenizer.bpe import train_bpe
from llm_jax.tokenizer.chat import stop_ids
from llm_jax.training.train_step import TrainState, train_step

P, G = 3, 4


class Echo:
  """Reward for an even number of characters: varied, and checkable."""

  def train_problems(self, step, num_problems):
    return [Problem("?" * (1 + (step + i) % 3), str(i))
            for i in range(num_problems)]

  def reward(self, problem, completion, stopped):
    return float(stopped) + 0.5 * float(len(completion) % 2 == 0)


@pytest.fixture(scope="module")
def tokenizer():
  return train_bpe(["What is this?"] * 4, TokenizerConfig(vocab_size=264))


@pytest.fixture(scope="module")
def config():
  return RlConfig(batch_size=P, group_size=G, seq_len=24, seed=5,
                  sampling=SamplingConfig(max_new_tokens=14, temperature=0.9))


@pytest.fixture(scope="module")
def policy(tokenizer):
  model = ModelConfig(
      vocab_size=tokenizer.vocab_size, embed_dim=16, num_layers=1, num_heads=2,
      num_kv_heads=2, head_dim=8, mlp_dim=16, max_seq_len=24, norm="layernorm")
  params = jax.jit(init_params, static_argnames="config")(
      jax.random.key(0), config=model)
  # The final norm's bias, read by the stop tokens alone, makes them likely
  # enough to be seen.
  embed = np.array(params["embed"]["tokens"])
  embed[list(stop_ids(tokenizer))] += 0.15
  norm = {**params["final_norm"], "bias": np.ones(16, np.float32)}
  return {**params, "final_norm": norm, "embed": {"tokens": embed}}, model


@pytest.fixture(scope="module")
def rolled(policy, tokenizer, config):
  params, model = policy
  return rollouts_lib.rollout(params, Echo(), tokenizer, 7, model, config)


def test_rows_are_prompt_then_completion(rolled, tokenizer, config):
  rows, texts = rolled
  problems = Echo().train_problems(7, P)
  prompts = rollouts_lib.encode_prompts(problems, tokenizer)
  stops = stop_ids(tokenizer)
  assert rows.tokens_BT.shape == (P * G, config.seq_len)
  assert 0 < rows.stopped_B.sum() < P * G  # both ends are tried
  for row in range(P * G):
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
    assert texts[row] == tokenizer.decode(kept)
    mask = np.zeros(config.seq_len)
    mask[len(prompt) - 1:len(prompt) - 1 + length] = 1
    np.testing.assert_array_equal(rows.loss_mask_BT[row], mask)
    np.testing.assert_array_equal(rows.old_logprobs_BT[row] != 0, mask > 0)
    assert rows.rewards_B[row] == Echo().reward(
        None, texts[row], rows.stopped_B[row])


def test_advantages_are_the_groups(rolled, config):
  rows, _ = rolled
  rewards_PG = rows.rewards_B.reshape(P, G)
  mean, std = rewards_PG.mean(1, keepdims=True), rewards_PG.std(1)
  expected = (rewards_PG - mean) / (std[:, None] + 1e-6)
  np.testing.assert_allclose(
      rows.advantages_B.reshape(P, G), expected, atol=1e-5)
  metrics = rows.metrics(G)
  np.testing.assert_allclose(metrics["reward"], rewards_PG.mean(), rtol=1e-6)
  assert metrics["informative_groups"] == np.mean(std > 0) > 0
  assert metrics["completion_tokens"] == rows.lengths_B.mean()


def test_training_sees_the_policy_that_sampled(rolled, policy, config):
  """At the parameters that sampled, every ratio is 1, at temperature 0.9."""
  rows, _ = rolled
  params, model = policy
  _, aux = jax.jit(policy_loss_fn(model, config))(
      params, None, rows.batch(), 0)
  assert aux.weight == rows.lengths_B.sum()
  total, weight = aux.metrics["ratio"]
  np.testing.assert_allclose(total / weight, 1.0, atol=1e-5)
  total, weight = aux.metrics["approx_kl"]
  np.testing.assert_allclose(total / weight, 0.0, atol=1e-6)


def test_a_rollout_is_a_function_of_seed_and_step(
    rolled, policy, tokenizer, config):
  params, model = policy
  def tokens(step, config):
    rows, _ = rollouts_lib.rollout(
        params, Echo(), tokenizer, step, model, config)
    return rows.tokens_BT.tolist()
  assert tokens(7, config) == rolled[0].tokens_BT.tolist()
  # Steps 7 and 10 ask the same questions; the samples are fresh.
  assert tokens(10, config) != tokens(7, config)
  assert tokens(7, dataclasses.replace(config, seed=6)) != tokens(7, config)


def test_room_is_checked_first(policy, tokenizer, config):
  _, model = policy
  for changes, told in (({"seq_len": 25}, "max_seq_len=24"),
                        ({"seq_len": 14}, "no room"),
                        ({"seq_len": 16}, "room for 2")):
    with pytest.raises(ConfigError, match=told):
      rollouts_lib.rollout(None, Echo(), tokenizer, 0, model,
                           dataclasses.replace(config, **changes))


class Brevity(Echo):
  """Reward for stopping."""

  def reward(self, problem, completion, stopped):
    return float(stopped)


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
    rows, _ = rollouts_lib.rollout(
        state.params, Brevity(), tokenizer, step, model, config)
    state, _ = step_fn(state, None, rows.batch())
    rewards.append(rows.rewards_B.mean())
  assert np.mean(rewards[:2]) < 0.6
  assert np.mean(rewards[-2:]) > 0.9
