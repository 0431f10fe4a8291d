"""GGUF: the one-file format of llama.cpp, LM Studio and Ollama.

Reading undoes whatever way the weights are quantised, tensor by tensor, onto
the devices that they belong to: at most the model and one tensor of a layer
are in the host's memory. Writing gives a file that llama.cpp runs with the
same tokens and the same template: what its architectures cannot compute is
refused, with the setting that stands in the way.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from llm_jax.config import ConfigError, ModelConfig, require, require_choice
from llm_jax.convert.gguf_families import (
    Architecture, read_config, write_config)
from llm_jax.convert.gguf_file import (
    BF16, TYPES, Contents, Planned, read_file, write_file)
from llm_jax.convert.gguf_rope import FACTORS, LONG, SHORT
from llm_jax.convert.hf_layout import Slot, layout
from llm_jax.convert.placement import Placed, pieces_of
from llm_jax.model.params import Params
from llm_jax.tokenizer.gguf import read_tokenizer, tokenizer_fields
from llm_jax.tokenizer.protocol import Tokenizer

# Read as settings of the config, not as weights.
_SETTINGS = (FACTORS, LONG, SHORT)
# Stay in float32 as in llama.cpp's own files: few, and much depends on them.
_EXACT = ("ffn_gate_inp.weight", "position_embd.weight")


def load_gguf(path: str | os.PathLike, dtype: str = ""
              ) -> tuple[Params, ModelConfig, Tokenizer | None]:
  """Reads a file, onto the ambient mesh if there is one.

  Args:
    path: a .gguf file.
    dtype: float32 | bfloat16 of the parameters; default: bfloat16 where the
      file's matrices are, else float32.

  Returns:
    (params, model config, tokenizer or None if the file has none).

  Raises:
    ConfigError: one sentence on what is wrong with which tensor or field.
  """
  if dtype:
    require_choice("dtype", dtype, ("float32", "bfloat16", "float64"))
  contents = read_file(path)
  config, architecture = read_config(contents)
  slots = layout(config, architecture.tensors)
  _check_tensors(slots, contents, architecture)
  if not dtype:
    matrix = next(slot.pieces[0].name for slot in slots
                  if slot.group is not None and slot.entry.kind == "matrix")
    dtype = "bfloat16" if contents.types[matrix] == BF16 else "float32"
  config = dataclasses.replace(config, param_dtype=dtype, compute_dtype=dtype)
  tokenizer = read_tokenizer(contents.fields, contents.file)
  if tokenizer is not None:
    require(tokenizer.vocab_size <= config.vocab_size,
            f"{contents.file} has {tokenizer.vocab_size} tokens, but tensor "
            f"token_embd.weight only {config.vocab_size} rows; download it "
            "again.")
  params: Params = {}
  for slot in slots:
    slot.place(params, _read_slot(slot, contents, config))
  return params, config, tokenizer


def _check_tensors(slots: list[Slot], contents: Contents,
                   architecture: Architecture) -> None:
  """Raises `ConfigError` for a tensor missing, left over or misshapen."""
  expected = {piece.name: piece.shape for slot in slots
              for piece in slot.pieces}
  for name, shape in expected.items():
    require(name in contents.shapes, f"{contents.file} lacks tensor {name}, "
            f"which a model of the architecture {architecture.name} has; "
            "download it again, or give another conversion of the model.")
    require(contents.shapes[name] == shape,
            f"{contents.file} has tensor {name} of shape "
            f"{list(contents.shapes[name])}, where its metadata makes it "
            f"{list(shape)}; give another conversion of the model.")
  for name in contents.shapes:
    require(name in expected or name in _SETTINGS,
            f"{contents.file} has tensor {name}, which is no part of a model "
            f"of the architecture {architecture.name} as it is known here; "
            "give another conversion of the model.")


def _read_slot(slot: Slot, contents: Contents, config: ModelConfig
               ) -> list[jax.Array]:
  placed = [Placed(spec, config.param_dtype, config.rules)
            for spec in slot.specs]
  for piece in slot.pieces:
    parts = slot.entry.split(contents.read(piece.name), slot.shapes, config)
    for target, part in zip(placed, parts):
      target.fill(piece.index, part)
  return [target.finish() for target in placed]


def save_gguf(path: str | os.PathLike, params: Params, config: ModelConfig,
              tokenizer: Tokenizer | None, dtype: str = "f16", *,
              name: str = "llm_jax model") -> None:
  """Writes a file that llama.cpp and the programs built on it run.

  Args:
    path: of a file that does not exist yet; it appears when it is whole.
    params: stacked or unstacked, on one process's devices.
    config: the model.
    tokenizer: its tokenizer; llama.cpp does not run a model without one.
    dtype: "f32" | "f16" | "bf16" | "q8_0", of the matrices.
    name: the model's, for those who open the file. (Not the file's name:
      llama.cpp takes some names, such as phi3, for what a vocabulary holds.)

  Raises:
    ConfigError: `path` exists, or llama.cpp has no way to say what the model
      or the tokenizer does.
  """
  require_choice("dtype", dtype, tuple(TYPES))
  target = pathlib.Path(path).expanduser()
  require(not target.exists(), f"{target} exists; give another output, or "
          "remove it.")
  require(target.parent.is_dir(), f"{target.parent} does not exist; make that "
          "directory, or give another output.")
  architecture, fields, tensors = write_config(config)
  fields.pop("general.architecture")
  fields |= {"general.type": "model", "general.name": name}
  if tokenizer is not None:
    fields |= tokenizer_fields(tokenizer, config.vocab_size)
  slots = layout(config, architecture.tensors)
  for slot in slots:
    _check_slot(slot, params)
  planned = [Planned(key, values.shape, lambda values=values: values, True)
             for key, values in tensors.items()]
  planned += _planned(slots, params, config)
  handle, part = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
  os.close(handle)
  try:
    write_file(part, architecture.name, fields, planned, dtype)
    os.chmod(part, 0o666 & ~_umask())
    os.rename(part, target)
  except BaseException:
    os.unlink(part)
    raise


def _umask() -> int:
  mask = os.umask(0)
  os.umask(mask)
  return mask


def _check_slot(slot: Slot, params: Params) -> None:
  for path, spec, tensor in zip(slot.entry.ours, slot.specs,
                                slot.tensors(params)):
    shape = spec.shape[1:] if isinstance(tensor, list) else spec.shape
    tensor = tensor[0] if isinstance(tensor, list) else tensor
    if not isinstance(tensor, (jax.Array, np.ndarray)):
      raise ConfigError(f"parameter {path} is a {type(tensor).__name__}, not "
                        "an array; export the parameters as they were before "
                        "quantisation.")
    require(tensor.shape == shape, f"parameter {path} has shape "
            f"{tensor.shape}, where the model's config makes it {shape}.")


def _planned(slots: list[Slot], params: Params, config: ModelConfig
             ) -> list[Planned]:
  """The tensors to write, layer by layer."""
  def values(slot: Slot, index: tuple[int, ...]) -> Callable[[], Any]:
    def make() -> np.ndarray:
      parts = [pieces_of(tensor[index[0]], index[1:])
               if isinstance(tensor, list) else pieces_of(tensor, index)
               for tensor in slot.tensors(params)]
      return slot.entry.join(parts, config)
    return make
  ordered = sorted(
      ((slot, piece) for slot in slots for piece in slot.pieces),
      key=lambda pair: ((-1, -1) if pair[0].group is None else
                        (pair[0].group, pair[1].index[0])))
  return [Planned(piece.name, piece.shape, values(slot, piece.index),
                  piece.name.endswith(_EXACT)) for slot, piece in ordered]
