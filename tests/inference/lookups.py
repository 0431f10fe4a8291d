"""What the little model of `conftest.py` has learnt to do."""

from llm_jax.inference.tools import Tool
from llm_jax.tokenizer.messages import tool_call

LETTERS = "abcdef"  # that are asked for
FOUND = "PQRSTU"  # that are found


def look_tool(table):
  """`look(k)`: what a table has under a letter."""
  return Tool("look", "Looks a letter up.", {
      "type": "object", "required": ["k"],
      "properties": {"k": {"type": "string"}}},
      lambda arguments: table[arguments["k"]])


def looked_up(letter, table):
  """A letter that is asked for, looked up, and told."""
  return [
      {"role": "user", "content": letter},
      {"role": "assistant", "content": "", "tool_calls": [
          tool_call("look", {"k": letter})]},
      {"role": "tool", "content": table[letter], "name": "look"},
      {"role": "assistant", "content": table[letter]}]
