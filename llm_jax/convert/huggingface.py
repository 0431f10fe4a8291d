"""Folders in the Hugging Face hub's format, read and written.

Weights pass tensor by tensor: at most the model and one tensor of it are in
the host's memory, and each goes straight to the devices it is split over. What
can be wrong with a folder is found before the first tensor is read.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Callable
from typing import Any

from etils import epath
import jax
import jax.numpy as jnp
import numpy as np

from llm_jax.config import ConfigError, ModelConfig, require, require_choice
from llm_jax.convert import hf_safetensors
from llm_jax.convert.hf_config import family_of, read_config, write_config
from llm_jax.convert.hf_families import Family
from llm_jax.convert.hf_layout import Slot, layout
from llm_jax.convert.hf_safetensors import Planned, Weights
from llm_jax.convert.hf_tokenizer import read_tokenizer, write_tokenizer
from llm_jax.convert.placement import Placed, pieces_of
from llm_jax.model.params import Params, param_specs
from llm_jax.sharding import check_params
from llm_jax.tokenizer.protocol import Tokenizer

CONFIG = "config.json"
_BLOCK = 128  # rows and columns that share a factor, in 8-bit files
MAX_SHARD_SIZE = 5 * 10**9  # bytes, as transformers has had it

# Of a tensor that is in the file but not in the model: why that is no fault.
_BENIGN = (
    (r"(^|\.)rotary_emb\.inv_freq$", "rotary frequencies, which are computed"),
    (r"(^|\.)attn\.(masked_)?bias$", "attention masks, which are computed"),
)
_VISION = (r"(^|\.)(vision_tower|multi_modal_projector|vision_model)\.",
           "the part that sees; this is the text model")


def tell(line: str) -> None:
  """A note for who reads along: stderr, as stdout may be a result."""
  print(line, file=sys.stderr, flush=True)


def load_huggingface(folder: epath.PathLike, *, dtype: str = "",
                     log: Callable[[str], None] = tell
                     ) -> tuple[Params, ModelConfig, Tokenizer | None]:
  """Reads a folder, onto the ambient mesh if there is one.

  Args:
    folder: of config.json, safetensors and a tokenizer.
    dtype: float32 | bfloat16 of the parameters; default: bfloat16 where the
      file's are, else float32.
    log: is told of tensors that are left out, and why.

  Returns:
    (params, model config, tokenizer or None if the folder has none).

  Raises:
    ConfigError: one sentence on what is wrong with which file and tensor.
  """
  folder = epath.Path(folder)
  contents = read_json(folder / CONFIG)
  config = read_config(contents, str(folder / CONFIG))
  family = family_of(contents, str(folder / CONFIG))
  if dtype:
    require_choice("dtype", dtype, ("float32", "bfloat16", "float64"))
  with Weights(folder) as weights:
    slots = _slots_of_file(weights, config, family, contents, log)
    if not dtype:
      stored = weights.tensors[slots[0].pieces[0].name].dtype
      dtype = "bfloat16" if stored == jnp.bfloat16 else "float32"
    config = config_with_dtype(config, dtype)
    tokenizer = read_tokenizer(folder, contents, log)
    if tokenizer is not None:
      check_vocabulary(tokenizer, config, str(folder))
    mesh = jax.sharding.get_mesh()
    if not mesh.empty:
      check_params(param_specs(config), mesh, config.rules)
    params: Params = {}
    for slot in slots:
      slot.place(params, _read_slot(slot, weights, config))
  return params, config, tokenizer


def read_json(file: epath.Path) -> dict[str, Any]:
  """The object in a file; `ConfigError` if there is none."""
  require(file.exists(), f"{file} does not exist; give a folder of Hugging "
          "Face's format: config.json, *.safetensors, tokenizer.json.")
  try:
    contents = json.loads(file.read_text())
  except ValueError as error:
    raise ConfigError(f"{file} is not JSON ({error}); download it again."
                      ) from error
  require(isinstance(contents, dict), f"{file} holds no JSON object; download "
          "it again.")
  return contents


def config_with_dtype(config: ModelConfig, dtype: str) -> ModelConfig:
  """`config`, its parameters stored and its activations computed in `dtype`."""
  return dataclasses.replace(config, param_dtype=dtype, compute_dtype=dtype)


def check_vocabulary(tokenizer: Tokenizer, config: ModelConfig, where: str
                     ) -> None:
  """Raises `ConfigError` for ids that the embedding has no row for.

  Fewer ids than rows are common (tables are padded to round numbers), and so
  are special tokens beyond them that only other parts of a model use.
  """
  special = set(tokenizer.special_tokens.values())
  beyond = set(range(config.vocab_size, tokenizer.vocab_size)) - special
  require(not beyond, f"{where} has a tokenizer of {tokenizer.vocab_size} "
          f"tokens, but its embedding (embed_tokens) only {config.vocab_size} "
          "rows; give the tokenizer that belongs to these weights.")


def _slots_of_file(weights: Weights, config: ModelConfig, family: Family,
                   contents: dict[str, Any], log: Callable[[str], None]
                   ) -> list[Slot]:
  """The model's tensors by the names they have in this file, all checked."""
  names, stored = family.tensors, weights.tensors
  # "model.embed_tokens.weight", or without "model.", or with more before it.
  table = names.root[0].theirs
  bases = [name.removesuffix(table) for name in stored
           if name == table or name.endswith("." + table)]
  base = names.base if names.base in bases or not bases else bases[0]
  heads = [name for name in stored
           if ("." + name).endswith("." + names.head.theirs)]
  slots = layout(config, names, base, heads[0] if heads else None)
  known = set()
  for slot in slots:
    for piece in slot.pieces:
      known.add(piece.name)
      require(piece.name in stored,
              f"{weights.folder} lacks tensor {piece.name}, which its "
              "config.json calls for; download the folder whole, or give the "
              "config.json that belongs to it.")
      shape = stored[piece.name].shape
      require(shape == piece.shape,
              f"{stored[piece.name].file} has tensor {piece.name} of shape "
              f"{list(shape)}, where config.json makes it "
              f"{list(piece.shape)}; give the config.json that belongs to it.")
      if stored[piece.name].dtype.itemsize < 2:
        require(piece.name + "_scale_inv" in stored,
                f"{stored[piece.name].file} has tensor {piece.name} quantised "
                f"({stored[piece.name].dtype}) and no {piece.name}_scale_inv "
                "to undo it; give the unquantised model.")
        blocks = tuple(-(-n // _BLOCK) for n in piece.shape)
        scales = stored[piece.name + "_scale_inv"].shape
        require(scales == blocks, f"{stored[piece.name].file} has tensor "
                f"{piece.name}_scale_inv of shape {list(scales)}, where "
                f"blocks of {_BLOCK} x {_BLOCK} need {list(blocks)}; give the "
                "unquantised model.")
        known.add(piece.name + "_scale_inv")
  left_out: dict[str, list[str]] = {}
  for name in stored:
    if name not in known:
      why = _why_benign(name, base, config, family, contents)
      require(bool(why), f"{stored[name].file} has tensor {name}, which is no "
              f"part of a {family.architectures[0]} with this config.json; "
              "give the config.json that belongs to it.")
      left_out.setdefault(why, []).append(name)
  for why, found in left_out.items():
    log(f"{weights.folder}: left out {len(found)} tensors, such as "
        f"{found[0]}: {why}.")
  return slots


def _why_benign(name: str, base: str, config: ModelConfig, family: Family,
                contents: dict[str, Any]) -> str:
  """Why a tensor may be left out; empty if it may not."""
  patterns = list(_BENIGN)
  if "text_config" in contents:
    patterns.append(_VISION)
  for pattern, why in patterns:
    if re.search(pattern, name):
      return why
  if config.tie_embeddings and name.endswith(family.tensors.head.theirs):
    return "the head is the embedding (tie_word_embeddings)"
  layer = re.match(re.escape(base + family.tensors.layers) + r"(\d+)\.", name)
  # DeepSeek-V3's come after the last layer.
  if layer and family.model_type == "deepseek_v3" and (
      0 <= int(layer[1]) - config.num_layers
      < contents.get("num_nextn_predict_layers", 1)):
    return "a multi-token-prediction head"
  return ""


def _read_slot(slot: Slot, weights: Weights, config: ModelConfig
               ) -> list[jax.Array]:
  placed = [Placed(spec, config.param_dtype, config.rules)
            for spec in slot.specs]
  shapes = slot.shapes
  for piece in slot.pieces:
    values = slot.entry.split(read_tensor(weights, piece.name), shapes, config)
    for target, part in zip(placed, values):
      target.fill(piece.index, part)
  return [target.finish() for target in placed]


def read_tensor(weights: Weights, name: str) -> np.ndarray:
  """One tensor; of 8-bit floats, times the factor of its block.

  DeepSeek-V3's files have a float32 factor for each 128 x 128 of a matrix.
  """
  values = weights.read(name)
  if values.dtype.itemsize > 1:
    return values
  scale = weights.read(name + "_scale_inv").astype(np.float32)
  values = values.astype(np.float32)
  for i, row in enumerate(scale):
    band = values[i * _BLOCK:(i + 1) * _BLOCK]
    band *= np.repeat(row, _BLOCK)[:band.shape[1]]
  return values


def save_huggingface(folder: epath.PathLike, params: Params,
                     config: ModelConfig, tokenizer: Tokenizer | None, *,
                     dtype: str = "", model_type: str = "",
                     max_shard_size: int = MAX_SHARD_SIZE) -> None:
  """Writes a folder that transformers and others load.

  The files are written as they come; `pretrained.save_pretrained` gives them a
  folder that is renamed when it is whole.

  Args:
    folder: exists, and is empty.
    params: stacked or unstacked, on one process's devices.
    config: the model.
    tokenizer: its tokenizer, or None.
    dtype: float32 | bfloat16 | float16; default: `config.param_dtype`.
    model_type: the family to write as; default: the first that fits.
    max_shard_size: bytes of one file of weights.

  Raises:
    ConfigError: no family has the model's parts, or a value is too large.
  """
  folder = epath.Path(folder)
  dtype = dtype or config.param_dtype
  require_choice("dtype", dtype, ("float32", "bfloat16", "float16"))
  family, fields = write_config(config, model_type)
  slots = layout(config, family.tensors)
  for slot in slots:
    _check_slot(slot, params)
  ids = {} if tokenizer is None else write_tokenizer(folder, tokenizer)
  fields |= {"torch_dtype": dtype, "use_cache": True, "bos_token_id": None,
             "eos_token_id": None, "pad_token_id": None} | ids
  (folder / CONFIG).write_text(json.dumps(fields, indent=2) + "\n")
  hf_safetensors.write_weights(
      folder, _planned(slots, params, config, dtype), max_shard_size)


def _check_slot(slot: Slot, params: Params) -> None:
  for path, spec, tensor in zip(slot.entry.ours, slot.specs,
                                slot.tensors(params)):
    if isinstance(tensor, list):
      tensor, spec_shape = tensor[0], spec.shape[1:]
    else:
      spec_shape = spec.shape
    require(isinstance(tensor, (jax.Array, np.ndarray)), f"parameter {path} "
            f"is a {type(tensor).__name__}, not an array; export the "
            "parameters as they were before quantisation.")
    require(tensor.shape == spec_shape, f"parameter {path} has shape "
            f"{tensor.shape}, where the model's config makes it {spec_shape}.")


def _planned(slots: list[Slot], params: Params, config: ModelConfig,
             dtype: str) -> list[Planned]:
  """The tensors in the order of layers, as files have them."""
  def values(slot, piece):
    def make():
      parts = [
          pieces_of(tensor[piece.index[0]], piece.index[1:])
          if isinstance(tensor, list) else pieces_of(tensor, piece.index)
          for tensor in slot.tensors(params)]
      return slot.entry.join(parts, config)
    return make
  ordered = sorted(
      ((slot, piece) for slot in slots for piece in slot.pieces),
      key=lambda pair: ((-1, -1) if pair[0].group is None else
                        (pair[0].group, pair[1].index[0])))
  return [Planned(piece.name, piece.shape, values(slot, piece),
                  np.dtype(jnp.dtype(slot.specs[0].dtype or dtype)))
          for slot, piece in ordered]
