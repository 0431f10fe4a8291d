"""The child of `process.py`: locks itself in, then runs a stranger's program.

    python -I -S -B jail.py STATUS_FD PARENT_PID MEMORY_BYTES CPU_SECONDS \\
        RECURSION LAYER,...

It is run by a bare interpreter and never imported. What it could lock is told
in a line of JSON on STATUS_FD; only then is a program read from standard input,
up to its end. What the program prints, and the value of an expression that it
ends with, go to standard output; its error, in one line, to STATUS_FD. All that
happens after that line is in the hands of the program, so whoever reads this
believes nothing of it.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib.util
import io
import json
import os
import sys
import types

_PROGRAM = "<program>"
_ERROR_CHARACTERS = 400
# Where no file can be opened any more, these have been read before.
_PRELOADED = ("bisect", "collections", "copy", "dataclasses", "datetime",
              "decimal", "fractions", "functools", "heapq", "itertools",
              "json", "math", "operator", "random", "re", "statistics",
              "string", "textwrap", "time", "typing", "_strptime", "hashlib")


def main(status_fd: str, parent_pid: str, memory_bytes: str, cpu_seconds: str,
         recursion: str, layers: str) -> None:
  """The whole life of this process; does not return."""
  status = int(status_fd)
  held = lock(int(parent_pid), int(memory_bytes), int(cpu_seconds),
              layers.split(","))
  tell(status, {"held": held})
  code = sys.stdin.buffer.read().decode("utf-8", "replace")
  sys.stdin = io.StringIO()  # input() raises EOFError
  sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
  sys.setrecursionlimit(int(recursion))
  error = run(code)
  with contextlib.suppress(BaseException):
    sys.stdout.flush()
  tell(status, {"error": error})
  os._exit(0)


def lock(parent_pid: int, memory_bytes: int, cpu_seconds: int,
         layers: list[str]) -> list[str]:
  """Takes from this process what it can; returns the names of what held."""
  confinement = _load("confinement.py")
  readable = sorted(path for path in sys.path if os.path.exists(path))
  readable = [path for path in readable if not any(
      path.startswith(other + "/") for other in readable)]
  held = []

  def attempt(layer: str, *steps) -> None:
    if layer in layers:
      with contextlib.suppress(OSError, AttributeError, KeyError, ValueError):
        for step, *arguments in steps:
          step(*arguments)
        held.append(layer)

  attempt("parent", (confinement.die_with_parent,))
  attempt("oom", (confinement.be_killed_first,))
  if os.getppid() != parent_pid:  # it died before it could be said
    os._exit(0)
  attempt("namespaces", (confinement.enter_namespaces, readable))
  if "namespaces" in held:
    inner = os.fork()  # the first process of the new namespace
    if inner:
      _, status = os.waitpid(inner, 0)
      os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status)
               else os.WEXITSTATUS(status))
    confinement.die_with_parent()
  attempt("landlock", (confinement.restrict_files, readable))
  confined = "namespaces" in held or "landlock" in held
  if not confined:
    for name in _PRELOADED:
      with contextlib.suppress(ImportError):
        __import__(name)
  attempt("limits", (confinement.limit_resources, memory_bytes, cpu_seconds))
  attempt("capabilities", (confinement.drop_capabilities,))
  attempt("seccomp", (confinement.filter_calls, confined))
  return held


def run(code: str) -> str:
  """Runs a program; returns its error in a line, or nothing."""
  module = types.ModuleType("__main__")
  module.__builtins__ = builtins
  sys.modules["__main__"] = module
  try:
    tree = ast.parse(code, _PROGRAM)
    last = None
    if tree.body and isinstance(tree.body[-1], ast.Expr):
      last = ast.Expression(tree.body.pop().value)
    exec(compile(tree, _PROGRAM, "exec"), module.__dict__)
    if last is not None:
      value = eval(compile(last, _PROGRAM, "eval"), module.__dict__)
      if value is not None:
        print(repr(value))
  except SystemExit as error:
    return "" if error.code in (None, 0) else _told(error)
  except BaseException as error:
    return _told(error)
  return ""


def _told(error: BaseException) -> str:
  """An exception in one line, of a program that may have made it to harm."""
  try:
    name, text = type(error).__name__, str(error)
    line = getattr(error, "lineno", None) if isinstance(error, SyntaxError) \
        else None
    if line is not None:
      text = str(error.msg)
    trace = error.__traceback__
    while trace is not None:
      if trace.tb_frame.f_code.co_filename == _PROGRAM:
        line = trace.tb_lineno
      trace = trace.tb_next
    text = f"{name}: {text}" if text else str(name)
    place = f" (line {line})" if line else ""
    return text.replace("\n", " ")[:_ERROR_CHARACTERS] + place
  except BaseException:
    return "an error that cannot be shown"


def tell(status: int, message: dict[str, object]) -> None:
  """One line of JSON to the parent."""
  with contextlib.suppress(BaseException):
    os.write(status, json.dumps(message).encode() + b"\n")


def _load(name: str) -> types.ModuleType:
  """A file that stands beside this one, which no package path leads to."""
  path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name)
  spec = importlib.util.spec_from_file_location(name.partition(".")[0], path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


if __name__ == "__main__":
  main(*sys.argv[1:])
