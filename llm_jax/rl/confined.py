"""A function in processes of its own, which are killed when they hang.

What checks a model's answer may loop for ever on it, recurse, swell, or run it:
an algebra system that reads "9**9**9**9" computes it, and some read expressions
by Python's `eval`. So it is called in a child (`confined_worker.py`), one call
at a time, with a time and a memory of its own; a child that exceeds them is
killed and the next call finds a new one. Children are started anew rather than
forked, since the parent is a JAX process of many threads. All of them have the
same hash seed, so that what depends on the order of a set does not depend on
the process.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import json
import os
import pathlib
import pickle
import queue
import select
import struct
import subprocess
import sys
import threading
import time
import weakref
from typing import Any

_WORKER = pathlib.Path(__file__).with_name("confined_worker.py")
_CONFINEMENT = (pathlib.Path(__file__).parents[1] / "inference" / "sandbox"
                / "confinement.py")
_LENGTH = struct.Struct("<Q")
_READ_BYTES = 1 << 16
_REPLY_BYTES = 64 << 20
# Imports of a reward may take long, on a machine that is busy.
_START_S = 600.0
# The clock is read so often; where it has gone on by more than the second, this
# process was itself stopped, and so perhaps was the child.
_GLANCE_S, _GLANCE_COUNTS_S = 0.25, 1.0
# Linux kills a child with the thread that made it, which has to last.
_MAKER = concurrent.futures.ThreadPoolExecutor(1, "confined")


class CallFailed(Exception):
  """A call that has no result; its text is the reason in a few words."""


class Hung(CallFailed):
  """A call that took longer than it may; its process was killed."""


class StartFailed(CallFailed):
  """The function could not be loaded."""


class Workers:
  """Up to so many processes that call one function.

  A process is started with the first call that finds none idle. May be called
  by several threads.

  Args:
    target: "module:function", or "module:make(JSON, ...)", where `make` returns
      the function; imported in the child.
    count: processes at most.
    seconds: one call takes at most.
    memory_mb: a process may take above what it has once it has imported all; 0:
      no limit.
    locked: a process also loses files but Python's library, the network, and
      new processes, as far as the kernel has means for it (Landlock, seccomp),
      and it finds an empty environment.
  """

  def __init__(self, target: str, count: int = 1, seconds: float = 10.0,
               memory_mb: int = 4096, locked: bool = True):
    self._target, self._seconds = target, seconds
    self._memory_bytes, self._locked = memory_mb << 20, locked
    # The last one used is taken first: fewer are ever started.
    self._idle: queue.LifoQueue[_Child | None] = queue.LifoQueue()
    self._children: set[_Child] = set()
    self._lock = threading.Lock()
    for _ in range(count):
      self._idle.put(None)
    self._close = weakref.finalize(self, _kill_all, self._children)

  def start(self) -> tuple[str, ...]:
    """Starts a process, if there is none; returns which layers hold it.

    Raises:
      StartFailed: the function cannot be loaded.
    """
    child = self._take()
    self._idle.put(child)
    return child.held

  def call(self, *arguments: Any, seconds: float | None = None) -> Any:
    """What the function returns, as JSON has it.

    Args:
      arguments: what can be pickled.
      seconds: that this call takes at most; None: those of all calls.

    Raises:
      Hung: it took longer.
      StartFailed: the function cannot be loaded.
      CallFailed: it raised, or its process died.
    """
    child: _Child | None = self._take()
    seconds = self._seconds if seconds is None else seconds
    try:
      return child.call(arguments, seconds)
    except (Hung, BrokenPipeError, EOFError) as error:
      self._drop(child)
      child = None
      if isinstance(error, Hung):
        raise
      raise CallFailed("its process died, perhaps of a crash or of too much "
                       "memory") from error
    except CallFailed:
      raise
    except BaseException:  # a half-read answer must not meet the next call
      self._drop(child)
      child = None
      raise
    finally:
      self._idle.put(child)

  def close(self) -> None:
    """Ends all processes; a call after it starts new ones."""
    with self._lock:
      _kill_all(self._children)

  def _take(self) -> _Child:
    child = self._idle.get()
    if child is not None and child.alive:
      return child
    if child is not None:
      self._drop(child)
      child = None
    try:
      child = _Child(self._target, self._memory_bytes, self._locked)
      with self._lock:
        self._children.add(child)
      child.start()
    except BaseException:
      if child is not None:
        self._drop(child)
      self._idle.put(None)
      raise
    return child

  def _drop(self, child: _Child) -> None:
    child.kill()
    with self._lock:
      self._children.discard(child)


def _kill_all(children: set[_Child]) -> None:
  for child in children:
    child.kill()
  children.clear()


class _Child:
  """One process."""

  def __init__(self, target: str, memory_bytes: int, locked: bool):
    self._target, self.held = target, ()
    self._setup = {
        "target": target, "path": [p or os.getcwd() for p in sys.path],
        "memory_bytes": memory_bytes, "locked": locked}
    # Of the accelerators there are none to share; threads of a BLAS library
    # would have to be made once it is locked.
    environment = {} if locked else dict(os.environ)
    environment |= {"PYTHONHASHSEED": "0", "JAX_PLATFORMS": "cpu"}
    if locked:
      environment |= {f"{name}_NUM_THREADS": "1"
                      for name in ("OMP", "OPENBLAS", "MKL")}
    command = [sys.executable, "-P", "-B", "-X", "utf8", str(_WORKER),
               str(_CONFINEMENT), str(os.getpid())]
    self._process = _MAKER.submit(functools.partial(
        subprocess.Popen, command, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, env=environment, start_new_session=True,
        bufsize=0)).result()
    self._buffer = bytearray()

  @property
  def alive(self) -> bool:
    return self._process.poll() is None

  def start(self) -> None:
    """Waits until the function is loaded."""
    try:
      self.held = tuple(self._exchange(self._setup, _START_S))
    except (BrokenPipeError, EOFError) as error:
      raise StartFailed("its process ended before it was ready") from error
    except CallFailed as error:
      raise StartFailed(str(error)) from error

  def call(self, arguments: tuple[Any, ...], seconds: float) -> Any:
    return self._exchange(arguments, seconds)

  def kill(self) -> None:
    """Ends the process and its group."""
    if self._process.returncode is None:
      for end in (lambda: os.killpg(self._process.pid, 9), self._process.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
          end()
      self._process.wait()
    for pipe in (self._process.stdin, self._process.stdout):
      with contextlib.suppress(OSError):
        pipe.close()

  def _exchange(self, message: Any, seconds: float) -> Any:
    data = pickle.dumps(message)
    self._write(_LENGTH.pack(len(data)) + data, seconds)
    head = self._read(_LENGTH.size, seconds)
    size = _LENGTH.unpack(head)[0]
    if size > _REPLY_BYTES:
      raise EOFError
    try:
      answer = json.loads(self._read(size, seconds))
      failed, told = "error" in answer, str(answer.get("error"))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
      raise EOFError from error  # what it called has written to our pipe
    if failed:
      raise CallFailed(told)
    return answer.get("value")

  def _write(self, data: bytes, seconds: float) -> None:
    pipe = self._process.stdin.fileno()
    os.set_blocking(pipe, False)
    view = memoryview(data)
    while view:
      self._wait(pipe, select.POLLOUT, seconds)
      with contextlib.suppress(BlockingIOError):
        view = view[os.write(pipe, view):]

  def _read(self, size: int, seconds: float) -> bytes:
    pipe = self._process.stdout.fileno()
    while len(self._buffer) < size:
      self._wait(pipe, select.POLLIN, seconds)
      block = os.read(pipe, _READ_BYTES)
      if not block:
        raise EOFError
      self._buffer += block
    data = bytes(self._buffer[:size])
    del self._buffer[:size]
    return data

  def _wait(self, pipe: int, event: int, seconds: float) -> None:
    """Until the pipe is ready; raises `Hung` behind so many seconds."""
    poll = select.poll()
    poll.register(pipe, event)
    last, left = time.monotonic(), seconds
    while not poll.poll(min(left, _GLANCE_S) * 1000):
      now = time.monotonic()
      left -= min(now - last, _GLANCE_COUNTS_S)
      last = now
      if left <= 0:
        raise Hung(f"it took longer than {seconds:g} seconds")
