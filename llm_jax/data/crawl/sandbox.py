"""A child process that does one job after another, and may be killed for it.

A page of the web can make a parser loop, recurse or swell. So it is parsed in a
child, with its own limit of memory, that is killed without regret. It is forked
from a parent that has imported what the job needs: a new child is ready in
milliseconds, and its start counts against no page (each says when it is ready).
It is forked by `os.fork`, since the parent is a daemon of datatrove's pool,
which `multiprocessing` forbids children.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import gc
import logging
import os
import resource
import select
import signal
import struct
import sys
import time
from collections.abc import Callable

OK, MEMORY, ERROR, READY = b"o", b"m", b"e", b"r"
_HEADER = struct.Struct("<cQ")
_PIPE_BYTES = 1 << 20
_READ_BYTES = 1 << 20
_GRACE_S = 5.0


class Died(Exception):
  """The child ended without an answer."""


class Sandbox:
  """A child that maps texts to texts, in their order.

  Several may be on their way, so that the child need not wait for its parent.
  """

  def __init__(self, function: Callable[[str], str], memory_bytes: int,
               longest_s: float):
    """Forks the child.

    Args:
      function: what it does with each text.
      memory_bytes: that it may take above what it has at its start.
      longest_s: of one text; the child ends itself behind that, in case that
        its parent is no more.
    """
    requests, self._write = os.pipe()
    self._read, replies = os.pipe()
    for pipe in (self._write, self._read):
      _widen(pipe)
    sys.stdout.flush()
    sys.stderr.flush()
    self._pid = os.fork()
    if not self._pid:
      try:
        os.close(self._write)
        os.close(self._read)
        _serve(function, requests, replies, memory_bytes, longest_s + _GRACE_S)
      finally:
        os._exit(1)
    os.close(requests)
    os.close(replies)
    os.set_blocking(self._write, False)
    self._out, self._in = bytearray(), bytearray()
    self._poll = select.poll()
    self._poll.register(self._read, select.POLLIN)
    if self.receive(None) != (READY, ""):
      raise Died("the child did not start")

  def send(self, text: str) -> None:
    """Hands a text over, as far as the child takes it."""
    data = text.encode("utf-8", "replace")  # half a surrogate pair: "?"
    self._out += _HEADER.pack(OK, len(data))
    self._out += data
    self._flush()

  def receive(self, deadline: float | None) -> tuple[bytes, str] | None:
    """(OK, MEMORY or ERROR, result or message) of the next text, or None.

    Args:
      deadline: of `time.monotonic`, behind which to give up; None: never; one
        that is past: take what is there.

    Raises:
      Died: the child ended.
    """
    while True:
      answer = self._answer()
      if answer is not None:
        return answer
      wait = None
      if deadline is not None:
        wait = max(int((deadline - time.monotonic()) * 1000) + 1, 0)
      events = self._poll.poll(wait)
      if not events and wait is not None:
        return None
      for pipe, _ in events:
        if pipe == self._write:
          self._flush()
          continue
        data = os.read(self._read, _READ_BYTES)
        if not data:
          raise Died("the child ended")
        self._in += data

  def close(self) -> None:
    """Kills the child."""
    if self._pid:
      os.kill(self._pid, signal.SIGKILL)
      os.waitpid(self._pid, 0)
      os.close(self._write)
      os.close(self._read)
      self._pid = 0

  def _answer(self) -> tuple[bytes, str] | None:
    if len(self._in) < _HEADER.size:
      return None
    kind, size = _HEADER.unpack_from(self._in)
    end = _HEADER.size + size
    if len(self._in) < end:
      return None
    text = self._in[_HEADER.size:end].decode("utf-8")
    del self._in[:end]
    return kind, text

  def _flush(self) -> None:
    """Writes what the pipe takes; asks to be told when it takes more."""
    try:
      while self._out:
        del self._out[:os.write(self._write, self._out)]
    except BlockingIOError:
      self._poll.register(self._write, select.POLLOUT)
      return
    except BrokenPipeError:  # reading will tell
      self._out.clear()
    with contextlib.suppress(KeyError):
      self._poll.unregister(self._write)


def _serve(function: Callable[[str], str], requests: int, replies: int,
           memory_bytes: int, longest_s: float) -> None:
  """The child's life; it ends with its parent."""
  for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
    signal.signal(number, signal.SIG_DFL)
  logging.disable(logging.CRITICAL)
  faulthandler.disable()  # a parser's crash is counted, not printed
  _be_killed_first()
  # Pages leave little behind that only a collection can free.
  gc.freeze()
  gc.set_threshold(100_000, 50, 1000)
  _limit_memory(memory_bytes)
  _reply(replies, READY, b"")
  while True:
    header = _read_exactly(requests, _HEADER.size)
    if header is None:
      os._exit(0)
    data = _read_exactly(requests, _HEADER.unpack(header)[1])
    if data is None:
      os._exit(0)
    signal.setitimer(signal.ITIMER_REAL, longest_s)
    kind, result = _try(function, data)
    signal.setitimer(signal.ITIMER_REAL, 0)
    _reply(replies, kind, result)


def _try(function: Callable[[str], str], data: bytes) -> tuple[bytes, bytes]:
  try:
    return OK, function(data.decode("utf-8")).encode("utf-8", "replace")
  except MemoryError:
    return MEMORY, b""
  # Whatever a parser throws is the page's fault.
  except Exception as error:
    return ERROR, f"{type(error).__name__}: {error}"[:500].encode(
        "utf-8", "replace")


def _read_exactly(pipe: int, size: int) -> bytes | None:
  """`size` bytes, or None where the other end is closed."""
  data = bytearray()
  while len(data) < size:
    block = os.read(pipe, min(size - len(data), _READ_BYTES))
    if not block:
      return None
    data += block
  return bytes(data)


def _reply(pipe: int, kind: bytes, data: bytes) -> None:
  view = memoryview(_HEADER.pack(kind, len(data)) + data)
  while view:
    view = view[os.write(pipe, view):]


def _limit_memory(memory_bytes: int) -> None:
  """So much more than now; only Linux tells how much that is, and obeys."""
  try:
    with open("/proc/self/statm") as stream:
      pages = int(stream.read().split()[0])
  except OSError:
    return
  limit = pages * resource.getpagesize() + memory_bytes
  resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _widen(pipe: int) -> None:
  """A larger pipe takes a whole page at once, where the system lets it."""
  if hasattr(fcntl, "F_SETPIPE_SZ"):
    with contextlib.suppress(OSError):  # more than a user may have
      fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _be_killed_first() -> None:
  """Where the machine's memory runs out, this process goes, not its parent."""
  with contextlib.suppress(OSError):
    with open("/proc/self/oom_score_adj", "w") as stream:
      stream.write("1000")
