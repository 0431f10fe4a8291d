"""Python in Monty: an interpreter that has nothing to give away.

Monty (`pydantic-monty`) runs a subset of Python in Rust. It has no files,
sockets or processes: what a program asks of the world outside, the host would
have to answer, and this one answers nothing. It counts memory and time itself,
and runs in worker processes with an empty environment, so that a program that
crashes or blocks one loses no more than that one. Workers wait for programs;
each program finds a new session, which knows nothing of the last.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from typing import Any

from llm_jax.config import ConfigError
from llm_jax.config_tools import ProgramLimits
from llm_jax.inference.sandbox.protocol import (
    Result, out_of_memory, out_of_time, too_long, too_much_output)

_ERROR_CHARACTERS = 400
# A worker that keeps a turn longer than this is killed: the interpreter does
# not count the time in which it compiles. Beside the program's own seconds.
_GRACE_S = 10.0
# A worker is replaced now and then, whatever it may have kept.
_PROGRAMS_PER_WORKER = 1000


class _Enough(Exception):
  """The program printed too much."""


class MontySandbox:
  """Runs each program in a session of its own (`protocol.Sandbox`)."""

  def __init__(self):
    """Starts nothing yet; the workers start with the first program.

    Raises:
      ConfigError: pydantic-monty is not installed.
    """
    try:
      import pydantic_monty
    except ImportError as error:
      raise ConfigError(
          "tools.sandbox=monty needs pydantic-monty, which is not installed; "
          "run `pip install 'llm_jax[tools]'`, or use --tools.sandbox=process."
      ) from error
    self._monty = pydantic_monty
    self._pools: dict[float, Any] = {}
    self._lock = threading.Lock()
    self._open = contextlib.ExitStack()
    self._close = weakref.finalize(self, self._open.close)

  def run(self, code: str, limits: ProgramLimits) -> Result:
    """Runs a program to its end or its limits.

    Raises:
      ConfigError: there is no worker to run it.
    """
    if error := too_long(code):
      return Result("", error)
    printed = _Printed(limits.output_characters)
    error = ""
    code = code.encode("utf-8", "replace").decode("utf-8")
    try:
      with self._pool(limits).checkout(limits={
          "max_feed_duration_secs": limits.seconds,
          "max_total_sleep_secs": limits.seconds,
          "max_memory": limits.memory_mb << 20,
          "max_recursion_depth": limits.recursion}) as session:
        value = session.feed_run(code, print_callback=printed.take)
      if value is not None:
        printed.take("stdout", self._shown(value) + "\n")
    except ConfigError:
      raise
    except Exception as fault:  # whatever the program's end may look like here
      error = self._told(fault, limits)
    if printed.too_much:
      error = too_much_output(limits)
    return Result(printed.text, error)

  def _pool(self, limits: ProgramLimits) -> Any:
    """The workers for programs with so many seconds."""
    with self._lock:
      if limits.seconds not in self._pools:
        try:
          self._pools[limits.seconds] = self._open.enter_context(
              self._monty.Monty(
                  request_timeout=limits.seconds + _GRACE_S,
                  max_checkouts_per_worker=_PROGRAMS_PER_WORKER))
        except Exception as error:  # no binary, or one that does not start
          raise ConfigError("tools.sandbox=monty cannot start its worker "
                            f"({error}); reinstall pydantic-monty.") from error
      return self._pools[limits.seconds]

  def _shown(self, value: Any) -> str:
    """A value as Python would show it; of its own classes only the name."""
    if isinstance(value, self._monty.MontyClassProxy):
      return f"<{value.name} object>"
    return repr(value)

  def _told(self, fault: Exception, limits: ProgramLimits) -> str:
    """The end of a program in a line."""
    if isinstance(fault, self._monty.MontyCrashedError):
      return (out_of_time(limits) if getattr(fault, "timed_out", False)
              else "the interpreter crashed")
    text, line = str(fault), ""
    if isinstance(fault, (self._monty.MontyRuntimeError,
                          self._monty.MontySyntaxError)):
      text = fault.display("type-msg")
      frames = fault.traceback()
      line = f" (line {frames[-1].line})" if frames else ""
    if "time limit exceeded" in text or "sleep limit exceeded" in text:
      return out_of_time(limits)
    if text.startswith("MemoryError"):
      return out_of_memory(limits)
    return text.replace("\n", " ")[:_ERROR_CHARACTERS] + line


class _Printed:
  """What a program prints, up to a number of characters."""

  def __init__(self, characters: int):
    self.text, self.too_much = "", False
    self._characters = characters

  def take(self, stream: str, text: str) -> None:
    """Keeps what fits; raises `_Enough` where it does not."""
    room = self._characters - len(self.text)
    self.text += text[:room]
    if len(text) > room:
      self.too_much = True
      raise _Enough
