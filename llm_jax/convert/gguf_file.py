"""The container: metadata and tensors of a GGUF file, read and written.

Reading is the `gguf` package's: a memory map, and the arithmetic of some
thirty ways to quantise. What is added is to say in a sentence what is wrong
with a file, and to write a file without holding its tensors.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gguf
import numpy as np

from llm_jax.config import ConfigError, require

F32, F16 = gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16
BF16, Q8_0 = gguf.GGMLQuantizationType.BF16, gguf.GGMLQuantizationType.Q8_0
# Name -> type of the matrices, and the number of such a file in metadata.
TYPES = {"f32": (F32, gguf.LlamaFileType.ALL_F32),
         "f16": (F16, gguf.LlamaFileType.MOSTLY_F16),
         "bf16": (BF16, gguf.LlamaFileType.MOSTLY_BF16),
         "q8_0": (Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0)}
_BLOCK = 32  # values that share a scale in Q8_0


@dataclasses.dataclass(frozen=True)
class Contents:
  """What a GGUF file holds.

  Attributes:
    file: its name, for sentences.
    fields: metadata, as Python objects.
    shapes: tensor -> its shape, outermost axis first (the file has it last).
    read: tensor -> its values, in floating point.
    types: tensor -> how it is stored.
  """
  file: str
  fields: Mapping[str, Any]
  shapes: Mapping[str, tuple[int, ...]]
  read: Callable[[str], np.ndarray]
  types: Mapping[str, gguf.GGMLQuantizationType] = dataclasses.field(
      default_factory=dict)


class _Reader(gguf.GGUFReader):
  """The package's reader; a tensor beyond the file's end is named."""

  def __init__(self, path: str):
    self._path = path
    super().__init__(path)

  @property
  def data(self) -> np.ndarray:
    """The file. As a plain array: a `memmap` takes twice as long to slice."""
    return self._data

  @data.setter
  def data(self, mapped: np.memmap) -> None:
    self._data = np.asarray(mapped)

  def _build_tensors(self, start_offs: int, fields: list[Any]) -> None:
    for field in fields:
      _, name, _, dims, raw_type, offset = field.parts
      name = bytes(name).decode(errors="replace")
      try:
        kind = gguf.GGMLQuantizationType(int(raw_type[0]))
      except ValueError:
        raise ConfigError(
            f"{self._path} has tensor {name} in a type that is not known "
            f"(number {int(raw_type[0])}); update the package gguf, or give "
            "the model in another type.") from None
      block, size = gguf.GGML_QUANT_SIZES[kind]
      count = 1
      for n in dims.tolist():
        count *= n
      end = start_offs + int(offset[0]) + count // block * size
      require(end <= len(self.data), f"{self._path} is cut short: it has "
              f"{len(self.data)} bytes, and tensor {name} ends at {end}; "
              "download it again.")
    super()._build_tensors(start_offs, fields)


def read_file(path: str | os.PathLike) -> Contents:
  """Opens a file; tensors are read when they are asked for.

  Raises:
    ConfigError: it does not exist, is no GGUF file, is cut short, or is one of
      several parts.
  """
  path = os.path.expanduser(os.fspath(path))
  require(os.path.isfile(path), f"{path} does not exist; give a .gguf file.")
  try:
    reader = _Reader(path)
  except ConfigError:
    raise
  except Exception as error:  # whatever the bytes led the reader to
    raise ConfigError(
        f"{path} cannot be read as a GGUF file ({type(error).__name__}: "
        f"{str(error).splitlines()[0] if str(error) else 'it ends early'}); "
        "it is cut short, or of another format: download it again."
        ) from error
  fields = {name: field.contents() for name, field in reader.fields.items()}
  parts = fields.get("split.count", 1)
  require(parts <= 1, f"{path} is one of {parts} parts; join them with "
          "llama.cpp's gguf-split --merge, and give the result.")
  tensors = {tensor.name: tensor for tensor in reader.tensors}

  def read(name: str) -> np.ndarray:
    tensor = tensors[name]
    if tensor.tensor_type in (F32, F16):
      return tensor.data
    try:
      return gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    except NotImplementedError:
      raise ConfigError(
          f"{path} has tensor {name} in {tensor.tensor_type.name}, which the "
          "package gguf cannot turn into numbers; give the model in another "
          "type, such as Q8_0 or Q4_K.") from None

  return Contents(
      path, fields,
      {name: tuple(reversed(tensor.shape.tolist()))
       for name, tensor in tensors.items()},
      read, {name: tensor.tensor_type for name, tensor in tensors.items()})


@dataclasses.dataclass(frozen=True)
class Planned:
  """A tensor to write: `values()` makes it when its turn comes."""
  name: str
  shape: tuple[int, ...]
  values: Callable[[], np.ndarray]
  exact: bool = False  # stays in float32, whatever the matrices are


def write_file(path: str | os.PathLike, architecture: str,
               fields: Mapping[str, Any], tensors: Sequence[Planned],
               dtype: str) -> None:
  """Writes a file, one tensor in memory at a time.

  Vectors stay in float32; rows that cannot be cut into blocks of 32 are
  written as float16 where the rest is Q8_0, as llama.cpp's own tools do.

  Args:
    path: of the new file.
    architecture: llama.cpp's name for it.
    fields: metadata; lists become arrays.
    tensors: in the order in which they are written.
    dtype: "f32" | "f16" | "bf16" | "q8_0", of the matrices.

  Raises:
    ConfigError: a value is too large for float16.
  """
  logging.getLogger("gguf").setLevel(logging.WARNING)
  writer = gguf.GGUFWriter(os.fspath(path), architecture)
  try:
    for key, value in fields.items():
      writer.add_key_value(key, value, _type_of(value))
    writer.add_key_value("general.file_type", int(TYPES[dtype][1]),
                         gguf.GGUFValueType.UINT32)
    writer.add_key_value("general.quantization_version",
                         gguf.GGML_QUANT_VERSION, gguf.GGUFValueType.UINT32)
    kinds = [_kind(tensor, TYPES[dtype][0]) for tensor in tensors]
    for tensor, kind in zip(tensors, kinds):
      shape = gguf.quant_shape_to_byte_shape(tensor.shape, kind) if kind in (
          Q8_0, BF16) else tensor.shape
      itemsize = {F32: 4, F16: 2}.get(kind, 1)
      writer.add_tensor_info(
          tensor.name, shape,
          np.dtype({F32: np.float32, F16: np.float16}.get(kind, np.uint8)),
          int(np.prod(shape, dtype=np.int64)) * itemsize, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor, kind in zip(tensors, kinds):
      writer.write_tensor_data(_encoded(tensor, kind))
  finally:
    writer.close()


def _type_of(value: Any) -> gguf.GGUFValueType:
  kinds = gguf.GGUFValueType
  for python, kind in ((bool, kinds.BOOL), (int, kinds.UINT32),
                       (float, kinds.FLOAT32), (str, kinds.STRING)):
    if isinstance(value, python):
      return kind
  return kinds.ARRAY


def _kind(tensor: Planned, wanted: gguf.GGMLQuantizationType
          ) -> gguf.GGMLQuantizationType:
  if tensor.exact or len(tensor.shape) < 2:
    return F32
  if wanted == Q8_0 and tensor.shape[-1] % _BLOCK:
    return F16
  return wanted


def _encoded(tensor: Planned, kind: gguf.GGMLQuantizationType) -> np.ndarray:
  values = np.ascontiguousarray(tensor.values(), np.float32)
  values = values.reshape(tensor.shape)
  if kind == F16:
    with np.errstate(over="ignore"):
      values = values.astype(np.float16)
    require(bool(np.isfinite(values).all()), f"tensor {tensor.name} has values "
            "beyond float16's 65504; give dtype=bf16 or f32.")
    return values
  return values if kind == F32 else gguf.quants.quantize(values, kind)
