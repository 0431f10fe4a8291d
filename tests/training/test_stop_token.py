"""The token that ends an answer is trained, in finetuning and in RL."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_jax.config import (
    ModelConfig, RlConfig, SamplingConfig, TokenizerConfig)
from llm_jax.data.conversations import render_all, single_turn
from llm_jax.data.pipeline import conversations_dataset
from llm_jax.inference.generate import Samples
from llm_jax.model.params import init_params
from llm_jax.model.transformer import backbone, unembed
from llm_jax.rl import objectives
from llm_jax.rl.rollouts import lay_out
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
    if module is losses:
      monkeypatch.setattr(losses, "unembed", lambda *a: unembed(*a) + offset)
    else:
      def shifted(params, tokens_BT, config):
        hidden_BTD, _, aux = backbone(params, tokens_BT, config)
        return unembed(params, hidden_BTD, config) + offset, aux
      monkeypatch.setattr(objectives, "forward", shifted)
    return loss_fn(params, None, batch, 0)[0]
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


@pytest.mark.parametrize("normalization", ["token", "response", "constant"])
def test_reinforcement_trains_the_end_of_each_sample(
    tokenizer, model, monkeypatch, normalization):
  params, config = model
  end = tokenizer.special_tokens["<|end|>"]
  prompt = render_prompt([{"role": "user", "content": "1+1?"}], tokenizer)
  answers = [[*tokenizer.encode("2"), end], [*tokenizer.encode("345"), end],
             tokenizer.encode("six")]
  lengths = np.array([len(a) for a in answers])
  tokens = np.zeros((3, 8), np.int32)
  for row, answer in zip(tokens, answers):
    row[:len(answer)] = answer
  mask = np.arange(8) < lengths[:, None]
  samples = Samples(
      tokens_BT=tokens, mask_BT=mask, lengths_B=lengths,
      logprobs_BT=np.where(mask, -5.0, 0.0).astype(np.float32),
      model_logprobs_BT=np.where(mask, -5.0, 0.0).astype(np.float32),
      stopped_B=np.array([True, True, False]))
  advantages = np.array([1.0, -1.0, 0.5], np.float32)
  batch = lay_out([prompt] * 3, samples, advantages, advantages, T).batch()
  rl = RlConfig(loss_normalization=normalization, clip_low=0.99,
                clip_high=99.0, sampling=SamplingConfig(max_new_tokens=8))
  gradient_BTV = gradient_of_logits(
      objectives.policy_loss_fn(config, rl), params, monkeypatch, objectives,
      batch, config)
  trained = np.abs(gradient_BTV).sum(-1) > 0
  for row, answer in enumerate(answers):
    places = np.flatnonzero(trained[row])
    assert batch["targets"][row, places].tolist() == answer
    assert places[0] == len(prompt) - 1
  # A good answer's end becomes likelier, a bad one's less likely.
  for row, sign in ((0, -1), (1, 1)):
    place = len(prompt) - 1 + lengths[row] - 1
    assert batch["targets"][row, place] == end
    assert np.sign(gradient_BTV[row, place, end]) == sign
