"""Meshes, rules, and the sentences for what cannot be split."""

import dataclasses

import jax
import numpy as np
import pytest

from llm_jax.config import ConfigError, MeshConfig, ModelConfig, Rules
from llm_jax.model.params import param_specs
from llm_jax.sharding import (
    MESH_AXES, check_batch, check_params, check_rules, global_batch,
    make_mesh, partition_spec, shard)

P = jax.sharding.PartitionSpec


@pytest.mark.parametrize("config,shape", [
    (MeshConfig(), (8, 1, 1, 1, 1)),
    (MeshConfig(data=1, fsdp=-1), (1, 8, 1, 1, 1)),
    (MeshConfig(data=2, fsdp=2, tensor=-1), (2, 2, 2, 1, 1)),
    (MeshConfig(data=1, fsdp=2, tensor=2, context=2), (1, 2, 2, 2, 1))])
def test_mesh_shapes(config, shape):
  mesh = make_mesh(config)
  assert tuple(mesh.shape[a] for a in MESH_AXES) == shape
  assert len({d.id for d in mesh.devices.flat}) == 8


def test_some_of_the_devices():
  mesh = make_mesh(MeshConfig(fsdp=2), jax.devices()[:4])
  assert mesh.shape["data"] == mesh.shape["fsdp"] == 2


@pytest.mark.parametrize("config,told", [
    (MeshConfig(data=3), "wants 3 devices, but there are 8"),
    (MeshConfig(data=-1, fsdp=3), "does not divide the 8"),
    (MeshConfig(data=-1, fsdp=-1), "only one of"),
    (MeshConfig(data=0), "must be positive")])
def test_a_mesh_that_cannot_be_is_told(config, told):
  with pytest.raises(ConfigError, match=told):
    make_mesh(config)


def test_partition_spec_follows_the_rules():
  rules = Rules()
  assert partition_spec(("vocab", "embed"), rules) == P(("tensor",), ("fsdp",))
  assert partition_spec(("batch", None, "act_embed"), rules) == P(
      ("data", "fsdp"), None, None)
  changed = dataclasses.replace(rules, vocab=())
  assert partition_spec(("vocab", "embed"), changed) == P(None, ("fsdp",))
  with pytest.raises(AttributeError, match="embd"):
    partition_spec(("embd",), rules)


def test_shard_without_a_mesh_changes_nothing():
  x = jax.numpy.ones((4, 2))
  assert shard(x, "batch", "act_embed", rules=Rules()) is x


def test_shard_on_a_mesh_constrains():
  with jax.set_mesh(make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))):
    out = jax.jit(lambda x: shard(x, "batch", "seq", "act_vocab",
                                  rules=Rules()))(np.ones((8, 3, 6)))
  assert out.addressable_shards[0].data.shape == (2, 3, 3)


def test_global_batch_splits_rows_and_keeps_values():
  mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
  rows = {"tokens": np.arange(24).reshape(8, 3),
          "advantages": np.arange(8.0, dtype=np.float32)}
  placed = global_batch(rows, mesh, Rules())
  for name, x in placed.items():
    np.testing.assert_array_equal(x, rows[name])
    assert x.addressable_shards[0].data.shape[0] == 2


def test_rows_that_cannot_be_split_are_told():
  mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
  check_batch(8, 2, mesh, Rules())
  with pytest.raises(ConfigError, match="multiple of 4") as error:
    check_batch(6, 1, mesh, Rules())
  assert "batch_size=6" in str(error.value)
  with pytest.raises(ConfigError, match="gives 2 rows.*multiple of 16"):
    check_batch(8, 4, mesh, Rules())


def test_a_rule_names_axes_of_the_mesh():
  check_rules(Rules())
  check_rules(Rules(vocab=()))
  with pytest.raises(ConfigError, match="model.rules.mlp.*'model'.*tensor"):
    check_rules(Rules(mlp=("model",)))


def test_parameters_that_cannot_be_split_are_told():
  mesh = make_mesh(MeshConfig(data=1, fsdp=2, tensor=4))
  model = ModelConfig(vocab_size=64, embed_dim=32, num_heads=4, num_kv_heads=4,
                      head_dim=8, mlp_dim=64)
  check_params(param_specs(model), mesh, model.rules)
  for changes, told in (({"vocab_size": 63}, "vocab=63"),
                        ({"num_kv_heads": 2}, "kv_heads=2"),
                        ({"mlp_dim": 66}, "mlp=66"),
                        ({"embed_dim": 33}, "embed=33")):
    with pytest.raises(ConfigError, match=told):
      check_params(param_specs(dataclasses.replace(model, **changes)), mesh,
                   model.rules)
