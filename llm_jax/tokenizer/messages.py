"""What a conversation is made of: messages, calls of tools, and tools.

The form is the one that OpenAI's interface and Hugging Face's templates share:

    {"role": "user", "content": "How old is Ada?"}
    {"role": "assistant", "content": "", "tool_calls": [
        {"type": "function", "function": {
            "name": "search", "arguments": {"query": "Ada"}}}]}
    {"role": "tool", "content": "Ada: born in 1990 ..."}
    {"role": "assistant", "content": "36."}

`check_messages` says what is wrong with a list of them, and
`normalize_messages` brings what is right into one form, so that nobody behind
it has to ask whether a content is text or a list of parts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from llm_jax.config import DataFault

Message = Mapping[str, Any]  # {"role": "user", "content": "Hello"}

ROLES = ("system", "user", "assistant", "tool")


def check_messages(messages: Sequence[Message]) -> None:
  """Raises `DataFault` unless `messages` can be rendered.

  The sentence names the message by its number, from 1, and the remedy.
  """
  if not isinstance(messages, Sequence) or isinstance(messages, str):
    raise DataFault("not a message", "messages are a list of {'role', "
                    f"'content'}}, not {type(messages).__name__}.")
  if not messages:
    raise DataFault("no messages", "a conversation has no messages; give at "
                    "least one.")
  open_calls: list[str | None] = []  # ids of calls whose result may follow
  for number, message in enumerate(messages, start=1):
    if not isinstance(message, Mapping):
      raise DataFault("not a message", f"message {number} is a "
                      f"{type(message).__name__}; it should be an object with "
                      "`role` and `content`.")
    if "role" not in message:
      raise DataFault("not a message", f"message {number} has no `role`; each "
                      "message has `role` and `content`.")
    role = message["role"]
    if role not in ROLES:
      raise DataFault("unknown role", f"message {number} has the role "
                      f"{role!r}; choose one of {', '.join(ROLES)}.")
    if role == "system" and number > 1:
      raise DataFault("system message", f"message {number} has the role "
                      "'system', which can only come first.")
    calls = message.get("tool_calls") or ()
    if calls and role != "assistant":
      raise DataFault("tool call", f"message {number} has the role {role!r} "
                      "and `tool_calls`; only an assistant calls tools.")
    _check_content(message, number, bool(calls))
    if role == "tool":
      _answer_call(message, number, open_calls)
    else:
      open_calls = _checked_calls(calls, number)


def check_tools(tools: Sequence[Mapping[str, Any]]) -> None:
  """Raises `DataFault` unless `tools` are schemas of functions."""
  for number, tool in enumerate(tools, start=1):
    function = function_of(tool) if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(
        function.get("name"), str):
      raise DataFault("tools", f"tool {number} is no schema of a function; it "
                      "should be {'type': 'function', 'function': {'name', "
                      "'description', 'parameters'}}.")
    parameters = function.get("parameters") or {}
    if not isinstance(parameters, Mapping) or not isinstance(
        parameters.get("properties") or {}, Mapping):
      raise DataFault("tools", f"tool {number} ({function['name']}) has "
                      "`parameters` that are no JSON schema; it should be "
                      "{'type': 'object', 'properties': {}}.")


def normalize_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
  """The same conversation in one form.

  Contents are text; calls are {"type", "function": {"name", "arguments"}} (and
  "id" where there was one), arguments objects where they are any; fields that
  no template reads are gone.

  Raises:
    DataFault: as `check_messages`.
  """
  check_messages(messages)
  made = []
  for message in messages:
    new: dict[str, Any] = {"role": message["role"],
                           "content": text_of(message)}
    if calls := message.get("tool_calls"):
      new["tool_calls"] = [_normal_call(call) for call in calls]
    if message["role"] == "tool":
      new |= {field: message[field] for field in ("tool_call_id", "name")
              if isinstance(message.get(field), str)}
    made.append(new)
  return made


def text_of(message: Message) -> str:
  """The text of a message; parts of a list follow each other directly."""
  content = message.get("content")
  if isinstance(content, str):
    return content
  return "".join(part["text"] for part in content or ())


def function_of(call: Mapping[str, Any]) -> Mapping[str, Any]:
  """The function of a call or of a tool's schema; some write it bare."""
  return call["function"] if "function" in call else call


def tool_call(name: str, arguments: Mapping[str, Any] | str) -> dict[str, Any]:
  """A call as it stands in a message's `tool_calls`."""
  return {"type": "function",
          "function": {"name": name, "arguments": arguments}}


def json_object(text: str) -> dict[str, Any] | None:
  """The JSON object that `text` is, or None."""
  try:
    value = json.loads(text)
  except (ValueError, RecursionError):
    return None
  return value if isinstance(value, dict) else None


def _check_content(message: Message, number: int, has_calls: bool) -> None:
  content = message.get("content")
  if content is None and has_calls:
    return
  if "content" not in message:
    raise DataFault("not a message", f"message {number} has no `content`; "
                    "each message has `role` and `content`.")
  if isinstance(content, Sequence) and not isinstance(content, str):
    for part in content:
      if not (isinstance(part, Mapping) and part.get("type") == "text"
              and isinstance(part.get("text"), str)):
        kind = part.get("type") if isinstance(part, Mapping) else part
        raise DataFault("content", f"message {number} has a part of the type "
                        f"{kind!r} in its content; only {{'type': 'text', "
                        "'text': ...} can be read here: leave the others "
                        "out.")
  elif not isinstance(content, str):
    raise DataFault("content", f"message {number} has content of type "
                    f"{type(content).__name__}; it should be text.")


def _checked_calls(calls: Any, number: int) -> list[str | None]:
  """The ids of a message's calls, None where a call has none."""
  if not isinstance(calls, Sequence) or isinstance(calls, str):
    raise DataFault("tool call", f"message {number} has `tool_calls` of type "
                    f"{type(calls).__name__}; it should be a list.")
  ids = []
  for call in calls:
    function = function_of(call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(
        function.get("name"), str):
      raise DataFault("tool call", f"message {number} has a call without a "
                      "name; each of `tool_calls` is {'type': 'function', "
                      "'function': {'name', 'arguments'}}.")
    if not isinstance(function.get("arguments"), (str, Mapping)):
      raise DataFault("tool call", f"message {number} calls "
                      f"{function['name']!r} with arguments of type "
                      f"{type(function.get('arguments')).__name__}; they "
                      "should be an object, {} where there are none.")
    ids.append(call["id"] if isinstance(call.get("id"), str) else None)
  return ids


def _answer_call(message: Message, number: int,
                 open_calls: list[str | None]) -> None:
  """Takes the call that a result answers from `open_calls`."""
  if not open_calls:
    raise DataFault("tool result without call", f"message {number} is a "
                    "tool's result, and no call is open before it; put the "
                    "assistant's `tool_calls` there, or remove the result.")
  wanted = message.get("tool_call_id")
  if wanted is not None and None not in open_calls:
    if wanted not in open_calls:
      raise DataFault("tool result without call", f"message {number} answers "
                      f"the call {wanted!r}, and open are "
                      f"{', '.join(map(repr, open_calls))}; correct its "
                      "`tool_call_id`.")
    open_calls.remove(wanted)
  else:
    open_calls.pop(0)


def _normal_call(call: Mapping[str, Any]) -> dict[str, Any]:
  function = function_of(call)
  arguments = function["arguments"]
  if isinstance(arguments, str):
    # OpenAI writes the object as text; what is none stays as it was said.
    value = json_object(arguments)
    arguments = arguments if value is None else value
  made = tool_call(function["name"], arguments)
  return {"id": call["id"], **made} if isinstance(call.get("id"), str) else made
