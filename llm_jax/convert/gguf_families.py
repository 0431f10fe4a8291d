"""llama.cpp's architectures, each a list of parts: settings <-> metadata.

What an architecture computes is written in llama.cpp's code, not in the file,
so most of a model is said by its architecture's name. Those here were compared
with llama.cpp itself, logits against logits (tests/reference).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from llm_jax.config import ConfigError, ModelConfig, MoeConfig, require
from llm_jax.convert import gguf_deepseek as deepseek
from llm_jax.convert import gguf_tensors as names
from llm_jax.convert.gguf_file import Contents
from llm_jax.convert.gguf_metadata import Metadata
from llm_jax.convert.gguf_rope import (
    read_rope, with_same_scaling, write_rope)
from llm_jax.convert.hf_config import unlike
from llm_jax.convert.hf_parts import Unfit, kinds_of, shortest_cycle
from llm_jax.convert.hf_tensors import Names
from llm_jax.model.rotary import without_ntk

# Read, write: settings out of metadata, and metadata out of settings.
_Read = Callable[[Metadata], dict[str, Any]]
_Write = Callable[[ModelConfig], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Part:
  """Some fields and some settings that mean the same."""
  read: _Read
  write: _Write


@dataclasses.dataclass(frozen=True)
class Architecture:
  """One `general.architecture`.

  Attributes:
    name: llama.cpp's.
    tensors: where they are.
    fixed: settings of `ModelConfig` that it always has.
    parts: what its own fields say.
    head: "own": the unembedding is always in the file; "tied": never.
    square: queries are as wide as the residual stream.
    divisors, factors: it reads `rope_freqs`; `rope_factors_*`.
  """
  name: str
  tensors: Names
  fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  parts: tuple[Part, ...] = ()
  head: str = ""
  square: bool = False
  divisors: bool = False
  factors: bool = False


# --- windows ------------------------------------------------------------------


def _read_one_window(meta: Metadata) -> dict[str, Any]:
  window = meta.get("attention.sliding_window") or 0
  return {"window": window, "layer_pattern": ("local" if window else "global",)}


# A file may say that every layer has a window, but llama.cpp does without it:
# nothing is written, so a model with one does not come back as it was.
_ONE_WINDOW = Part(_read_one_window, lambda c: {})


def _read_no_window(meta: Metadata) -> dict[str, Any]:
  require(not meta.get("attention.sliding_window"), f"{meta.file} is of the "
          f"architecture {meta.architecture} with sliding windows "
          "(OLMo 3), which is not known here.")
  return {}


def _every(number: int, layers: int) -> list[bool]:
  """Which layers are local, where every so many-th is not."""
  return [number == 0 or i % number < number - 1 for i in range(layers)]


def _read_pattern(meta: Metadata, every: int, window: int) -> dict[str, Any]:
  window = meta.number("attention.sliding_window", window)
  local = meta.get("attention.sliding_window_pattern", every)
  layers = meta.number("block_count")
  if not isinstance(local, list):
    local = _every(local, layers)
  require(len(local) >= layers, f"{meta.file} has {layers} layers, but says of "
          f"{len(local)} whether they have a window; download it again.")
  kinds = ["local" if window and is_local else "global"
           for is_local in local[:layers]]
  return {"layer_pattern": shortest_cycle(kinds),
          "window": window if "local" in kinds else 0}


def _write_pattern(c: ModelConfig, every: int) -> dict[str, Any]:
  kinds = kinds_of(c)
  if any(kind.endswith("_nope") for kind in kinds):
    raise Unfit("layers without rotary positions")
  local = [kind == "local" for kind in kinds]
  fields: dict[str, Any] = {}
  if c.window and any(local):
    fields["attention.sliding_window"] = c.window
  if local != _every(every, c.num_layers) and (any(local) or every == 2):
    fields["attention.sliding_window_pattern"] = local
  return fields


# --- Gemma's ------------------------------------------------------------------


def _gemma_scale(largest: int) -> _Read:
  """1 / sqrt(D / N) in the largest size, which llama.cpp knows by its depth."""
  def read(meta: Metadata) -> dict[str, Any]:
    if meta.number("block_count") != largest:
      return {}
    return {"attention_scale": (meta.number("embedding_length")
                                // meta.number("attention.head_count")) ** -0.5}
  return read


def _read_caps(meta: Metadata) -> dict[str, Any]:
  return {"attention_softcap": meta.number("attn_logit_softcapping", 50.0),
          "logit_softcap": meta.number("final_logit_softcapping", 30.0)}


def _write_caps(c: ModelConfig) -> dict[str, Any]:
  if not c.attention_softcap or not c.logit_softcap:
    raise Unfit("no soft caps")
  return {"attn_logit_softcapping": float(c.attention_softcap),
          "final_logit_softcapping": float(c.logit_softcap)}


def _read_gemma3(meta: Metadata) -> dict[str, Any]:
  return {"rope_local_theta": meta.number("rope.freq_base_swa", 10_000.0),
          "logit_softcap": meta.number("final_logit_softcapping", 0.0)}


def _write_gemma3(c: ModelConfig) -> dict[str, Any]:
  fields = {"rope.freq_base_swa": float(c.rope_local_theta or c.rope_theta)}
  if c.logit_softcap:
    fields["final_logit_softcapping"] = float(c.logit_softcap)
  return fields


_SCALED = Part(
    lambda meta: {"embed_scale": meta.number("embedding_length") ** 0.5},
    lambda c: {})
_GEMMA = dict(mlp="geglu", norm_offset=1.0)


# --- experts ------------------------------------------------------------------


def _read_experts(meta: Metadata) -> dict[str, Any]:
  experts = meta.number("expert_count", 0)
  if not experts:
    return {}
  return {"moe": MoeConfig(
      num_experts=experts, experts_per_token=meta.number("expert_used_count"),
      mlp_dim=(meta.get("expert_feed_forward_length")
               or meta.number("feed_forward_length")))}


def _write_experts(c: ModelConfig) -> dict[str, Any]:
  if not c.moe.num_experts:
    return {}
  return {"expert_count": c.moe.num_experts,
          "expert_used_count": c.moe.experts_per_token,
          "feed_forward_length": c.moe.mlp_dim}


def _write_qwen_experts(c: ModelConfig) -> dict[str, Any]:
  if not c.moe.num_experts:
    raise Unfit("no experts")
  return _write_experts(c) | {"feed_forward_length": c.mlp_dim,
                              "expert_feed_forward_length": c.moe.mlp_dim}


ARCHITECTURES = (
    Architecture("qwen2", names.QWEN, dict(qkv_bias=True), square=True),
    Architecture("llama", names.LLAMA, divisors=True,
                 parts=(_ONE_WINDOW, Part(_read_experts, _write_experts))),
    Architecture("qwen3", names.QWEN, dict(qk_norm="head")),
    Architecture("qwen3moe", names.QWEN, dict(qk_norm="head"),
                 parts=(Part(_read_experts, _write_qwen_experts),)),
    Architecture("gpt2", names.GPT2, dict(
        norm="layernorm", position="learned", mlp="gelu", use_bias=True),
                 square=True),
    Architecture("olmo2", names.OLMO2, dict(
        norm_placement="post", qk_norm="full"), head="own", square=True,
                 parts=(Part(_read_no_window, lambda c: {}),)),
    Architecture("smollm3", names.LLAMA, dict(layer_pattern=(
        "global", "global", "global", "global_nope"))),
    Architecture("phi3", names.PHI3, parts=(_ONE_WINDOW,), square=True,
                 factors=True),
    Architecture("gemma", names.GEMMA, _GEMMA, (_SCALED,), head="tied"),
    Architecture("gemma2", names.GEMMA, _GEMMA | dict(norm_placement="both"), (
        _SCALED, Part(_gemma_scale(46), lambda c: {}),
        Part(_read_caps, _write_caps),
        Part(lambda meta: _read_pattern(meta, 2, 4096),
             lambda c: _write_pattern(c, 2))), head="tied"),
    Architecture("gemma3", names.GEMMA, _GEMMA | dict(
        norm_placement="both", qk_norm="head"), (
            _SCALED, Part(_gemma_scale(62), lambda c: {}),
            Part(_read_gemma3, _write_gemma3),
            Part(lambda meta: _read_pattern(meta, 6, 0),
                 lambda c: _write_pattern(c, 6)))),
    Architecture("deepseek2", names.DEEPSEEK, parts=(
        Part(deepseek.read_latent, deepseek.write_latent),
        Part(deepseek.read_experts, deepseek.write_experts))),
)


# --- whole models -------------------------------------------------------------


def read_config(contents: Contents) -> tuple[ModelConfig, Architecture]:
  """The model that a file describes, computing in float32.

  Raises:
    ConfigError: an architecture that is not known here, or what it says does
      not fit together.
  """
  name, file = contents.fields.get("general.architecture"), contents.file
  found = [a for a in ARCHITECTURES if a.name == name]
  if not found:
    raise ConfigError(
        f"{file} is of the architecture {name!r}, which is not known here; "
        f"known are {', '.join(a.name for a in ARCHITECTURES)}.")
  architecture, = found
  meta = Metadata(contents.fields, name, file)
  settings = _sizes(meta, contents, architecture)
  settings |= read_rope(meta, contents, settings["head_dim"])
  if "blk.0.attn_q.bias" in contents.shapes:
    whole = "blk.0.attn_output.bias" in contents.shapes
    settings["use_bias" if whole else "qkv_bias"] = True
  settings |= architecture.fixed
  for part in architecture.parts:
    settings |= part.read(meta)
  config = ModelConfig(**settings)
  try:
    config.validate()
  except ConfigError as error:
    raise ConfigError(f"{file} describes no model that works: {error}"
                      ) from error
  return config, architecture


def _sizes(meta: Metadata, contents: Contents, architecture: Architecture
           ) -> dict[str, Any]:
  embedding = contents.shapes.get("token_embd.weight")
  require(embedding is not None and len(embedding) == 2,
          f"{meta.file} lacks tensor token_embd.weight, so it holds no "
          "language model; give another file.")
  heads, width = (meta.number("attention.head_count"),
                  meta.number("embedding_length"))
  head_dim = meta.number("attention.key_length", width // heads)
  latent = meta.get("attention.kv_lora_rank")
  require(bool(latent)
          or meta.number("attention.value_length", head_dim) == head_dim,
          f"{meta.file} has values of another size than keys "
          f"({meta.architecture}.attention.value_length), which only latent "
          "attention has here.")
  norm = ("layer_norm_epsilon" if architecture.fixed.get("norm")
          else "layer_norm_rms_epsilon")
  return dict(
      vocab_size=embedding[0], embed_dim=width,
      num_layers=meta.number("block_count"), num_heads=heads,
      num_kv_heads=meta.number("attention.head_count_kv", heads),
      head_dim=head_dim, mlp_dim=meta.number("feed_forward_length"),
      max_seq_len=meta.number("context_length"),
      norm_eps=meta.number(f"attention.{norm}"),
      tie_embeddings="output.weight" not in contents.shapes)


def write_config(config: ModelConfig) -> tuple[
    Architecture, dict[str, Any], dict[str, np.ndarray]]:
  """The architecture of a model, its metadata, and tensors beside weights.

  The architecture is the first whose metadata, read back, gives the same
  model, so what is written cannot say something else than what is meant.

  Raises:
    ConfigError: llama.cpp has no architecture with these parts.
  """
  config = without_ntk(config)
  obstacles: dict[str, list[str]] = {}
  unfit: dict[str, list[str]] = {}
  for architecture in ARCHITECTURES:
    found: list[str] = []
    try:
      fields, tensors = _fields_of(architecture, config)
      shapes = {name: values.shape for name, values in tensors.items()}
      shapes["token_embd.weight"] = (config.vocab_size, config.embed_dim)
      if not config.tie_embeddings:
        shapes["output.weight"] = shapes["token_embd.weight"]
      if config.qkv_bias or config.use_bias:
        shapes["blk.0.attn_q.bias"] = ()
      if config.use_bias:
        shapes["blk.0.attn_output.bias"] = ()
      again, _ = read_config(Contents("GGUF", fields, shapes,
                                      tensors.__getitem__))
    except (Unfit, ConfigError) as error:
      unfit.setdefault(architecture.name, [str(error).rstrip(".")])
      continue
    found += unlike(config, with_same_scaling(again, config))
    if not found:
      return architecture, fields, tensors
    obstacles[architecture.name] = found
  # Those whose fields can be written at all come nearest.
  obstacles = obstacles or unfit
  nearest = min(obstacles, key=lambda name: len(obstacles[name]))
  raise ConfigError(
      "llama.cpp has no architecture with all parts of this model; nearest is "
      f"{nearest}, but for {', '.join(obstacles[nearest])}; save it with "
      "format=hf or format=orbax.")


def _fields_of(architecture: Architecture, c: ModelConfig
               ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
  if architecture.head == ("own" if c.tie_embeddings else "tied"):
    raise Unfit(f"model.tie_embeddings={c.tie_embeddings}")
  if architecture.square and c.num_heads * c.head_dim != c.embed_dim:
    raise Unfit(f"model.head_dim={c.head_dim}, not embed_dim / num_heads")
  if c.latent.kv_rank and architecture.name != "deepseek2":
    raise Unfit("latent attention")
  norm = "layer_norm" if c.norm == "layernorm" else "layer_norm_rms"
  fields = {
      "vocab_size": c.vocab_size, "context_length": c.max_seq_len,
      "embedding_length": c.embed_dim, "block_count": c.num_layers,
      "feed_forward_length": c.mlp_dim, "attention.head_count": c.num_heads,
      "attention.head_count_kv": c.num_kv_heads,
      "attention.key_length": c.head_dim,
      "attention.value_length": c.head_dim,
      f"attention.{norm}_epsilon": float(c.norm_eps)}
  tensors: dict[str, np.ndarray] = {}
  if c.position == "rope":
    rope, tensors = write_rope(c, architecture.divisors, architecture.factors)
    fields |= rope
  for part in architecture.parts:
    fields |= part.write(c)
  return ({"general.architecture": architecture.name}
          | {f"{architecture.name}.{name}": value
             for name, value in fields.items()}), tensors
