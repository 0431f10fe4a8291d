"""The child of `confined.py`: calls one function, again and again.

    python -P confined_worker.py CONFINEMENT_PY PARENT_PID

It is run by a bare interpreter and never imported. Messages are a length and
that many bytes: pickles in on standard input, from the parent, which is
trusted; JSON out, since the parent need not trust what is computed here. The
first message says which function, and where modules are found; each one after
it is a call. What the function prints goes to standard error.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import pickle
import resource
import signal
import struct
import sys
import sysconfig
import traceback
import types
from collections.abc import Callable
from typing import Any, BinaryIO

_LENGTH = struct.Struct("<Q")
_TOLD_CHARACTERS = 500


def main(confinement: str, parent_pid: str) -> None:
  """The whole life of this process."""
  requests = os.fdopen(os.dup(0), "rb")
  replies = os.fdopen(os.dup(1), "wb")
  os.dup2(2, 1)
  os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
  # The terminal's Ctrl-C is for the parent, which then closes the pipe.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  spec = importlib.util.spec_from_file_location("confinement", confinement)
  layers = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(layers)
  for layer in (layers.die_with_parent, layers.be_killed_first):
    with contextlib.suppress(OSError, AttributeError):
      layer()
  if os.getppid() != int(parent_pid):  # it died before it could be said
    return
  setup = pickle.loads(receive(requests) or sys.exit())
  sys.path[:] = setup["path"]
  try:
    function = load(setup["target"])
    held = lock(setup["memory_bytes"], layers if setup["locked"] else None)
    reply(replies, {"value": held})
  except BaseException as error:
    reply(replies, {"error": told(error)})
    return
  while (message := receive(requests)) is not None:
    call = pickle.loads(message)
    try:
      answer = {"value": function(*call)}
      data = json.dumps(answer).encode()
    except MemoryError:
      data = json.dumps({"error": "MemoryError: it took more memory than it "
                         "may"}).encode()
    except BaseException as error:  # SystemExit too
      data = json.dumps({"error": told(error)}).encode()
    send(replies, data)


def load(target: str) -> Callable[..., Any]:
  """The function that "module:function" is, or that "module:make(JSON, ...)"
  returns when `make` is called with what stands between its brackets."""
  module, _, name = target.partition(":")
  name, bracket, argument = name.partition("(")
  found = getattr(importlib.import_module(module), name)
  if not bracket:
    return found
  return found(*json.loads(f"[{argument.removesuffix(')')}]"))


def library() -> list[str]:
  """Directories of installed packages, which may read their own data.

  Those of the interpreter, and whatever else is on the path and holds
  packages that were installed: a user's, or what `pip install --target` made.
  """
  own = {path for name, path in sysconfig.get_paths().items()
         if name.endswith("lib") or name == "stdlib"}
  return sorted(path for path in own | set(sys.path) if os.path.isdir(path)
                and (path in own or any(name.endswith(".dist-info")
                                        for name in os.listdir(path))))


def lock(memory_bytes: int, layers: types.ModuleType | None) -> list[str]:
  """Takes from this process what a calculation has no use for.

  Args:
    memory_bytes: it may take above what it has now; 0: no limit.
    layers: the module `confinement`; None: it keeps files and network.

  Returns:
    The layers that hold.
  """
  held = []
  if memory_bytes:
    with contextlib.suppress(OSError, ValueError):
      with open("/proc/self/statm") as stream:
        pages = int(stream.read().split()[0])
      limit = pages * resource.getpagesize() + memory_bytes
      resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
      held.append("memory")
  resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
  if layers is None:
    return held
  with contextlib.suppress(OSError, AttributeError, KeyError, ValueError):
    layers.restrict_files(library())
    held.append("landlock")
  with contextlib.suppress(OSError, AttributeError, KeyError, ValueError):
    layers.filter_calls(True)
    held.append("seccomp")
  return held


def told(error: BaseException) -> str:
  """An exception in one line, with the place in the file it came from."""
  name, text = type(error).__name__, str(error)
  frames = traceback.extract_tb(error.__traceback__)
  frames = [f for f in frames if f.filename != __file__
            and not f.filename.startswith("<frozen")]
  if isinstance(error, SyntaxError):
    text, place = str(error.msg), f" ({error.filename}, line {error.lineno})"
  else:
    place = (f" ({os.path.basename(frames[-1].filename)}, line "
             f"{frames[-1].lineno})" if frames else "")
  return f"{name}: {text}".replace("\n", " ")[:_TOLD_CHARACTERS] + place


def receive(stream: BinaryIO) -> bytes | None:
  """The next message, or None where the parent has closed the pipe."""
  head = stream.read(_LENGTH.size)
  if len(head) < _LENGTH.size:
    return None
  data = stream.read(_LENGTH.unpack(head)[0])
  return data if len(data) == _LENGTH.unpack(head)[0] else None


def send(stream: BinaryIO, data: bytes) -> None:
  """Writes one message; a parent that is gone ends this process."""
  try:
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()
  except BrokenPipeError:
    os._exit(0)


def reply(stream: BinaryIO, value: Any) -> None:
  """Writes one message of JSON."""
  send(stream, json.dumps(value).encode())


if __name__ == "__main__":
  main(*sys.argv[1:])
