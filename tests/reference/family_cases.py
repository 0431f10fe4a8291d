"""Tiny models of every family, made and filled by transformers."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

V, D, L, N, K = 89, 32, 3, 4, 2
T = 48  # positions: more than the windows and the original contexts below
SIZES = dict(
    vocab_size=V, hidden_size=D, num_hidden_layers=L, num_attention_heads=N,
    num_key_value_heads=K, intermediate_size=40, max_position_embeddings=64,
    pad_token_id=0, bos_token_id=1, eos_token_id=2)
DEFAULT_ROPE = {"rope_type": "default", "rope_theta": 500.0}
LLAMA3_ROPE = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 4.0,
               "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 16}
YARN_ROPE = {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0,
             "original_max_position_embeddings": 16, "beta_fast": 4.0,
             "beta_slow": 1.0}
DEEPSEEK_YARN = YARN_ROPE | {"mscale": 0.7, "mscale_all_dim": 0.9}
LONGROPE = {"rope_type": "longrope", "rope_theta": 500.0,
            "short_factor": [1.0, 1.1, 1.3], "long_factor": [1.5, 2.0, 4.0],
            "original_max_position_embeddings": 24}
MOE = dict(moe_intermediate_size=24, num_experts_per_tok=2)
LATENT = dict(
    num_key_value_heads=N, kv_lora_rank=12, qk_nope_head_dim=8,
    qk_rope_head_dim=8,
    v_head_dim=10, rms_norm_eps=1e-6)
SLIDING = ["sliding_attention", "full_attention", "sliding_attention"]

# name -> (config class, model class, what differs from SIZES)
CASES = {
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", None),
    "llama2": ("LlamaConfig", "LlamaForCausalLM", dict(
        num_key_value_heads=N, rope_parameters=DEFAULT_ROPE)),
    "llama3": ("LlamaConfig", "LlamaForCausalLM", dict(
        rope_parameters=LLAMA3_ROPE)),
    "llama_tied_linear": ("LlamaConfig", "LlamaForCausalLM", dict(
        tie_word_embeddings=True,
        rope_parameters=DEFAULT_ROPE | {"rope_type": "linear",
                                        "factor": 2.0})),
    "llama_yarn_biases": ("LlamaConfig", "LlamaForCausalLM", dict(
        rope_parameters=YARN_ROPE, attention_bias=True, mlp_bias=True)),
    "mistral": ("MistralConfig", "MistralForCausalLM", dict(
        sliding_window=7, rope_parameters=DEFAULT_ROPE, head_dim=12)),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", dict(
        rope_parameters=DEFAULT_ROPE)),
    "qwen2_windows": ("Qwen2Config", "Qwen2ForCausalLM", dict(
        use_sliding_window=True, sliding_window=7, max_window_layers=1,
        rope_parameters=YARN_ROPE)),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", dict(
        head_dim=12, tie_word_embeddings=True, rope_parameters=DEFAULT_ROPE)),
    "gemma": ("GemmaConfig", "GemmaForCausalLM", dict(
        head_dim=12, rope_parameters=DEFAULT_ROPE)),
    "gemma2": ("Gemma2Config", "Gemma2ForCausalLM", dict(
        head_dim=12, sliding_window=7, query_pre_attn_scalar=20,
        attn_logit_softcapping=3.0, final_logit_softcapping=2.0,
        rope_parameters=DEFAULT_ROPE)),
    "gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM", dict(
        head_dim=12, sliding_window=7, query_pre_attn_scalar=20,
        layer_types=SLIDING, rope_parameters={
            "full_attention": DEFAULT_ROPE | {"rope_type": "linear",
                                              "factor": 4.0},
            "sliding_attention": {"rope_type": "default",
                                  "rope_theta": 50.0}})),
    "olmo2": ("Olmo2Config", "Olmo2ForCausalLM", dict(
        rope_parameters=DEFAULT_ROPE)),
    "smollm2": ("LlamaConfig", "LlamaForCausalLM", dict(
        num_attention_heads=3, num_key_value_heads=1, hidden_size=36,
        tie_word_embeddings=True, rope_parameters=DEFAULT_ROPE)),
    "smollm3": ("SmolLM3Config", "SmolLM3ForCausalLM", dict(
        no_rope_layers=[1, 0, 1], rope_parameters=DEFAULT_ROPE)),
    "phi3": ("Phi3Config", "Phi3ForCausalLM", dict(
        sliding_window=9, rope_parameters=DEFAULT_ROPE | {
            "partial_rotary_factor": 0.75})),
    "phi3_longrope": ("Phi3Config", "Phi3ForCausalLM", dict(
        original_max_position_embeddings=24, rope_parameters=LONGROPE | {
            "partial_rotary_factor": 0.75})),
    "mixtral": ("MixtralConfig", "MixtralForCausalLM", dict(
        num_local_experts=4, num_experts_per_tok=2, sliding_window=None,
        rope_parameters=DEFAULT_ROPE)),
    "qwen3_moe": ("Qwen3MoeConfig", "Qwen3MoeForCausalLM", MOE | dict(
        num_experts=6, head_dim=12, norm_topk_prob=True,
        rope_parameters=DEFAULT_ROPE)),
    "qwen3_moe_unnormalised": ("Qwen3MoeConfig", "Qwen3MoeForCausalLM",
                               MOE | dict(
        num_experts=6, head_dim=12, norm_topk_prob=False, mlp_only_layers=[0],
        rope_parameters=DEFAULT_ROPE)),
    "deepseek_v2_lite": ("DeepseekV2Config", "DeepseekV2ForCausalLM",
                         MOE | LATENT | dict(
        q_lora_rank=None, n_routed_experts=6, first_k_dense_replace=1,
        routed_scaling_factor=1.5, rope_parameters=DEEPSEEK_YARN)),
    "deepseek_v2": ("DeepseekV2Config", "DeepseekV2ForCausalLM",
                    MOE | LATENT | dict(
        q_lora_rank=14, n_routed_experts=8, first_k_dense_replace=1,
        topk_method="group_limited_greedy", n_group=4, topk_group=2,
        routed_scaling_factor=4.0, rope_parameters=DEEPSEEK_YARN)),
    "deepseek_v3": ("DeepseekV3Config", "DeepseekV3ForCausalLM",
                    MOE | LATENT | dict(
        q_lora_rank=14, n_routed_experts=8, first_k_dense_replace=1,
        n_group=4, topk_group=2, routed_scaling_factor=2.5,
        rope_parameters=DEEPSEEK_YARN)),
}


def make(name, seed=0):
  """The model of a case, filled."""
  config_name, model_name, settings = CASES[name]
  if not hasattr(transformers, model_name):
    pytest.skip(f"the installed transformers has no {model_name}")
  cls = getattr(transformers, config_name)
  if settings is None:
    config = cls(vocab_size=V, n_embd=D, n_layer=L, n_head=N, n_positions=64,
                 bos_token_id=1, eos_token_id=2)
  else:
    config = cls(**SIZES | settings)
  # The other implementations leave soft caps out.
  config._attn_implementation = "eager"
  return fill(getattr(transformers, model_name)(config), seed)


def fill(model, seed=0):
  """Random weights, none of them constant, that give logits of order one."""
  generator = torch.Generator().manual_seed(seed)
  offset = 0.0 if "Gemma" in type(model).__name__ else 1.0
  with torch.no_grad():
    for path, weight in (*model.named_parameters(), *model.named_buffers()):
      if "inv_freq" in path or "embed_scale" in path:
        continue
      noise = torch.randn(weight.shape, generator=generator)
      is_scale = ("norm" in path or "ln_" in path) and path.endswith("weight")
      if is_scale:
        weight.copy_(offset + 0.2 * noise)
      elif weight.ndim == 1 or weight.shape[0] == V:
        weight.copy_(0.2 * noise)
      else:
        weight.copy_(noise * 0.9 / weight.shape[-1] ** 0.5)
  return model.eval()


def logits(model, tokens_BT, lengths_B=None):
  """Their logits of right-padded rows, float32 [B, T, V]."""
  mask_BT = None
  if lengths_B is not None:
    mask_BT = torch.tensor(
        np.arange(tokens_BT.shape[1])[None] < np.asarray(lengths_B)[:, None])
  with torch.no_grad():
    return model(torch.tensor(tokens_BT), attention_mask=mask_BT,
                 use_cache=False).logits.float().numpy()
