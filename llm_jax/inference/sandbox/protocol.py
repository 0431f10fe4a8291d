"""What a sandbox is: programs in, short texts out."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from llm_jax.config_tools import ProgramLimits

# A longer program is refused before it is looked at.
MAX_CODE = 100_000


@dataclasses.dataclass(frozen=True)
class Result:
  """What became of a program.

  Attributes:
    output: what it printed and, where it ended in an expression, that
      expression's value, as a Python prompt shows it; up to
      `ProgramLimits.output_characters`.
    error: one line, meant for who wrote the program; "" where all went well.
  """
  output: str
  error: str = ""


class Sandbox(Protocol):
  """Runs programs that nobody vouches for; may be called by several threads."""

  def run(self, code: str, limits: ProgramLimits) -> Result:
    """Runs a program to its end or its limits; raises for none of them."""
    ...


def too_long(code: str) -> str:
  """The error of a program that is longer than any should be, or ""."""
  if len(code) <= MAX_CODE:
    return ""
  return (f"the program has {len(code)} characters; {MAX_CODE} are allowed")


def out_of_time(limits: ProgramLimits) -> str:
  """The error of a program that took too long."""
  return f"TimeoutError: stopped after {limits.seconds:g} seconds"


def out_of_memory(limits: ProgramLimits) -> str:
  """The error of a program that asked for too much memory."""
  return f"MemoryError: more than {limits.memory_mb} MB were asked for"


def too_much_output(limits: ProgramLimits) -> str:
  """The error of a program that printed too much."""
  return (f"stopped after printing {limits.output_characters} characters; "
          "print less")
