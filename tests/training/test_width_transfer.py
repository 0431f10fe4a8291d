"""muP: what a few steps change is of one size, however wide the model."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_jax.config import ConfigError, ModelConfig, OptimizerConfig
from llm_jax.model.params import init_params, param_specs
from llm_jax.model.transformer import forward
from llm_jax.training.losses import language_model_loss
from llm_jax.training.optimizers import make_optimizer
from llm_jax.training.train_step import fresh_state, train_step

WIDTHS = (32, 64, 128)
BASE = 32


def model_of(width, base):
  """Heads of one size, more of them; all other widths in proportion."""
  return ModelConfig(vocab_size=64, embed_dim=width, num_layers=2,
                     num_heads=width // 16, num_kv_heads=width // 16,
                     head_dim=16, mlp_dim=2 * width, max_seq_len=16,
                     init_std=0.15, tie_embeddings=False, mlp="gelu",
                     mup_base_dim=base)


def change_of_logits(width, base, optimizer):
  """Root mean square of what three steps change in the logits."""
  model = model_of(width, base)
  tx = make_optimizer(optimizer, 100, model)
  tokens = np.random.default_rng(0).integers(64, size=(4, 17)).astype(np.int32)
  batch = {"tokens": tokens[:, :-1], "targets": tokens[:, 1:],
           "loss_mask": np.ones((4, 16), np.float32),
           "segment_ids": np.ones((4, 16), np.int32),
           "positions": np.tile(np.arange(16, dtype=np.int32), (4, 1))}
  params = init_params(jax.random.key(1), model)
  step = jax.jit(functools.partial(
      train_step, tx=tx, loss_fn=functools.partial(
          language_model_loss, config=model)))
  state = fresh_state(params, tx)
  for _ in range(3):
    state, _ = step(state, None, batch)
  logits = jax.jit(functools.partial(forward, config=model))
  before, after = (logits(p, batch["tokens"])[0] for p in (params,
                                                           state.params))
  return float(jnp.sqrt(jnp.mean(jnp.square(after - before))))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_the_change_of_logits_keeps_its_size_over_widths(name):
  optimizer = OptimizerConfig(name=name, learning_rate=2e-3, warmup_steps=0,
                              schedule="constant", weight_decay=0.0)
  with_transfer = [change_of_logits(w, BASE, optimizer) for w in WIDTHS]
  without = [change_of_logits(w, 0, optimizer) for w in WIDTHS]
  assert with_transfer[0] == pytest.approx(without[0])  # the base itself
  assert without[2] > 2.5 * without[0]
  # It tends to a limit from above: the part of it that comes through the head's
  # initial values falls with the width.
  assert 0.5 < with_transfer[2] / with_transfer[0] < 1.1


def test_initial_values_by_hand():
  """At 4 times the base's width: hidden half, head a quarter, the rest as it
  was (Yang et al. 2022, table 3)."""
  narrow, wide = (param_specs(model_of(w, BASE)) for w in (32, 128))

  def stds(specs):
    layer = specs["layers"][0]
    return [specs["embed"]["tokens"].std, layer["attention"]["q"].std,
            layer["attention"]["o"].std, layer["mlp"]["down"].std,
            specs["head"]["kernel"].std]
  np.testing.assert_allclose(np.divide(stds(wide), stds(narrow)),
                             [1, 0.5, 0.5, 0.5, 0.25])


def test_rates_by_hand():
  """Adam's first step is of one size but for the factor; decay has none."""
  model = model_of(128, BASE)
  params = jax.tree.map(jnp.zeros_like, init_params(jax.random.key(0), model))
  for decay in (0.0, 0.5):
    tx = make_optimizer(
        OptimizerConfig(learning_rate=0.1, warmup_steps=0, clip_norm=0.0,
                        schedule="constant", weight_decay=decay), 10, model)
    ones = jax.tree.map(jnp.ones_like, params)
    at = ones if decay else params
    updates, _ = jax.jit(tx.update)(ones, tx.init(at), at)
    layer = updates["layers"][0]
    for update, factor, decays in (
        (updates["embed"]["tokens"], 1, True),
        (layer["attention"]["k"], 0.25, True),
        (layer["attention_norm"]["scale"], 1, False),
        (updates["head"]["kernel"], 0.25, True)):
      np.testing.assert_allclose(
          update, -0.1 * (factor + decay * decays), rtol=1e-5)


def test_a_tied_head_is_refused():
  model = ModelConfig(vocab_size=8, mup_base_dim=64)
  with pytest.raises(ConfigError, match="--nomodel.tie_embeddings"):
    model.validate()
