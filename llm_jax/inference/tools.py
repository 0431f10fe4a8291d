"""What a model may call: a name, a schema, and a function from text to text.

A call is data that a model wrote, so nothing about it can be relied on: the
name, the JSON, the arguments, the program. Whatever is wrong with it comes back
as a short text that begins with "Error:", for the model to read and try again;
only what is wrong on this side (no sandbox, no index) is an exception.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llm_jax.config import ConfigError
from llm_jax.config_tools import ProgramLimits, ToolsConfig
from llm_jax.inference.calculator import CalculatorError, calculate
from llm_jax.inference.sandbox.protocol import Sandbox
from llm_jax.inference.search import Bm25Index, SearchBackend, read_pages

_TYPES = {"string": (str, "text"), "integer": (int, "a whole number"),
          "number": ((int, float), "a number"), "boolean": (bool, "a truth "
                                                            "value"),
          "object": (dict, "an object"), "array": (list, "a list")}


@dataclasses.dataclass(frozen=True)
class Tool:
  """A function that a model may call.

  Attributes:
    name: what the model calls it.
    description: what it is for, in a sentence the model may be shown.
    parameters: JSON schema of its arguments, an object.
    run: arguments -> the result the model reads. Raises for nothing that a
      model wrote: that is told in the result.
  """
  name: str
  description: str
  parameters: Mapping[str, Any]
  run: Callable[[dict[str, Any]], str]

  @property
  def schema(self) -> dict[str, Any]:
    """The tool as OpenAI's API and chat templates describe it."""
    return {"type": "function", "function": {
        "name": self.name, "description": self.description,
        "parameters": dict(self.parameters)}}


def load_tools(config: ToolsConfig) -> tuple[Tool, ...]:
  """The tools that a config names, ready to be called.

  Raises:
    ConfigError: a package is missing, the machine has no sandbox, or the
      corpus of the search cannot be read.
  """
  config.validate()
  tools: list[Tool] = []
  for name in config.names:
    if name == "python":
      tools.append(python_tool(load_sandbox(config), config.limits))
    elif name == "calculator":
      tools.append(calculator_tool())
    else:
      index = Bm25Index.build(read_pages(config))
      tools += search_tools(index, config.hits)
  return tuple(tools)


def load_sandbox(config: ToolsConfig) -> Sandbox:
  """Where programs run.

  Raises:
    ConfigError: pydantic-monty is missing, or this machine cannot hold a
      process and `allow_partial_sandbox` does not accept it.
  """
  if config.sandbox == "monty":
    from llm_jax.inference.sandbox.monty import MontySandbox
    return MontySandbox()
  from llm_jax.inference.sandbox.process import ProcessSandbox
  sandbox = ProcessSandbox()
  if not config.allow_partial_sandbox:
    sandbox.require_protections()
  return sandbox


def python_tool(sandbox: Sandbox, limits: ProgramLimits) -> Tool:
  """`python(code)`: what a program prints, and the value it ends with."""
  def run(code: str) -> str:
    result = sandbox.run(code, limits)
    parts = [result.output.strip("\n")]
    if result.error:
      parts.append(f"Error: {result.error}")
    return "\n".join(part for part in parts if part) or "(no output)"

  return _tool("python", "Runs a Python program and returns what it prints "
               "and the value of its last expression.", run,
               code="the program")


def calculator_tool() -> Tool:
  """`calculator(expression)`: exact arithmetic."""
  def run(expression: str) -> str:
    try:
      return calculate(expression)
    except CalculatorError as error:
      return f"Error: {error}"

  return _tool("calculator", "Computes an arithmetic expression.", run,
               expression="numbers with + - * / ** ( ) and functions like sqrt")


def search_tools(index: SearchBackend, hits: int = 3) -> tuple[Tool, Tool]:
  """`search(query)`: titles with their first sentences; `open(title)`: a page.

  Args:
    index: where to search.
    hits: lines of a result.
  """
  def search(query: str) -> str:
    found = index.search(query, hits)
    return "\n".join(map(str, found)) or f"Nothing was found for {query!r}."

  def open_page(title: str) -> str:
    text = index.open(title)
    if text:
      return text
    near = [hit.title for hit in index.search(title, hits)]
    return f"There is no page {title!r}." + (
        f" There are: {', '.join(near)}." if near else "")

  return (
      _tool("search", "Looks for pages about something; returns a title and a "
            "sentence of each.", search, query="words to look for"),
      _tool("open", "Returns the text of a page.", open_page,
            title="the title, as search gave it"))


def call_tool(tools: Sequence[Tool], call: Mapping[str, Any],
              max_characters: int) -> str:
  """The result of a call that a model made.

  Args:
    tools: those it may call.
    call: {"function": {"name", "arguments"}}; arguments that are no object of
      JSON are text.
    max_characters: the result is cut behind so many.

  Raises:
    ConfigError: this side cannot run the tool.
  """
  name = call["function"]["name"]
  arguments = call["function"]["arguments"]
  tool = next((each for each in tools if each.name == name), None)
  if tool is None:
    names = ", ".join(each.name for each in tools) or "none"
    return _cut(f"Error: there is no tool {name[:40]!r}; there are: {names}.",
                max_characters)
  if not isinstance(arguments, Mapping):
    example = json.dumps({key: "..." for key in _properties(tool.parameters)})
    return _cut(f"Error: the arguments of {name} are not a JSON object like "
                f"{example}.", max_characters)
  try:
    result = (checked_arguments(name, tool.parameters, arguments)
              or tool.run(dict(arguments)))
  except ConfigError:
    raise
  except Exception as error:  # a service of someone else's may fail in any way
    result = f"Error: {name} failed ({type(error).__name__}: {error})."
  return _cut(result, max_characters)


def checked_arguments(name: str, parameters: Mapping[str, Any],
                      arguments: Mapping[str, Any]) -> str:
  """What is wrong with the arguments of a call, as an error text; or ""."""
  properties = _properties(parameters)
  for key in parameters.get("required", ()):
    if key not in arguments:
      return f"Error: {name} needs the argument {key!r}."
  for key, value in arguments.items():
    if key not in properties:
      return (f"Error: {name} has no argument {str(key)[:40]!r}; it takes "
              f"{', '.join(properties)}.")
    kind, words = _TYPES.get(properties[key].get("type"), (object, ""))
    if not isinstance(value, kind) or (isinstance(value, bool)
                                       and kind is not bool):
      return f"Error: the argument {key!r} of {name} should be {words}."
  return ""


def _tool(name: str, description: str, function: Callable[..., str],
          **texts: str) -> Tool:
  """A tool whose arguments are texts, all of them needed."""
  parameters = {
      "type": "object", "required": list(texts), "properties": {
          key: {"type": "string", "description": words}
          for key, words in texts.items()}}

  def run(arguments: dict[str, Any]) -> str:
    return checked_arguments(name, parameters, arguments) or function(
        **arguments)

  return Tool(name, description, parameters, run)


def _properties(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
  return parameters.get("properties", {})


def _cut(text: str, max_characters: int) -> str:
  if len(text) <= max_characters:
    return text
  return text[:max(max_characters - 1, 0)] + "…"
