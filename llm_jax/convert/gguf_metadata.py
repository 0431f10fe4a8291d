"""The fields of one architecture in a GGUF file's metadata."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from llm_jax.config import ConfigError


@dataclasses.dataclass(frozen=True)
class Metadata:
  """Fields by their names after "ARCHITECTURE.".

  Attributes:
    fields: all of the file's.
    architecture: llama.cpp's name for it.
    file: name of the file, for sentences.
  """
  fields: Mapping[str, Any]
  architecture: str
  file: str

  def get(self, name: str, default: Any = None) -> Any:
    """A field, or `default`."""
    return self.fields.get(f"{self.architecture}.{name}", default)

  def number(self, name: str, default: float | None = None) -> Any:
    """A number; floats as short as float32 tells them apart (1e-05).

    Raises:
      ConfigError: it is not there and has no default, or is not one number.
    """
    value = self.get(name, default)
    if isinstance(value, list) and value and len(set(value)) == 1:
      value = value[0]  # one for each layer, all the same
    if isinstance(value, bool) or not isinstance(value, (int, float)):
      told = "lacks" if value is None else f"has {value!r} for"
      raise ConfigError(
          f"{self.file} {told} {self.architecture}.{name}, which should be a "
          "number; download it again, or give another conversion of the "
          "model.")
    return float(str(np.float32(value))) if isinstance(value, float) else value
