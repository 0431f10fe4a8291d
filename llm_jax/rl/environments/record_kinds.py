"""A record of a user's file as a problem, by the verifier that it needs.

  kind      fields                                     a solved one says
  integer   prompt, answer: a whole number             "#### N", its last line
  numeric   prompt, answer: a number, or GSM8K's       that number, or one as
            solution that ends in "#### N"             near as data.tolerance
  exact     prompt, answer: text                       that text
  math      prompt, answer: an expression              an equal expression
  choice    prompt, choices, answer: letter, place,    its letter or its text
            or text
  code      prompt, and `test` with `entry_point`,     a program that passes
            or a list of `tests`

`question` does for `prompt`. All other fields are kept for rewards of the
user's own.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llm_jax.config import ConfigError, require
from llm_jax.data.files import Record
from llm_jax.rl import code_verifier
from llm_jax.rl.answers import read_number
from llm_jax.rl.environments.protocol import Problem
from llm_jax.rl.verifiers import gsm8k_answer, is_integer

_PROMPTS = ("prompt", "question")
_TESTS = ("tests", "test_list")
_ANSWERS = ("answer", "answerKey", "target")


def kind_of(record: Record) -> str:
  """The verifier that a record's fields ask for, where the user says none."""
  fields = {name for name, value in record.fields.items() if value is not None}
  if fields & {"test", *_TESTS}:
    return "code"
  if "choices" in fields:
    return "choice"
  answer = record.fields.get("answer")
  if isinstance(answer, str) and gsm8k_answer(answer) is not None:
    return "numeric"
  return "integer"


def problem_of(record: Record, kind: str, system: str) -> Problem:
  """A record as a problem.

  Args:
    record: from a file.
    kind: its verifier, as in the table above.
    system: message of a problem that has no field `system`.

  Raises:
    ConfigError: it lacks a field, or has one of another type; names the place.
  """
  prompt = _text(record, _PROMPTS)
  own = record.fields.get("system")
  columns = {name: value for name, value in record.fields.items()
             if name not in _PROMPTS}
  prompt, answer, more = _MAKERS[kind](record, prompt)
  return Problem(prompt, answer, own if isinstance(own, str) else system,
                 columns | more, record.source)


def _integer(record: Record, prompt: str) -> tuple[str, str, dict[str, Any]]:
  answer = _field(record, _ANSWERS)
  whole = isinstance(answer, (int, str)) and not isinstance(answer, bool)
  text = str(answer).strip().replace(",", "") if whole else ""
  require(is_integer(text),
          f"{record.source}: `answer` is {_shown(answer)}; it should be an "
          "integer, which the last line of a completion, \"#### N\", is "
          "compared with; for other answers choose --data.verifier: numeric, "
          "exact or math.")
  return prompt, str(int(text)), {}


def _numeric(record: Record, prompt: str) -> tuple[str, str, dict[str, Any]]:
  answer = _field(record, _ANSWERS)
  more = {}
  text = str(answer) if isinstance(answer, (int, float, str)) else ""
  if "####" in text:
    more, text = {"solution": answer}, gsm8k_answer(text) or ""
  require(read_number(text) is not None and not isinstance(answer, bool),
          f"{record.source}: `answer` is {_shown(answer)}; it should be a "
          "number, or a solution that ends in \"#### N\".")
  return prompt, text.strip(), more


def _exact(record: Record, prompt: str) -> tuple[str, str, dict[str, Any]]:
  answer = _field(record, _ANSWERS)
  text = str(answer) if isinstance(answer, (int, float, str)) else ""
  require(bool(text.strip()), f"{record.source}: `answer` is {_shown(answer)}; "
          "it should be text, and not empty.")
  return prompt, text.strip(), {}


def _choice(record: Record, prompt: str) -> tuple[str, str, dict[str, Any]]:
  given, answer = record.fields.get("choices"), _field(record, _ANSWERS)
  labels: Sequence[Any] = ()
  if isinstance(given, Mapping):  # ARC's {"text": [...], "label": [...]}
    given, labels = given.get("text"), given.get("label") or ()
  require(isinstance(given, Sequence) and not isinstance(given, str)
          and 2 <= len(given) <= 26, f"{record.source}: `choices` is "
          f"{_shown(given)}; it should be a list of 2 to 26 texts.")
  choices = list(map(str, given))
  letters = string.ascii_uppercase[:len(choices)]
  place = None
  if isinstance(answer, int) and not isinstance(answer, bool):
    place = answer
  elif answer in labels:
    place = list(labels).index(answer)
  elif choices.count(str(answer)) == 1:
    place = choices.index(str(answer))
  elif str(answer).strip().upper() in list(letters):
    place = letters.index(str(answer).strip().upper())
  if place is None or not 0 <= place < len(choices):
    raise ConfigError(
        f"{record.source}: `answer` is {_shown(answer)}; it should be the "
        f"letter of one of the {len(choices)} choices, its place from 0, or "
        "its text.")
  lines = [f"{letter}. {choice}" for letter, choice in zip(letters, choices)]
  return "\n".join([prompt, *lines]), letters[place], {"choices": choices}


def _code(record: Record, prompt: str) -> tuple[str, str, dict[str, Any]]:
  fields = record.fields
  if isinstance(fields.get("test"), str):
    entry = fields.get("entry_point")
    require(isinstance(entry, str) and entry.isidentifier(),
            f"{record.source}: `entry_point` is {_shown(entry)}; it should be "
            "the name of the function that `test` checks.")
    tests = code_verifier.human_eval_tests(fields["test"], entry)
  else:
    listed = next((fields[n] for n in _TESTS if fields.get(n) is not None),
                  fields.get("test"))
    setup = fields.get("test_setup_code") or ""
    require(isinstance(listed, Sequence) and not isinstance(listed, str)
            and bool(listed) and all(isinstance(t, str) for t in listed),
            f"{record.source}: `tests` is {_shown(listed)}; it should be a "
            "list of statements, such as \"assert f(1) == 2\".")
    tests = code_verifier.listed_tests(listed, setup)
  return prompt, tests, {}


_MAKERS: dict[str, Callable[[Record, str], tuple[str, str, dict[str, Any]]]] = {
    "integer": _integer, "numeric": _numeric, "exact": _exact, "math": _exact,
    "choice": _choice, "code": _code}


def _field(record: Record, names: Sequence[str]) -> Any:
  for name in names:
    if record.fields.get(name) is not None:
      return record.fields[name]
  present = ", ".join(sorted(map(str, record.fields))) or "none"
  raise ConfigError(f"{record.source} lacks the field '{names[0]}'; its fields "
                    f"are {present}.")


def _text(record: Record, names: Sequence[str]) -> str:
  text = _field(record, names)
  require(isinstance(text, str) and bool(text.strip()),
          f"{record.source}: `{names[0]}` should be text, and not empty.")
  return text


def _shown(value: Any) -> str:
  return "missing" if value is None else repr(value)[:60]
