"""A user's reward function, as the child of a `Workers` has it.

    def reward(prompt, completion, **columns):      # -> a number
    def reward(prompts, completions, **columns):    # -> a number for each

A function that declares `prompts` or `completions` is given a whole batch. By
name it may ask for any of `answer`, `system`, `source`, `stopped`, `tokens`,
`messages`, `game_reward`, and the fields of the record; one that ends in `**`
gets them all. In a batch each is a list, None where a problem lacks it.
"""

from __future__ import annotations

import importlib.util
import inspect
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_SHOWN = 60


def load(path: str, name: str) -> Callable[..., Any]:
  """What the child calls: (rows) -> a list of values, or of what is wrong.

  Raises whatever is wrong with the file: the parent tells it.
  """
  function = _function(path, name)
  parameters = inspect.signature(function).parameters
  batched = bool({"prompts", "completions"} & set(parameters))
  rest = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
  first = ({"prompt": "prompts", "completion": "completions"} if batched
           else {"prompt": "prompt", "completion": "completion"})
  named = {p.name for p in parameters.values() if p.kind in (
      p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
  if not (rest or "completion" in named or "completions" in named):
    raise TypeError(f"{name} has the parameters ({', '.join(parameters)}); a "
                    "reward is `reward(prompt, completion, **columns)`, or "
                    "`reward(prompts, completions, **columns)`")

  def arguments(row: Mapping[str, Any]) -> dict[str, Any]:
    given = {first.get(key, key): value for key, value in row.items()}
    return given if rest else {k: v for k, v in given.items() if k in named}

  def call(rows: Sequence[Mapping[str, Any]] | None) -> Any:
    if rows is None:
      return {"batched": batched}
    if not batched:
      return [_checked(function(**arguments(row))) for row in rows]
    keys = {key: None for row in rows for key in row}
    columns = {key: [row.get(key) for row in rows] for key in keys}
    values = function(**arguments(columns))
    try:
      count = len(values)
    except TypeError:
      return {"fault": f"it returned {_shown(values)} for {len(rows)} "
                       "completions; it should return a list with a number "
                       "for each"}
    if count != len(rows):
      return {"fault": f"it returned {count} values for {len(rows)} "
                       "completions"}
    return [_checked(value) for value in values]

  return call


def _function(path: str, name: str) -> Callable[..., Any]:
  directory = os.path.dirname(os.path.abspath(path))
  sys.path.insert(0, directory)  # it may import what stands beside it
  stem = os.path.splitext(os.path.basename(path))[0]
  spec = importlib.util.spec_from_file_location(stem, path)
  module = importlib.util.module_from_spec(spec)
  sys.modules[stem] = module
  spec.loader.exec_module(module)
  function = getattr(module, name, None)
  if function is None:
    there = [n for n, value in vars(module).items()
             if inspect.isfunction(value) and value.__module__ == stem]
    raise AttributeError(f"there is no function {name!r}; there are: "
                         f"{', '.join(there) or 'none'}")
  if not callable(function):
    raise TypeError(f"{name} is a {type(function).__name__}, not a function")
  return function


def _checked(value: Any) -> dict[str, Any]:
  """{"value": number} or {"fault": what is wrong with it}."""
  if hasattr(value, "item") and getattr(value, "size", 0) == 1:
    value = value.item()  # of NumPy, JAX and PyTorch
  if not isinstance(value, (bool, int, float)):
    return {"fault": f"it returned {_shown(value)}, which is not a number"}
  try:
    number = float(value)
  except OverflowError:
    number = math.inf
  if not math.isfinite(number):
    return {"fault": f"it returned {number}"}
  return {"value": number}


def _shown(value: Any) -> str:
  try:
    text = repr(value)
  except Exception as error:  # of a user's own class
    text = f"a {type(value).__name__} whose repr raises {error}"
  return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
