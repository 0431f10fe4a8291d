"""Every recipe can be used, and is what its docstring says."""

import dataclasses
import importlib
import inspect
import pathlib

import numpy as np
import pytest

from llm_jax.config import ConfigError, ModelConfig, PretrainConfig
from llm_jax.config_flags import load_config_file
from llm_jax.model.params import count_params

ROOT = pathlib.Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (ROOT / "configs").glob("[a-z]*.py"))


def get_config(name, **arguments):
  return importlib.import_module(f"configs.{name}").get_config(**arguments)


def complete(model):
  """With a vocabulary, which a tokenizer gives otherwise."""
  return model if model.vocab_size else dataclasses.replace(model,
                                                            vocab_size=50_304)


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_is_valid_and_says_how_to_run_it(name):
  config = get_config(name)
  if hasattr(config, "validate"):
    config.validate()
  model = getattr(config, "model", None)
  if isinstance(model, ModelConfig):
    complete(model).validate()
    if hasattr(config, "seq_len"):
      assert config.seq_len <= model.max_seq_len
  text = inspect.getdoc(importlib.import_module(f"configs.{name}"))
  for word in ("Command:", "Hardware:", "Time:", "Expect"):
    assert word in text, word


def test_gpt2_has_the_parameters_of_the_story():
  for name, count in (("gpt2_124m", 124_439_808),
                      ("gpt2_1558m", 1_557_611_200)):
    model = get_config(name).model
    assert count_params(model) == count
    assert (model.position, model.max_seq_len) == ("learned", 1024)


def test_the_dial_sets_all_else_by_hand():
  small, large = (get_config("speedrun_d12", depth=d) for d in (12, 24))
  assert (small.model.embed_dim, small.model.num_heads) == (768, 6)
  assert (large.model.embed_dim, large.model.num_heads) == (1536, 12)
  tokens = [c.num_steps * c.batch_size * c.seq_len for c in (small, large)]
  np.testing.assert_allclose(tokens, [20 * 84_934_656, 20 * 679_477_248],
                             rtol=1e-3)
  # Eight times the tokens: 8^0.383 = 2.2 times the batch, so twice.
  assert [c.batch_size * c.seq_len for c in (small, large)] == [2**19, 2**20]
  # 0.1 / √768, and the same: half as wide a step, for twice the batch.
  np.testing.assert_allclose([c.optimizer.learning_rate for c in (
      small, large)], 0.0036084, rtol=1e-4)
  for c in (small, large):
    rate, steps = c.optimizer.learning_rate, c.num_steps
    np.testing.assert_allclose(
        1 / (rate * c.optimizer.weight_decay * steps), 0.22, rtol=1e-6)
  with pytest.raises(ConfigError, match="even"):
    get_config("speedrun_d12", depth=13)


def test_the_dial_is_turned_from_the_command_line():
  path = str(ROOT / "configs" / "speedrun_d12.py")
  assert load_config_file(path + ":depth=4",
                          PretrainConfig).model.num_layers == 4
  with pytest.raises(ConfigError, match="its depth is of type int"):
    load_config_file(path + ":depth=deep", PretrainConfig)
