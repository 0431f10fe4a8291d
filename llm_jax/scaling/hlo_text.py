"""The text of a compiled program (HLO) as computations and instructions.

`jax.stages.Compiled.as_text()` prints XLA's program for one device after all
its passes: partitioned, fused, scheduled. Only what the readers beside this
file need is kept: names, types, operands, attributes, and how often a
computation runs.
"""

from __future__ import annotations

import collections
import dataclasses
import re

_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{\s*$")
_INSTRUCTION = re.compile(
    r"^\s+(ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)$")
_ARRAY = re.compile(r"\b(pred|token|[a-z]+\d+\w*)\[([\d,]*)\]")
_NAME = re.compile(r"%([\w.\-]+)")
_CALLED = re.compile(r"\b(?:calls|to_apply|called_computations|"
                     r"branch_computations|true_computation|"
                     r"false_computation)=\{?((?:%?[\w.\-]+(?:, )?)+)\}?")
_TRIPS = re.compile(r'known_trip_count[^\d]*(\d+)')


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One line: `name = type opcode(operands), attributes`."""
  name: str
  type: str
  opcode: str
  operands: tuple[str, ...]
  rest: str  # operands and attributes, as they stand
  is_root: bool


@dataclasses.dataclass(frozen=True)
class Computation:
  """Its instructions, in order, and by name: names are its own."""
  instructions: dict[str, Instruction]

  def __iter__(self):
    return iter(self.instructions.values())

  def get(self, name: str) -> Instruction | None:
    """The instruction of that name, or None."""
    return self.instructions.get(name)

  @property
  def root(self) -> Instruction | None:
    """What the computation returns."""
    return next((line for line in self if line.is_root), None)


@dataclasses.dataclass(frozen=True)
class Program:
  """Computations by name, in the order of the text; `entry` is one of them."""
  computations: dict[str, Computation]
  entry: str


def read_program(text: str) -> Program:
  """Reads the text that `Compiled.as_text()` gives.

  Raises:
    ValueError: there is no entry computation in it.
  """
  computations: dict[str, Computation] = {}
  entry, lines = "", None
  for line in text.splitlines():
    # Alone: an attribute of several lines, as a Pallas kernel has, may have a
    # line that begins with one, too.
    if line.partition("//")[0].strip() == "}" and line.startswith("}"):
      lines = None
    elif header := _HEADER.match(line):
      lines = {}
      computations[header[2]] = Computation(lines)
      entry = header[2] if header[1] else entry
    elif lines is not None and (found := _INSTRUCTION.match(line)):
      root, name, type_, opcode, rest = found.groups()
      lines[name] = Instruction(
          name, type_, opcode, tuple(_NAME.findall(_arguments(rest))), rest,
          bool(root))
  if not entry:
    raise ValueError("the text has no ENTRY computation; is it HLO?")
  return Program(computations, entry)


def _arguments(rest: str) -> str:
  """Up to the parenthesis that closes the operands."""
  depth = 1
  for i, char in enumerate(rest):
    depth += (char == "(") - (char == ")")
    if not depth:
      return rest[:i]
  return rest


def type_bytes(type_: str) -> int:
  """Bytes of an array type, or of all arrays of a tuple type."""
  total = 0
  for element, dims in _ARRAY.findall(type_):
    size = 1
    for dim in filter(None, dims.split(",")):
      size *= int(dim)
    total += (size * _element_bits(element) + 7) // 8
  return total


def _element_bits(element: str) -> int:
  if element in ("pred", "token"):
    return 8 * (element == "pred")
  return int(re.search(r"\d+", element)[0])  # bf16, f8e4m3fn, s32, c64


def runs(program: Program) -> tuple[collections.Counter[str], list[str]]:
  """How often each computation runs in one execution of the program.

  A loop's body counts as often as the loop turns: the compiler notes it, or
  its condition compares a counter with a constant. Both branches of a
  conditional count once.

  Returns:
    (computation -> runs, loops whose turns are not known; they count once).
  """
  counts: collections.Counter[str] = collections.Counter()
  unknown: list[str] = []

  def visit(name: str, times: int) -> None:
    counts[name] += times
    home = program.computations.get(name)
    for line in home or ():
      if line.opcode == "while":
        turns = loop_turns(program, home, line)
        if turns is None:
          unknown.append(line.name)
        body = re.search(r"\bbody=%?([\w.\-]+)", line.rest)[1]
        visit(body, times * (1 if turns is None else turns))
      # The function of a reduction runs within its instruction.
      elif line.opcode in ("fusion", "call", "conditional", "async-start",
                           "custom-call"):
        for called in _CALLED.findall(line.rest):
          for target in re.findall(r"[\w.\-]+", called):
            visit(target, times)
  visit(program.entry, 1)
  return counts, unknown


def loop_turns(program: Program, home: Computation,
               loop: Instruction) -> int | None:
  """How often a `while` turns, or None where the text does not tell.

  Args:
    program: all of it.
    home: the computation that the loop stands in.
    loop: the `while`.
  """
  if noted := _TRIPS.search(loop.rest):
    return int(noted[1])
  name = re.search(r"\bcondition=%?([\w.\-]+)", loop.rest)[1]
  condition = program.computations[name]
  root = condition.root
  if root is None or root.opcode != "compare" or (
      "direction=LT" not in root.rest):
    return None
  counter, bound = (condition.get(name) for name in root.operands)
  end = _constant(condition, bound, home, loop)
  first = _constant(condition, counter, home, loop)
  return None if end is None or first is None else max(0, end - first)


def _constant(here: Computation, line: Instruction | None, home: Computation,
              loop: Instruction | None) -> int | None:
  """The whole number that an instruction is when the loop begins.

  Followed through copies, and from the loop's own tuple (in `here`, its
  condition) to what it was before the loop (in `home`).
  """
  while line is not None:
    if line.opcode == "constant":
      number = re.match(r"-?\d+", line.rest)
      return int(number[0]) if number else None
    if line.opcode == "get-tuple-element" and loop is not None:
      start = home.get(loop.operands[0])
      if start is None or start.opcode != "tuple":
        return None
      place = int(re.search(r"\bindex=(\d+)", line.rest)[1])
      here, line, loop = home, home.get(start.operands[place]), None
    elif line.opcode in ("copy", "bitcast", "convert") and line.operands:
      line = here.get(line.operands[0])
    else:
      return None
  return None
