"""A model that has learnt nothing, as a run to start others from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax

from llm_jax.config import ModelConfig, TokenizerConfig
from llm_jax.model.params import init_params
from llm_jax.paths import as_path
from llm_jax.tokenizer.bpe import train_bpe
from llm_jax.training.saved_models import save_params, saved_steps


def save_untrained(directory: str, texts: Sequence[str], vocab_size: int,
                   model: ModelConfig, seed: int) -> None:
  """Saves an untrained model with a tokenizer of its own; one that is there
  stays.

  Args:
    directory: of the run.
    texts: what the vocabulary is learnt from.
    vocab_size: tokens at most; a digit is a token of its own.
    model: the model, whose vocabulary becomes the tokenizer's.
    seed: its parameters.

  Raises:
    ConfigError: a model that cannot be.
  """
  if saved_steps(as_path(directory)):
    return
  tokenizer = train_bpe(list(texts), TokenizerConfig(vocab_size=vocab_size,
                                                     max_digits=1))
  model = dataclasses.replace(model, vocab_size=tokenizer.vocab_size)
  model.validate()
  params = jax.jit(init_params, static_argnums=1)(jax.random.key(seed), model)
  save_params(directory, params, model, tokenizer, "pretrain")
