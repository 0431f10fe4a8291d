"""Rotary positions: how config.json says them, and how ours does.

Two styles are read. The older one, which most published files have and which
is written (every program reads it): `rope_theta` and `rope_scaling`; and that
of transformers 5: one `rope_parameters`, by kinds of layers for Gemma 3.
"""

from __future__ import annotations

import math
from typing import Any

from llm_jax.config import ConfigError, ModelConfig, RopeScaling
from llm_jax.convert.hf_fields import Fields

_KINDS = {"default": "none", "linear": "linear", "llama3": "llama3",
          "yarn": "yarn", "longrope": "longrope", "su": "longrope"}


def read_rope(fields: Fields) -> dict[str, Any]:
  """Settings of `ModelConfig`: rope_theta, rope_fraction, rope_scaling, ..."""
  rope = fields.get("rope_parameters") or fields.get("rope_scaling") or {}
  if not isinstance(rope, dict):
    raise ConfigError(f"{fields.file} has rope_scaling={rope!r}, which should "
                      "be an object or null.")
  local: dict[str, Any] = {}
  if "rope_local_base_freq" in fields.defaults:  # Gemma 3
    sliding = rope.get("sliding_attention") or {}
    kind = sliding.get("rope_type", "default")
    if kind != "default":
      raise ConfigError(f"{fields.file} stretches the rotary positions of "
                        f"sliding_attention layers ({kind}); only those of "
                        "full_attention layers can be here.")
    local["rope_local_theta"] = float(sliding.get(
        "rope_theta", fields.get("rope_local_base_freq")))
    if "sliding_attention" in rope or "full_attention" in rope:
      rope = rope.get("full_attention") or {}
  fraction = rope.get("partial_rotary_factor",
                      fields.get("partial_rotary_factor"))
  if fraction is None:
    fraction = 1.0
  theta = rope.get("rope_theta")
  if theta is None:
    theta = fields.number("rope_theta", 10_000.0)
  return {"rope_theta": float(theta), "rope_fraction": float(fraction),
          "rope_scaling": _read_scaling(rope, fields)} | local


def _read_scaling(rope: dict[str, Any], fields: Fields) -> RopeScaling:
  name = rope.get("rope_type") or rope.get("type") or "default"
  kind = _KINDS.get(name)
  if kind is None:
    raise ConfigError(f"{fields.file} scales rotary positions by {name!r}; of "
                      f"these kinds, {', '.join(_KINDS)} are known here.")
  if kind == "none":
    return RopeScaling()
  longest = fields.number("max_position_embeddings")
  # Phi-3 has it beside the dict, and there it counts.
  original = int(fields.get("original_max_position_embeddings")
                 or rope.get("original_max_position_embeddings") or longest)
  factor = rope.get("factor") or (longest / original
                                  if kind in ("yarn", "longrope") else None)

  def need(field):
    if rope.get(field) is None:
      raise ConfigError(f"{fields.file} scales rotary positions by {name!r} "
                        f"without `{field}`; give the config.json that "
                        "belongs to these weights.")
    return rope[field]
  if kind == "longrope":
    given = rope.get("attention_factor")
    return RopeScaling(
        kind, factor=max(1.0, float(factor)), original_max_len=original,
        attention_factor=float(
            longrope_attention_factor(factor * original, original)
            if given is None else given),
        short_factors=tuple(map(float, need("short_factor"))),
        long_factors=tuple(map(float, need("long_factor"))))
  factor = float(need("factor") if factor is None else factor)
  if kind == "linear":
    return RopeScaling(kind, factor=factor)
  if kind == "llama3":
    return RopeScaling(
        kind, factor=factor, original_max_len=original,
        low_freq_factor=float(need("low_freq_factor")),
        high_freq_factor=float(need("high_freq_factor")))
  given = rope.get("attention_factor")
  return RopeScaling(
      kind, factor=factor, original_max_len=original,
      beta_fast=float(rope.get("beta_fast") or 32),
      beta_slow=float(rope.get("beta_slow") or 1),
      truncate=bool(rope.get("truncate", True)),
      attention_factor=float(_yarn_attention_factor(rope, factor)
                             if given is None else given))


def yarn_mscale(factor: float, mscale: float = 1.0) -> float:
  """0.1 · mscale · ln(factor) + 1: YaRN's temperature (arXiv:2309.00071)."""
  return 0.1 * mscale * math.log(factor) + 1.0 if factor > 1 else 1.0


def longrope_attention_factor(longest: float, original: int) -> float:
  """sqrt(1 + ln(longest/original) / ln(original)) (arXiv:2402.13753)."""
  if longest <= original:
    return 1.0
  return math.sqrt(1 + math.log(longest / original) / math.log(original))


def _yarn_attention_factor(rope: dict[str, Any], factor: float) -> float:
  mscale, all_dim = rope.get("mscale"), rope.get("mscale_all_dim")
  if mscale and all_dim:
    return yarn_mscale(factor, mscale) / yarn_mscale(factor, all_dim)
  return yarn_mscale(factor)


def write_rope(config: ModelConfig) -> dict[str, Any]:
  """The fields of config.json, in the older style."""
  fields: dict[str, Any] = {"rope_theta": config.rope_theta,
                            "rope_scaling": _write_scaling(config)}
  if config.rope_fraction != 1:
    fields["partial_rotary_factor"] = config.rope_fraction
  if config.rope_scaling.kind == "longrope":
    fields["original_max_position_embeddings"] = (
        config.rope_scaling.original_max_len)
  return fields


def _write_scaling(config: ModelConfig) -> dict[str, Any] | None:
  scaling = config.rope_scaling
  if scaling.kind == "none":
    return None
  if scaling.kind == "longrope":
    # Older programs insist on these three and no more; the original context
    # stands beside them (`write_rope`).
    rope = {"type": "longrope", "short_factor": list(scaling.short_factors),
            "long_factor": list(scaling.long_factors)}
    if scaling.attention_factor != longrope_attention_factor(
        config.max_seq_len, scaling.original_max_len):
      rope["attention_factor"] = scaling.attention_factor
    return rope
  rope = {"rope_type": scaling.kind, "type": scaling.kind}
  rope["factor"] = scaling.factor
  if scaling.kind == "linear":
    return rope
  rope["original_max_position_embeddings"] = scaling.original_max_len
  if scaling.kind == "llama3":
    return rope | {"low_freq_factor": scaling.low_freq_factor,
                   "high_freq_factor": scaling.high_freq_factor}
  rope |= {"beta_fast": scaling.beta_fast, "beta_slow": scaling.beta_slow}
  if not scaling.truncate:
    rope["truncate"] = False
  if scaling.attention_factor != yarn_mscale(scaling.factor):
    rope["attention_factor"] = scaling.attention_factor
  return rope
