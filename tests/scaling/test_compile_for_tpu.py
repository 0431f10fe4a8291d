"""The steps of a run compiled for eight fake devices, and mistakes told."""

import dataclasses
import json

import pytest

from experiments import compile_for_tpu
from llm_jax.config import (
    CompileForTpuConfig, ConfigError, MeshConfig, ModelConfig, MoeConfig)
from llm_jax.model.params import count_params
from llm_jax.scaling import topology

MODEL = ModelConfig(vocab_size=64, embed_dim=64, num_layers=3, num_heads=2,
                    num_kv_heads=2, head_dim=32, mlp_dim=128, max_seq_len=32)
CONFIG = CompileForTpuConfig(
    topology="cpu:8", model=MODEL, batch_size=16, seq_len=32,
    mesh=MeshConfig(data=1, fsdp=8))


def test_memory_and_collectives_of_fsdp(tmp_path):
  config = dataclasses.replace(CONFIG, output=str(tmp_path))
  results = compile_for_tpu.run(config)
  train, prefill, decode = results["steps"]
  assert (train["tokens"], prefill["tokens"], decode["tokens"]) == (
      16 * 32, 8 * 32, 8)
  # Parameters and two moments, an eighth each (norms of 64 apart, which the
  # rules leave whole), and the batch of five arrays.
  state = 3 * 4 * count_params(MODEL) / 8
  whole = 3 * 4 * 7 * 64
  batch = 5 * 4 * 16 * 32 / 8
  found = train["memory"]["argument"]
  assert state + batch <= found <= state + whole + batch + 64
  estimate = train["estimate"]
  assert estimate["params"] + estimate["optimizer"] + estimate["batch"] == (
      pytest.approx(found, rel=0.02))
  # All weights of the three layers are gathered forwards and again backwards.
  layers = 4 * (count_params(MODEL) - 64 * 64 - 64)
  assert train["collectives"]["all-gather"]["array_bytes"] >= 2 * layers * 0.95
  assert train["collectives"]["all-gather"]["runs"] > 3
  assert "roofline" not in train  # nobody knows this host's figures
  written = json.loads((tmp_path / "report.json").read_text())
  assert written["steps"][0]["memory"] == train["memory"]
  text = (tmp_path / "report.md").read_text()
  assert "| all-gather |" in text and "## decode: 8 devices" in text


def test_experts_are_reached_by_all_to_all():
  model = dataclasses.replace(MODEL, moe=MoeConfig(num_experts=4, mlp_dim=64))
  results = compile_for_tpu.run(dataclasses.replace(
      CONFIG, model=model, steps=("train",),
      mesh=MeshConfig(data=2, fsdp=1, expert=4)))
  found = results["steps"][0]["collectives"]
  # Rows forth and back, forwards and backwards, in each of three layers.
  assert found["all-to-all"]["runs"] >= 3 * 4
  assert found["all-to-all"]["wire_bytes"] > 0
  # No device sees the tokens of all others, not even to choose experts.
  assert "all-gather" not in found


@pytest.mark.parametrize("changes, told", [
    ({"topology": "v9:4x4"}, "topology is 'v9:4x4'; its kind is one of"),
    ({"topology": "v5p:4x4"}, "slices of v5p are blocks"),
    ({"topology": "cpu:8", "mesh": MeshConfig(data=3)}, "wants 3 devices"),
    ({"model": dataclasses.replace(MODEL, vocab_size=0)}, "vocab_size is 0"),
    ({"batch_size": 12}, "batch_size=12"),
])
def test_mistakes_are_told_before_anything_is_compiled(changes, told):
  with pytest.raises(ConfigError, match=told):
    compile_for_tpu.run(dataclasses.replace(CONFIG, **changes))


@pytest.mark.parametrize("changes, told", [
    ({"topology": "v5e"}, "give KIND:SHAPE"),
    ({"steps": ("train", "fly")}, "steps"),
    ({"save_hlo": True}, "save_hlo needs a directory")])
def test_settings_that_cannot_work(changes, told):
  with pytest.raises(ConfigError, match=told):
    dataclasses.replace(CONFIG, **changes).validate()


def test_a_missing_compiler_is_told_with_the_remedy(monkeypatch):
  monkeypatch.setattr(topology.importlib.util, "find_spec", lambda name: None)
  monkeypatch.delenv("TPU_LIBRARY_PATH", raising=False)
  with pytest.raises(ConfigError, match=r"pip install -e '.\[tpu\]'"):
    topology.compile_devices("v5e:2x2")
