"""Adapters of Hugging Face's PEFT read, and ours read by it: equal logits."""

import dataclasses
import json
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_jax.config import LoraConfig
from llm_jax.convert.huggingface import load_huggingface
from llm_jax.convert.peft import load_peft, save_peft
from llm_jax.model.lora import attach, lora_specs, merge
from llm_jax.model.params import is_spec
from llm_jax.model.transformer import forward

pytestmark = pytest.mark.reference
family_cases = pytest.importorskip("family_cases")
peft = pytest.importorskip("peft")
torch = family_cases.torch

TOLERANCE = 1e-4
LENGTHS_B = np.array([20, 20])
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj",
          "down_proj"]
# case -> settings of PEFT's LoraConfig
READ = {
    "llama3": dict(target_modules=[*LINEAR, "lm_head"], r=4, lora_alpha=8),
    "smollm2": dict(target_modules=["q_proj", "v_proj"], r=2, lora_alpha=3,
                    use_rslora=True, layers_to_transform=[0, 2]),
    "gpt2": dict(target_modules=["c_attn", "c_proj", "c_fc"], r=3,
                 lora_alpha=6, fan_in_fan_out=True),
    "phi3": dict(target_modules=["qkv_proj", "gate_up_proj", "o_proj"], r=3,
                 lora_alpha=6),
    "gemma3": dict(target_modules=LINEAR, r=3, lora_alpha=6,
                   rank_pattern={"k_proj": 5, "layers.1.self_attn.q_proj": 1},
                   alpha_pattern={"v_proj": 9}),
    "deepseek_v3": dict(target_modules=[
        "q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"],
        r=3, lora_alpha=6),
}
ALL = LoraConfig().targets + ("head",)
# case -> our adapter
WRITTEN = {
    "llama3": LoraConfig(rank=4, alpha=7.5, targets=ALL),
    "smollm2": LoraConfig(rank=2, alpha=4.0, targets=("k", "down")),
    "gpt2": LoraConfig(rank=3, alpha=6.0, targets=ALL[:-1]),
    "phi3": LoraConfig(rank=2, alpha=6.0, rank_stabilized=True, targets=ALL),
    "gemma3": LoraConfig(rank=3, alpha=6.0),
    "qwen3_moe": LoraConfig(rank=3, alpha=6.0, targets=("q", "k", "v", "o")),
    "deepseek_v3": LoraConfig(rank=3, alpha=6.0, targets=(
        "q_down", "q_up", "kv_down", "k_up", "v_up", "o")),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  """name -> (folder of their model, our params, our config)."""
  cache = {}

  def make(name):
    if name not in cache:
      folder = tmp_path_factory.mktemp(name)
      family_cases.make(name).save_pretrained(folder)
      cache[name] = (folder, *load_huggingface(folder)[:2])
    return cache[name]
  return make


def tokens():
  return np.random.default_rng(0).integers(family_cases.V, size=(2, 20))


def ours(params, config):
  return np.asarray(jax.jit(forward, static_argnums=2)(
      params, jnp.asarray(tokens(), jnp.int32), config)[0])


def randomise(model):
  """B too, which begins as zero."""
  generator = torch.Generator().manual_seed(0)
  with torch.no_grad():
    for name, weight in model.named_parameters():
      if "lora_" in name:
        weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))
  return model.eval()


@pytest.mark.parametrize("name", READ)
def test_theirs_is_read(name, made, tmp_path):
  _, params, config = made(name)
  model = family_cases.make(name)
  plain = family_cases.logits(model, tokens(), LENGTHS_B)
  model = randomise(peft.get_peft_model(model, peft.LoraConfig(**READ[name])))
  model.save_pretrained(tmp_path)
  theirs = family_cases.logits(model, tokens(), LENGTHS_B)
  assert np.abs(theirs - plain).max() > 0.05
  adapter, lora = load_peft(tmp_path, params, config)
  assert lora.rank == max([READ[name]["r"],
                           *READ[name].get("rank_pattern", {}).values()])
  jax.tree.map(lambda spec, x: np.testing.assert_equal(x.shape, spec.shape),
               lora_specs(config, lora), adapter, is_leaf=is_spec)
  np.testing.assert_allclose(ours(attach(params, adapter, lora), config),
                             theirs, atol=TOLERANCE, rtol=0)
  np.testing.assert_allclose(ours(merge(params, adapter, lora), config),
                             theirs, atol=TOLERANCE, rtol=0)
  merged = family_cases.logits(model.merge_and_unload(), tokens(), LENGTHS_B)
  np.testing.assert_allclose(ours(merge(params, adapter, lora), config),
                             merged, atol=TOLERANCE, rtol=0)
  # Written again it is the adapter that it was: shared factors are one.
  again = tmp_path / "again"
  again.mkdir()
  save_peft(again, adapter, lora, config)
  ranks = {len(x) for x in tensors_in(again).values()
           if x.shape[0] < 12}
  assert max(ranks) == lora.rank
  model = peft.PeftModel.from_pretrained(family_cases.make(name), again)
  np.testing.assert_allclose(
      family_cases.logits(model.eval(), tokens(), LENGTHS_B), theirs,
      atol=TOLERANCE, rtol=0)


def tensors_in(folder):
  from safetensors.numpy import load_file
  return load_file(folder / "adapter_model.safetensors")


@pytest.mark.parametrize("name", WRITTEN)
def test_ours_is_read_by_peft(name, made, tmp_path):
  folder, params, config = made(name)
  lora = WRITTEN[name]
  rng = np.random.default_rng(1)
  adapter = jax.tree.map(
      lambda s: 0.1 * rng.standard_normal(s.shape).astype(np.float32),
      lora_specs(config, lora), is_leaf=is_spec)
  expected = ours(attach(params, adapter, lora), config)
  assert np.abs(expected - ours(params, config)).max() > 0.05
  save_peft(tmp_path, adapter, lora, config, base_model=str(folder))
  fields = json.loads((tmp_path / "adapter_config.json").read_text())
  with warnings.catch_warnings():
    for kind in (UserWarning, RuntimeWarning):  # missing, unexpected keys
      warnings.simplefilter("error", kind)
    model = peft.PeftModel.from_pretrained(family_cases.make(name), tmp_path)
  loaded = {n for n, _ in model.named_parameters() if "lora_" in n}
  assert len(loaded) == len(tensors_in(tmp_path))
  np.testing.assert_allclose(
      family_cases.logits(model.eval(), tokens(), LENGTHS_B), expected,
      atol=TOLERANCE, rtol=0)
  assert fields["base_model_name_or_path"] == str(folder)
  back, again = load_peft(tmp_path, params, config)
  if name in ("gpt2", "phi3", "deepseek_v3"):  # of fused modules: more ranks
    assert again.rank == (2 if name == "deepseek_v3" else 3) * lora.rank
  else:
    assert again == dataclasses.replace(lora, targets=again.targets)
    jax.tree.map(np.testing.assert_array_equal, back, adapter)
  np.testing.assert_allclose(ours(attach(params, back, again), config),
                             expected, atol=TOLERANCE, rtol=0)
