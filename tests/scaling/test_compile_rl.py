"""The programs of a run of reinforcement learning, compiled for eight fake
devices, and what else lies there while they run."""

import dataclasses
import math
import json

import jax
import numpy as np
import pytest

from experiments import compile_for_tpu
from llm_jax import config_flags
from llm_jax.config import (
    CompileForTpuConfig, CompileRlForTpuConfig, ConfigError, LoraConfig,
    MeshConfig, ModelConfig, ObjectiveConfig, RlDataConfig, SamplingConfig,
    SyncConfig)
from llm_jax.inference import compaction
from llm_jax.inference.generate import Decoding
from llm_jax.model.params import count_params, init_params
from llm_jax.model.presets import PRESETS
from llm_jax.rl import compiled_steps
from llm_jax.rl.compiled_steps import beside, program_of
from llm_jax.rl.weight_sync import sampler_model, weight_sync
from llm_jax.sharding import make_mesh

MODEL = ModelConfig(vocab_size=64, embed_dim=64, num_layers=2, num_heads=2,
                    num_kv_heads=2, head_dim=32, mlp_dim=128, max_seq_len=64)
CONFIG = CompileRlForTpuConfig(
    topology="cpu:8", init_from="runs/tiny-llama", batch_size=8, group_size=2,
    seq_len=48, sampling=SamplingConfig(max_new_tokens=32),
    sync=SyncConfig(dtype="bfloat16", own_rules=True),
    objective=ObjectiveConfig(importance_cap=2.0),
    data=RlDataConfig(eval_problems=8), mesh=MeshConfig(data=1, fsdp=8))
ROWS = 8 * 2


@pytest.fixture(autouse=True)
def tiny_preset(monkeypatch):
  monkeypatch.setitem(PRESETS, "tiny-llama", MODEL)


@pytest.fixture(scope="module")
def mesh():
  return make_mesh(MeshConfig(data=1, fsdp=8))


def kv_bytes(slots, rows=ROWS):
  """Of a device's part of a bfloat16 cache."""
  return 2 * 2 * 2 * 2 * 32 * slots * rows // 8


def test_memory_of_training_and_sampling(tmp_path):
  results = compile_for_tpu.run(
      dataclasses.replace(CONFIG, output=str(tmp_path)))
  found = {step["step"]: step for step in results["steps"]}
  assert list(found) == ["train", "sync", "start", "resume", "compact"]
  assert {name: step["tokens"] for name, step in found.items()} == {
      "train": ROWS * 48, "sync": 0, "start": 8 * 16 + ROWS * 31,
      "resume": ROWS * 32, "compact": 0}
  count = count_params(MODEL)
  # Parameters and two moments, an eighth each (norms are whole on each); six
  # arrays of the batch.
  state = 3 * 4 * count / 8
  norms = 3 * 4 * 5 * 64
  batch = 6 * 4 * ROWS * 48 / 8
  train = found["train"]["memory"]
  assert state + batch <= train["argument"] <= state + norms + batch + 64
  assert "beside" not in train and "estimate" in found["train"]
  assert found["train"]["collectives"]["all-gather"]["runs"] > 3
  # The sampler's weights: all of them on each device, in two bytes each.
  weights = 2 * count
  sync = found["sync"]["memory"]
  assert weights <= sync["output"] <= weights + 4096
  moments = 2 * state / 3
  assert moments <= sync["beside"] <= moments + norms + 64
  for name, slots in (("start", 0), ("resume", 48)):
    memory = found[name]["memory"]
    held = weights + kv_bytes(slots)
    assert held <= memory["argument"] <= held + 4096, name
    assert state <= memory["beside"] <= state + norms + 64
    # Neither a weight nor a key comes from another device for a token.
    assert not found[name]["collectives"], name
  # Two caches at once, and weights that wait; no row leaves its device.
  compact = found["compact"]["memory"]
  assert compact["beside"] >= state + weights
  assert not found["compact"]["collectives"]
  assert compact["argument"] + compact["output"] >= kv_bytes(16) + kv_bytes(48)
  assert "what else lies there meanwhile" in (
      tmp_path / "report.md").read_text()
  written = json.loads((tmp_path / "report.json").read_text())
  assert written["config"]["group_size"] == 2


def shapes(tree):
  """(shape, dtype) of each array, in order."""
  return [(x.shape, x.dtype) for x in jax.tree.leaves(
      jax.tree.map(lambda x: x if hasattr(x, "dtype") else np.asarray(x),
                   tree))]


def test_shapes_are_those_that_a_run_has(mesh, monkeypatch):
  """What `generate_compacted` calls its programs with, the last time."""
  called = {}
  def spied(name):
    call = getattr(compaction, name)
    def spy(*args, **options):
      # Settings, which are static, and what is traced.
      traced = [x for x in (*args, options.pop("limits_B", None))
                if x is not None and not dataclasses.is_dataclass(x)
                or isinstance(x, Decoding)]
      called[name] = shapes(traced), options
      limits = {} if name == "_compact" else {"limits_B": traced[-1]}
      return call(*args, **options, **limits)
    return spy
  for name in ("_start", "_resume", "_compact"):
    monkeypatch.setattr(compaction, name, spied(name))
  config = dataclasses.replace(
      CONFIG, sampling=SamplingConfig(max_new_tokens=40), seq_len=56)
  sampler = sampler_model(MODEL, config.sync)
  with jax.set_mesh(mesh):
    params = weight_sync(MODEL, config.sync)(
        init_params(jax.random.key(0), MODEL))
    compaction.generate_compacted(
        params, [[1] * 16] * 8, jax.random.key(0), config.sampling, sampler,
        prompt_len=16, stop_ids=(70,), samples_per_prompt=2)
  for name, (found, options) in called.items():
    program = program_of(name.strip("_"), config, MODEL, mesh)
    assert found == shapes(program.arguments), name
    if name == "_start":
      assert options["cache_len"] == 16 + options["columns"] == 48
    if name == "_compact":
      assert options["slots"] == 56


@pytest.mark.parametrize("changes", [
    {"lora": LoraConfig(rank=2)},
    {"objective": ObjectiveConfig(advantages="gae", kl_coef=0.1)},
    {"sync": SyncConfig(dtype="int8"), "num_microbatches": 2}])
def test_other_runs(mesh, changes):
  """Adapters, critics and quantised samplers: lowered, not compiled."""
  config = dataclasses.replace(CONFIG, **changes)
  for name in config.steps:
    program = program_of(name, config, MODEL, mesh)
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
      jax.jit(program.step, donate_argnums=program.donated).lower(
          *program.arguments)
    assert beside(name, config, MODEL, mesh) >= 0
    compiled_steps.account(name, config, MODEL, mesh)
  frozen = 4 * count_params(MODEL) // 8
  extra = beside("start", config, MODEL, mesh) - beside(
      "start", CONFIG, MODEL, mesh)
  if config.lora.rank:  # no moments, but the model twice
    assert extra < 0
  elif config.objective.needs_critic:  # it, its moments, and the reference
    assert extra >= 4 * frozen


def test_the_file_says_which_experiment_it_is(tmp_path):
  file = tmp_path / "recipe.py"
  roots = (CompileForTpuConfig, CompileRlForTpuConfig)
  for name, root in (("PretrainConfig", CompileForTpuConfig),
                     ("RlConfig", CompileRlForTpuConfig)):
    file.write_text("from llm_jax import config\ndef get_config():\n"
                    f"  return config.{name}(num_steps=7)\n")
    got = config_flags.parse(roots, ["x", f"--config={file}",
                                     "--topology=v5e:2x2", "--steps=train"])
    assert type(got) is root
    assert (got.num_steps, got.topology, got.steps) == (
        7, "v5e:2x2", ("train",))
  with pytest.raises(ConfigError, match="steps is 'sync'"):
    config_flags.parse(roots, ["x", "--steps=sync"])
  file.write_text("from llm_jax import config\ndef get_config():\n"
                  "  return config.SftConfig()\n")
  with pytest.raises(ConfigError, match="is for another experiment"):
    config_flags.parse(roots, ["x", f"--config={file}"])


def test_a_model_that_nobody_knows():
  with pytest.raises(ConfigError, match="nothing says what model"):
    compile_for_tpu.run(dataclasses.replace(CONFIG, init_from="runs/unknown"))


def test_rules_of_the_sampler_are_its_own(mesh):
  split = dataclasses.replace(CONFIG, sync=SyncConfig())
  whole, parts = (sum(
      math.prod(x.sharding.shard_shape(x.shape)) for x in
      jax.tree.leaves(program_of("start", config, MODEL, mesh).arguments[0]))
      for config in (CONFIG, split))
  assert whole > 4 * parts  # eight, but for norms
