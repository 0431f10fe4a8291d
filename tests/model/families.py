"""Small models that between them have every part of `ModelConfig`."""

import dataclasses

from llm_jax.config import LatentConfig, ModelConfig, MoeConfig, RopeScaling

# Local and global layers in turn with a base each, norms around the blocks,
# soft caps; a remainder after the last whole period.
GEMMA_LIKE = ModelConfig(
    vocab_size=64, embed_dim=32, num_layers=3, num_heads=4, num_kv_heads=2,
    head_dim=8, mlp_dim=48, max_seq_len=80, norm_offset=1.0,
    norm_placement="both", layer_pattern=("local", "global"), window=4,
    rope_local_theta=100.0, qk_norm="head", attention_scale=0.2,
    attention_softcap=3.0, logit_softcap=5.0, embed_scale=5.6, mlp="geglu",
    rope_scaling=RopeScaling("linear", factor=4.0))

# Norms after the blocks, over all heads; layers without positions.
OLMO_LIKE = dataclasses.replace(
    GEMMA_LIKE, num_layers=3, norm_offset=0.0, norm_placement="post",
    layer_pattern=("local", "local", "global_nope"), rope_local_theta=0.0,
    qk_norm="full", attention_softcap=0.0, logit_softcap=0.0, embed_scale=1.0,
    attention_scale=0.0, mlp="swiglu", qkv_bias=True, rope_fraction=0.5)

# Latent attention, a dense layer, then experts in groups and a shared one.
DEEPSEEK_LIKE = ModelConfig(
    vocab_size=64, embed_dim=32, num_layers=3, num_heads=4, num_kv_heads=4,
    head_dim=12, mlp_dim=48, max_seq_len=80, tie_embeddings=False,
    latent=LatentConfig(kv_rank=16, q_rank=24, nope_dim=8, rope_dim=4,
                        v_dim=10),
    rope_scaling=RopeScaling("yarn", factor=4.0, original_max_len=20,
                             attention_factor=1.1),
    moe=MoeConfig(num_experts=8, experts_per_token=3, mlp_dim=24,
                  shared_dim=16, first_dense=1, router="sigmoid", scale=2.5,
                  correction_bias=True, groups=4, top_groups=2, group_top=2))

FAMILIES = {"gemma_like": GEMMA_LIKE, "olmo_like": OLMO_LIKE,
            "deepseek_like": DEEPSEEK_LIKE}
