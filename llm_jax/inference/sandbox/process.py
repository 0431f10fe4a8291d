"""Python in a process of its own, which the kernel holds.

For each program a new interpreter is started (`jail.py`), which locks itself in
before it reads the program: namespaces, Landlock, seccomp and rlimits, as far
as the machine has them (`confinement.py`). The parent never forks: it may be a
JAX process of many threads. It keeps the clock, reads no more output than it
keeps, and kills the child, its process group and its namespace with it.

All of Python's standard library is there, as far as it needs no files, network,
threads or other programs, and no shared library of the system.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import pathlib
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from llm_jax.config import ConfigError, require
from llm_jax.config_tools import ProgramLimits
from llm_jax.inference.sandbox.protocol import (
    Result, out_of_memory, out_of_time, too_long, too_much_output)

LAYERS = ("parent", "oom", "namespaces", "landlock", "limits", "capabilities",
          "seccomp")
# What each protection needs one of. Of the network Landlock knows TCP alone;
# namespaces let a program make as many processes as it likes.
PROTECTIONS = {
    "files": ("namespaces", "landlock", "seccomp"),
    "network": ("namespaces", "seccomp"),
    "processes": ("seccomp",),
    "memory": ("limits",),
}
_JAIL = pathlib.Path(__file__).with_name("jail.py")
_START_S = 60.0  # of the interpreter, on a machine that is busy
# The clock is read so often; where it has gone on by more than the second, this
# process was itself stopped (by a batch system, a debugger), and so perhaps was
# the child.
_GLANCE_S, _GLANCE_COUNTS_S = 0.25, 1.0
_END_S = 10.0  # that the kernel may take to end what was killed
_READ_BYTES = 1 << 16
_STATUS_BYTES = 1 << 14
_ERROR_CHARACTERS = 500
_BYTES_PER_CHARACTER = 4  # at most, in UTF-8


class ProcessSandbox:
  """Runs each program in a child that has nothing (`protocol.Sandbox`)."""

  def __init__(self, layers: tuple[str, ...] = LAYERS):
    """Nothing is started yet.

    Args:
      layers: to lock; fewer than all to see that the others hold.
    """
    self._layers = layers

  def run(self, code: str, limits: ProgramLimits) -> Result:
    """Runs a program to its end or its limits.

    Raises:
      ConfigError: the child does not start, whatever the program, or does not
        get the protections that it got before.
    """
    if error := too_long(code):
      return Result("", error)
    with _Child(self._usable, limits) as child:
      held = _protections(child.start())
      for name, layers in self.held.items():
        require(bool(held[name]) or not layers, "tools.sandbox=process could "
                f"not keep a program from {name}, as it did before; the "
                "program was not run.")
      return child.finish(code)

  @functools.cached_property
  def held(self) -> dict[str, tuple[str, ...]]:
    """Of each protection, the layers that hold it on this machine.

    Raises:
      ConfigError: the child does not start.
    """
    return _protections(self._usable)

  @functools.cached_property
  def _usable(self) -> tuple[str, ...]:
    """The layers that this machine has, found out once."""
    locked = self._try(self._layers)
    if "namespaces" in self._layers and "namespaces" not in locked:
      # One that was entered half may have cost others.
      locked = self._try(tuple(layer for layer in self._layers
                               if layer != "namespaces"))
    return locked

  def _try(self, layers: tuple[str, ...]) -> tuple[str, ...]:
    with _Child(layers, ProgramLimits()) as child:
      return tuple(child.start())

  def require_protections(self) -> None:
    """Raises `ConfigError` where this machine leaves one of them out."""
    missing = [name for name, layers in self.held.items() if not layers]
    require(not missing, "tools.sandbox=process cannot keep a program from "
            f"{', '.join(missing)} on this machine, whose kernel gives a child "
            "neither namespaces nor seccomp; use --tools.sandbox=monty, or "
            "accept it with --tools.allow_partial_sandbox=true.")


def _protections(locked: Sequence[str]) -> dict[str, tuple[str, ...]]:
  return {name: tuple(layer for layer in layers if layer in locked)
          for name, layers in PROTECTIONS.items()}


class _Child:
  """One interpreter, from its start to its certain end."""

  def __init__(self, layers: tuple[str, ...], limits: ProgramLimits):
    self._limits = limits
    self._layers = layers
    self._output, self._status = bytearray(), bytearray()

  def __enter__(self) -> _Child:
    self._status_fd, theirs = os.pipe()
    limits = self._limits
    try:
      self._process = subprocess.Popen(
          [sys.executable, "-I", "-S", "-B", "-X", "utf8", str(_JAIL),
           str(theirs), str(os.getpid()), str(limits.memory_mb << 20),
           str(math.ceil(limits.seconds)), str(limits.recursion),
           ",".join(self._layers)],
          stdin=subprocess.PIPE, stdout=subprocess.PIPE,
          stderr=subprocess.STDOUT, pass_fds=(theirs,), env={}, cwd="/",
          start_new_session=True, bufsize=0)
    except OSError as error:
      os.close(self._status_fd)
      raise ConfigError("tools.sandbox=process cannot start "
                        f"{sys.executable}: {error}.") from error
    finally:
      os.close(theirs)
    return self

  def __exit__(self, *exception) -> None:
    self._kill()
    os.close(self._status_fd)
    for pipe in (self._process.stdin, self._process.stdout):
      with contextlib.suppress(OSError):  # a program may not have been read
        pipe.close()

  def start(self) -> list[str]:
    """Waits until the child is locked in; returns the layers that hold."""
    self._read(_START_S, until=lambda: b"\n" in self._status)
    line, newline, rest = self._status.partition(b"\n")
    if not newline:
      self._kill()
      told = self._output.decode("utf-8", "replace").strip()[-300:]
      raise ConfigError("tools.sandbox=process: the child did not start ("
                        f"{told or f'nothing for {_START_S:g} seconds'}).")
    self._status = rest
    return json.loads(line)["held"]

  def finish(self, code: str) -> Result:
    """Hands the program over and waits for its end, or makes it."""
    limits = self._limits
    room = limits.output_characters * _BYTES_PER_CHARACTER
    ended = self._read(limits.seconds, code.encode("utf-8", "replace"),
                       until=lambda: len(self._output) > room)
    self._kill()
    text = self._output[:room].decode("utf-8", "replace")
    cut = text[:limits.output_characters]
    if len(text) > len(cut) or len(self._output) > room:
      return Result(cut, too_much_output(limits))
    return Result(cut, self._error() if ended else out_of_time(limits))

  def _read(self, seconds: float, code: bytes | None = None, *,
            until: Callable[[], bool]) -> bool:
    """Reads both pipes, and writes `code`, until they close, or `until`, or
    for so many seconds; returns whether it was not the time that ended it."""
    with selectors.DefaultSelector() as waiting:
      waiting.register(self._status_fd, selectors.EVENT_READ, self._status)
      waiting.register(self._process.stdout, selectors.EVENT_READ,
                       self._output)
      if code is not None:
        os.set_blocking(self._process.stdin.fileno(), False)
        waiting.register(self._process.stdin, selectors.EVENT_WRITE)
      last = time.monotonic()
      while waiting.get_map() and not until():
        now = time.monotonic()
        seconds -= min(now - last, _GLANCE_COUNTS_S)
        last = now
        if seconds <= 0:
          return False
        for key, _ in waiting.select(min(seconds, _GLANCE_S)):
          if key.data is None:
            code = self._write(key.fd, code)
            if not code:
              waiting.unregister(key.fileobj)
              self._process.stdin.close()
            continue
          block = os.read(key.fd, _READ_BYTES)
          if not block:
            waiting.unregister(key.fileobj)
          elif key.data is self._output or len(
              self._status) < _STATUS_BYTES:
            key.data.extend(block)
    return True

  def _write(self, pipe: int, code: bytes) -> bytes:
    """What is left of `code` after the pipe took what it takes."""
    try:
      return code[os.write(pipe, code):]
    except BlockingIOError:
      return code
    except BrokenPipeError:
      return b""

  def _error(self) -> str:
    """The program's error, as told by the child or by how it ended."""
    limits = self._limits
    for line in self._status.split(b"\n"):
      with contextlib.suppress(ValueError, TypeError, RecursionError):
        error = json.loads(line)["error"]
        if isinstance(error, str):
          error = error[:_ERROR_CHARACTERS].replace("\n", " ")
          return (out_of_memory(limits) if error.startswith("MemoryError")
                  else error)
    code = self._process.returncode
    number = -code if code < 0 else code - 128
    if number in (signal.SIGKILL, signal.SIGXCPU):
      return out_of_time(limits)
    with contextlib.suppress(ValueError):
      return (f"the interpreter crashed ({signal.Signals(number).name}); "
              "perhaps by too deep a recursion")
    return f"the program ended itself with code {code}"

  def _kill(self) -> None:
    """Ends the child and whatever it started; returns when it has ended."""
    if self._process.returncode is not None:
      return
    for kill in (lambda: os.killpg(self._process.pid, signal.SIGKILL),
                 self._process.kill):
      with contextlib.suppress(ProcessLookupError, PermissionError):
        kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
      self._process.wait(_END_S)

