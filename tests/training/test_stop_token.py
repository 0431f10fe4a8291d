"""The token that ends an answer is trained, in finetuning and in RL."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_jax.config import (
    ModelConfig, ObjectiveConfig, RlConfig, SamplingConfig, TokenizerConfig)
from llm_jax.data.conversations import render_all, single_turn
from llm_jax.data.pipeline import conversations_dataset
from llm_jax.model.params import init_params
from llm_jax.model.transformer import unembed
from llm_jax.rl import policy_logprobs
from llm_jax.rl.environments.protocol import Completion
from llm_jax.rl.policy_loss import policy_loss_fn
from llm_jax.rl.rollouts import lay_out
from llm_jax.rl.traces import Trace
from llm_jax.tokenizer.bpe import train_bpe
from llm_jax.tokenizer.chat import render_prompt
from llm_jax.training import losses

T = 48


@pytest.fixture(scope="module")
def tokenizer():
  return train_bpe(["some text"] * 4, TokenizerConfig(vocab_size=264))


@pytest.fixture(scope="module")
def model():
  config = ModelConfig(vocab_size=264, embed_dim=16, num_layers=1, num_heads=2,
                       num_kv_heads=2, head_dim=8, mlp_dim=16, max_seq_len=T)
  return jax.jit(init_params, static_argnums=1)(jax.random.key(0),
                                                config), config


def gradient_of_logits(loss_fn, params, monkeypatch, module, batch, config):
  """d loss / d logits, [B, T, V], of a whole loss function.

  An offset is added where the loss function makes its logits, so that what is
  differentiated is the function itself, masks and all.
  """
  offset = jnp.zeros((*batch["tokens"].shape, config.vocab_size))

  def loss(offset):
    monkeypatch.setattr(module, "unembed", lambda *a: unembed(*a) + offset)
    return loss_fn(params, {}, batch, 0)[0]
  return np.asarray(jax.jit(jax.grad(loss))(offset))


def test_finetuning_trains_the_end_of_each_answer(
    tokenizer, model, monkeypatch):
  params, config = model
  conversations = [single_turn("ab", "cde"), single_turn("fghi", "j")]
  batch = conversations_dataset(
      render_all(conversations, tokenizer), T, 8, train=False,
      report=lambda line: None)[0]
  end = tokenizer.special_tokens["<|end|>"]
  gradient_BTV = gradient_of_logits(
      lambda *a: losses.language_model_loss(*a, config=config), params,
      monkeypatch, losses, batch, config)
  trained = {(b, t) for b, t in np.argwhere(np.abs(gradient_BTV).sum(-1) > 0)}
  answers = {}
  for b, t in sorted(trained):
    row = (b, int(batch["segment_ids"][b, t]))
    answers.setdefault(row, []).append(int(batch["targets"][b, t]))
  # Exactly the two answers and the tokens that end them: nothing of the user.
  assert sorted(answers.values()) == sorted(
      [[*tokenizer.encode("cde"), end], [*tokenizer.encode("j"), end]])
  stops = [(b, t) for b, t in trained if batch["targets"][b, t] == end]
  assert len(stops) == 2
  for b, t in stops:
    assert batch["loss_mask"][b, t] == 1
    # Down the gradient the stop token becomes likelier.
    assert gradient_BTV[b, t, end] < -0.5
  # The user's message ends with the same token, which is not trained there.
  assert (batch["targets"] == end).sum() == 4


# What is maximised, with bounds so wide that no token is clipped.
FREE = {"clip_low": 1.0, "clip_high": 1e9}
OBJECTIVES = {
    "token": ObjectiveConfig(**FREE),
    "response": ObjectiveConfig(normalization="response", **FREE),
    "constant": ObjectiveConfig(normalization="constant", **FREE),
    "gspo": ObjectiveConfig(kind="gspo", **FREE),
    "cispo": ObjectiveConfig(kind="cispo", importance_cap=2.0, **FREE),
    "reinforce": ObjectiveConfig(kind="reinforce")}


def check_reinforced(gradient_BTV, batch, answers, starts, signs, end):
  """Exactly the answers' tokens have a gradient; their last, `end`, becomes
  likelier where the sign is +1."""
  trained = np.abs(gradient_BTV).sum(-1) > 0
  for row, answer in enumerate(answers):
    places = np.flatnonzero(trained[row])
    assert batch["targets"][row, places].tolist() == answer
    assert places[0] == starts[row]
    if answer[-1] == end:
      assert np.sign(gradient_BTV[row, places[-1], end]) == -signs[row]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_reinforcement_trains_the_end_of_each_sample(
    tokenizer, model, monkeypatch, name):
  params, config = model
  end = tokenizer.special_tokens["<|end|>"]
  prompt = render_prompt([{"role": "user", "content": "1+1?"}], tokenizer)
  answers = [[*tokenizer.encode("2"), end], [*tokenizer.encode("345"), end],
             tokenizer.encode("six")]
  traces = [Trace([*prompt, *answer],
                  [False] * len(prompt) + [True] * len(answer),
                  [0.0] * len(prompt) + [-5.0] * len(answer),
                  Completion("", answer[-1] == end)) for answer in answers]
  advantages = np.array([1.0, -1.0, 0.5], np.float32)
  batch = lay_out(traces, advantages, advantages, np.ones(3, bool), T).batch()
  batch |= {"old_logprobs": batch["sampler_logprobs"],
            "advantages": np.broadcast_to(advantages[:, None], (3, T))}
  rl = RlConfig(objective=OBJECTIVES[name],
                sampling=SamplingConfig(max_new_tokens=8))
  gradient_BTV = gradient_of_logits(
      policy_loss_fn(config, rl), params, monkeypatch, policy_logprobs, batch,
      config)
  check_reinforced(gradient_BTV, batch, answers, [len(prompt) - 1] * 3,
                   np.sign(advantages), end)


@pytest.mark.parametrize("name", ["token", "gspo"])
def test_what_a_tool_says_is_not_reinforced(tokenizer, model, monkeypatch,
                                            name):
  """Two turns with a tool's answer in between, which ends with the same token:
  the model's own are trained, and nothing of the tool or of the prompt."""
  params, config = model
  end = tokenizer.special_tokens["<|end|>"]
  ask = render_prompt([{"role": "user", "content": "1+1?"}], tokenizer)
  call, told, answer = ([*tokenizer.encode(text), end]
                        for text in ("calc 1+1", "two", "2"))
  row = [*ask, *call, *told, *answer]
  mine = [0] * len(ask) + [1] * len(call) + [0] * len(told) + [1] * len(answer)
  rest = [0] * (T + 1 - len(row))
  tokens_BS = np.array([row + rest], np.int32)
  mask_BT = np.array([mine + rest], np.float32)[:, 1:]
  batch = {"tokens": tokens_BS[:, :-1], "targets": tokens_BS[:, 1:],
           "loss_mask": mask_BT, "old_logprobs": -5 * mask_BT,
           "sampler_logprobs": -5 * mask_BT, "advantages": np.ones((1, T))}
  rl = RlConfig(objective=OBJECTIVES[name])
  gradient_BTV = gradient_of_logits(
      policy_loss_fn(config, rl), params, monkeypatch, policy_logprobs, batch,
      config)
  check_reinforced(gradient_BTV, batch, [[*call, *answer]], [len(ask) - 1],
                   [1], end)
  places = np.flatnonzero(batch["targets"][0] == end)
  assert [np.sign(gradient_BTV[0, t, end]) for t in places[-3:]] == [-1, 0, -1]
