"""A model of one layer that has learnt, in seconds, to call a tool."""

import random
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
import pytest

from llm_jax.config import ModelConfig, TokenizerConfig
from llm_jax.data.conversations import Conversation, render_all
from llm_jax.data.pipeline import conversations_dataset
from llm_jax.model.params import init_params
from llm_jax.tokenizer.bpe import train_bpe
from llm_jax.training.losses import language_model_loss
from lookups import FOUND, LETTERS, look_tool, looked_up

STEPS = 120


class Caller(NamedTuple):
  """A model, as the functions of inference take it."""
  params: dict
  config: ModelConfig
  tokenizer: object


@pytest.fixture(scope="session")
def caller():
  """Asked for a letter, it looks it up and says what it found.

  What is found is drawn anew for each conversation, so the answer can only
  come from the results.
  """
  draw = random.Random(0)
  schemas = (look_tool({}).schema,)
  conversations = []
  for _ in range(16 * STEPS):
    letter = draw.choice(LETTERS)
    table = {letter: draw.choice(FOUND)}
    conversations.append(Conversation(
        tuple(looked_up(letter, table)), tools=schemas))
  tokenizer = train_bpe(['Tools: look(k) look{"k": "'] * 4,
                        TokenizerConfig(vocab_size=275))
  config = ModelConfig(
      vocab_size=tokenizer.vocab_size, embed_dim=32, num_layers=1, num_heads=4,
      num_kv_heads=4, head_dim=16, mlp_dim=64, max_seq_len=192,
      # With these it learns to copy in 50 steps; without them not in 400.
      init_std=0.15, qk_norm="head")
  rows = conversations_dataset(render_all(conversations, tokenizer), 32, 16,
                               report=lambda line: None)
  tx = optax.adam(optax.cosine_decay_schedule(1e-2, STEPS))

  def loss(params, batch):
    total, aux = language_model_loss(params, None, batch, 0, config=config)
    return total / aux.weight

  @jax.jit
  def step(params, state, batch):
    value, gradient = jax.value_and_grad(loss)(params, batch)
    updates, state = tx.update(gradient, state)
    return optax.apply_updates(params, updates), state, value

  params = jax.jit(init_params, static_argnames="config")(
      jax.random.key(0), config=config)
  state = tx.init(params)
  for n in range(STEPS):
    batch = {name: jnp.asarray(x) for name, x in rows[n].items()}
    params, state, value = step(params, state, batch)
  assert value < 0.05, value
  return Caller(params, config, tokenizer)



