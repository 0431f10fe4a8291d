"""Collectives of a compiled program: kinds, counts, bytes, and their devices.

Two sizes of each: `array_bytes`, the whole array that a group of n devices
gathers, reduces or exchanges; and `wire_bytes`, what one device receives if
that is done with the least traffic:

  all-gather, reduce-scatter, all-to-all   (n - 1) / n · array
  all-reduce (both, one after the other)  2 (n - 1) / n · array
  collective-permute                       array

A ragged all-to-all counts as if its buffer were full.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import re

import numpy as np

from llm_jax.scaling.hlo_text import (
    Program, read_program, runs, type_bytes)

KINDS = ("all-gather", "reduce-scatter", "all-reduce", "all-to-all",
         "ragged-all-to-all", "collective-permute", "collective-broadcast")


@dataclasses.dataclass(frozen=True)
class Collective:
  """One collective instruction.

  Attributes:
    kind: of `KINDS`; an asynchronous one has the kind of what it starts.
    runs: how often it is run in one execution of the program.
    array_bytes: of the whole array, one run.
    wire_bytes: what a device receives, one run.
    group: partition numbers of the first group of devices that take part; of
      a permute the first pair.
    source: the line of the model that it comes from, XLA's `op_name`.
  """
  kind: str
  runs: int
  array_bytes: int
  wire_bytes: float
  group: tuple[int, ...]
  source: str


def read_collectives(text: str, num_devices: int
                     ) -> tuple[list[Collective], list[str]]:
  """All collectives of a compiled program.

  Args:
    text: of `Compiled.as_text()`.
    num_devices: that the program is partitioned for.

  Returns:
    (the collectives, names of loops whose turns the text does not tell: what is
    in them counts once).
  """
  program = read_program(text)
  counts, unknown = runs(program)
  homes = _homes(program)
  found: dict[tuple[str, str], Collective] = {}
  # First those that stand in their home, then those that are fused: TPU's
  # compiler writes an asynchronous collective again in each of the fusions that
  # overlap it, and the channel tells that it is one. (On CPU all of a
  # `shard_map` share a channel, and none is fused.)
  names = sorted(program.computations, key=lambda n: homes.get(n, n) != n)
  seen: set[tuple[str, str]] = set()
  for name in names:
    home = homes.get(name, name)
    for line in program.computations[name]:
      kind = line.opcode.removesuffix("-start")
      if kind not in KINDS or not counts[name]:
        continue
      channel = re.search(r"\bchannel_id=(\d+)", line.rest)
      told = (home, channel[1]) if channel else (home, line.name)
      if home != name and told in seen:
        continue
      seen.add(told)
      found[home, line.name] = _read(program.computations[name], line, kind,
                                     counts[home], num_devices)
  return list(found.values()), unknown


def totals(collectives: list[Collective]) -> dict[str, dict[str, float]]:
  """kind -> {"instructions", "runs", "array_bytes", "wire_bytes"} a step."""
  table: dict[str, dict[str, float]] = {}
  for one in collectives:
    row = table.setdefault(one.kind, dict.fromkeys(
        ("instructions", "runs", "array_bytes", "wire_bytes"), 0))
    row["instructions"] += 1
    row["runs"] += one.runs
    row["array_bytes"] += one.runs * one.array_bytes
    row["wire_bytes"] += one.runs * one.wire_bytes
  return {kind: table[kind] for kind in KINDS if kind in table}


def _read(home, line, kind, times, num_devices):
  group = _first_group(line.rest, num_devices)
  n = len(group)
  operands = line.operands
  if kind == "ragged-all-to-all":
    operands = operands[:1]  # the rest: where the pieces go
  size = sum(type_bytes(operand.type) for name in operands
             if (operand := home.get(name)))
  if kind == "all-gather":
    size *= n
  elif kind == "all-reduce":
    size = type_bytes(line.type)  # sums may be narrower than what is summed
  share = {"all-reduce": 2 * (n - 1) / n, "collective-permute": 1.0,
           "collective-broadcast": 1.0}.get(kind, (n - 1) / n)
  source = re.search(r'op_name="([^"]*)"', line.rest)
  return Collective(kind, times, size, share * size, group,
                    source[1] if source else "")


def _homes(program: Program) -> dict[str, str]:
  """computation -> the entry, loop body or branch that it is fused into."""
  callers: dict[str, set[str]] = collections.defaultdict(set)
  for name, lines in program.computations.items():
    for line in lines:
      if line.opcode in ("fusion", "async-start"):
        called = re.search(r"\bcalls=%?([\w.\-]+)", line.rest)
        if called:
          callers[called[1]].add(name)
  homes = {}
  for name in program.computations:
    here = name
    while len(callers.get(here, ())) == 1:
      here = next(iter(callers[here]))
    homes[name] = here
  return homes


# --- groups of devices -------------------------------------------------------


def _first_group(rest: str, num_devices: int) -> tuple[int, ...]:
  """Partition numbers of the first group in an instruction's attributes.

  XLA writes groups as lists {{0,1},{2,3}}, as a reshaped and transposed iota
  [2,4]<=[4,2]T(1,0), or by axes of a mesh, mesh['a'=2,'b'=4] {'b'}.
  """
  if pairs := re.search(r"source_target_pairs=\{\{(\d+),(\d+)\}", rest):
    return int(pairs[1]), int(pairs[2])
  if listed := re.search(r"replica_groups=\{\{([\d,]+)\}", rest):
    return tuple(int(n) for n in listed[1].split(","))
  if iota := re.search(r"replica_groups=(\[[\d,]+\]<=\[[\d,]+\]"
                       r"(?:T\([\d,]+\))?)", rest):
    return tuple(int(n) for n in _iota(iota[1])[0])
  if mesh := re.search(r"replica_groups=(?:@?\w*)?mesh\[([^\]]*)\]"
                       r"((?:, device_ids=\([^)]*\)+)?) \{([^}]*)\}", rest):
    return _mesh_group(*mesh.groups())
  return tuple(range(num_devices))


def _iota(text: str) -> np.ndarray:
  shape, source, order = re.fullmatch(
      r"\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", text).groups()
  ids = np.arange(math.prod(_numbers(source))).reshape(_numbers(source))
  if order:
    ids = ids.transpose(_numbers(order))
  return ids.reshape(_numbers(shape))


def _numbers(text: str) -> list[int]:
  return [int(n) for n in re.findall(r"\d+", text)]


def _mesh_group(axes: str, device_ids: str, names: str) -> tuple[int, ...]:
  """The first group over named axes, or parts of axes 'a':(before)size."""
  sizes = {name: int(size)
           for name, size in re.findall(r"'([^']+)'=(\d+)", axes)}
  chosen = [(name, int(before or 1), int(size or sizes[name]))
            for name, before, size in re.findall(
                r"'([^']+)'(?::\((\d+)\)(\d+))?", names)]
  shape, keep = [], []
  for axis, size in sizes.items():
    parts, done = [p for p in chosen if p[0] == axis], 1
    for _, before, length in sorted(parts, key=lambda p: p[1]):
      shape += [before // done, length]
      keep += [False, True]
      done = before * length
    shape.append(size // done)
    keep.append(False)
  ids = np.arange(math.prod(shape))
  if iota := re.search(r"\[[\d,]+\](?:<=\[[\d,]+\])?T\([\d,]+\)", device_ids):
    text = iota[0] if "<=" in iota[0] else f"[{len(ids)}]<={iota[0]}"
    ids = _iota(text).reshape(-1)
  index = tuple(slice(None) if kept else 0 for kept in keep)
  return tuple(int(n) for n in ids.reshape(shape)[index].reshape(-1))


