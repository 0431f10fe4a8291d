"""The estimate of memory at the start, and what is told of too little."""

import dataclasses

import jax
import pytest

from llm_jax.config import (
    ConfigError, LossConfig, MeshConfig, OptimizerConfig, PretrainConfig)
from llm_jax.sharding import make_mesh
from llm_jax.training import memory_errors
from llm_jax.training.memory_errors import check_memory, device_memory
from llm_jax.training.memory_estimate import estimate_memory
from llm_jax.training.optimizers import make_optimizer
from llm_jax.training.train_step import init_train_state

FSDP = MeshConfig(data=1, fsdp=8)


def settings(**changes):
  config = PretrainConfig(**changes)
  model = dataclasses.replace(config.model, vocab_size=512, num_layers=2)
  return config, model, make_optimizer(config.optimizer, 10, model)


@pytest.mark.parametrize("mesh, name", [
    (MeshConfig(data=2, fsdp=2, tensor=2), "adamw"), (FSDP, "muon")])
def test_the_state_is_known_to_the_byte(mesh, name):
  config, model, tx = settings(
      optimizer=OptimizerConfig(name=name, ema_decay=0.99))
  mesh = make_mesh(mesh)
  estimate = estimate_memory(config, model, mesh, tx)
  with jax.set_mesh(mesh):
    state = init_train_state(jax.random.key(0), tx, model, ema=True)
  held = sum(array.addressable_shards[0].data.nbytes
             for array in jax.tree.leaves(state))
  assert estimate.params + estimate.optimizer == held


def test_what_lowers_a_step_s_memory_lowers_the_estimate():
  def temporary(**changes):
    config, model, tx = settings(batch_size=16, seq_len=256, **changes)
    return estimate_memory(config, dataclasses.replace(
        model, vocab_size=1 << 17), make_mesh(FSDP), tx)
  whole = temporary()
  for loss in (LossConfig(chunk=32), LossConfig(vocab_parts=16)):
    assert temporary(loss=loss).logits < whole.logits / 3
  assert temporary(num_microbatches=2).activations < whole.activations


def test_a_state_that_cannot_fit_is_refused(monkeypatch):
  run = settings()
  mesh = make_mesh(FSDP)
  estimate = estimate_memory(*run[:2], mesh, run[2])
  state = estimate.params + estimate.optimizer
  monkeypatch.setattr(memory_errors, "device_memory", lambda: state - 1)
  with pytest.raises(ConfigError, match="8 devices.* try, in this order"):
    check_memory(*run[:2], mesh, run[2])
  monkeypatch.setattr(memory_errors, "device_memory", lambda: state)
  assert "warning: this will hardly fit" in check_memory(
      *run[:2], mesh, run[2])
  monkeypatch.setattr(memory_errors, "device_memory", lambda: 1 << 50)
  told = check_memory(*run[:2], mesh, run[2])
  assert "warning" not in told and "there are 1,048,576.00 GiB" in told
  monkeypatch.setattr(memory_errors, "device_memory", lambda: 0)
  assert "there are" not in check_memory(*run[:2], mesh, run[2])


def test_fake_devices_share_the_machine_s_memory():
  assert 1 << 26 < device_memory() < 1 << 42
