"""Tools and their calls as public files hold them: objects, or JSON as text."""

from __future__ import annotations

import json
from typing import Any

from llm_jax.config import DataFault
from llm_jax.tokenizer.messages import tool_call


def value_of(field: Any) -> Any:
  """`field`, or what it says if it is JSON as text; blank text is None."""
  if not isinstance(field, str):
    return field
  if not field.strip():
    return None
  try:
    return json.loads(field)
  except ValueError as error:
    raise DataFault("malformed JSON", f"a field with tools is no JSON "
                    f"({error}); correct it, or leave it out.") from error


def tools_of(field: Any) -> list[Any]:
  """The schemas of a record's `tools`; [] where there are none."""
  tools = value_of(field)
  if tools is None:
    return []
  if isinstance(tools, dict):  # one, outside of a list
    return [tools]
  if not isinstance(tools, list):
    raise DataFault("tools", f"`tools` is of type {type(tools).__name__}; it "
                    "should be a list of schemas of functions.")
  return tools


def calls_of(text: str) -> list[dict[str, Any]]:
  """The calls in a text that is JSON: one of {"name", "arguments"}, or more."""
  calls = value_of(text)
  calls = calls if isinstance(calls, list) else [calls]
  for call in calls:
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
      raise DataFault("tool call", "a function call is no JSON object with "
                      "`name` and `arguments`; correct it.")
  return [tool_call(call["name"], value_of(call.get("arguments")) or {})
          for call in calls]


def without_nulls(value: Any) -> Any:
  """Objects without their null fields.

  A column of a parquet file has one type, so each of its objects has the fields
  of all, null where it has none.
  """
  if isinstance(value, dict):
    return {key: without_nulls(item) for key, item in value.items()
            if item is not None}
  if isinstance(value, list):
    return [without_nulls(item) for item in value]
  return value
