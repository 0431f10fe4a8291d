"""What a model said, read back: its words, and the calls of tools in them.

Our own form is one token, a name and JSON. Of checkpoints' templates two forms
are known, by what the template itself writes:

  Hermes and Qwen   <tool_call>{"name": ..., "arguments": {...}}</tool_call>
  Llama 3           {"name": ..., "parameters": {...}}, and nothing else

A model may write anything. What cannot be read as a call is words; arguments
that are no JSON object stay the text that they are, for whoever runs the tool
to say so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from llm_jax.tokenizer.messages import Message, json_object, tool_call

_HERMES = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
_LLAMA_TAG = "<|python_tag|>"


def message(content: str, calls: Sequence[dict[str, Any]]) -> Message:
  """An assistant's message of a text and calls."""
  made: dict[str, Any] = {"role": "assistant", "content": content}
  return made | {"tool_calls": list(calls)} if calls else made


def split_call(text: str) -> dict[str, Any]:
  """`search{"query": "Ada"}` as a call."""
  name, brace, rest = text.partition("{")
  return _call(name.strip(), brace + rest)


def parse_text(text: str, template: str) -> Message:
  """A checkpoint's answer as a message.

  Args:
    text: of the answer, special tokens spelt by name.
    template: the checkpoint's, which says which form its calls have.
  """
  if "<tool_call>" in template:
    calls = [_json_call(match[1], "arguments")
             for match in _HERMES.finditer(text)]
    return message(_HERMES.sub("", text).strip() if calls else text, calls)
  if '"parameters"' in template:
    body = text.strip().removeprefix(_LLAMA_TAG)
    fields = json_object(body)
    if fields and isinstance(fields.get("name"), str) and (
        "parameters" in fields):
      return message("", [_json_call(body, "parameters")])
  return message(text, [])


def knows_calls(template: str) -> bool:
  """Whether a template shows tools to a model whose calls can be read."""
  return "tools" in template and (
      "<tool_call>" in template or '"parameters"' in template)


def _json_call(text: str, field: str) -> dict[str, Any]:
  """A call that is one JSON object; `field` is what it calls arguments."""
  fields = json_object(text)
  if fields is None or not isinstance(fields.get("name"), str):
    # Broken JSON still says which tool was meant.
    found = re.search(r'"name"\s*:\s*"([^"]*)"', text)
    return tool_call(found[1] if found else "", text.strip())
  arguments = fields.get(field, {})
  return tool_call(fields["name"], arguments if isinstance(
      arguments, dict) else _call("", arguments)["function"]["arguments"])


def _call(name: str, arguments: Any) -> dict[str, Any]:
  """A call; arguments that are a JSON object's text become the object."""
  if not isinstance(arguments, str):
    arguments = json.dumps(arguments, ensure_ascii=False)
  value = json_object(arguments)
  return tool_call(name, arguments if value is None else value)
