"""Names for shapes: the public models' sizes.

Each is a `ModelConfig`, a choice of parts; a name carries no behaviour of its
own. They are what `convert` reads from the models' own config.json (the tests
hold the two against each other), and `PRESETS` has them by name:

    from llm_jax.model.presets import PRESETS
    config = PRESETS["llama-3.2-1b"]
"""

from __future__ import annotations

import dataclasses

from llm_jax.config import LatentConfig, ModelConfig, MoeConfig, RopeScaling

_replace = dataclasses.replace


def gpt2(embed_dim: int, num_layers: int, num_heads: int,
         vocab_size: int = 50257, max_seq_len: int = 1024) -> ModelConfig:
  """GPT-2's architecture (Radford et al. 2019) at any size."""
  return ModelConfig(
      vocab_size=vocab_size, embed_dim=embed_dim, num_layers=num_layers,
      num_heads=num_heads, num_kv_heads=num_heads,
      head_dim=embed_dim // num_heads, mlp_dim=4 * embed_dim,
      max_seq_len=max_seq_len, norm="layernorm", position="learned",
      mlp="gelu", use_bias=True, tie_embeddings=True)


def llama(embed_dim: int, num_layers: int, num_heads: int, num_kv_heads: int,
          mlp_dim: int, *, vocab_size: int, head_dim: int = 0,
          tie_embeddings: bool = False, **settings) -> ModelConfig:
  """Llama's architecture (arXiv:2302.13971) at any size, with `settings`."""
  return ModelConfig(
      vocab_size=vocab_size, embed_dim=embed_dim, num_layers=num_layers,
      num_heads=num_heads, num_kv_heads=num_kv_heads,
      head_dim=head_dim or embed_dim // num_heads, mlp_dim=mlp_dim,
      tie_embeddings=tie_embeddings, **settings)


def _llama2(*sizes, **settings):
  return llama(*sizes, vocab_size=32000, max_seq_len=4096, **settings)


def _llama3(*sizes, factor=0.0, **settings):
  """Llama 3 (arXiv:2407.21783); with a `factor`, 3.1's longer context."""
  if not factor:
    return llama(*sizes, vocab_size=128256, max_seq_len=8192,
                 rope_theta=500_000.0, **settings)
  return llama(*sizes, vocab_size=128256, max_seq_len=131072,
               rope_theta=500_000.0, rope_scaling=RopeScaling(
                   "llama3", factor=factor, original_max_len=8192,
                   low_freq_factor=1.0, high_freq_factor=4.0), **settings)


def _qwen2(*sizes, vocab_size=151936, max_seq_len=131072, norm_eps=1e-6,
           **settings):
  """Qwen2.5 (arXiv:2412.15115)."""
  return llama(*sizes, vocab_size=vocab_size, max_seq_len=max_seq_len,
               norm_eps=norm_eps, rope_theta=1e6, qkv_bias=True, **settings)


def _qwen3(*sizes, **settings):
  """Qwen3 (arXiv:2505.09388)."""
  return llama(*sizes, vocab_size=151936, max_seq_len=40960, norm_eps=1e-6,
               head_dim=128, rope_theta=1e6, qk_norm="head", **settings)


def _qwen3_moe(*sizes, moe_dim, **settings):
  return _qwen3(*sizes, moe=MoeConfig(
      num_experts=128, experts_per_token=8, mlp_dim=moe_dim), **settings)


def _gemma(embed_dim, *sizes, head_dim=256, vocab_size=256000,
           max_seq_len=8192, **settings):
  """Gemma (arXiv:2403.08295)."""
  return llama(embed_dim, *sizes, vocab_size=vocab_size, head_dim=head_dim,
               max_seq_len=max_seq_len, norm_eps=1e-6, norm_offset=1.0,
               mlp="geglu", embed_scale=embed_dim ** 0.5, tie_embeddings=True,
               **settings)


def _gemma2(*sizes, scalar=256, **settings):
  """Gemma 2 (arXiv:2408.00118); 1/sqrt(scalar) multiplies the scores."""
  return _gemma(*sizes, norm_placement="both", window=4096,
                layer_pattern=("local", "global"), attention_softcap=50.0,
                logit_softcap=30.0, attention_scale=scalar ** -0.5, **settings)


def _gemma3(*sizes, scalar=256, window=1024, factor=8.0, vocab_size=262208,
            max_seq_len=131072, **settings):
  """Gemma 3 (arXiv:2503.19786), the part that reads text."""
  scaling = (RopeScaling("linear", factor=factor) if factor > 1
             else RopeScaling())
  return _gemma(*sizes, norm_placement="both", qk_norm="head", window=window,
                layer_pattern=("local",) * 5 + ("global",), rope_theta=1e6,
                rope_local_theta=10_000.0, rope_scaling=scaling,
                attention_scale=scalar ** -0.5, vocab_size=vocab_size,
                max_seq_len=max_seq_len, **settings)


def _olmo2(*sizes, **settings):
  """OLMo 2 (arXiv:2501.00656)."""
  return llama(*sizes, vocab_size=100352, max_seq_len=4096, norm_eps=1e-6,
               rope_theta=500_000.0, norm_placement="post", qk_norm="full",
               **settings)


def _smollm2(*sizes, rope_theta=100_000.0):
  """SmolLM2 (arXiv:2502.02737)."""
  return llama(*sizes, vocab_size=49152, max_seq_len=8192,
               rope_theta=rope_theta, tie_embeddings=True)


def _deepseek(embed_dim, num_layers, num_heads, mlp_dim, *, vocab_size, moe,
              q_rank, mscale):
  """DeepSeek-V2 (arXiv:2405.04434) and V3 (arXiv:2412.19437)."""
  # YaRN's temperature: 0.1 · mscale · ln(factor) + 1, of queries and of keys.
  temperature = 0.1 * mscale * 3.6888794541139363 + 1.0  # ln 40
  return llama(
      embed_dim, num_layers, num_heads, num_heads, mlp_dim,
      vocab_size=vocab_size, head_dim=192, max_seq_len=163840, norm_eps=1e-6,
      attention_scale=192 ** -0.5 * temperature ** 2,
      rope_scaling=RopeScaling("yarn", factor=40.0, original_max_len=4096),
      latent=LatentConfig(kv_rank=512, q_rank=q_rank, nope_dim=128,
                          rope_dim=64, v_dim=128), moe=moe)


GPT2_124M = gpt2(768, 12, 12)
GPT2_355M = gpt2(1024, 24, 16)
GPT2_774M = gpt2(1280, 36, 20)
GPT2_1558M = gpt2(1600, 48, 25)
LLAMA2_7B = _llama2(4096, 32, 32, 32, 11008)
LLAMA3_8B = _llama3(4096, 32, 32, 8, 14336)

_MISTRAL_7B = llama(4096, 32, 32, 8, 14336, vocab_size=32768,
                    max_seq_len=32768, rope_theta=1e6)
_PHI3_MINI = llama(3072, 32, 32, 32, 8192, vocab_size=32064, max_seq_len=4096,
                   layer_pattern=("local",), window=2047)

PRESETS: dict[str, ModelConfig] = {
    "gpt2-124m": GPT2_124M,
    "gpt2-355m": GPT2_355M,
    "gpt2-774m": GPT2_774M,
    "gpt2-1558m": GPT2_1558M,
    "llama-2-7b": LLAMA2_7B,
    "llama-2-13b": _llama2(5120, 40, 40, 40, 13824),
    "llama-2-70b": _llama2(8192, 80, 64, 8, 28672),
    "llama-3-8b": LLAMA3_8B,
    "llama-3-70b": _llama3(8192, 80, 64, 8, 28672),
    "llama-3.1-8b": _llama3(4096, 32, 32, 8, 14336, factor=8.0),
    "llama-3.1-70b": _llama3(8192, 80, 64, 8, 28672, factor=8.0),
    "llama-3.1-405b": _llama3(16384, 126, 128, 8, 53248, factor=8.0),
    "llama-3.2-1b": _llama3(2048, 16, 32, 8, 8192, factor=32.0,
                            tie_embeddings=True),
    "llama-3.2-3b": _llama3(3072, 28, 24, 8, 8192, factor=32.0,
                            tie_embeddings=True),
    "mistral-7b-v0.1": _replace(
        _MISTRAL_7B, vocab_size=32000, rope_theta=10_000.0, window=4096,
        layer_pattern=("local",)),
    "mistral-7b-v0.3": _MISTRAL_7B,
    "qwen2.5-0.5b": _qwen2(896, 24, 14, 2, 4864, max_seq_len=32768,
                           tie_embeddings=True),
    "qwen2.5-1.5b": _qwen2(1536, 28, 12, 2, 8960, tie_embeddings=True),
    "qwen2.5-3b": _qwen2(2048, 36, 16, 2, 11008, max_seq_len=32768,
                         tie_embeddings=True),
    "qwen2.5-7b": _qwen2(3584, 28, 28, 4, 18944, vocab_size=152064),
    "qwen2.5-14b": _qwen2(5120, 48, 40, 8, 13824, vocab_size=152064,
                          norm_eps=1e-5),
    "qwen2.5-32b": _qwen2(5120, 64, 40, 8, 27648, vocab_size=152064,
                          norm_eps=1e-5),
    "qwen2.5-72b": _qwen2(8192, 80, 64, 8, 29568, vocab_size=152064,
                          norm_eps=1e-5),
    "qwen3-0.6b": _qwen3(1024, 28, 16, 8, 3072, tie_embeddings=True),
    "qwen3-1.7b": _qwen3(2048, 28, 16, 8, 6144, tie_embeddings=True),
    "qwen3-4b": _qwen3(2560, 36, 32, 8, 9728, tie_embeddings=True),
    "qwen3-8b": _qwen3(4096, 36, 32, 8, 12288),
    "qwen3-14b": _qwen3(5120, 40, 40, 8, 17408),
    "qwen3-32b": _qwen3(5120, 64, 64, 8, 25600),
    "qwen3-30b-a3b": _qwen3_moe(2048, 48, 32, 4, 6144, moe_dim=768),
    "qwen3-235b-a22b": _qwen3_moe(4096, 94, 64, 4, 12288, moe_dim=1536),
    "gemma-2b": _gemma(2048, 18, 8, 1, 16384),
    "gemma-7b": _gemma(3072, 28, 16, 16, 24576),
    "gemma-2-2b": _gemma2(2304, 26, 8, 4, 9216),
    "gemma-2-9b": _gemma2(3584, 42, 16, 8, 14336),
    "gemma-2-27b": _gemma2(4608, 46, 32, 16, 36864, head_dim=128, scalar=144),
    "gemma-3-270m": _gemma3(640, 18, 4, 1, 2048, window=512, factor=1.0,
                            vocab_size=262144, max_seq_len=32768),
    "gemma-3-1b": _gemma3(1152, 26, 4, 1, 6912, window=512, factor=1.0,
                          vocab_size=262144, max_seq_len=32768),
    "gemma-3-4b": _gemma3(2560, 34, 8, 4, 10240),
    "gemma-3-12b": _gemma3(3840, 48, 16, 8, 15360),
    "gemma-3-27b": _gemma3(5376, 62, 32, 16, 21504, head_dim=128, scalar=168),
    "olmo-2-1b": _olmo2(2048, 16, 16, 16, 8192),
    "olmo-2-7b": _olmo2(4096, 32, 32, 32, 11008),
    "olmo-2-13b": _olmo2(5120, 40, 40, 40, 13824),
    "olmo-2-32b": _olmo2(5120, 64, 40, 8, 27648),
    "smollm2-135m": _smollm2(576, 30, 9, 3, 1536),
    "smollm2-360m": _smollm2(960, 32, 15, 5, 2560),
    "smollm2-1.7b": _smollm2(2048, 24, 32, 32, 8192, rope_theta=130_000.0),
    "smollm3-3b": llama(
        2048, 36, 16, 4, 11008, vocab_size=128256, max_seq_len=65536,
        norm_eps=1e-6, rope_theta=5e6, tie_embeddings=True,
        layer_pattern=("global",) * 3 + ("global_nope",)),
    "phi-3-mini-4k": _PHI3_MINI,
    "phi-3-medium-4k": _replace(
        _PHI3_MINI, embed_dim=5120, num_layers=40, num_heads=40,
        num_kv_heads=10, head_dim=128, mlp_dim=17920),
    "phi-4": llama(5120, 40, 40, 10, 17920, vocab_size=100352,
                   max_seq_len=16384, rope_theta=250_000.0),
    "mixtral-8x7b": llama(
        4096, 32, 32, 8, 14336, vocab_size=32000, max_seq_len=32768,
        rope_theta=1e6, moe=MoeConfig(num_experts=8, mlp_dim=14336)),
    "mixtral-8x22b": llama(
        6144, 56, 48, 8, 16384, vocab_size=32000, max_seq_len=65536,
        rope_theta=1e6, moe=MoeConfig(num_experts=8, mlp_dim=16384)),
    "deepseek-v2-lite": _deepseek(
        2048, 27, 16, 10944, vocab_size=102400, q_rank=0, mscale=0.707,
        moe=MoeConfig(num_experts=64, experts_per_token=6, mlp_dim=1408,
                      shared_dim=2 * 1408, first_dense=1, normalize=False)),
    "deepseek-v2": _deepseek(
        5120, 60, 128, 12288, vocab_size=102400, q_rank=1536, mscale=0.707,
        moe=MoeConfig(num_experts=160, experts_per_token=6, mlp_dim=1536,
                      shared_dim=2 * 1536, first_dense=1, normalize=False,
                      scale=16.0, groups=8, top_groups=3)),
    "deepseek-v3": _deepseek(
        7168, 61, 128, 18432, vocab_size=129280, q_rank=1536, mscale=1.0,
        moe=MoeConfig(num_experts=256, experts_per_token=8, mlp_dim=2048,
                      shared_dim=2048, first_dense=3, router="sigmoid",
                      scale=2.5, correction_bias=True, groups=8, top_groups=4,
                      group_top=2)),
}
