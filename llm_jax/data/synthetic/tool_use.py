"""When to call a tool, what to ask it, and what to make of its answer.

The results are those of the real tools, which the caller hands in: what the
model learns to read is what it will be given. A model that has no tools is
asked the same things, and then refuses or does what it can: whether there are
tools stands in the conversation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from llm_jax.data.attributes import ATTRIBUTES
from llm_jax.data.biographies import Person, fill
from llm_jax.data.conversations import Conversation
from llm_jax.data.synthetic import arithmetic, facts, spelling
from llm_jax.data.synthetic.drafts import Draft, Material

COUNTING_SHARE = 0.25  # of the programs: letters; the rest computes
ALL_TOOLS_SHARE = 0.3  # of the conversations: more tools than are needed
NOT_NEEDED_SHARE = 0.25  # of the searches: known people, answered at once
NOT_FOUND_SHARE = 0.15  # of the searches: people of whom nothing is found
NOT_FOUND = ("I found nothing about {n}, so I don't know.",
             "I don't know. The search has nothing on {n}.",
             "I don't know: there is no page about {n}.")


def compute_by_tool(material: Material, split: str, rng: np.random.Generator
                    ) -> Iterator[Draft]:
  """Problems and letters to count, each by a program, without end."""
  while True:
    if rng.random() < COUNTING_SHARE:
      words = material.words[split]
      word = words[rng.integers(len(words))]
      template, question, _ = spelling.counting_question(word, rng)
      letter = question.split("'")[1]
      keys, code = ("word", word), f"print('{word}'.count('{letter}'))"
    else:
      problem = arithmetic.draw_problem(
          rng, material.config.arithmetic_digits, split)
      template, question = arithmetic.arithmetic_question(
          problem, "at_once", rng)
      template = problem.operation + template
      keys = ("problem", str(problem))
      code = f"print({str(problem).replace(' ', '')})"
    names = ("python",)
    if _offered(material, "search", "open") and (
        rng.random() < ALL_TOOLS_SHARE):
      names += ("search", "open")
    turns = call_turns(material, "python", {"code": code})
    result = turns[-1]["content"].strip()
    yield Draft(Conversation(
        ({"role": "user", "content": question}, *turns,
         {"role": "assistant", "content": f"#### {result}"}), "tool_python",
        tools=material.tools_named(*names)), (keys,), template)


def search_people(material: Material, split: str, rng: np.random.Generator
                  ) -> Iterator[Draft]:
  """Questions on people where there is a search, without end.

  On the unlearned: what is found answers, or the page that is found has to be
  opened. On the invented: nothing is found. On the known: no search is needed.
  """
  groups = {group: material.persons_of(group, split)
            for group in ("known", "unlearned", "invented")}
  attributes = list(ATTRIBUTES)
  if not all(groups.values()):
    return
  while True:
    group = rng.choice(
        ["known", "invented", "unlearned"],
        p=[NOT_NEEDED_SHARE, NOT_FOUND_SHARE,
           1 - NOT_NEEDED_SHARE - NOT_FOUND_SHARE])
    persons = groups[group]
    person = persons[rng.integers(len(persons))]
    attribute = attributes[rng.integers(len(attributes))]
    template, question = facts.ask_person(person, attribute, rng)
    names = ("search", "open")
    if _offered(material, "python") and rng.random() < ALL_TOOLS_SHARE:
      names = ("python", *names)
    turns, answer = [], facts.tell(person, attribute, rng) if (
        group != "invented") else ""
    if group == "invented":
      turns = call_turns(material, "search", {"query": person.name})
      answer = fill(NOT_FOUND[rng.integers(len(NOT_FOUND))], person)
    elif group == "unlearned":
      turns = looked_up(material, person, attribute)
    yield Draft(Conversation(
        ({"role": "user", "content": question}, *turns,
         {"role": "assistant", "content": answer}), "tool_search",
        tools=material.tools_named(*names)), (("person", person.name),),
        f"{group} {template}")


def read_people(material: Material, split: str, rng: np.random.Generator
                ) -> Iterator[Draft]:
  """Questions on the unlearned, all of whom are looked up, without end.

  For people of whom there are many and each is met a few times: their facts
  cannot be learnt by heart, so the answer has to be read off the result.
  """
  persons = material.persons_of("unlearned", split)
  attributes = list(ATTRIBUTES)
  while persons:
    person = persons[rng.integers(len(persons))]
    attribute = attributes[rng.integers(len(attributes))]
    template, question = facts.ask_person(person, attribute, rng)
    names = ("search", "open")
    if _offered(material, "python") and rng.random() < ALL_TOOLS_SHARE:
      names = ("python", *names)
    yield Draft(Conversation(
        ({"role": "user", "content": question},
         *looked_up(material, person, attribute),
         {"role": "assistant", "content": facts.tell(person, attribute, rng)}),
        "reading", tools=material.tools_named(*names)),
        (("person", person.name),), template)


def looked_up(material: Material, person: Person, attribute: str
              ) -> list[dict[str, Any]]:
  """A search for a person, and their page where the hits do not tell."""
  turns = call_turns(material, "search", {"query": person.name})
  if not line_states(turns[-1]["content"], person, attribute):
    turns += call_turns(material, "open", {"title": person.name})
  return turns


def line_states(result: str, person: Person, attribute: str) -> bool:
  """Whether the line of a search result that has the person's name also has
  the value."""
  value = person.value(attribute).lower()
  return any(line.startswith(f"{person.name}:") and value in line.lower()
             for line in result.splitlines())


def call_turns(material: Material, name: str, arguments: dict[str, Any]
               ) -> list[dict[str, Any]]:
  """The assistant's call of a tool, and what the tool says."""
  call = {"type": "function",
          "function": {"name": name, "arguments": arguments}}
  return [{"role": "assistant", "content": "", "tool_calls": [call]},
          {"role": "tool", "content": _run(material, name, arguments)}]


def _run(material: Material, name: str, arguments: dict[str, Any]) -> str:
  """What a tool says; the same call is made only once."""
  asked = name, json.dumps(arguments, sort_keys=True)
  if asked not in material.results:
    material.results[asked] = material.run_tool(name, arguments)
  return material.results[asked]


def _offered(material: Material, *names: str) -> bool:
  there = {tool["function"]["name"] for tool in material.tools}
  return there.issuperset(names)
