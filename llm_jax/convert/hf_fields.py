"""The fields of a config.json, and sentences about the wrong ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from llm_jax.config import ConfigError, require


@dataclasses.dataclass(frozen=True)
class Fields:
  """A config.json that knows its file's name and its family's defaults.

  Attributes:
    values: the fields as they stand in the file.
    file: its name, for sentences.
    defaults: what an absent field means to the family.
  """
  values: Mapping[str, Any]
  file: str
  defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def get(self, name: str, default: Any = None) -> Any:
    """A field; where it is absent the family's default, else `default`."""
    if name in self.values:
      return self.values[name]
    return self.defaults.get(name, default)

  def number(self, name: str, default: float | None = None) -> Any:
    """A number that must be there; null counts as absent.

    Raises:
      ConfigError: it is absent and has no default, or is not a number.
    """
    value = self.values.get(name)
    if value is None:
      value = self.defaults.get(name, default)
    require(value is not None, f"{self.file} lacks `{name}`; give the "
            "config.json that belongs to these weights.")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
      raise ConfigError(f"{self.file} has {name}={value!r}, which should be a "
                        "number.")
    return value

  def insist(self, name: str, allowed: tuple[Any, ...], why: str) -> None:
    """Raises `ConfigError` unless a field is one of `allowed`."""
    value = self.get(name, allowed[0])
    if value not in allowed:
      raise ConfigError(f"{self.file} has {name}={value!r}, but {why}; only "
                        f"{' or '.join(map(repr, allowed))} can be read.")
