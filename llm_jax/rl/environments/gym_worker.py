"""Reasoning-gym, as the child of `gym.py` has it.

All that touches a family happens here: making problems, and its own
`score_answer`. Some families read a model's answer by `eval` or hand it to an
algebra system, and some make other problems under another hash seed, of which
the child's is always the same.
"""

from __future__ import annotations

import base64
import copy
import dataclasses
import difflib
import functools
import json
import pickle
import random
import typing
from collections.abc import Callable, Sequence
from typing import Any

# Of the problems of one generator's seed so many are used; one family makes
# all of them at once, another refuses more.
_PER_SEED = 2000
# Of reasoning-gym 0.1.25 this one's own `score_answer` takes every text that is
# not empty for right: it compares bool("False") with bool("True").
_COMPARED_AS_TEXT = ("game_of_life_halting",)


class BadSetting(Exception):
  """A family or setting that reasoning-gym does not have; told to the user."""


def make_family() -> Callable[..., Any]:
  """What the child calls: (name of a function below, *arguments)."""
  import numpy
  import reasoning_gym  # noqa: F401 - takes seconds, before the clock runs

  functions = {"check": check, "problems": functools.partial(problems, numpy),
               "score": score, "levels": levels}
  return lambda name, *arguments: functions[name](*arguments)


def check(family: str, settings: Sequence[str]) -> str:
  """"" where there is such a family with such settings, else what is wrong."""
  try:
    _dataset(family, tuple(settings))
  except BadSetting as error:
    return str(error)
  return ""


def levels(family: str) -> list[list[str]]:
  """Settings of the family's own levels of difficulty, easiest first."""
  from reasoning_gym.factory import CURRICULA, DATASETS
  if family not in DATASETS or family not in CURRICULA:
    return []
  curriculum = CURRICULA[family]()
  default = DATASETS[family][1]()
  found: list[list[str]] = []
  number = max((len(a.levels) for a in curriculum.attributes.values()),
               default=0)
  for level in range(number):
    curriculum.set_global_level(level)
    made = curriculum.generate_configuration()
    settings = [f"{field.name}={json.dumps(getattr(made, field.name))}"
                for field in dataclasses.fields(made)
                if getattr(made, field.name) != getattr(default, field.name)
                and field.name not in ("seed", "size")]
    if settings not in found and not check(family, settings):
      found.append(settings)
  return found


def problems(numpy: Any, family: str, settings: Sequence[str],
             numbers: Sequence[int]) -> list[dict[str, Any]]:
  """The problems with these numbers, each a function of its number alone."""
  base = _dataset(family, tuple(settings))
  made = []
  for number in numbers:
    seed, index = divmod(number, _PER_SEED)
    seed %= 2**31  # of NumPy's, which one family asks
    dataset = copy.copy(base)
    dataset.seed = seed
    dataset.config = copy.copy(base.config)
    if hasattr(dataset.config, "seed"):
      dataset.config.seed = seed
    # A few draw from the generators that all share.
    random.seed(number)
    numpy.random.seed(number % 2**32)
    entry = dataset[index]
    answer = entry.get("answer")
    made.append({
        "question": str(entry["question"]),
        "answer": "" if answer is None else str(answer),
        "metadata": plain(entry.get("metadata", {})),
        # Read again here and nowhere else.
        "entry": base64.b64encode(pickle.dumps(entry)).decode()})
  return made


def score(family: str, settings: Sequence[str], entry: str,
          answer: str) -> float:
  """What the family's own `score_answer` gives, 0 where it cannot read it."""
  dataset = _dataset(family, tuple(settings))
  known = pickle.loads(base64.b64decode(entry))
  if known.get("metadata", {}).get("source_dataset") in _COMPARED_AS_TEXT:
    return float(answer.strip().casefold() == known["answer"].casefold())
  try:
    return float(dataset.score_answer(answer, known))
  except MemoryError:
    raise
  except Exception:  # each family has its own errors for what is no answer
    return 0.0


def plain(value: Any) -> Any:
  """A value of lists, texts and numbers, as JSON has them."""
  if value is None or isinstance(value, (bool, int, str)):
    return value
  if isinstance(value, float):
    return value
  if isinstance(value, dict):
    return {str(name): plain(inner) for name, inner in value.items()}
  if isinstance(value, (list, tuple)):
    return [plain(inner) for inner in value]
  if isinstance(value, (set, frozenset)):
    return sorted(map(str, value))
  if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
    return plain(value.item())
  return value.tolist() if hasattr(value, "tolist") else str(value)


@functools.lru_cache(64)
def _dataset(family: str, settings: tuple[str, ...]) -> Any:
  """The generator of a family; raises `BadSetting`."""
  from reasoning_gym.factory import DATASETS
  if family not in DATASETS:
    near = difflib.get_close_matches(family, DATASETS, 1, 0.5)
    raise BadSetting(
        f"reasoning-gym has no family {family!r}; "
        + (f"did you mean {near[0]!r}?" if near else
           f"its {len(DATASETS)} are {', '.join(sorted(DATASETS))}."))
  dataset_cls, config_cls = DATASETS[family]
  values = dict(_setting(family, config_cls, entry) for entry in settings)
  try:
    config = config_cls(**{"seed": 0, "size": _PER_SEED} | values)
    if hasattr(config, "validate"):
      config.validate()
    return dataset_cls(config=config)
  except BadSetting:
    raise
  except Exception as error:  # assertions, mostly
    told = str(error) or type(error).__name__
    raise BadSetting(f"reasoning-gym's {family} refuses its settings "
                     f"({', '.join(settings) or 'none'}): {told}") from error


def _setting(family: str, config_cls: type, entry: str) -> tuple[str, Any]:
  """"min_terms=3" as ("min_terms", 3), of the field's type."""
  types = typing.get_type_hints(config_cls)
  names = [field.name for field in dataclasses.fields(config_cls)
           if field.name not in ("seed", "size")]
  name, equals, text = entry.partition("=")
  if not equals or name not in names:
    near = difflib.get_close_matches(name, names, 1, 0.5)
    raise BadSetting(
        f"reasoning-gym's {family} has no setting {entry!r}; "
        + (f"did you mean {near[0]}=...?" if near else
           f"its settings are {', '.join(names)}."))
  kind = types[name]
  try:
    value = json.loads(text)
  except ValueError:
    value = {"True": True, "False": False, "None": None}.get(text, text)
  default = next(f.default for f in dataclasses.fields(config_cls)
                 if f.name == name)
  # A number for a text, a text for a number: what would fail far from here.
  numeric = kind in (int, float) or isinstance(default, (int, float))
  if (numeric and not isinstance(value, (int, float))) or (
      (kind is bool) != isinstance(value, bool) and numeric):
    raise BadSetting(f"reasoning-gym's {family} has {name}={text!r}, but "
                     f"{name} is a {getattr(kind, '__name__', kind)}.")
  if isinstance(value, list):
    elements = [e for e in typing.get_args(kind) if dataclasses.is_dataclass(e)]
    if elements:
      value = [elements[0](**each) for each in value]
    elif typing.get_origin(kind) is tuple or isinstance(default, tuple):
      value = tuple(value)
  return name, value
