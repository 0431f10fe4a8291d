"""Parts of config.json, continued: mixtures of experts, latent attention."""

from __future__ import annotations

from typing import Any

from llm_jax.config import ConfigError, LatentConfig, ModelConfig, MoeConfig
from llm_jax.convert.hf_fields import Fields
from llm_jax.convert.hf_parts import Part, Unfit
from llm_jax.convert.hf_rope import write_rope, yarn_mscale



def _read_mixtral(f: Fields) -> dict[str, Any]:
  return {"moe": MoeConfig(
      num_experts=f.number("num_local_experts"),
      experts_per_token=f.number("num_experts_per_tok"),
      mlp_dim=f.number("intermediate_size"))}


def _write_experts(c: ModelConfig) -> dict[str, Any]:
  if not c.moe.num_experts:
    raise Unfit("no mixture of experts")
  return {"num_experts_per_tok": c.moe.experts_per_token}


MIXTRAL = Part(_read_mixtral, lambda c: _write_experts(c) | {
    "num_local_experts": c.moe.num_experts,
    "intermediate_size": c.moe.mlp_dim})


def _read_qwen_moe(f: Fields) -> dict[str, Any]:
  dense = sorted(f.get("mlp_only_layers") or [])
  if dense != list(range(len(dense))):
    raise ConfigError(f"{f.file} has mlp_only_layers={dense}; only the first "
                      "layers can be dense here (model.moe.first_dense).")
  return {"moe": MoeConfig(
      num_experts=f.get("num_experts") or f.number("num_local_experts"),
      experts_per_token=f.number("num_experts_per_tok"),
      mlp_dim=f.number("moe_intermediate_size"), first_dense=len(dense),
      normalize=bool(f.get("norm_topk_prob")))}


QWEN_MOE = Part(_read_qwen_moe, lambda c: _write_experts(c) | {
    "num_experts": c.moe.num_experts,
    "moe_intermediate_size": c.moe.mlp_dim,
    "norm_topk_prob": c.moe.normalize,
    "mlp_only_layers": list(range(c.moe.first_dense))})


def _read_deepseek_moe(f: Fields) -> dict[str, Any]:
  if not f.get("n_routed_experts"):
    return {}
  # V3's one method has no name in its config's class.
  method = f.get("topk_method") or "noaux_tc"
  grouped = method != "greedy"
  width = f.number("moe_intermediate_size")
  third = method == "noaux_tc"
  return {"moe": MoeConfig(
      num_experts=f.number("n_routed_experts"),
      experts_per_token=f.number("num_experts_per_tok"), mlp_dim=width,
      shared_dim=width * (f.get("n_shared_experts") or 0),
      first_dense=f.number("first_k_dense_replace"),
      router="sigmoid" if third else "softmax", correction_bias=third,
      normalize=bool(f.get("norm_topk_prob")) if third else False,
      scale=float(f.number("routed_scaling_factor")),
      groups=(f.get("n_group") or 1) if grouped else 1,
      top_groups=(f.get("topk_group") or 1) if grouped else 1,
      group_top=2 if third else 1)}


def _write_deepseek_moe(c: ModelConfig) -> dict[str, Any]:
  moe = c.moe
  if not moe.num_experts or not moe.shared_dim or moe.shared_dim % moe.mlp_dim:
    raise Unfit("no shared experts of the routed ones' width")
  method = ("noaux_tc" if moe.correction_bias else
            "group_limited_greedy" if moe.groups > 1 else "greedy")
  return {"n_routed_experts": moe.num_experts, "topk_method": method,
          "num_experts_per_tok": moe.experts_per_token,
          "moe_intermediate_size": moe.mlp_dim, "moe_layer_freq": 1,
          "n_shared_experts": moe.shared_dim // moe.mlp_dim,
          "first_k_dense_replace": moe.first_dense,
          "scoring_func": moe.router, "norm_topk_prob": moe.normalize,
          "routed_scaling_factor": moe.scale, "n_group": moe.groups,
          "topk_group": moe.top_groups}


DEEPSEEK_MOE = Part(_read_deepseek_moe, _write_deepseek_moe)


def _read_latent(f: Fields) -> dict[str, Any]:
  nope, rope = f.number("qk_nope_head_dim"), f.number("qk_rope_head_dim")
  scaling = f.get("rope_parameters") or f.get("rope_scaling") or {}
  scale = 0.0
  if scaling.get("mscale_all_dim") and scaling.get("factor"):
    # YaRN's temperature, of queries and keys (both: squared).
    mscale = yarn_mscale(scaling["factor"], scaling["mscale_all_dim"])
    scale = (nope + rope) ** -0.5 * mscale ** 2
  return {"head_dim": nope + rope, "attention_scale": scale,
          "num_kv_heads": f.number("num_attention_heads"),
          "latent": LatentConfig(
              kv_rank=f.number("kv_lora_rank"), nope_dim=nope, rope_dim=rope,
              q_rank=f.get("q_lora_rank") or 0, v_dim=f.number("v_head_dim"))}


def _write_latent(c: ModelConfig) -> dict[str, Any]:
  latent = c.latent
  if not latent.kv_rank:
    raise Unfit("no latent attention")
  fields = {"kv_lora_rank": latent.kv_rank,
            "q_lora_rank": latent.q_rank or None,
            "qk_nope_head_dim": latent.nope_dim,
            "qk_rope_head_dim": latent.rope_dim, "v_head_dim": latent.v_dim,
            # To Hugging Face's classes this is what is turned.
            "head_dim": latent.rope_dim}
  default = (latent.nope_dim + latent.rope_dim) ** -0.5
  rope = write_rope(c)
  if c.attention_scale and abs(c.attention_scale / default - 1) > 1e-6:
    factor = c.rope_scaling.factor
    if c.rope_scaling.kind != "yarn" or factor <= 1:
      raise Unfit(f"model.attention_scale={c.attention_scale}")
    mscale = ((c.attention_scale / default) ** 0.5 - 1) / (
        yarn_mscale(factor) - 1)
    rope["rope_scaling"]["mscale_all_dim"] = round(mscale, 9)
    if c.rope_scaling.attention_factor == 1:
      rope["rope_scaling"].pop("attention_factor", None)
      rope["rope_scaling"]["mscale"] = round(mscale, 9)
  return fields | rope


LATENT = Part(_read_latent, _write_latent)
