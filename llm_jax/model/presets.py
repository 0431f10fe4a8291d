"""Names for shapes: public model sizes, and the small ones we train here.

Each is a `ModelConfig`; a name carries no behaviour of its own.
"""

from __future__ import annotations

from llm_jax.config import ModelConfig


def gpt2(embed_dim: int, num_layers: int, num_heads: int,
         vocab_size: int = 50257, max_seq_len: int = 1024) -> ModelConfig:
  """GPT-2's architecture (Radford et al. 2019) at any size."""
  return ModelConfig(
      vocab_size=vocab_size, embed_dim=embed_dim, num_layers=num_layers,
      num_heads=num_heads, num_kv_heads=num_heads,
      head_dim=embed_dim // num_heads, mlp_dim=4 * embed_dim,
      max_seq_len=max_seq_len, norm="layernorm", position="learned",
      mlp="gelu", use_bias=True, tie_embeddings=True)


GPT2_124M = gpt2(768, 12, 12)
GPT2_355M = gpt2(1024, 24, 16)
GPT2_774M = gpt2(1280, 36, 20)
GPT2_1558M = gpt2(1600, 48, 25)

LLAMA2_7B = ModelConfig(
    vocab_size=32000, embed_dim=4096, num_layers=32, num_heads=32,
    num_kv_heads=32, head_dim=128, mlp_dim=11008, max_seq_len=4096,
    tie_embeddings=False)

LLAMA3_8B = ModelConfig(
    vocab_size=128256, embed_dim=4096, num_layers=32, num_heads=32,
    num_kv_heads=8, head_dim=128, mlp_dim=14336, max_seq_len=8192,
    rope_theta=500_000.0, tie_embeddings=False)
