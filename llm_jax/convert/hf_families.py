"""The families of the Hugging Face hub: each a list of parts, no more.

To add one, name the fields of its config.json (`parts`), the settings that it
always has (`fixed`), the fields that must have one value because we have no
other (`only`), what absent fields mean (`defaults`), and its tensors' names
(`tensors`, of hf_tensors.py).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from llm_jax.convert import hf_mixtures as mixture
from llm_jax.convert import hf_parts as part
from llm_jax.convert import hf_tensors as names

_SILU = {"hidden_act": ("silu", "swish")}
_GELU_TANH = ("gelu_pytorch_tanh", "gelu_new")
_NO_BIAS = {"attention_bias": (False, None)}
_CAUSAL = {"use_bidirectional_attention": (None, False)}


@dataclasses.dataclass(frozen=True)
class Family:
  """One `model_type`.

  Attributes:
    model_type: its name in config.json.
    architectures: class names in config.json; the first is written.
    parts: what its fields say, later ones over earlier.
    tensors: where its tensors are.
    fixed: settings of `ModelConfig` that it always has.
    only: fields that change the math -> the values that we can do.
    defaults: fields that may be absent -> what that means.
    aliases: our parts' names of fields -> the family's own ("": none).
  """
  model_type: str
  architectures: tuple[str, ...]
  parts: tuple[part.Part, ...]
  tensors: names.Names
  fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  only: Mapping[str, tuple[Any, ...]] = dataclasses.field(default_factory=dict)
  defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)


GPT2 = Family(
    "gpt2", ("GPT2LMHeadModel", "GPT2Model"),
    (part.SIZES, part.NO_WINDOWS), names.GPT2,
    fixed=dict(norm="layernorm", position="learned", mlp="gelu",
               use_bias=True),
    only={"hidden_act": _GELU_TANH[::-1], "scale_attn_weights": (True,),
          "scale_attn_by_inverse_layer_idx": (False,),
          "add_cross_attention": (False,)},
    defaults=dict(rms_norm_eps=1e-5, tie_word_embeddings=True,
                  max_position_embeddings=1024),
    aliases=dict(hidden_size="n_embd", num_hidden_layers="n_layer",
                 num_attention_heads="n_head", intermediate_size="n_inner",
                 max_position_embeddings="n_positions",
                 rms_norm_eps="layer_norm_epsilon",
                 hidden_act="activation_function",
                 head_dim="", num_key_value_heads=""))

LLAMA = Family(
    "llama", ("LlamaForCausalLM",),
    (part.SIZES, part.ROPE, part.NO_WINDOWS, part.BIASES), names.LLAMA,
    only=_SILU, defaults=dict(max_position_embeddings=2048))

QWEN2 = Family(
    "qwen2", ("Qwen2ForCausalLM",),
    (part.SIZES, part.ROPE, part.LAST_WINDOWS), names.LLAMA,
    fixed=dict(qkv_bias=True), only=_SILU,
    defaults=dict(sliding_window=4096, max_window_layers=28,
                  max_position_embeddings=32768))

QWEN3 = Family(
    "qwen3", ("Qwen3ForCausalLM",),
    (part.SIZES, part.ROPE, part.LAST_WINDOWS), names.LLAMA,
    fixed=dict(qk_norm="head"), only=_SILU | _NO_BIAS,
    defaults=QWEN2.defaults | dict(head_dim=128))

MISTRAL = Family(
    "mistral", ("MistralForCausalLM",),
    (part.SIZES, part.ROPE, part.ONE_WINDOW), names.LLAMA, only=_SILU,
    defaults=dict(sliding_window=4096, num_key_value_heads=8,
                  max_position_embeddings=131072))

SMOLLM3 = Family(
    "smollm3", ("SmolLM3ForCausalLM",),
    (part.SIZES, part.ROPE, part.NOPE, part.BIASES), names.LLAMA, only=_SILU,
    defaults=dict(tie_word_embeddings=True, rope_theta=2_000_000.0,
                  no_rope_layer_interval=4, num_key_value_heads=4,
                  max_position_embeddings=32768))

OLMO2 = Family(
    "olmo2", ("Olmo2ForCausalLM",),
    (part.SIZES, part.ROPE, part.NO_WINDOWS), names.OLMO2,
    fixed=dict(norm_placement="post", qk_norm="full"), only=_SILU | _NO_BIAS,
    defaults=dict(rms_norm_eps=1e-5, max_position_embeddings=2048))

_GEMMA = dict(mlp="geglu", norm_offset=1.0)
_GEMMA_DEFAULTS = dict(head_dim=256, tie_word_embeddings=True,
                       max_position_embeddings=8192)

GEMMA = Family(
    "gemma", ("GemmaForCausalLM",),
    (part.SIZES, part.ROPE, part.NO_WINDOWS, part.SCALED_EMBEDDING),
    names.LLAMA, fixed=_GEMMA,
    # The first files say "gelu" and mean its tanh form.
    only=_NO_BIAS | _CAUSAL | {"hidden_act": (*_GELU_TANH, "gelu"),
                               "hidden_activation": (*_GELU_TANH, None)},
    defaults=_GEMMA_DEFAULTS | dict(num_key_value_heads=16))

GEMMA2 = Family(
    "gemma2", ("Gemma2ForCausalLM",),
    (part.SIZES, part.ROPE, part.ALTERNATING, part.SCALED_EMBEDDING,
     part.CAPS), names.GEMMA2, fixed=_GEMMA | dict(norm_placement="both"),
    only=_NO_BIAS | _CAUSAL | {"hidden_activation": _GELU_TANH},
    defaults=_GEMMA_DEFAULTS | dict(
        num_key_value_heads=4, sliding_window=4096, sliding_window_pattern=2,
        query_pre_attn_scalar=256, attn_logit_softcapping=50.0,
        final_logit_softcapping=30.0))

GEMMA3 = Family(
    "gemma3_text", ("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"),
    (part.SIZES, part.LOCAL_ROPE, *GEMMA2.parts[2:]), names.GEMMA2,
    fixed=GEMMA2.fixed | dict(qk_norm="head"),
    only=GEMMA2.only | {"attn_logit_softcapping": (None,)},
    defaults=GEMMA2.defaults | dict(
        vocab_size=262208, hidden_size=2304, intermediate_size=9216,
        num_hidden_layers=26, num_attention_heads=8,
        max_position_embeddings=131072, sliding_window_pattern=6,
        rope_theta=1e6, rope_local_base_freq=10_000.0,
        attn_logit_softcapping=None, final_logit_softcapping=None))

PHI3 = Family(
    "phi3", ("Phi3ForCausalLM",),
    (part.SIZES, part.PARTIAL_ROPE, part.ONE_WINDOW), names.PHI3, only=_SILU,
    defaults=dict(rms_norm_eps=1e-5, original_max_position_embeddings=4096,
                  max_position_embeddings=4096))

MIXTRAL = Family(
    "mixtral", ("MixtralForCausalLM",),
    (part.SIZES, part.ROPE, part.ONE_WINDOW, mixture.MIXTRAL), names.MIXTRAL,
    only=_SILU,
    defaults=dict(rms_norm_eps=1e-5, rope_theta=1e6, num_key_value_heads=8,
                  num_local_experts=8, num_experts_per_tok=2,
                  max_position_embeddings=131072))

QWEN3_MOE = Family(
    "qwen3_moe", ("Qwen3MoeForCausalLM",),
    (part.SIZES, part.ROPE, part.SWITCHED_WINDOW, mixture.QWEN_MOE),
    names.QWEN_MOE, fixed=dict(qk_norm="head"),
    only=_SILU | _NO_BIAS | {"decoder_sparse_step": (1,)},
    defaults=dict(use_sliding_window=False, sliding_window=4096,
                  num_key_value_heads=4, norm_topk_prob=False,
                  max_position_embeddings=32768))

_DEEPSEEK = dict(
    # The norms of the latents have this epsilon whatever the config says.
    rms_norm_eps=(1e-6,), moe_layer_freq=(1, None),
    attention_bias=(False, None), hidden_act=("silu",))

DEEPSEEK_V2 = Family(
    "deepseek_v2", ("DeepseekV2ForCausalLM",),
    (part.SIZES, part.ROPE, part.NO_WINDOWS, mixture.DEEPSEEK_MOE,
     mixture.LATENT), names.DEEPSEEK,
    only=_DEEPSEEK | {"topk_method": ("greedy", "group_limited_greedy"),
                      "norm_topk_prob": (False, None),
                      "mlp_bias": (False, None),
                      "scoring_func": ("softmax", None)},
    defaults=dict(topk_method="greedy", first_k_dense_replace=0,
                  kv_lora_rank=512, q_lora_rank=1536, n_routed_experts=64,
                  n_shared_experts=2, qk_nope_head_dim=128,
                  qk_rope_head_dim=64, v_head_dim=128,
                  routed_scaling_factor=1.0, moe_intermediate_size=1407,
                  max_position_embeddings=2048))

DEEPSEEK_V3 = Family(
    "deepseek_v3", ("DeepseekV3ForCausalLM",),
    DEEPSEEK_V2.parts, names.DEEPSEEK,
    only=_DEEPSEEK | {"topk_method": ("noaux_tc", None),
                      "rope_interleave": (True,),
                      "scoring_func": ("sigmoid", None)},
    defaults=dict(first_k_dense_replace=3, kv_lora_rank=512, q_lora_rank=1536,
                  n_routed_experts=256, n_shared_experts=1,
                  qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128,
                  routed_scaling_factor=2.5, moe_intermediate_size=2048,
                  n_group=8, topk_group=4, num_experts_per_tok=8,
                  norm_topk_prob=True, max_position_embeddings=4096))

# In the order in which a model's export looks for a family that can say it.
FAMILIES = (GPT2, LLAMA, MISTRAL, QWEN2, QWEN3, SMOLLM3, OLMO2, GEMMA, GEMMA2,
            GEMMA3, PHI3, MIXTRAL, QWEN3_MOE, DEEPSEEK_V2, DEEPSEEK_V3)
