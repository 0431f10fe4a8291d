"""Meshes, rules, and the sentences for what cannot be split."""

import dataclasses

import jax
import numpy as np
import pytest

from llm_jax.config import ConfigError, MeshConfig, ModelConfig, Rules
from llm_jax.model.params import param_specs
from llm_jax.sharding import (
    MESH_AXES, check_batch, check_context, check_params, check_rules,
    fitting_spec, global_batch, make_mesh, partition_spec, process_rows, shard)

P = jax.sharding.PartitionSpec


@pytest.mark.parametrize("config,shape", [
    (MeshConfig(), (8, 1, 1, 1, 1)),
    (MeshConfig(data=1, fsdp=-1), (1, 8, 1, 1, 1)),
    (MeshConfig(data=2, fsdp=2, tensor=-1), (2, 2, 2, 1, 1)),
    (MeshConfig(data=1, fsdp=2, tensor=2, context=2), (1, 2, 2, 2, 1)),
    (MeshConfig(dcn_data=2), (8, 1, 1, 1, 1)),
    (MeshConfig(data=2, fsdp=-1, dcn_fsdp=2), (2, 4, 1, 1, 1)),
    (MeshConfig(data=1, tensor=2, dcn_data=2, dcn_fsdp=2), (2, 2, 2, 1, 1))])
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
    (MeshConfig(data=0), "must be positive"),
    (MeshConfig(data=3, dcn_data=2), "in 2 slices wants 6 devices"),
    (MeshConfig(dcn_data=3), "mesh.data=-1 cannot be resolved"),
    (MeshConfig(dcn_fsdp=0), "count slices, at least 1")])
def test_a_mesh_that_cannot_be_is_told(config, told):
  with pytest.raises(ConfigError, match=told):
    make_mesh(config)


@dataclasses.dataclass(frozen=True)
class Chip:
  """A device of a slice, as much of it as a mesh asks for."""
  id: int
  slice_index: int
  process_index: int = 0
  platform: str = "gpu"
  device_kind: str = "chip"


def test_only_data_and_fsdp_cross_slices():
  """Chips are given in any order: their slice decides their place."""
  chips = [Chip(i, i * 5 % 4, i % 2) for i in range(16)]
  config = MeshConfig(data=1, fsdp=2, tensor=2, dcn_data=2, dcn_fsdp=2)
  mesh = make_mesh(config, chips)
  assert mesh.devices.shape == (2, 4, 2, 1, 1)
  slices = np.vectorize(lambda chip: chip.slice_index)(mesh.devices)
  assert (slices == slices[:, :, :1]).all()  # tensor: within a slice
  assert (slices[:, 0] == slices[:, 1]).all()  # as are fsdp's neighbours
  assert len({int(x) for x in slices[:, ::2, 0].flat}) == 4
  with pytest.raises(ConfigError, match="in 4 slices; set --mesh.dcn_data=4"):
    make_mesh(MeshConfig(), chips)
  with pytest.raises(ConfigError, match=r"is 8, but the devices are in 4 sl"):
    make_mesh(MeshConfig(dcn_data=8), chips)


def test_slices_of_one_host_are_blocks():
  ids = np.vectorize(lambda device: device.id)(make_mesh(MeshConfig(
      data=1, fsdp=2, tensor=2, dcn_data=2)).devices)
  np.testing.assert_array_equal(ids.reshape(2, 4),
                                np.arange(8).reshape(2, 4))


def test_partition_spec_follows_the_rules():
  rules = Rules()
  assert partition_spec(("vocab", "embed"), rules) == P(("tensor",), ("fsdp",))
  assert partition_spec(("batch", None, "act_embed"), rules) == P(
      ("data", "fsdp", "expert"), None, None)
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


def test_what_does_not_divide_stays_whole():
  mesh = make_mesh(MeshConfig(data=1, fsdp=2, tensor=2, context=2))
  assert fitting_spec((4, 1, 6), ("batch", "seq", "act_vocab"), Rules(),
                      mesh) == P(Rules().batch, None, ("tensor",))
  with jax.set_mesh(mesh):
    for shape, local in (((4, 6, 4), (2, 3, 2)), ((4, 1, 4), (2, 1, 2)),
                         ((1, 7, 3), (1, 7, 3))):
      out = jax.jit(lambda x: shard(x, "batch", "seq", "act_vocab",
                                    rules=Rules()))(np.ones(shape))
      assert out.addressable_shards[0].data.shape == local


def test_global_batch_splits_rows_and_keeps_values():
  mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
  rows = {"tokens": np.arange(24).reshape(8, 3),
          "advantages": np.arange(8.0, dtype=np.float32)}
  placed = global_batch(rows, mesh, Rules())
  for name, x in placed.items():
    np.testing.assert_array_equal(x, rows[name])
    assert x.addressable_shards[0].data.shape[0] == 2


@pytest.mark.parametrize("config, rows, of_last", [
    (MeshConfig(), [0, 1, 2, 3], [4, 5, 6, 7]),
    (MeshConfig(data=2, tensor=4), [0, 1, 2, 3], [4, 5, 6, 7]),
    # Rows are split along fsdp, over which every process reaches.
    (MeshConfig(data=1, fsdp=2, tensor=4), [0, 1, 2, 3], [4, 5, 6, 7]),
    (MeshConfig(data=1, tensor=8), list(range(8)), list(range(8))),
    (MeshConfig(data=1, context=4, expert=2), list(range(8)),
     list(range(8)))])
def test_a_process_reads_what_its_devices_hold(monkeypatch, config, rows,
                                               of_last):
  """Eight devices as if of two processes, with four each."""
  mesh = make_mesh(config)
  np.testing.assert_array_equal(process_rows(mesh, Rules(), 8), np.arange(8))
  for ids, expected in ((range(4), rows), (range(4, 8), of_last)):
    own = {d for d in jax.devices() if d.id in ids}
    every = jax.sharding.NamedSharding.addressable_devices_indices_map

    def addressable(self, shape, own=own, every=every):
      return {d: i for d, i in every(self, shape).items() if d in own}
    with monkeypatch.context() as patch:
      patch.setattr(jax.sharding.NamedSharding,
                    "addressable_devices_indices_map", addressable)
      found = process_rows(mesh, Rules(), 8)
    np.testing.assert_array_equal(found, expected)


def test_global_batch_splits_time():
  mesh = make_mesh(MeshConfig(data=2, context=4))
  rows = {"tokens": np.arange(48).reshape(2, 24), "odd": np.ones((2, 6)),
          "more": np.arange(16.0).reshape(2, 4, 2)}
  placed = global_batch(rows, mesh, Rules())
  shapes = {"tokens": (1, 6), "odd": (1, 6), "more": (1, 1, 2)}
  for name, x in placed.items():
    np.testing.assert_array_equal(x, rows[name])
    assert x.addressable_shards[0].data.shape == shapes[name]
  with pytest.raises(ConfigError, match="seq_len=12 is not divisible by 8"):
    check_context(12, mesh, Rules())
  check_context(16, mesh, Rules())
  check_context(7, make_mesh(MeshConfig()), Rules())


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
