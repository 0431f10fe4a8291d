"""Rotary positions in GGUF's metadata.

Linear and YaRN stretching are named there; Llama 3's and longrope's stand as
tensors of what each frequency is divided by. Llama 3's few settings are found
again from those numbers, where they give the same numbers; if they do not, the
numbers themselves are kept (as longrope's, which divides the same way).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from llm_jax.config import ConfigError, ModelConfig, RopeScaling
from llm_jax.convert.gguf_file import Contents
from llm_jax.convert.gguf_metadata import Metadata
from llm_jax.convert.hf_parts import Unfit
from llm_jax.convert.hf_rope import yarn_mscale
from llm_jax.model.rotary import rotary_dim, rotary_frequencies

FACTORS = "rope_freqs.weight"
LONG, SHORT = "rope_factors_long.weight", "rope_factors_short.weight"
_LLAMA3_LOW, _LLAMA3_HIGH = 1.0, 4.0  # as all of Llama 3's have them
_LLAMA3_CONTEXT = 8192


def read_rope(meta: Metadata, contents: Contents, head_dim: int
              ) -> dict[str, Any]:
  """Settings of `ModelConfig`: rope_theta, rope_fraction, rope_scaling."""
  theta = meta.number("rope.freq_base", 10_000.0)
  turned = meta.number("rope.dimension_count", head_dim)
  longest = meta.number("context_length")
  original = meta.number("rope.scaling.original_context_length", longest)
  kind = meta.get("rope.scaling.type", "none")
  factor = meta.number("rope.scaling.factor",
                       meta.number("rope.scale_linear", 0.0))
  sharper = meta.number("rope.scaling.attn_factor", 1.0)
  scaling = RopeScaling()
  if FACTORS in contents.shapes:
    divisors = contents.read(FACTORS).astype(np.float32).reshape(-1)
    scaling = _from_divisors(divisors, theta, turned, longest)
  elif LONG in contents.shapes and SHORT in contents.shapes:
    scaling = RopeScaling(
        "longrope", factor=max(1.0, longest / original),
        original_max_len=original, attention_factor=sharper,
        short_factors=_floats(contents.read(SHORT)),
        long_factors=_floats(contents.read(LONG)))
  elif kind == "yarn":
    scaling = RopeScaling(
        "yarn", factor=factor or 1.0, original_max_len=original,
        beta_fast=meta.number("rope.scaling.yarn_beta_fast", 32.0),
        beta_slow=meta.number("rope.scaling.yarn_beta_slow", 1.0),
        # DeepSeek's is in the scale of attention (gguf_deepseek.py).
        attention_factor=1.0 if meta.get("rope.scaling.yarn_log_multiplier")
        else yarn_mscale(factor) * sharper)
  elif kind in ("linear", "none") and factor not in (0, 1):
    scaling = RopeScaling("linear", factor=factor)
  elif kind not in ("linear", "none"):
    raise ConfigError(f"{meta.file} scales rotary positions by {kind!r} "
                      "without its factors; of these kinds, linear, yarn and "
                      "longrope are known here.")
  return {"rope_theta": float(theta), "rope_fraction": turned / head_dim,
          "rope_scaling": scaling}


def _floats(values: np.ndarray) -> tuple[float, ...]:
  return tuple(float(str(x)) for x in values.astype(np.float32).reshape(-1))


def _from_divisors(divisors: np.ndarray, theta: float, turned: int,
                   longest: int) -> RopeScaling:
  """Llama 3's settings, if they give these divisors; else the divisors."""
  if np.all(divisors == 1):
    return RopeScaling()
  factor = float(str(divisors.max()))
  plain = rotary_frequencies(turned, theta, RopeScaling(), longest)
  kept = (1 / divisors - 1 / factor) / (1 - 1 / factor)
  between = (kept > 1e-3) & (kept < 1 - 1e-3)
  original = _LLAMA3_CONTEXT
  if between.any():
    turns = _LLAMA3_LOW + kept[between] * (_LLAMA3_HIGH - _LLAMA3_LOW)
    original = round(float(np.mean(turns * 2 * np.pi / plain[between])))
  scaling = RopeScaling("llama3", factor=factor, original_max_len=original,
                        low_freq_factor=_LLAMA3_LOW,
                        high_freq_factor=_LLAMA3_HIGH)
  again = plain / rotary_frequencies(turned, theta, scaling, longest)
  if np.allclose(again, divisors, rtol=1e-5):
    return scaling
  factors = _floats(divisors)
  return RopeScaling("longrope", original_max_len=longest,
                     short_factors=factors, long_factors=factors)


def write_rope(config: ModelConfig, has_divisors: bool, has_factors: bool
               ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
  """Fields (without the architecture's name), and tensors.

  Args:
    config: the model.
    has_divisors: the architecture reads `rope_freqs`.
    has_factors: it reads longrope's two tensors.

  Raises:
    Unfit: it cannot say this.
  """
  scaling = config.rope_scaling
  fields: dict[str, Any] = {
      "rope.freq_base": float(config.rope_theta),
      "rope.dimension_count": rotary_dim(config)}
  tensors: dict[str, np.ndarray] = {}
  same = scaling.short_factors == scaling.long_factors
  if scaling.kind == "llama3" or (scaling.kind == "longrope" and same
                                  and scaling.attention_factor == 1):
    if not has_divisors:
      raise Unfit(f"model.rope_scaling.kind={scaling.kind}")
    dim, theta = rotary_dim(config), config.rope_theta
    plain = rotary_frequencies(dim, theta, RopeScaling(), config.max_seq_len)
    tensors[FACTORS] = plain / rotary_frequencies(dim, theta, scaling,
                                                  config.max_seq_len)
  elif scaling.kind == "longrope":
    if not has_factors:
      raise Unfit("model.rope_scaling.kind=longrope")
    tensors = {LONG: np.asarray(scaling.long_factors, np.float32),
               SHORT: np.asarray(scaling.short_factors, np.float32)}
    fields |= {
        "rope.scaling.original_context_length": scaling.original_max_len,
        "rope.scaling.attn_factor": float(scaling.attention_factor)}
  elif scaling.kind == "yarn":
    if not scaling.truncate:
      raise Unfit("model.rope_scaling.truncate=False")
    fields |= {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": float(scaling.factor),
        "rope.scaling.original_context_length": scaling.original_max_len,
        "rope.scaling.yarn_beta_fast": float(scaling.beta_fast),
        "rope.scaling.yarn_beta_slow": float(scaling.beta_slow)}
    sharper = scaling.attention_factor / yarn_mscale(scaling.factor)
    if abs(sharper - 1) > 1e-6 and not config.latent.kv_rank:
      fields["rope.scaling.attn_factor"] = sharper
  elif scaling.kind == "linear":
    fields |= {"rope.scaling.type": "linear",
               "rope.scaling.factor": float(scaling.factor)}
  return fields, tensors


def with_same_scaling(again: ModelConfig, config: ModelConfig) -> ModelConfig:
  """`again` with `config`'s words for the frequencies, if they are the same."""
  a, b = again.rope_scaling, config.rope_scaling
  if (again.rope_theta != config.rope_theta
      or rotary_dim(again) != rotary_dim(config)
      or abs(a.attention_factor - b.attention_factor) > 1e-6):
    return again
  freqs = [rotary_frequencies(rotary_dim(c), c.rope_theta, c.rope_scaling,
                              c.max_seq_len) for c in (again, config)]
  if np.allclose(*freqs, rtol=1e-5):
    return dataclasses.replace(again, rope_scaling=b)
  return again
