"""Checkpoints: bit for bit, onto another mesh, whole or not at all."""

import contextlib
import dataclasses
import functools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_jax.config import (
    CheckpointConfig, ConfigError, MeshConfig, ModelConfig, OptimizerConfig,
    PretrainConfig, RopeScaling, TokenizerConfig)
from llm_jax.sharding import make_mesh
from llm_jax.tokenizer.bpe import train_bpe
from llm_jax.training import checkpoints, saved_models, startup
from llm_jax.training.checkpoint_items import differences, reaching_as_far
from llm_jax.training.losses import language_model_loss
from llm_jax.training.optimizers import make_optimizer
from llm_jax.training.train_step import init_train_state, train_step

MODEL = ModelConfig(vocab_size=264, embed_dim=16, num_layers=2, num_heads=2,
                    num_kv_heads=2, head_dim=8, mlp_dim=32, max_seq_len=8)
ADAMW = make_optimizer(OptimizerConfig(), 10)
STAGE = "pretrain"


def checkpointer(directory, model=MODEL, keep=2):
  return checkpoints.Checkpointer(
      str(directory), CheckpointConfig(keep=keep), model, STAGE)


@functools.cache
def step_fn(tx=ADAMW):
  return jax.jit(functools.partial(
      train_step, loss_fn=functools.partial(language_model_loss, config=MODEL),
      tx=tx), donate_argnums=0)


def batch(seed=0):
  tokens = np.random.default_rng(seed).integers(264, size=(8, 9)).astype(
      np.int32)
  return {"tokens": tokens[:, :-1], "targets": tokens[:, 1:],
          "loss_mask": np.ones((8, 8), np.float32),
          "segment_ids": np.ones((8, 8), np.int32),
          "positions": np.tile(np.arange(8, dtype=np.int32), (8, 1))}


def trained(tx=ADAMW, steps=2):
  state = init_train_state(jax.random.key(0), tx, MODEL)
  for i in range(steps):
    state, _ = step_fn(tx)(state, None, batch(i))
  return state


def on_host(tree):
  """A copy that no donation can reach."""
  return jax.tree.map(lambda x: np.array(x, copy=True), tree)


def assert_identical(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)

  def check(x, y):
    assert x.dtype == y.dtype
    np.testing.assert_array_equal(np.asarray(x), np.asarray(y))
  jax.tree.map(check, a, b)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_restores_every_bit(tmp_path, optimizer):
  tx = make_optimizer(OptimizerConfig(name=optimizer), 10)
  state = init_train_state(jax.random.key(0), tx, MODEL)
  # Moments that are not zero, and a step that is not the first.
  state = jax.tree.map(
      lambda x: x + jnp.arange(x.size, dtype=x.dtype).reshape(x.shape) + 2,
      state)
  one = checkpointer(tmp_path)
  assert one.latest_step() is None
  one.save(2, state, {"next_batch": 2}, {"best": 0.1, "stale": 1})
  one.close()
  other = checkpointer(tmp_path)
  assert other.latest_step() == 2
  restored, data, loop = other.restore(tx)
  other.close()
  assert_identical(restored, state)
  assert restored.step == 2
  assert data == {"next_batch": 2} and loop == {"best": 0.1, "stale": 1}


def test_restores_onto_another_mesh(tmp_path):
  tx = ADAMW
  with jax.set_mesh(make_mesh(MeshConfig(data=1, fsdp=8))):
    state = init_train_state(jax.random.key(0), tx, MODEL)
    saver = checkpointer(tmp_path)
    saver.save(1, state, {"next_batch": 1})
    saver.close()
  expected = on_host(state)
  for config in (MeshConfig(data=2, fsdp=2, tensor=2), None):
    mesh = make_mesh(config) if config else None
    with jax.set_mesh(mesh) if mesh else contextlib.nullcontext():
      reader = checkpointer(tmp_path)
      restored, _, _ = reader.restore(tx)
      reader.close()
      fresh = init_train_state(jax.random.key(0), tx, MODEL)
    assert_identical(on_host(restored), expected)
    jax.tree.map(lambda x, y: x.sharding.is_equivalent_to(y.sharding, x.ndim)
                 or pytest.fail(f"{x.sharding} is not {y.sharding}"),
                 restored, fresh)
    held = restored.params["embed"]["tokens"].addressable_shards[0].data.size
    assert held == 264 * 16 // (4 if mesh else 1)


@pytest.mark.slow
def test_saving_does_not_see_what_is_donated_after_it(tmp_path):
  """A save returns before it has written; the next steps reuse the memory."""
  state = trained()
  before = on_host(state)
  saver = checkpointer(tmp_path, keep=10)
  saver.save(2, state, {"next_batch": 2})
  for i in range(2, 12):
    state, _ = step_fn()(state, None, batch(i))
  jax.block_until_ready(state)
  saver.close()
  reader = checkpointer(tmp_path)
  restored, _, _ = reader.restore(ADAMW)
  reader.close()
  assert_identical(on_host(restored), before)
  assert not np.array_equal(state.params["embed"]["tokens"],
                            before.params["embed"]["tokens"])


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
  """A run directory with checkpoints of steps 2 and 4, and a tokenizer."""
  directory = tmp_path_factory.mktemp("saved")
  saver = checkpointer(directory)
  state = trained()
  saver.save(2, state, {"next_batch": 2})
  state, _ = step_fn()(state, None, batch(2))
  state, _ = step_fn()(state, None, batch(3))
  saver.save(4, state, {"next_batch": 4})
  saver.close()
  train_bpe(["some text " * 4], TokenizerConfig(vocab_size=264)).save(
      directory / saved_models.TOKENIZER)
  return directory, state


def test_load_params_needs_the_directory_only(saved):
  directory, state = saved
  params, config, tokenizer = saved_models.load_params(str(directory))
  assert_identical(params, state.params)
  assert config == MODEL and tokenizer.vocab_size == 264
  for path in (directory / "checkpoints", directory / "checkpoints" / "4"):
    again, _, _ = saved_models.load_params(str(path))
    assert_identical(again, params)
  earlier, _, _ = saved_models.load_params(str(directory / "checkpoints/2"))
  assert not np.array_equal(earlier["embed"]["tokens"],
                            params["embed"]["tokens"])
  with jax.set_mesh(make_mesh(MeshConfig(data=1, fsdp=8))):
    split, _, _ = saved_models.load_params(str(directory))
  assert_identical(on_host(split), on_host(params))
  assert split["embed"]["tokens"].addressable_shards[0].data.shape == (264, 2)


def test_items_are_as_documented(saved):
  directory, _ = saved
  step = directory / "checkpoints" / "4"
  assert {p.name for p in step.iterdir() if p.is_dir()} == {
      "params", "optimizer", "data", "loop", "config"}
  _, number, info = saved_models.checkpoint_info(str(directory))
  assert number == 4 and info["stage"] == STAGE
  assert info["model"]["embed_dim"] == 16
  json.dumps(info)


def test_another_architecture_is_told(saved):
  directory, _ = saved
  other = dataclasses.replace(MODEL, num_layers=3, use_bias=True, remat="full")
  reader = checkpointer(directory, other)
  with pytest.raises(ConfigError) as error:
    reader.restore(ADAMW)
  reader.close()
  told = str(error.value)
  assert "model.num_layers (2 there, 3 here)" in told
  assert "model.use_bias (False there, True here)" in told
  assert "remat" not in told  # how it runs is not what it is
  with pytest.raises(ConfigError, match="num_layers"):
    startup.start_or_resume(
        PretrainConfig(init_from=str(directory)), other, ADAMW,
        checkpointer(directory.parent / "fresh", other))


def test_how_it_runs_may_change(saved):
  directory, state = saved
  changed = dataclasses.replace(MODEL, remat="full", scan_layers=False,
                                attention="reference")
  reader = checkpointer(directory, changed)
  restored, _, _ = reader.restore(ADAMW)
  reader.close()
  assert_identical(restored.params, state.params)


def test_init_from_takes_parameters_only(saved, tmp_path):
  directory, state = saved
  start = startup.start_or_resume(
      PretrainConfig(init_from=str(directory)), MODEL, ADAMW,
      checkpointer(tmp_path))
  assert (start.step, start.loop, start.origin) == (0, {}, "init_from")
  assert_identical(start.state.params, state.params)
  assert start.state.step == 0
  assert_identical(start.state.opt_state, ADAMW.init(state.params))
  assert any(np.any(np.asarray(x) != 0)
             for x in jax.tree.leaves(state.opt_state) if x.ndim)


def test_init_from_is_sharded_on_a_mesh(saved, tmp_path):
  directory, _ = saved
  with jax.set_mesh(make_mesh(MeshConfig(data=1, fsdp=8))):
    start = startup.start_or_resume(
        PretrainConfig(init_from=str(directory)), MODEL, ADAMW,
        checkpointer(tmp_path))
    big = [x for x in jax.tree.leaves(start.state) if jnp.size(x) == 264 * 16]
  assert len(big) == 3  # the embedding and its two moments
  assert all(x.addressable_shards[0].data.shape == (264, 2) for x in big)


def test_a_checkpoint_goes_before_init_from(saved):
  directory, state = saved
  start = startup.start_or_resume(
      PretrainConfig(init_from="/nowhere"), MODEL, ADAMW,
      checkpointer(directory))
  assert (start.step, start.origin) == (4, "resumed")
  assert_identical(start.state, state)


def test_scratch(tmp_path):
  start = startup.start_or_resume(PretrainConfig(seed=5), MODEL, ADAMW,
                                  checkpointer(tmp_path))
  assert (start.step, start.origin) == (0, "scratch")
  assert_identical(start.state,
                   init_train_state(jax.random.key(5), ADAMW, MODEL))


def test_a_save_that_was_cut_short_is_not_seen(saved, tmp_path):
  """Orbax writes `<step>.orbax-checkpoint-tmp...` and renames it when whole."""
  directory, state = saved
  run = tmp_path / "run"
  shutil.copytree(directory, run)
  part = run / "checkpoints" / "6.orbax-checkpoint-tmp-1234567890"
  shutil.copytree(run / "checkpoints" / "4", part)
  shutil.rmtree(part / "optimizer")
  params, _, _ = saved_models.load_params(str(run))
  assert_identical(params, state.params)
  assert saved_models.checkpoint_info(str(run))[1] == 4
  again = checkpointer(run)
  assert again.latest_step() == 4
  restored, data, _ = again.restore(ADAMW)
  assert data == {"next_batch": 4}
  # The step can be saved, though a part of it lies there.
  again.save(6, restored, {"next_batch": 6})
  again.close()
  assert saved_models.checkpoint_info(str(run))[1] == 6


def test_only_the_newest_are_kept(tmp_path):
  saver = checkpointer(tmp_path, keep=2)
  state = trained(steps=0)
  for step in (1, 2, 3):
    saver.save(step, state, {"next_batch": step})
  saver.save(3, state, {"next_batch": 99})  # there already: nothing happens
  saver.close()
  steps = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
  assert steps == ["2", "3"]
  reader = checkpointer(tmp_path)
  assert reader.restore(ADAMW)[1] == {"next_batch": 3}
  reader.close()


def test_no_checkpoint_is_told_in_a_sentence(saved, tmp_path):
  directory, _ = saved
  for path, told in ((tmp_path / "nowhere", "no such directory"),
                     (tmp_path, "no finished checkpoint"),
                     (directory / "checkpoints" / "3", "no such directory")):
    with pytest.raises(ConfigError, match=told) as error:
      saved_models.load_params(str(path))
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_model_may_go_on_with_a_longer_context_but_not_learned_positions():
  longer = dataclasses.replace(
      MODEL, max_seq_len=4 * MODEL.max_seq_len, rope_theta=5e5,
      rope_scaling=RopeScaling("ntk", factor=4.0))
  assert differences(MODEL, longer)  # a run does not go on so
  assert not differences(reaching_as_far(MODEL, longer), longer)
  wider = dataclasses.replace(longer, embed_dim=2 * MODEL.embed_dim)
  found = differences(reaching_as_far(MODEL, wider), wider)
  assert [name.split()[0] for name in found] == ["embed_dim"]
  learned, longer = (dataclasses.replace(c, position="learned")
                     for c in (MODEL, longer))
  assert differences(reaching_as_far(learned, longer), longer)
