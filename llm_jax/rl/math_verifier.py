r"""Are two mathematical expressions one? By `math-verify`, in a child.

"\frac{1}{2}", "0.5" and "1/2" are one answer, as are "(x+1)^2" and
"x^2+2x+1", "{1,2}" and "\{2, 1\}". Math-verify (Hugging Face) reads them with
a grammar and compares them with SymPy, which may take for ever on what a model
writes; see `confined.py`.
"""

from __future__ import annotations

import functools
import logging

from llm_jax.config import ConfigError
from llm_jax.rl.confined import CallFailed, StartFailed, Workers
from llm_jax.rl.environments.protocol import VerifierFault


class MathVerifier:
  """Compares answers in up to `workers` processes; for several threads.

  Args:
    workers: processes at most.
    seconds: one comparison takes at most.
  """

  def __init__(self, workers: int = 1, seconds: float = 10.0):
    self._workers = Workers(f"{__name__}:make_check()", workers, seconds,
                            memory_mb=2048)

  def start(self) -> None:
    """Starts a process; raises `ConfigError` without math-verify."""
    try:
      self._workers.start()
    except StartFailed as error:
      raise ConfigError(
          "the verifier 'math' needs math-verify, which cannot be loaded "
          f"({error}); run `pip install 'llm_jax[rl]'`.") from error

  def equal(self, given: str, answer: str) -> float:
    """1 where two expressions are the same, else 0.

    Args:
      given: what the model says, with or without $ or \\boxed.
      answer: the right one, likewise.

    Raises:
      VerifierFault: it took too long, or broke.
    """
    if not given.strip():
      return 0.0
    try:
      return float(self._workers.call(given, answer))
    except StartFailed:
      raise  # which is not the answer's fault
    except CallFailed as error:
      raise VerifierFault(str(error)) from error

  def close(self) -> None:
    """Ends the processes."""
    self._workers.close()


def make_check():
  """What the child calls: (given, answer) -> bool."""
  from math_verify import parse, verify

  # It warns that its own alarm is off; the time is kept by the parent.
  logging.getLogger("math_verify").setLevel(logging.ERROR)

  @functools.lru_cache(1024)
  def read(text: str):
    if not any(mark in text for mark in ("$", "\\(", "\\[", "\\boxed")):
      text = f"${text}$"
    return parse(text, parsing_timeout=None)

  def check(given: str, answer: str) -> bool:
    if given.strip() == answer.strip():
      return True
    return bool(verify(read(answer), read(given), timeout_seconds=None))

  check("(x+1)^2", "x^2+2x+1")  # SymPy imports much at the first comparison
  return check
