"""People, tools and a search for tests of conversations made by procedure."""

import functools
import re

from llm_jax.config import BiographiesConfig, SyntheticChatConfig
from llm_jax.config_chat import CHAT_KINDS
from llm_jax.data import biographies

PEOPLE = BiographiesConfig(known=60, unlearned=40, invented=100,
                           first_names=40, last_names=60)
GATED = CHAT_KINDS[4:]
TOOLS = tuple({"type": "function", "function": {
    "name": name, "description": "", "parameters": {
        "type": "object", "properties": {argument: {"type": "string"}}}}}
    for name, argument in (("python", "code"), ("search", "query"),
                           ("open", "title")))


@functools.lru_cache
def people():
  return biographies.make_people(PEOPLE)


def write_people(directory):
  biographies.write_people(people(), str(directory / biographies.FACTS))
  return str(directory)


def run_tool(name, arguments):
  """Tools that the real ones were written apart from."""
  entries = dict(biographies.search_entries(people()))
  if name == "open":
    return entries[arguments["title"]]
  if name == "search":
    words = set(arguments["query"].split())
    best = sorted(entries, key=lambda title: -len(words & set(title.split())))
    return "\n".join(f"{title}: {entries[title].split('. ')[0]}."
                     for title in best[:3])
  code = arguments["code"]
  if match := re.fullmatch(r"print\('(\w+)'\.count\('(\w)'\)\)", code):
    return str(len(match[1]) - len(match[1].replace(match[2], "")))
  left, operation, right = re.fullmatch(r"print\((\d+)([-+*])(\d+)\)",
                                        code).groups()
  return str({"+": int.__add__, "-": int.__sub__,
              "*": int.__mul__}[operation](int(left), int(right)))


def config(directory, **counts):
  """None of the old kinds, and of the others what is wanted."""
  return SyntheticChatConfig(**{**dict.fromkeys(CHAT_KINDS, 0), **counts},
                             people=directory, validation=40)
