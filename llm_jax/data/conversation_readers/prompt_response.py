"""A prompt and its response, under the names that public files give them.

    Alpaca       instruction, input, output      (Taori et al. 2023)
    Dolly        instruction, context, response  (Conover et al. 2023)
    InstructGPT  prompt, completion              (Ouyang et al. 2022)
    others       prompt, response

What is worked on (`input`, `context`) follows the instruction after a blank
line. `system` is the system message, `history` a list of earlier [question,
answer] pairs. A prompt and completion that are lists are messages already.
"""

from __future__ import annotations

from typing import Any

from llm_jax.config import DataFault

Fields = dict[str, Any]

_PROMPTS = ("instruction", "prompt")
_RESPONSES = ("output", "response", "completion")
_CONTEXTS = ("input", "context")


def reads(fields: Fields) -> bool:
  """Whether a record has this form."""
  return _first(fields, _PROMPTS) != "" and _first(fields, _RESPONSES) != ""


def read(fields: Fields) -> list[tuple[Any, list[Any]]]:
  """The one conversation of a record."""
  prompt, response = _first(fields, _PROMPTS), _first(fields, _RESPONSES)
  if isinstance(fields[prompt], list) and isinstance(fields[response], list):
    return [(fields[prompt] + fields[response], [])]
  texts = {name: _text(fields, name) for name in (prompt, response)}
  context = _first(fields, _CONTEXTS)
  asked = texts[prompt]
  if context and fields[context] is not None:
    worked_on = _text(fields, context)
    asked = f"{asked}\n\n{worked_on}" if worked_on.strip() else asked
  messages = []
  if isinstance(fields.get("system"), str) and fields["system"].strip():
    messages.append({"role": "system", "content": fields["system"]})
  for turn in fields.get("history") or ():
    if not isinstance(turn, list) or len(turn) != 2:
      raise DataFault("field", "`history` has what is no [question, answer] "
                      "pair; correct it, or leave the field out.")
    messages += [{"role": "user", "content": turn[0]},
                 {"role": "assistant", "content": turn[1]}]
  return [([*messages, {"role": "user", "content": asked},
            {"role": "assistant", "content": texts[response]}], [])]


def _first(fields: Fields, names: tuple[str, ...]) -> str:
  return next((name for name in names if name in fields), "")


def _text(fields: Fields, name: str) -> str:
  if not isinstance(fields[name], str):
    raise DataFault("field", f"`{name}` is of type "
                    f"{type(fields[name]).__name__}; it should be text.")
  return fields[name]
