"""ShareGPT: who speaks under `from`, what under `value`.

    {"conversations": [{"from": "human", "value": "Hi"},
                       {"from": "gpt", "value": "Hello."}],
     "system": "...", "tools": "[{...}]"}

A call of a tool is a turn of its own (`function_call`, JSON as text), or stands
in the assistant's words as Hermes writes it, <tool_call>{...}</tool_call>; its
result comes from `observation` or `tool`.
"""

from __future__ import annotations

import re
from typing import Any

from llm_jax.config import DataFault
from llm_jax.data.conversation_readers.tool_fields import calls_of, tools_of

Fields = dict[str, Any]

_ROLES = {
    "human": "user", "user": "user", "system": "system", "gpt": "assistant",
    "assistant": "assistant", "chatgpt": "assistant", "model": "assistant",
    "bot": "assistant", "function_call": "call", "observation": "tool",
    "tool": "tool", "function_response": "tool"}
_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_RESULT = re.compile(r"<tool_response>\s*(.*?)\s*</tool_response>", re.DOTALL)


def reads(fields: Fields) -> bool:
  """Whether a record has this form."""
  return isinstance(fields.get("conversations"), list)


def read(fields: Fields) -> list[tuple[Any, list[Any]]]:
  """The one conversation of a record."""
  messages: list[dict[str, Any]] = []
  if isinstance(fields.get("system"), str) and fields["system"].strip():
    messages.append({"role": "system", "content": fields["system"]})
  for number, turn in enumerate(fields["conversations"], start=1):
    role, text = _turn(turn, number)
    if role == "call":
      calls = calls_of(text)
      if messages and messages[-1]["role"] == "assistant" and (
          "tool_calls" not in messages[-1]):
        messages[-1]["tool_calls"] = calls  # what was said before calling
      else:
        messages.append({"role": "assistant", "content": "",
                         "tool_calls": calls})
    elif role == "assistant" and (found := _CALL.findall(text)):
      calls = [call for body in found for call in calls_of(body)]
      messages.append({"role": role, "content": _CALL.sub("", text).strip(),
                       "tool_calls": calls})
    elif role == "tool":
      messages += [{"role": role, "content": result}
                   for result in _RESULT.findall(text) or [text]]
    else:
      messages.append({"role": role, "content": text})
  return [(messages, tools_of(fields.get("tools")))]


def _turn(turn: Any, number: int) -> tuple[str, str]:
  """Our name of who speaks, and what is said."""
  if not isinstance(turn, dict) or "from" not in turn or "value" not in turn:
    raise DataFault("not a message", f"turn {number} has no `from` and "
                    "`value`; each of `conversations` has both.")
  role, text = turn["from"], turn["value"]
  if not isinstance(role, str) or role.lower() not in _ROLES:
    raise DataFault("unknown role", f"turn {number} is from {role!r}; choose "
                    f"one of {', '.join(_ROLES)}.")
  if not isinstance(text, str):
    raise DataFault("content", f"turn {number} has a `value` of type "
                    f"{type(text).__name__}; it should be text.")
  return _ROLES[role.lower()], text
