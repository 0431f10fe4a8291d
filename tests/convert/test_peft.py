"""PEFT's format without PEFT: there and back, and what cannot be read."""

import json

from etils import epath
import jax
import numpy as np
import pytest

from llm_jax.config import (
    ConfigError, LoraConfig, LatentConfig, ModelConfig, MoeConfig)
from llm_jax.convert.hf_safetensors import Planned, read_header, write_file
from llm_jax.convert.peft import load_peft, save_peft
from llm_jax.model.lora import LowRank, lora_specs
from llm_jax.model.params import is_spec, param_specs

LLAMA = ModelConfig(vocab_size=32, embed_dim=16, num_layers=2, num_heads=4,
                    num_kv_heads=2, head_dim=4, mlp_dim=24, max_seq_len=16)
GPT2 = ModelConfig(vocab_size=32, embed_dim=16, num_layers=2, num_heads=4,
                   num_kv_heads=4, head_dim=4, mlp_dim=64, max_seq_len=16,
                   norm="layernorm", position="learned", mlp="gelu",
                   use_bias=True)
DEEPSEEK = ModelConfig(
    vocab_size=32, embed_dim=16, num_layers=2, num_heads=4, num_kv_heads=4,
    head_dim=8, mlp_dim=24, max_seq_len=16, tie_embeddings=False,
    norm_eps=1e-6,
    latent=LatentConfig(kv_rank=8, nope_dim=4, rope_dim=4, v_dim=6),
    moe=MoeConfig(num_experts=4, mlp_dim=8, shared_dim=8, first_dense=1,
                  normalize=False))
MODELS = {"llama": (LLAMA, ("q", "k", "v", "o", "up", "gate", "down")),
          "gpt2": (GPT2, ("q", "v", "o", "up", "down")),
          "deepseek": (DEEPSEEK, ("q", "kv_down", "k_up", "v_up", "o",
                                  "head"))}


def random_tree(specs, seed=0):
  rng = np.random.default_rng(seed)
  return jax.tree.map(
      lambda s: rng.standard_normal(s.shape).astype(np.float32), specs,
      is_leaf=is_spec)


def updates(adapter, model, lora):
  """Path -> s·A·B of every kernel that is updated."""
  found = {}

  def visit(factors, specs, path):
    if is_spec(specs):
      zero = np.zeros(specs.shape, np.float32)
      found[path] = np.asarray(LowRank(
          zero, factors["a"], factors["b"], lora.scale).astype(np.float32))
    elif isinstance(specs, list):
      for i, (inner, spec) in enumerate(zip(factors, specs)):
        visit(inner, spec, f"{path}.{i}")
    else:
      for name, inner in factors.items():
        visit(inner, specs[name], f"{path}.{name}")
  visit(adapter, param_specs(model), "")
  return found


@pytest.mark.parametrize("name", MODELS)
def test_there_and_back(name, tmp_path):
  model, targets = MODELS[name]
  lora = LoraConfig(rank=3, alpha=4.5, targets=targets)
  adapter = random_tree(lora_specs(model, lora))
  params = random_tree(param_specs(model), seed=1)
  save_peft(tmp_path, adapter, lora, model, base_model="a/b")
  back, again = load_peft(tmp_path, params, model)
  expected, got = (updates(adapter, model, lora), updates(back, model, again))
  assert expected.keys() <= got.keys()  # GPT-2's keys, beside its queries
  for path, update in got.items():
    np.testing.assert_allclose(update, expected.get(path, np.zeros(())),
                               atol=1e-5, err_msg=path)
  fields = json.loads((tmp_path / "adapter_config.json").read_text())
  assert fields["base_model_name_or_path"] == "a/b"
  if name == "gpt2":
    assert fields["target_modules"] == ["c_attn", "c_fc", "c_proj"]
    assert fields["rank_pattern"] == {"c_attn": 6}  # of queries and values
    assert fields["alpha_pattern"] == {"c_attn": 9}


def test_names_and_shapes(tmp_path):
  """By hand, as PEFT names what it updates in a Llama."""
  lora = LoraConfig(rank=3, targets=("q", "down"))
  adapter = random_tree(lora_specs(LLAMA, lora))
  save_peft(tmp_path, adapter, lora, LLAMA)
  header = read_header(epath.Path(tmp_path) / "adapter_model.safetensors")
  assert {name: stored.shape for name, stored in header.items()} == {
      f"base_model.model.model.layers.{layer}.{module}.lora_{letter}.weight":
      shape for layer in range(2) for module, letter, shape in (
          ("self_attn.q_proj", "A", (3, 16)),
          ("self_attn.q_proj", "B", (16, 3)),
          ("mlp.down_proj", "A", (3, 24)), ("mlp.down_proj", "B", (16, 3)))}
  fields = json.loads((tmp_path / "adapter_config.json").read_text())
  assert fields["target_modules"] == ["down_proj", "q_proj"]
  assert (fields["r"], fields["lora_alpha"]) == (3, 16)


def test_attention_alone_keeps_its_whole_name(tmp_path):
  """GPT-2's MLP has a c_proj too, which must not be updated with it."""
  lora = LoraConfig(rank=2, targets=("o",))
  save_peft(tmp_path, random_tree(lora_specs(GPT2, lora)), lora, GPT2)
  fields = json.loads((tmp_path / "adapter_config.json").read_text())
  assert fields["target_modules"] == ["attn.c_proj"]


def test_experts_have_no_name_in_peft(tmp_path):
  lora = LoraConfig(rank=2)
  with pytest.raises(ConfigError, match="in a mixture of experts PEFT takes"):
    save_peft(tmp_path, random_tree(lora_specs(DEEPSEEK, lora)), lora,
              DEEPSEEK)


@pytest.fixture
def saved(tmp_path):
  """A good adapter in a folder: (folder, parameters of its model)."""
  lora = LoraConfig(rank=3, targets=("q",))
  save_peft(tmp_path, random_tree(lora_specs(LLAMA, lora)), lora, LLAMA)
  return tmp_path, random_tree(param_specs(LLAMA), seed=1)


@pytest.mark.parametrize("change, sentence", [
    ({"use_dora": True}, "use_dora=True, which makes the adapter more than"),
    ({"bias": "all"}, "bias='all'"),
    ({"modules_to_save": ["embed_tokens"]}, "modules_to_save"),
    ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa'"),
    ({"peft_type": "IA3"}, "peft_type='IA3'"),
    ({"lora_alpha": None}, "describes no LoRA adapter"),
])
def test_configs_that_cannot_be_read(saved, change, sentence):
  folder, params = saved
  file = folder / "adapter_config.json"
  file.write_text(json.dumps(json.loads(file.read_text()) | change))
  with pytest.raises(ConfigError, match=sentence):
    load_peft(folder, params, LLAMA)


NAME = "base_model.model.model.layers.0."


@pytest.mark.parametrize("tensors, sentence", [
    ({NAME + "mlp.experts.0.up_proj.lora_A.weight": (3, 16)},
     "is no factor of a projection of this model"),
    ({"base_model.model.lm_head.lora_A.weight": (3, 16)},
     "a head that is tied to them"),
    ({"base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight":
      (3, 16)}, "is no factor"),
    ({NAME + "self_attn.q_proj.lora_A.weight": (3, 20),
      NAME + "self_attn.q_proj.lora_B.weight": (16, 3)},
     r"shape \(3, 20\), where this model has \(r, 16\)"),
    ({NAME + "self_attn.q_proj.lora_A.weight": (3, 16)},
     "has not both factors of model.layers.0.self_attn.q_proj"),
    ({NAME + "self_attn.q_proj.lora_A.weight": (3, 16),
      NAME + "self_attn.q_proj.lora_B.weight": (16, 2)}, "of one rank"),
    ({"base_model.model.model.embed_tokens.weight": (32, 16)},
     "a whole weight that differs"),
    ({}, "has no tensors"),
])
def test_weights_that_cannot_be_read(saved, tensors, sentence):
  folder, params = saved
  write_file(epath.Path(folder) / "adapter_model.safetensors", [
      Planned(name, shape, lambda shape=shape: np.ones(shape))
      for name, shape in tensors.items()])
  with pytest.raises(ConfigError, match=sentence):
    load_peft(folder, params, LLAMA)


def test_a_copy_of_the_embedding_is_no_fault(saved):
  folder, params = saved
  write_file(epath.Path(folder) / "adapter_model.safetensors", [
      Planned(name, values.shape, lambda values=values: values)
      for name, values in {
          "base_model.model.model.embed_tokens.weight":
          params["embed"]["tokens"],
          NAME + "self_attn.q_proj.lora_A.weight": np.ones((3, 16)),
          NAME + "self_attn.q_proj.lora_B.weight": np.ones((16, 3)),
      }.items()])
  adapter, lora = load_peft(folder, params, LLAMA)
  assert lora.targets == ("q",)
  a = adapter["layers"][0]["attention"]["q"]["a"]
  assert a[0].all() and not a[1].any()  # of one layer only


def test_files_that_are_missing_or_cut_short(saved):
  folder, params = saved
  weights = folder / "adapter_model.safetensors"
  weights.write_bytes(weights.read_bytes()[:-5])
  with pytest.raises(ConfigError, match="cut short"):
    load_peft(folder, params, LLAMA)
  weights.unlink()
  with pytest.raises(ConfigError, match="adapter_model.safetensors does not"):
    load_peft(folder, params, LLAMA)
  with pytest.raises(ConfigError, match="adapter_config.json does not exist"):
    load_peft(folder / "elsewhere", params, LLAMA)
