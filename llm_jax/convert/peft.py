"""Adapters in the format of Hugging Face's PEFT, read and written.

A folder of two files. adapter_config.json has rank, alpha and the names of the
updated modules; adapter_model.safetensors has two matrices of each module,

    base_model.model.<module>.lora_A.weight   [r, in]
    base_model.model.<module>.lora_B.weight   [out, r]

whose product is added to the module's weight times alpha / r. Modules are those
of `transformers`, so where each is in our tree is known from the tables by
which whole models are converted (`hf_tensors.py`). A module that holds several
of our kernels (GPT-2's c_attn, Phi-3's qkv_proj) has one A for all of them:
read, each of ours gets a copy; written, factors of different A are put side by
side, in a module of so much higher rank. Either way nothing is lost.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from typing import Any

from etils import epath
import jax
import numpy as np

from llm_jax.config import ConfigError, LoraConfig, ModelConfig, require
from llm_jax.config_parts import LORA_TARGETS
from llm_jax.convert.hf_config import write_config
from llm_jax.convert.hf_families import Family
from llm_jax.convert.hf_layout import layout
from llm_jax.convert.hf_safetensors import (
    Planned, Stored, read_header, write_file)
from llm_jax.convert.hf_tensors import Entry, Names
from llm_jax.model.lora import lora_specs
from llm_jax.model.params import Params, is_spec

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."

# Fields that make an adapter something else than W + s·A·B -> what they must
# be. Of the initialisations, those that are not named change W itself.
_ONLY: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",), "bias": ("none",),
    "init_lora_weights": (True, False, "gaussian", "eva", "orthogonal"),
} | {name: (None, False, [], {}) for name in (
    "use_dora", "use_qalora", "use_bdlora", "lora_bias", "modules_to_save",
    "trainable_token_indices", "target_parameters", "layer_replication",
    "alora_invocation_tokens", "arrow_config", "kasa_config",
    "monteclora_config", "velora_config")}


@dataclasses.dataclass(frozen=True)
class _Module:
  """A linear module of theirs: which kernels of ours it holds, and where."""
  name: str
  entry: Entry
  group: int | None
  index: tuple[int, ...]
  shape: tuple[int, int]  # [out, in]
  outputs: tuple[tuple[int, ...], ...]  # of each kernel

  @property
  def suffix(self) -> str:
    """Its name within a block, or all of it."""
    return self.entry.theirs.removesuffix(".weight")

  def factors(self, adapter: Params) -> list[dict[str, Any] | None]:
    """Our factors of each kernel that it holds; None: not in the adapter."""
    return [_at(adapter if self.group is None
                else adapter["layers"][self.group], path)
            for path in self.entry.ours]

  def join(self, pieces_RO: list[np.ndarray], config: ModelConfig
           ) -> np.ndarray:
    """[out, r] of the kernels' [r, ...outputs]."""
    if self.entry.ours == ("attention.o",):  # its outputs are not by head
      return pieces_RO[0].T
    return self.entry.join(pieces_RO, config)

  def split(self, b_OR: np.ndarray, config: ModelConfig) -> list[np.ndarray]:
    """The reverse of `join`."""
    if self.entry.ours == ("attention.o",):
      return [b_OR.T]
    return self.entry.split(
        b_OR, [(b_OR.shape[1], *outputs) for outputs in self.outputs], config)


def _at(tree: Any, path: str) -> Any:
  for name in path.split("."):
    tree = tree.get(name, {})
  return tree or None


def _target(path: str) -> str:
  """What `lora.targets` calls the kernel at `path`."""
  return path.removesuffix(".kernel").rpartition(".")[2]


def _modules(config: ModelConfig, family: Family) -> list[_Module]:
  """All modules of a model that can be updated."""
  found = []
  for slot in layout(config, family.tensors):
    entry = slot.entry
    if (entry.kind not in ("matrix", "conv") or "{expert}" in entry.theirs
        or not {_target(path) for path in entry.ours} <= set(LORA_TARGETS)):
      continue
    shape = slot.pieces[0].shape
    if entry.kind == "conv":  # the weight is [in, out], but not the factors
      entry, shape = dataclasses.replace(entry, kind="matrix"), shape[::-1]
    outputs = tuple(
        kernel[2 if path == "attention.o" else 1:]
        for path, kernel in zip(entry.ours, slot.shapes))
    found += [_Module(piece.name.removesuffix(".weight"), entry, slot.group,
                      piece.index, shape, outputs) for piece in slot.pieces]
  return found


# --- reading ------------------------------------------------------------------


def load_peft(folder: epath.PathLike, params: Params, config: ModelConfig,
              model_type: str = "") -> tuple[Params, LoraConfig]:
  """Reads an adapter to a model.

  Args:
    folder: of adapter_config.json and adapter_model.safetensors.
    params: the model's, to compare copies with that PEFT puts beside factors.
    config: the model that it updates.
    model_type: the model's family; default: the first that fits.

  Returns:
    (adapter of float32 arrays on the host, shaped as `lora_specs`; its rank,
    scale and targets), for `merge` and `attach`. Modules of lower rank than
    others, or in some layers only, are filled up with zeros.

  Raises:
    ConfigError: it is no LoRA, or updates what is no projection of the model.
  """
  folder = epath.Path(folder)
  fields = _read_config(folder / CONFIG)
  file = folder / WEIGHTS
  require(file.exists(), f"{file} does not exist; give a folder that PEFT's "
          "save_pretrained has written.")
  family, _ = write_config(config, model_type)
  modules = _modules(config, family)
  tensors = read_header(file)
  for name in [name for name in tensors if ".lora_" not in name]:
    _check_copy(file, name, _read(tensors.pop(name)), params)
  pairs = _read_pairs(file, tensors, {m.name: m for m in modules})
  rank = max(a.shape[0] for a, _ in pairs.values())
  updated = [module for module in modules if module.name in pairs]
  targets = {_target(path) for module in updated for path in module.entry.ours}
  lora = LoraConfig(
      rank=rank, alpha=float(fields["lora_alpha"]),
      rank_stabilized=bool(fields.get("use_rslora")),
      targets=tuple(t for t in LORA_TARGETS if t in targets))
  adapter = jax.tree.map(lambda spec: np.zeros(spec.shape, np.float32),
                         lora_specs(config, lora), is_leaf=is_spec)
  for module in updated:
    a_RI, b_OR = pairs[module.name]
    r = a_RI.shape[0]
    scale = _scale(module.name, r, fields) / lora.scale
    for ours, b_RO in zip(module.factors(adapter),
                          module.split(b_OR, config)):
      a, b = ours["a"][module.index], ours["b"][module.index]
      a[..., :r] = a_RI.T.reshape(*a.shape[:-1], r)
      b[:r] = scale * b_RO
  return adapter, lora


def base_model(folder: epath.PathLike) -> str:
  """Name or path of the model that an adapter says it updates.

  Raises:
    ConfigError: it says none.
  """
  file = epath.Path(folder) / CONFIG
  name = _read_config(file).get("base_model_name_or_path")
  require(bool(name), f"{file} has no base_model_name_or_path; write the path "
          "of the model that the adapter updates into it.")
  return name


def _read_config(file: epath.Path) -> dict[str, Any]:
  require(file.exists(), f"{file} does not exist; give a folder that PEFT's "
          "save_pretrained has written.")
  try:
    fields = json.loads(file.read_text())
    float(fields["lora_alpha"])
  except (ValueError, KeyError, TypeError) as error:
    raise ConfigError(f"{file} describes no LoRA adapter "
                      f"({type(error).__name__}: {error}); give a folder that "
                      "PEFT's save_pretrained has written.") from error
  for name, allowed in _ONLY.items():
    value = fields.get(name, allowed[0])
    require(value in allowed, f"{file} has {name}={value!r}, which makes the "
            "adapter more than an update W + s·A·B; have PEFT merge it "
            "(merge_and_unload) and convert the whole model.")
  return fields


def _check_copy(file: epath.Path, name: str, copy: np.ndarray,
                params: Params) -> None:
  """Refuses a whole weight, unless it is the model's own (head, embedding).

  PEFT saves both where the head is a target, though it leaves them as they are.
  """
  ours_VD = {"lm_head": lambda: params["head"]["kernel"].T,
             "embed_tokens": lambda: params["embed"]["tokens"],
             "wte": lambda: params["embed"]["tokens"]}
  module = name.removesuffix(".weight").removesuffix(".base_layer")
  make = ours_VD.get(module.rpartition(".")[2])
  same = False
  if make and (module.rpartition(".")[2] != "lm_head" or "head" in params):
    weight = np.asarray(make(), np.float32)
    same = weight.shape == copy.shape and bool(
        np.abs(weight - copy).max() <= 0.02 * np.abs(copy).max())
  require(same, f"{file} has {name}, a whole weight that differs from the "
          "model's; have PEFT merge the adapter (merge_and_unload) and convert "
          "the whole model.")


def _read_pairs(file: epath.Path, tensors: dict[str, Stored],
                modules: dict[str, _Module]
                ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """Module name -> its A [r, in] and B [out, r], float32."""
  found: dict[str, dict[str, np.ndarray]] = {}
  for tensor, stored in tensors.items():
    match = re.fullmatch(r"(?:base_model\.model\.)?(.+)\.lora_([AB])\.weight",
                         tensor)
    # An adapter to a model without its head lacks the prefix of the rest.
    names = [name for name in modules if match and (
        name == match[1] or name.partition(".")[2] == match[1])]
    require(bool(names), f"{file} has {tensor}, which is no factor of a "
            "projection of this model (experts, embeddings and a head that is "
            "tied to them cannot be updated here); have PEFT merge it "
            "(merge_and_unload) and convert the whole model.")
    values = _read(stored)
    rows, width = modules[names[0]].shape
    wanted = ("r", width) if match[2] == "A" else (rows, "r")
    require(values.ndim == 2 and all(
        w in ("r", n) for w, n in zip(wanted, values.shape)),
            f"{file} has {tensor} of shape {values.shape}, where this model "
            f"has ({wanted[0]}, {wanted[1]}); give the model that the adapter "
            "was trained for.")
    found.setdefault(names[0], {})[match[2]] = values
  require(bool(found), f"{file} has no tensors; give an adapter that updates "
          "something.")
  for name, pair in found.items():
    require(len(pair) == 2 and len(pair["A"]) == pair["B"].shape[1],
            f"{file} has not both factors of {name}, of one rank; save the "
            "adapter again.")
  return {name: (pair["A"], pair["B"]) for name, pair in found.items()}


def _read(stored: Stored) -> np.ndarray:
  with stored.file.open("rb") as stream:
    stream.seek(stored.begin)
    data = stream.read(stored.end - stored.begin)
  return np.frombuffer(data, stored.dtype).reshape(stored.shape).astype(
      np.float32)


def _scale(name: str, rank: int, fields: dict[str, Any]) -> float:
  """α/r or α/√r of a module; patterns are matched as PEFT does."""
  alpha = fields["lora_alpha"]
  for pattern, value in (fields.get("alpha_pattern") or {}).items():
    if re.match(rf"(.*\.)?({pattern})$", name):
      alpha = value
      break
  return alpha / (math.sqrt(rank) if fields.get("use_rslora") else rank)


# --- writing ------------------------------------------------------------------


def save_peft(folder: epath.PathLike, adapter: Params, lora: LoraConfig,
              config: ModelConfig, *, base_model: str = "",
              model_type: str = "") -> None:
  """Writes an adapter that `peft.PeftModel.from_pretrained` reads.

  Args:
    folder: exists.
    adapter: shaped as `lora_specs`.
    lora: its rank, scale and targets.
    config: the model that it updates.
    base_model: name or path of that model's Hugging Face export, written into
      adapter_config.json.
    model_type: the model's family; default: the first that fits.

  Raises:
    ConfigError: no family of the hub has all parts of the model, or PEFT has
      no name for what is updated.
  """
  folder = epath.Path(folder)
  adapter = jax.tree.map(np.asarray, adapter)
  family, _ = write_config(config, model_type)
  updated = [m for m in _modules(config, family) if any(m.factors(adapter))]
  mixed = [m.name for m in updated if ".mlp." in m.name] if (
      config.moe.num_experts) else []
  require(not mixed, f"the adapter updates {', '.join(mixed[:1])}, but in a "
          "mixture of experts PEFT takes that name to mean the experts; train "
          "with lora.targets of the attention only, or merge the adapter and "
          "convert the whole model.")
  names = _short_names(updated, family.tensors)
  tensors, ranks = [], {}
  for module in updated:
    a_RI, b_OR = _joined(module, adapter, config)
    ranks[names[module.suffix]] = len(a_RI)
    for letter, values in (("A", a_RI), ("B", b_OR)):
      tensors.append(Planned(f"{_PREFIX}{module.name}.lora_{letter}.weight",
                             values.shape, lambda values=values: values))
  write_file(folder / WEIGHTS, tensors)
  wider = {name: r for name, r in ranks.items() if r != lora.rank}
  power = 0.5 if lora.rank_stabilized else 1.0  # so that the scale stays
  conv = any(entry.kind == "conv" for entry in family.tensors.block)
  fields = {
      "peft_type": "LORA", "task_type": "CAUSAL_LM",
      "base_model_name_or_path": base_model or None, "inference_mode": True,
      "r": lora.rank, "lora_alpha": _number(lora.alpha), "lora_dropout": 0.0,
      "use_rslora": lora.rank_stabilized, "target_modules": sorted(ranks),
      "rank_pattern": wider,
      "alpha_pattern": {name: _number(lora.alpha * (r / lora.rank)**power)
                        for name, r in wider.items()},
      "fan_in_fan_out": conv, "bias": "none", "init_lora_weights": True,
      "modules_to_save": None, "use_dora": False}
  (folder / CONFIG).write_text(json.dumps(fields, indent=2) + "\n")


def _joined(module: _Module, adapter: Params, config: ModelConfig
            ) -> tuple[np.ndarray, np.ndarray]:
  """A module's A [r, in] and B [out, r] out of its kernels' factors."""
  whole = module.factors(adapter)
  factors = [f and {name: x[module.index] for name, x in f.items()}
             for f in whole]
  present = [f for f in factors if f]
  rank = present[0]["a"].shape[-1]
  # For a whole group of layers, as they have one rank in the config.
  shared = all(np.array_equal(f["a"], g["a"]) for f in whole if f
               for g in whole if g)
  total = rank if shared else rank * len(present)
  pieces, row, a_parts = [], 0, []
  for ours, outputs in zip(factors, module.outputs):
    piece = np.zeros((total, *outputs), np.float32)
    if ours:
      piece[row:row + rank] = ours["b"]
      if not shared:
        row += rank
      a_parts.append(ours["a"].reshape(-1, rank).T)
    pieces.append(piece)
  a_RI = a_parts[0] if shared else np.concatenate(a_parts)
  return np.ascontiguousarray(a_RI), np.ascontiguousarray(
      module.join(pieces, config))


def _short_names(updated: list[_Module], names: Names) -> dict[str, str]:
  """Suffix -> its last part, where no module that is left alone has that."""
  suffixes = {module.suffix for module in updated}
  left = {suffix.rpartition(".")[2] for entry in names.block
          if (suffix := entry.theirs.removesuffix(".weight")) not in suffixes}
  return {suffix: suffix if (last := suffix.rpartition(".")[2]) in left
          else last for suffix in suffixes}


def _number(x: float) -> float | int:
  return int(x) if float(x).is_integer() else x
