"""What the fields of a config.json say, part by part.

A part is a pair of functions: `read` makes settings of `ModelConfig` from
fields, `write` makes fields from a `ModelConfig`, or raises `Unfit` where they
cannot say it. `hf_families.py` puts a family together from parts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from llm_jax.config import ConfigError, ModelConfig
from llm_jax.convert.hf_fields import Fields
from llm_jax.convert.hf_rope import read_rope, write_rope


class Unfit(Exception):
  """A family's config.json cannot say what a model has; the text says what."""


@dataclasses.dataclass(frozen=True)
class Part:
  """Some fields and some settings that mean the same."""
  read: Callable[[Fields], dict[str, Any]]
  write: Callable[[ModelConfig], dict[str, Any]]


def _read_sizes(f: Fields) -> dict[str, Any]:
  heads, width = f.number("num_attention_heads"), f.number("hidden_size")
  # `num_key_value_heads` may be absent or null: as many as there are heads.
  return dict(
      vocab_size=f.number("vocab_size"), embed_dim=width,
      num_layers=f.number("num_hidden_layers"), num_heads=heads,
      num_kv_heads=f.get("num_key_value_heads") or heads,
      head_dim=f.get("head_dim") or width // heads,
      mlp_dim=f.get("intermediate_size") or 4 * width,
      max_seq_len=f.number("max_position_embeddings"),
      norm_eps=float(f.number("rms_norm_eps", 1e-6)),
      tie_embeddings=bool(f.get("tie_word_embeddings", False)),
      init_std=float(f.number("initializer_range", 0.02)))


def _write_sizes(c: ModelConfig) -> dict[str, Any]:
  return dict(
      vocab_size=c.vocab_size, hidden_size=c.embed_dim,
      num_hidden_layers=c.num_layers, num_attention_heads=c.num_heads,
      num_key_value_heads=c.num_kv_heads, head_dim=c.head_dim,
      intermediate_size=c.mlp_dim, max_position_embeddings=c.max_seq_len,
      rms_norm_eps=c.norm_eps, tie_word_embeddings=c.tie_embeddings,
      initializer_range=c.init_std)


SIZES = Part(_read_sizes, _write_sizes)


# --- rotary positions ---------------------------------------------------------


def _read_whole_rope(f: Fields) -> dict[str, Any]:
  settings = read_rope(f)
  if settings["rope_fraction"] != 1:
    raise ConfigError(
        f"{f.file} has partial_rotary_factor={settings['rope_fraction']}, "
        "which this family's public code does not apply; remove the field, or "
        "give the model_type that it belongs to.")
  return settings


def _write_local_rope(c: ModelConfig) -> dict[str, Any]:
  if not c.rope_local_theta and c.rope_scaling.kind != "none":
    raise Unfit("rotary positions that are scaled in local layers")
  return write_rope(c) | {
      "rope_local_base_freq": c.rope_local_theta or c.rope_theta}


ROPE = Part(_read_whole_rope, write_rope)
PARTIAL_ROPE = Part(read_rope, write_rope)  # Phi-3
LOCAL_ROPE = Part(_read_whole_rope, _write_local_rope)  # Gemma 3


# --- biases -------------------------------------------------------------------


def _read_biases(f: Fields) -> dict[str, Any]:
  attention = bool(f.get("attention_bias"))
  mlp = bool(f.get("mlp_bias"))
  if attention != mlp:
    raise ConfigError(
        f"{f.file} has attention_bias={attention} and mlp_bias={mlp}; here all "
        "projections have biases (model.use_bias), or none, or only queries, "
        "keys and values (model.qkv_bias).")
  return {"use_bias": attention}


BIASES = Part(_read_biases, lambda c: {"attention_bias": c.use_bias,
                                       "mlp_bias": c.use_bias})


# --- windows and layers without positions -------------------------------------


def shortest_cycle(kinds: list[str]) -> tuple[str, ...]:
  """The shortest pattern that gives `kinds` when repeated."""
  for length in range(1, len(kinds) + 1):
    if all(kind == kinds[i % length] for i, kind in enumerate(kinds)):
      return tuple(kinds[:length])
  return ("global",)


def _layers(types: list[str], f: Fields, window: Any,
            nope: list[bool] | None = None) -> dict[str, Any]:
  """Settings of layers of Hugging Face's `layer_types`."""
  count = f.number("num_hidden_layers")
  nope = nope or [False] * count
  if len(types) < count or len(nope) < count:
    raise ConfigError(f"{f.file} has num_hidden_layers={count}, but kinds of "
                      f"{min(len(types), len(nope))} layers only.")
  names = {"full_attention": "global", "sliding_attention": "local"}
  kinds = []
  for kind, without in list(zip(types, nope))[:count]:
    if kind not in names:
      raise ConfigError(f"{f.file} has {kind!r} among layer_types; of these, "
                        f"{' and '.join(names)} are known here.")
    name = names[kind] if window else "global"
    kinds.append(name + "_nope" if without else name)
  local = any(kind.startswith("local") for kind in kinds)
  return {"layer_pattern": shortest_cycle(kinds),
          "window": int(window) if local else 0}


def kinds_of(c: ModelConfig) -> list[str]:
  """The kind of every layer."""
  return [c.layer_kind(i) for i in range(c.num_layers)]


def layer_types(c: ModelConfig) -> list[str]:
  """Hugging Face's `layer_types`; `Unfit` for layers without positions."""
  kinds = kinds_of(c)
  if any(kind.endswith("_nope") for kind in kinds):
    raise Unfit("layers without rotary positions")
  return ["sliding_attention" if kind == "local" else "full_attention"
          for kind in kinds]


def _write_no_windows(c: ModelConfig) -> dict[str, Any]:
  if set(kinds_of(c)) != {"global"}:
    raise Unfit(f"model.layer_pattern={','.join(c.layer_pattern)}")
  return {}


NO_WINDOWS = Part(lambda f: {}, _write_no_windows)


def _read_one_window(f: Fields) -> dict[str, Any]:
  window = f.get("sliding_window")
  if "use_sliding_window" in f.defaults and not f.get("use_sliding_window"):
    window = None
  types = (f.get("layer_types")
           or ["sliding_attention"] * f.number("num_hidden_layers"))
  return _layers(types, f, window)


def _write_one_window(c: ModelConfig) -> dict[str, Any]:
  kinds = set(layer_types(c))
  if len(kinds) > 1:
    raise Unfit(f"model.layer_pattern={','.join(c.layer_pattern)}")
  return {"sliding_window": c.window if kinds == {"sliding_attention"}
          else None}


ONE_WINDOW = Part(_read_one_window, _write_one_window)  # in every layer


def _write_moe_window(c: ModelConfig) -> dict[str, Any]:
  fields = _write_one_window(c)
  return fields | {"use_sliding_window": bool(fields["sliding_window"])}


SWITCHED_WINDOW = Part(_read_one_window, _write_moe_window)


def _read_last_windows(f: Fields) -> dict[str, Any]:
  count, first = f.number("num_hidden_layers"), f.number("max_window_layers")
  window = f.get("sliding_window") if f.get("use_sliding_window") else None
  types = f.get("layer_types") or [
      "sliding_attention" if i >= first else "full_attention"
      for i in range(count)]
  return _layers(types, f, window)


def _write_last_windows(c: ModelConfig) -> dict[str, Any]:
  types = layer_types(c)
  local = "sliding_attention" in types
  return {"use_sliding_window": local, "layer_types": types,
          "sliding_window": c.window if local else None,
          "max_window_layers": (types.index("sliding_attention") if local
                                else c.num_layers)}


LAST_WINDOWS = Part(_read_last_windows, _write_last_windows)  # Qwen 2, 3


def _read_alternating(f: Fields) -> dict[str, Any]:
  every = f.get("sliding_window_pattern") or f.get("_sliding_window_pattern")
  types = f.get("layer_types") or [
      "sliding_attention" if (i + 1) % every else "full_attention"
      for i in range(f.number("num_hidden_layers"))]
  return _layers(types, f, f.get("sliding_window"))


def _write_alternating(c: ModelConfig) -> dict[str, Any]:
  types = layer_types(c)
  fields = {"layer_types": types, "sliding_window": c.window or 4096}
  if "full_attention" in types:
    every = types.index("full_attention") + 1
    if all((kind == "full_attention") == ((i + 1) % every == 0)
           for i, kind in enumerate(types)):
      fields["sliding_window_pattern"] = every
  return fields


ALTERNATING = Part(_read_alternating, _write_alternating)  # Gemma 2, 3


def _read_nope(f: Fields) -> dict[str, Any]:
  count, every = f.number("num_hidden_layers"), f.get("no_rope_layer_interval")
  rotary = f.get("no_rope_layers") or [(i + 1) % every != 0
                                       for i in range(count)]
  window = f.get("sliding_window") if f.get("use_sliding_window") else None
  types = f.get("layer_types") or [
      "full_attention" if has_rope else "sliding_attention"
      for has_rope in rotary]
  return _layers(types, f, window, [not has_rope for has_rope in rotary])


def _write_nope(c: ModelConfig) -> dict[str, Any]:
  kinds = kinds_of(c)
  local = any(kind.startswith("local") for kind in kinds)
  return {"no_rope_layers": [int(not kind.endswith("_nope"))
                             for kind in kinds],
          "layer_types": ["sliding_attention" if kind.startswith("local")
                          else "full_attention" for kind in kinds],
          "use_sliding_window": local,
          "sliding_window": c.window if local else None}


NOPE = Part(_read_nope, _write_nope)  # SmolLM3


# --- Gemma's ------------------------------------------------------------------


def _write_scaled_embedding(c: ModelConfig) -> dict[str, Any]:
  if abs(c.embed_scale - c.embed_dim ** 0.5) > 1e-6 * c.embed_scale:
    raise Unfit(f"model.embed_scale={c.embed_scale}, not sqrt(embed_dim)")
  return {}


SCALED_EMBEDDING = Part(
    lambda f: {"embed_scale": f.number("hidden_size") ** 0.5},
    _write_scaled_embedding)


def _read_caps(f: Fields) -> dict[str, Any]:
  return {"attention_scale": f.number("query_pre_attn_scalar") ** -0.5,
          "attention_softcap": float(f.get("attn_logit_softcapping") or 0),
          "logit_softcap": float(f.get("final_logit_softcapping") or 0)}


def _write_caps(c: ModelConfig) -> dict[str, Any]:
  scalar = c.head_dim if not c.attention_scale else c.attention_scale ** -2
  if abs(scalar - round(scalar)) < 1e-6 * scalar:
    scalar = round(scalar)
  return {"query_pre_attn_scalar": scalar,
          "attn_logit_softcapping": c.attention_softcap or None,
          "final_logit_softcapping": c.logit_softcap or None}


CAPS = Part(_read_caps, _write_caps)
