"""All tensors of a checkpoint by name, each with its place in our tree."""

from __future__ import annotations

import dataclasses
from typing import Any

from llm_jax.config import ModelConfig
from llm_jax.convert.hf_tensors import Entry, Names, Shape, present
from llm_jax.model.params import (
    ParamSpec, Params, is_spec, layer_groups, param_specs)


@dataclasses.dataclass(frozen=True)
class Piece:
  """One tensor of theirs: its name, shape, and the index into ours."""
  name: str
  shape: Shape
  index: tuple[int, ...]  # (layer of the group, expert), or less


@dataclasses.dataclass(frozen=True)
class Slot:
  """Tensors of ours that are read, and written, together.

  Attributes:
    entry: how theirs and ours correspond.
    group: number of the group of layers, or None outside the blocks.
    specs: of the entry's tensors of ours, as they stand in our tree.
    pieces: all tensors of theirs that make them up.
  """
  entry: Entry
  group: int | None
  specs: tuple[ParamSpec, ...]
  pieces: tuple[Piece, ...]

  @property
  def shapes(self) -> list[Shape]:
    """Shapes of ours that one piece holds."""
    return [spec.shape[len(self.pieces[0].index):] for spec in self.specs]

  def tensors(self, params: Params) -> list[Any]:
    """Our tensors in `params`; of an unstacked group, one list per tensor."""
    tree = params if self.group is None else params["layers"][self.group]
    if isinstance(tree, tuple):
      return [[_at(block, path) for block in tree] for path in self.entry.ours]
    return [_at(tree, path) for path in self.entry.ours]

  def place(self, params: Params, tensors: list[Any]) -> None:
    """Puts our tensors where they belong."""
    if self.group is None:
      tree = params
    else:
      groups = params.setdefault("layers", [])
      while len(groups) <= self.group:
        groups.append({})
      tree = groups[self.group]
    for path, tensor in zip(self.entry.ours, tensors):
      *parents, name = path.split(".")
      node = tree
      for parent in parents:
        node = node.setdefault(parent, {})
      node[name] = tensor


def _at(tree: Any, path: str) -> Any:
  for name in path.split("."):
    tree = tree[name]
  return tree


def _flat(tree: Any, prefix: str = "") -> dict[str, ParamSpec]:
  """Dotted path -> spec."""
  if is_spec(tree):
    return {prefix[:-1]: tree}
  return {path: spec for name, branch in tree.items()
          for path, spec in _flat(branch, f"{prefix}{name}.").items()}


def layout(config: ModelConfig, names: Names, base: str | None = None,
           head: str | None = None) -> list[Slot]:
  """Every tensor of the model, in the order in which files have them.

  Args:
    config: the model.
    names: its family's tensors.
    base: prefix that the names have in this file; default: the family's.
    head: what the unembedding is called in this file.
  """
  base = names.base if base is None else base
  specs = param_specs(config)
  root = _flat({name: branch for name, branch in specs.items()
                if name != "layers"})
  head_entry = names.head if head is None else dataclasses.replace(
      names.head, theirs=head)
  slots = []
  for entry in present((*names.root, head_entry), root):
    prefix = "" if entry is head_entry else base
    ours = tuple(root[path] for path in entry.ours)
    shape = entry.shape([spec.shape for spec in ours])
    slots.append(Slot(entry, None, ours,
                      (Piece(prefix + entry.theirs, shape, ()),)))
  start = 0
  for group, (count, _) in enumerate(layer_groups(config)):
    block = _flat(specs["layers"][group])
    for entry in present(names.block, block):
      ours = tuple(block[path] for path in entry.ours)
      experts = (range(config.moe.num_experts)
                 if "{expert}" in entry.theirs else (None,))
      depth = 1 if experts == (None,) else 2
      shape = entry.shape([spec.shape[depth:] for spec in ours])
      slots.append(Slot(entry, group, ours, tuple(
          Piece(f"{base}{names.layers}{start + i}."
                + entry.theirs.format(expert=expert), shape,
                (i,) if expert is None else (i, expert))
          for i in range(count) for expert in experts)))
    start += count
  return slots
