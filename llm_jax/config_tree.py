"""A config as a flat list of leaves, and as JSON.

What flags (`config_flags.py`), run directories (`workdir.py`) and checkpoints
need to know of a config dataclass without knowing which one it is.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from llm_jax.config import ConfigError

Config = TypeVar("Config")


@dataclasses.dataclass(frozen=True)
class Leaf:
  """One setting: its dotted name, element type, whether a tuple, its help."""
  name: str
  type: type  # bool, int, float or str; of the elements if `is_tuple`
  is_tuple: bool
  default: Any
  help: str

  @property
  def type_name(self) -> str:
    """The type as `--help` shows it."""
    return f"{self.type.__name__},..." if self.is_tuple else self.type.__name__


@functools.cache
def _field_types(config_cls: type) -> dict[str, Any]:
  return typing.get_type_hints(config_cls)


def _field_default(field: dataclasses.Field) -> Any:
  if field.default is not dataclasses.MISSING:
    return field.default
  assert field.default_factory is not dataclasses.MISSING, (
      f"config field {field.name} has no default")
  return field.default_factory()


def leaves(config_cls: type, prefix: str = "") -> list[Leaf]:
  """All leaves of a config class, depth first, in the order of definition.

  Args:
    config_cls: a dataclass whose fields are bool, int, float, str, tuples of
      one of those (`tuple[int, ...]`), or further such dataclasses.
    prefix: put before every name.

  Raises:
    TypeError: a field has a type that no flag can carry.
  """
  types, found = _field_types(config_cls), []
  for field in dataclasses.fields(config_cls):
    name, kind = prefix + field.name, types[field.name]
    if dataclasses.is_dataclass(kind):
      # A parent may default a part to other values than the part's own class.
      default = flatten(_field_default(field), name + ".")
      found += [dataclasses.replace(leaf, default=default[leaf.name])
                for leaf in leaves(kind, name + ".")]
      continue
    is_tuple = typing.get_origin(kind) is tuple
    element = typing.get_args(kind)[0] if is_tuple else kind
    if element not in (bool, int, float, str):
      raise TypeError(f"{config_cls.__name__}.{field.name} is a {kind}, which "
                      "no flag can carry.")
    found.append(Leaf(name, element, is_tuple, _field_default(field),
                      field.metadata.get("help", "")))
  return found


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
  """A config as `{"optimizer.learning_rate": 3e-4, ...}`."""
  flat = {}
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    if dataclasses.is_dataclass(value):
      flat |= flatten(value, f"{prefix}{field.name}.")
    else:
      flat[prefix + field.name] = value
  return flat


def override(config: Config, values: Mapping[str, Any]) -> Config:
  """`config` with the leaves named by dotted `values` replaced.

  Raises:
    ConfigError: no such leaf, or a value of another type.
  """
  nested: dict[str, Any] = {}
  for name, value in values.items():
    *parents, last = name.split(".")
    here = nested
    for parent in parents:
      here = here.setdefault(parent, {})
    here[last] = value
  return _build(type(config), nested, config, "", "the overrides")


# --- JSON --------------------------------------------------------------------


def to_dict(config: Any) -> dict[str, Any]:
  """A config as nested dicts and lists, ready for `json.dumps`."""
  def plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
      return to_dict(value)
    return list(value) if isinstance(value, tuple) else value
  return {f.name: plain(getattr(config, f.name))
          for f in dataclasses.fields(config)}


def from_dict(config_cls: type[Config], values: Mapping[str, Any],
              source: str = "the config") -> Config:
  """The inverse of `to_dict`; fields that are absent take their default.

  Args:
    config_cls: the dataclass to make.
    values: nested dicts, as of a JSON file.
    source: where the values come from, for the error's sentence.

  Raises:
    ConfigError: an unknown field (the nearest is named) or a wrong type.
  """
  return _build(config_cls, values, config_cls(), "", source)


def _build(config_cls: type, values: Mapping[str, Any], base: Any,
           prefix: str, source: str) -> Any:
  """`base` with `values` put in, each checked against its field's type."""
  types = _field_types(config_cls)
  names = [field.name for field in dataclasses.fields(config_cls)]
  changed = {}
  for name, value in values.items():
    if name not in names:
      near = nearest(name, names)
      raise ConfigError(f"{source} has a field {prefix + name!r} that "
                        f"{config_cls.__name__} does not know"
                        + (f"; did you mean {prefix + near[0]!r}?" if near
                           else "."))
    kind, full = types[name], prefix + name
    if dataclasses.is_dataclass(kind):
      if dataclasses.is_dataclass(value):
        value = to_dict(value)
      if not isinstance(value, Mapping):
        raise ConfigError(f"{source} has {full}={value!r}, but {full} is a "
                          f"group of settings ({kind.__name__}).")
      changed[name] = _build(kind, value, getattr(base, name), full + ".",
                             source)
    else:
      changed[name] = _checked(value, kind, full, source)
  return dataclasses.replace(base, **changed)


def _checked(value: Any, kind: Any, name: str, source: str) -> Any:
  """`value` as `kind`; an int may stand for a float, a list for a tuple."""
  if typing.get_origin(kind) is tuple and isinstance(value, (list, tuple)):
    element = typing.get_args(kind)[0]
    return tuple(_checked(v, element, name, source) for v in value)
  if kind is float and type(value) is int:
    return float(value)
  if type(value) is not kind:  # not isinstance: True is no whole number
    wanted = getattr(kind, "__name__", str(kind))
    raise ConfigError(f"{source} has {name}={value!r}, but {name} is of type "
                      f"{wanted}.")
  return value


def nearest(name: str, names: list[str]) -> list[str]:
  """The names most like `name`: those that end in it, else by spelling."""
  return ([n for n in names if n.endswith("." + name)][:3]
          or difflib.get_close_matches(name, names, n=1, cutoff=0.5))
