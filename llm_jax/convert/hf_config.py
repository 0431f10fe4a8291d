"""config.json <-> `ModelConfig`.

A file's family is looked up by its name. The other way round no name is asked
for: a model's family is the first whose config.json, read back, gives the same
model, so what is written can never say something else than what is meant.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from llm_jax.config import (
    ConfigError, ModelConfig, MoeConfig, RopeScaling, require)
from llm_jax.config_tree import flatten
from llm_jax.convert.hf_families import FAMILIES, GEMMA3, Family
from llm_jax.convert.hf_fields import Fields
from llm_jax.convert.hf_parts import Unfit, kinds_of
from llm_jax.model.rotary import without_ntk

# How a model is run or trained is not what it is.
_HOW_IT_RUNS = frozenset((
    "attention", "context_attention", "remat", "scan_layers", "compute_dtype",
    "param_dtype", "cache_dtype", "moe.balance_coef", "moe.dispatch",
    "moe.capacity_factor", "init_std", "mup_base_dim"))
_FAR = 1000  # a family that cannot say the model is not the nearest


def family_of(contents: Mapping[str, Any], file: str) -> Family:
  """The family of a config.json.

  Raises:
    ConfigError: it is of none that is known here.
  """
  classes = contents.get("architectures") or []
  for family in FAMILIES:
    if any(name in family.architectures for name in classes):
      return family
  if not classes:
    for family in FAMILIES:
      if contents.get("model_type") == family.model_type:
        return family
  told = (f"architectures={classes}" if classes
          else f"model_type={contents.get('model_type')!r}")
  raise ConfigError(
      f"{file} is of an architecture that is not known here ({told}); known "
      f"are {', '.join(family.architectures[0] for family in FAMILIES)}.")


def read_config(contents: Mapping[str, Any], file: str) -> ModelConfig:
  """The model that a config.json describes, computing in float32.

  Args:
    contents: the file's contents; of either style of rotary fields.
    file: its name, for sentences.

  Raises:
    ConfigError: an unknown architecture, or a feature that we do not have.
  """
  family = family_of(contents, file)
  if family is GEMMA3 and isinstance(contents.get("text_config"), dict):
    contents = contents["text_config"]  # of a model that also sees
  quantized = contents.get("quantization_config")
  if quantized and (
      quantized.get("quant_method") != "fp8"
      or quantized.get("weight_block_size") != [128, 128]):
    raise ConfigError(
        f"{file} says that the weights are quantised by "
        f"{quantized.get('quant_method')!r}; of such, only fp8 in blocks of "
        "128 x 128 is read: give the unquantised model, or a .gguf file.")
  values = dict(contents)
  for ours, theirs in family.aliases.items():
    if theirs in values:
      values[ours] = values.pop(theirs)
  fields = Fields(values, file, family.defaults)
  for name, allowed in family.only.items():
    fields.insist(name, allowed, f"{family.architectures[0]} with another "
                  "value computes what this codebase does not")
  settings = dict(family.fixed)
  try:
    for part in family.parts:
      settings |= part.read(fields)
  except (TypeError, AttributeError, KeyError) as error:
    raise ConfigError(f"{file} cannot be read ({type(error).__name__}: "
                      f"{error}); give the config.json that belongs to these "
                      "weights.") from error
  config = ModelConfig(**settings)
  try:
    config.validate()
  except ConfigError as error:
    raise ConfigError(f"{file} describes no model that works: {error}"
                      ) from error
  return config


def write_config(config: ModelConfig, model_type: str = ""
                 ) -> tuple[Family, dict[str, Any]]:
  """The config.json of a model, and its family.

  Args:
    config: the model.
    model_type: the family to write; default: the first that can say it.

  Raises:
    ConfigError: no family (or not that one) has these parts.
  """
  config = without_ntk(config)
  wanted = [f for f in FAMILIES if model_type in ("", f.model_type)]
  if not wanted:
    raise ConfigError(
        f"model_type={model_type!r} is not known; choose one of "
        f"{', '.join(f.model_type for f in FAMILIES)}.")
  obstacles = []  # (how far, family, why not)
  for family in wanted:
    try:
      fields = _fields_of(family, config)
      again = read_config(fields, "config.json")
    except (Unfit, ConfigError) as error:
      obstacles.append((_FAR, family.model_type, str(error).rstrip(".")))
      continue
    found = unlike(config, again)
    if not found:
      return family, fields
    obstacles.append((len(found), family.model_type, ", ".join(found)))
  _, nearest, why = min(obstacles)
  require(not model_type, f"no model_type={model_type} of Hugging Face's has "
          f"all parts of this model: {why}; leave model_type empty.")
  raise ConfigError(
      "no family of Hugging Face's has all parts of this model; nearest is "
      f"{nearest}, but for {why}; save it with format=orbax.")


def _fields_of(family: Family, config: ModelConfig) -> dict[str, Any]:
  fields: dict[str, Any] = {
      name: allowed[0] for name, allowed in family.only.items()}
  for part in family.parts:
    fields |= part.write(config)
  for ours, theirs in family.aliases.items():
    value = fields.pop(ours, None)
    if theirs:
      fields[theirs] = value
  return {"architectures": [family.architectures[0]],
          "model_type": family.model_type} | fields


def unlike(a: ModelConfig, b: ModelConfig) -> list[str]:
  """`model.name=value` of what makes `a` another model than `b`."""
  ours, others = _essence(a), _essence(b)
  def same(x, y):
    if isinstance(x, float) and isinstance(y, (int, float)):
      return math.isclose(x, y, rel_tol=1e-6)
    return x == y
  return [f"model.{name}={value}" for name, value in ours.items()
          if not same(value, others[name])]


def _essence(config: ModelConfig) -> dict[str, Any]:
  """What a model computes: settings without effect all have one value."""
  c = config
  flat = {name: value for name, value in flatten(c).items()
          if name not in _HOW_IT_RUNS and not name.startswith("rules.")}
  flat["layer_pattern"] = kinds_of(c)
  local = any(kind.startswith("local") for kind in kinds_of(c))
  if not local:
    flat["window"] = 0
  if c.position != "rope":
    flat |= {"rope_theta": ModelConfig.rope_theta, "rope_fraction": 1.0}
    flat |= flatten(RopeScaling(), "rope_scaling.")
  if not local or c.position != "rope":
    flat["rope_local_theta"] = 0.0
  elif not c.rope_local_theta and c.rope_scaling.kind == "none":
    flat["rope_local_theta"] = c.rope_theta
  flat["attention_scale"] = c.attention_scale or c.head_dim ** -0.5
  if c.latent.kv_rank:
    inner = c.latent.nope_dim + c.latent.rope_dim
    flat |= {"head_dim": inner, "num_kv_heads": c.num_heads,
             "attention_scale": c.attention_scale or inner ** -0.5}
  if not c.moe.num_experts:
    flat |= flatten(MoeConfig(), "moe.")
    flat.pop("moe.balance_coef")
  else:
    if not c.moe.first_dense:
      flat["mlp_dim"] = 0
    if c.moe.groups == 1:
      flat |= {"moe.group_top": 1, "moe.top_groups": 1}
  return flat
