"""DeepSeek-V2 and V3 in GGUF's metadata: latent attention and its experts."""

from __future__ import annotations

from typing import Any

from llm_jax.config import ConfigError, LatentConfig, ModelConfig, MoeConfig
from llm_jax.convert.gguf_metadata import Metadata
from llm_jax.convert.hf_parts import Unfit
from llm_jax.convert.hf_rope import yarn_mscale

_ROUTERS = {1: "softmax", 2: "sigmoid"}
# The file has YaRN's `mscale_all_dim` times this.
_LOG_MULTIPLIER = 0.1


def read_latent(meta: Metadata) -> dict[str, Any]:
  """Settings of latent attention, and of YaRN's temperature in it."""
  rank = meta.number("attention.kv_lora_rank")
  rope = meta.number("rope.dimension_count")
  if meta.get("attention.key_length_mla") is None:
    raise ConfigError(
        f"{meta.file} lacks {meta.architecture}.attention.key_length_mla: it "
        "was converted before llama.cpp kept latent attention apart; give a "
        "newer conversion of the model.")
  inner = meta.number("attention.key_length_mla")
  settings: dict[str, Any] = {
      "head_dim": inner, "num_kv_heads": meta.number("attention.head_count"),
      "rope_fraction": 1.0, "latent": LatentConfig(
          kv_rank=rank, q_rank=meta.number("attention.q_lora_rank", 0),
          nope_dim=inner - rope, rope_dim=rope,
          v_dim=meta.number("attention.value_length_mla"))}
  multiplier = meta.number("rope.scaling.yarn_log_multiplier", 0.0)
  if meta.get("rope.scaling.type") == "yarn":
    if not multiplier:
      raise ConfigError(
          f"{meta.file} has YaRN without {meta.architecture}.rope.scaling."
          "yarn_log_multiplier, the temperature that belongs to it; give "
          "another conversion of the model.")
    mscale = yarn_mscale(meta.number("rope.scaling.factor"),
                         multiplier / _LOG_MULTIPLIER)
    settings["attention_scale"] = inner ** -0.5 * mscale ** 2
  return settings


def write_latent(c: ModelConfig) -> dict[str, Any]:
  """The fields of the same; `Unfit` where they cannot say it."""
  latent = c.latent
  if not latent.kv_rank:
    raise Unfit("no latent attention")
  inner = latent.nope_dim + latent.rope_dim
  fields = {
      "attention.head_count_kv": 1, "attention.kv_lora_rank": latent.kv_rank,
      "attention.q_lora_rank": latent.q_rank,
      "attention.key_length": latent.kv_rank + latent.rope_dim,
      "attention.value_length": latent.kv_rank,
      "attention.key_length_mla": inner,
      "attention.value_length_mla": latent.v_dim}
  if c.rope_scaling.kind == "yarn":
    ratio = (c.attention_scale or inner ** -0.5) * inner ** 0.5
    mscale = (ratio ** 0.5 - 1) / (yarn_mscale(c.rope_scaling.factor) - 1)
    if mscale <= 0 or c.rope_scaling.attention_factor != 1:
      raise Unfit("YaRN without its temperature in model.attention_scale")
    fields["rope.scaling.yarn_log_multiplier"] = _LOG_MULTIPLIER * mscale
  return fields


def read_experts(meta: Metadata) -> dict[str, Any]:
  """Settings of the experts."""
  width = meta.number("expert_feed_forward_length")
  number = meta.get("expert_gating_func", 1)
  if number not in _ROUTERS:
    raise ConfigError(f"{meta.file} has {meta.architecture}.expert_gating_func="
                      f"{number}; of these, 1 (softmax) and 2 (sigmoid) are "
                      "known here.")
  groups = meta.number("expert_group_count", 1) or 1
  return {"moe": MoeConfig(
      num_experts=meta.number("expert_count"),
      experts_per_token=meta.number("expert_used_count"), mlp_dim=width,
      shared_dim=width * meta.number("expert_shared_count", 0),
      first_dense=meta.number("leading_dense_block_count", 0),
      router=_ROUTERS[number], correction_bias=number == 2,
      normalize=bool(meta.get("expert_weights_norm", False)),
      scale=meta.number("expert_weights_scale", 1.0) or 1.0, groups=groups,
      top_groups=(meta.number("expert_group_used_count", 1)
                  if groups > 1 else 1),
      group_top=2 if groups > 1 else 1)}


def write_experts(c: ModelConfig) -> dict[str, Any]:
  """The fields of the same."""
  moe = c.moe
  if not moe.num_experts or not moe.shared_dim or moe.shared_dim % moe.mlp_dim:
    raise Unfit("no shared experts of the routed ones' width")
  fields = {
      "expert_count": moe.num_experts,
      "expert_used_count": moe.experts_per_token,
      "expert_feed_forward_length": moe.mlp_dim,
      "expert_shared_count": moe.shared_dim // moe.mlp_dim,
      "leading_dense_block_count": moe.first_dense,
      "expert_gating_func": 2 if moe.router == "sigmoid" else 1,
      "expert_weights_norm": moe.normalize,
      "expert_weights_scale": float(moe.scale)}
  if moe.groups > 1:
    fields |= {"expert_group_count": moe.groups,
               "expert_group_used_count": moe.top_groups}
  return fields
