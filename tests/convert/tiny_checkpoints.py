"""Tiny models of every family with random weights; no PyTorch."""

import json

import jax
import jax.numpy as jnp
import numpy as np

from llm_jax.config import TokenizerConfig
from llm_jax.convert import hf_safetensors
from llm_jax.convert.hf_config import read_config
from llm_jax.convert.hf_safetensors import Planned, Weights
from llm_jax.convert.huggingface import save_huggingface
from llm_jax.model.params import is_spec, param_specs
from llm_jax.tokenizer.bpe import train_bpe
from etils import epath

SIZES = {
    "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 272,
    "rms_norm_eps": 1e-6, "max_position_embeddings": 64, "rope_theta": 500.0}
_DEEPSEEK = SIZES | {
    "num_key_value_heads": 4, "n_routed_experts": 8, "num_experts_per_tok": 2,
    "moe_intermediate_size": 24, "first_k_dense_replace": 1,
    "kv_lora_rank": 12, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8,
    "v_head_dim": 10, "q_lora_rank": 14, "n_group": 4, "topk_group": 2}
CONFIGS = {
    "gpt2": {"architectures": ["GPT2LMHeadModel"], "n_embd": 32, "n_layer": 3,
             "n_head": 4, "n_positions": 64, "vocab_size": 272},
    "llama": SIZES | {"architectures": ["LlamaForCausalLM"],
                      "attention_bias": True, "mlp_bias": True},
    "llama_tied": SIZES | {"architectures": ["LlamaForCausalLM"],
                           "tie_word_embeddings": True},
    "mistral": SIZES | {"architectures": ["MistralForCausalLM"],
                        "sliding_window": 5, "head_dim": 12},
    "qwen2": SIZES | {"architectures": ["Qwen2ForCausalLM"]},
    "qwen3": SIZES | {"architectures": ["Qwen3ForCausalLM"], "head_dim": 12},
    "smollm3": SIZES | {"architectures": ["SmolLM3ForCausalLM"],
                        "no_rope_layers": [1, 0, 1]},
    "olmo2": SIZES | {"architectures": ["Olmo2ForCausalLM"]},
    "gemma": SIZES | {"architectures": ["GemmaForCausalLM"]},
    "gemma2": SIZES | {"architectures": ["Gemma2ForCausalLM"]},
    "gemma3": SIZES | {"architectures": ["Gemma3ForCausalLM"]},
    "phi3": SIZES | {"architectures": ["Phi3ForCausalLM"],
                     "partial_rotary_factor": 0.5},
    "mixtral": SIZES | {"architectures": ["MixtralForCausalLM"],
                        "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": SIZES | {"architectures": ["Qwen3MoeForCausalLM"],
                          "num_experts": 4, "num_experts_per_tok": 2,
                          "moe_intermediate_size": 24,
                          "mlp_only_layers": [0]},
    "deepseek_v2": _DEEPSEEK | {"architectures": ["DeepseekV2ForCausalLM"],
                                "q_lora_rank": None},
    "deepseek_v3": _DEEPSEEK | {"architectures": ["DeepseekV3ForCausalLM"]},
}


def config_of(name):
  """The `ModelConfig` of a tiny model."""
  return read_config(CONFIGS[name], name)


def params_of(config, seed=0):
  """Random parameters, stacked."""
  rng = np.random.default_rng(seed)
  def make(spec):
    return jnp.asarray(rng.normal(size=spec.shape).astype(np.float32),
                       spec.dtype or config.param_dtype)
  return jax.tree.map(make, param_specs(config), is_leaf=is_spec)


def tokenizer():
  """256 bytes, eight merges, eight special tokens."""
  return train_bpe(["a text of words"] * 4, TokenizerConfig(vocab_size=272))


def write(folder, name, **kwargs):
  """A tiny model's folder; returns (params, config)."""
  config = config_of(name)
  params = params_of(config)
  folder.mkdir(parents=True, exist_ok=True)
  save_huggingface(folder, params, config, kwargs.pop("tokenizer", None),
                   model_type=name if name in ("phi3", "mistral") else "",
                   **kwargs)
  return params, config


def tensors_of(folder):
  """name -> array of all tensors in a folder."""
  with Weights(epath.Path(folder)) as weights:
    return {name: weights.read(name) for name in weights.tensors}


def rewrite(folder, tensors, **fields):
  """Other tensors, and other fields of config.json, for a folder."""
  for file in folder.glob("*.safetensors*"):
    file.unlink()
  hf_safetensors.write_weights(
      epath.Path(folder),
      [Planned(name, x.shape, lambda x=x: x)
       for name, x in tensors.items()], 10**9)
  file = folder / "config.json"
  file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def assert_same(ours, theirs):
  """Two trees of parameters are equal, bit for bit."""
  assert jax.tree.structure(ours) == jax.tree.structure(theirs)
  jax.tree.map(lambda a, b: np.testing.assert_array_equal(
      np.asarray(a), np.asarray(b)), ours, theirs)
