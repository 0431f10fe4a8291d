"""`messages`, as OpenAI's finetuning files and SmolTalk have them.

    {"messages": [{"role": "user", "content": "..."}, ...], "tools": [...]}

A `kind` beside them is what their validation loss is reported under. `tools`
may be left out, or be the JSON of the list as text, as parquet files have it;
so may the `tool_calls` of a message.
"""

from __future__ import annotations

from typing import Any

from llm_jax.data.conversation_readers.tool_fields import (
    tools_of, value_of)

Fields = dict[str, Any]


def reads(fields: Fields) -> bool:
  """Whether a record has this form."""
  return fields.get("messages") is not None


def read(fields: Fields) -> list[tuple[Any, list[Any]]]:
  """The one conversation of a record."""
  messages = fields["messages"]
  if isinstance(messages, list):
    messages = [_with_calls(message) for message in messages]
  return [(messages, tools_of(fields.get("tools")))]


def _with_calls(message: Any) -> Any:
  if not isinstance(message, dict) or not isinstance(
      message.get("tool_calls"), str):
    return message
  return message | {"tool_calls": value_of(message["tool_calls"]) or None}
