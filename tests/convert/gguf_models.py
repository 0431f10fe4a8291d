"""Tiny models of every architecture that GGUF files are written for."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from llm_jax.config import (
    LatentConfig, ModelConfig, MoeConfig, RopeScaling, TokenizerConfig)
from llm_jax.model.params import is_spec, param_specs
from llm_jax.tokenizer.bpe import BpeTokenizer, train_bpe

V, T = 300, 64
TEXT = ("The model reads a text, and 1234 more words of it's read twice; "
        "then they've said: \"we'll see\"!\n\n  Über naïve façades\t- 漢字. ")
_PLAIN = ModelConfig(
    vocab_size=V, embed_dim=64, num_layers=3, num_heads=4, num_kv_heads=2,
    head_dim=16, mlp_dim=96, max_seq_len=T)
_GEMMA = dataclasses.replace(
    _PLAIN, mlp="geglu", norm_offset=1.0, embed_scale=8.0, head_dim=32)
_GEMMA2 = dataclasses.replace(_GEMMA, norm_placement="both", num_layers=4,
                              window=5, layer_pattern=("local", "global"))
_MOE = MoeConfig(num_experts=4, experts_per_token=2, mlp_dim=32)
_YARN = RopeScaling("yarn", factor=4.0, original_max_len=16,
                    attention_factor=0.1 * math.log(4) + 1)
_LATENT = LatentConfig(kv_rank=24, q_rank=20, nope_dim=16, rope_dim=8,
                       v_dim=12)
_SHARED = MoeConfig(num_experts=8, experts_per_token=3, mlp_dim=32,
                    shared_dim=64, first_dense=1, normalize=False)


def _variant(**changes) -> ModelConfig:
  return dataclasses.replace(_PLAIN, **changes)


# Name of the case -> (architecture that is written, model).
CASES: dict[str, tuple[str, ModelConfig]] = {
    "llama": ("llama", _variant(tie_embeddings=False)),
    "llama biases": ("llama", _variant(use_bias=True)),
    "llama 3.1": ("llama", _variant(head_dim=32, rope_scaling=RopeScaling(
        "llama3", factor=8.0, original_max_len=32))),
    "llama yarn": ("llama", _variant(rope_scaling=_YARN)),
    "llama linear": ("llama", _variant(
        rope_scaling=RopeScaling("linear", factor=4.0))),
    "mixtral": ("llama", _variant(moe=dataclasses.replace(_MOE, mlp_dim=96))),
    "qwen2": ("qwen2", _variant(qkv_bias=True, rope_scaling=_YARN)),
    "qwen3": ("qwen3", _variant(qk_norm="head", head_dim=32)),
    "qwen3moe": ("qwen3moe", _variant(qk_norm="head", moe=_MOE)),
    "gpt2": ("gpt2", _variant(norm="layernorm", position="learned", mlp="gelu",
                              use_bias=True, num_kv_heads=4)),
    "olmo2": ("olmo2", _variant(norm_placement="post", qk_norm="full",
                                tie_embeddings=False)),
    "smollm3": ("smollm3", _variant(num_layers=5, layer_pattern=(
        "global", "global", "global", "global_nope"))),
    "phi3": ("phi3", _variant(rope_scaling=RopeScaling(
        "longrope", factor=4.0, original_max_len=16, attention_factor=1.25,
        short_factors=(1.0,) * 8,
        long_factors=tuple(1 + 0.25 * i for i in range(8))))),
    "gemma": ("gemma", _GEMMA),
    "gemma2": ("gemma2", dataclasses.replace(
        _GEMMA2, attention_softcap=50.0, logit_softcap=30.0)),
    "gemma3": ("gemma3", dataclasses.replace(
        _GEMMA2, qk_norm="head", num_layers=7, rope_theta=1e6,
        layer_pattern=("local",) * 5 + ("global",), rope_local_theta=1e4,
        rope_scaling=RopeScaling("linear", factor=8.0))),
    "gemma3 pattern": ("gemma3", dataclasses.replace(
        _GEMMA2, qk_norm="head", rope_theta=1e6, rope_local_theta=1e4)),
}
CASES["deepseek v2"] = ("deepseek2", _variant(
    num_kv_heads=4, head_dim=24, moe=_SHARED, tie_embeddings=False,
    latent=dataclasses.replace(_LATENT, q_rank=0)))
CASES["deepseek v3"] = ("deepseek2", _variant(
    num_kv_heads=4, head_dim=24, latent=_LATENT, tie_embeddings=False,
    attention_scale=24 ** -0.5 * (0.1 * math.log(4) + 1) ** 2,
    rope_scaling=RopeScaling("yarn", factor=4.0, original_max_len=16),
    moe=dataclasses.replace(
        _SHARED, router="sigmoid", correction_bias=True, normalize=True,
        scale=2.5, groups=4, top_groups=2, group_top=2)))


def tiny_tokenizer(max_digits: int = 3) -> BpeTokenizer:
  """Of V tokens, with the chat template's."""
  return train_bpe([TEXT] * 3, TokenizerConfig(vocab_size=V,
                                               max_digits=max_digits))


def tiny_params(config: ModelConfig):
  """Parameters of which none is a constant, and logits of order 1."""
  rng = np.random.default_rng(0)

  def make(path, spec):
    noise = rng.standard_normal(spec.shape).astype(np.float32)
    if spec.fill is not None:
      return jnp.asarray(spec.fill + 0.2 * noise)
    inside = "layers" in jax.tree_util.keystr(path)
    return jnp.asarray((5 if inside else 10) * spec.std * noise)
  return jax.tree_util.tree_map_with_path(make, param_specs(config),
                                          is_leaf=is_spec)
