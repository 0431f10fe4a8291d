"""Is the answer right? Worked out again, from the text of the question alone.

The makers know what they ask; this file does not. It reads a conversation as a
model would, finds out what is asked, and says what is wrong with the answers.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from llm_jax.data.attributes import ATTRIBUTES
from llm_jax.data.conversations import Conversation
from llm_jax.data.synthetic.drafts import Material
from llm_jax.data.synthetic.wikipedia_facts import fact_asked

_NAME = r"(?P<name>[A-Z][a-z]+ [A-Z][a-z]+)"
_COUNT = re.compile(r".*'(?P<letter>[a-z])'.*'(?P<word>[a-z]+)'")
_SPELL = re.compile(r".*'(?P<word>[a-z]+)'")
_PROBLEM = re.compile(r"(?P<left>\d+) (?P<operation>[-+*]) (?P<right>\d+)")
_SUM = re.compile(r"(?P<terms>\d+(\+\d+)+) modulo 2")
_STATED = re.compile(r"(?:\A|\n)#### (-?\d+)(?=\n|\Z)")
_COLUMN = re.compile(r"(\d+)([-+*])(\d)([-+])(\d)=(\d+)")
_PERSONA = re.compile(r"(?:You are|Your name is|You are called|Speak as) "
                      r"([A-Z]\w+)\b.*?([A-Z]\w+ [A-Z]\w+)")
_REFUSAL = re.compile(r"I (don't|do not) know|I have no information|"
                      r"I am not sure")


def fault(conversation: Conversation, material: Material) -> str:
  """What is wrong with an answer, in a few words; "" where all are right.

  Args:
    conversation: of any kind but articles, whose answers are quotations.
    material: who is known, and who the model is.
  """
  system, name = "", ""
  question, calls, result = "", 0, ""
  for message in conversation.messages:
    if message["role"] == "system":
      system = message["content"]
    elif message["role"] == "user":
      question, calls, result = message["content"], 0, ""
    elif message["role"] == "tool":
      calls, result = calls + 1, message["content"]
    elif not message.get("tool_calls"):
      found = person_asked(question, name)
      name = found[0] if found else name
      wrong = (_person_fault(found, message["content"], bool(
          conversation.tools), result, material) if found else
          _other_fault(question, message["content"], calls, result, system,
                       material))
      if wrong:
        return wrong
  return ""


def person_asked(question: str, last_name: str = "") -> tuple[str, str] | None:
  """(name, attribute) that a question is on; None where it is on no person.

  Args:
    question: what is asked.
    last_name: who "he" and "she" are.
  """
  for pattern, attribute in _patterns():
    match = pattern.fullmatch(question)
    if match:
      name = match.groupdict().get("name") or last_name
      return (name, attribute) if name else None
  return None


def right_steps(problem: re.Match, text: str) -> bool:
  """Whether a text has the columns of a problem, each of them right."""
  left, operation, right = problem.groups()
  columns = text.split(", ")
  carry = 0
  for place, column in enumerate(columns):
    match = _COLUMN.fullmatch(column)
    if not match:
      return False
    upper, sign, lower, second, carried, value = match.groups()
    upper, lower, value = int(upper), int(lower), int(value)
    expected = {"+": upper + lower, "-": upper - lower, "*": upper * lower
                }[sign] + (-carry if second == "-" else carry)
    # A borrowing digit is ten more.
    digit = int(left[::-1][place]) + (10 if sign == "-" and upper > 9 else 0)
    other = int(right if sign == "*" else right[::-1][place])
    if (sign, upper, lower, int(carried), value) != (
        operation, digit, other, carry, expected) or (
            sign == "-" and value > 9):
      return False
    carry = int(upper > 9) if sign == "-" else value // 10
  return len(columns) == len(left)


def _person_fault(found: tuple[str, str], answer: str, has_tools: bool,
                  result: str, material: Material) -> str:
  name, attribute = found
  person = material.persons.get(name)
  if person is None:
    return f"nobody is called {name}"
  group = material.groups[name]
  refuses = _REFUSAL.search(answer) is not None or "I don't know" in answer
  known = group == "known" or (group == "unlearned" and has_tools)
  if refuses:
    return "refuses what is known" if known else ""
  if not known:
    return "answers what nobody knows"
  value = person.value(attribute)
  said = set(_value_pattern(attribute).findall(answer))
  if value not in said:
    return f"does not say {value}"
  if said != {value}:
    return "says another value, too"
  if group == "unlearned" and value.lower() not in result.lower():
    return "the result does not say so"
  return ""


def _other_fault(question: str, answer: str, calls: int, result: str,
                 system: str, material: Material) -> str:
  stated = _STATED.findall(answer)
  if match := _COUNT.match(question):
    letter, word = match["letter"], match["word"]
    spelled = " ".join(f"{c}{word[:i + 1].count(letter)}"
                       for i, c in enumerate(word))
    count = str(word.count(letter))
    right = answer == (f"#### {count}" if calls else
                       f"{spelled}\n#### {count}")
    return "" if right and (not calls or result.strip() == count) else (
        "counts wrongly")
  if match := _SPELL.match(question):
    return "" if answer == "-".join(match["word"]) else "spells wrongly"
  if match := _SUM.search(question):
    total = sum(map(int, match["terms"].split("+"))) % 2
    return "" if stated == [str(total)] else "computes wrongly"
  if match := _PROBLEM.search(question):
    left, right = int(match["left"]), int(match["right"])
    value = {"+": left + right, "-": left - right,
             "*": left * right}[match["operation"]]
    if stated != [str(value)] or (calls and result.strip() != str(value)):
      return "computes wrongly"
    steps = [line for line in answer.split("\n") if not line.startswith("#")]
    wanted = "first." in question
    if wanted != bool(steps) or (steps and not right_steps(match, steps[0])):
      return "has wrong steps"
    if wanted and answer.startswith("#") != ("Answer first" in question):
      return "has its steps in the wrong place"
    return ""
  if asked := fact_asked(question):
    values = [fact.value for fact in material.article_facts
              if (fact.subject, fact.attribute) == asked]
    return "" if values and values[0] in answer else "is not in the article"
  return _identity_fault(answer, system, material.config.identity_facts)


def _identity_fault(answer: str, system: str, facts: str) -> str:
  match = _PERSONA.search(system)
  if match:
    return "" if all(part in answer for part in match.groups()) else (
        "is not who the system prompt says")
  sentences = re.split(r"(?<=[.!?])\s+", facts.strip())
  told = re.split(r"(?<=[.!?])\s+", answer)
  return "" if set(told) <= set(sentences) else "is not in identity_facts"


@functools.lru_cache
def _value_pattern(attribute: str) -> re.Pattern:
  return re.compile(rf"\b(?:{'|'.join(ATTRIBUTES[attribute].values)})\b")


@functools.lru_cache
def _patterns() -> Sequence[tuple[re.Pattern, str]]:
  """A pattern for each phrasing, and the attribute that it asks about."""
  places: Mapping[str, Any] = {
      r"\{n\}": _NAME, r"\{he\}": "(?:he|she)", r"\{his\}": "(?:his|her)",
      r"\{him\}": "(?:him|her)"}
  found = []
  for attribute in ATTRIBUTES.values():
    for template in (*attribute.questions, *attribute.spoken_questions,
                     *attribute.held_out_questions, *attribute.follow_ups):
      pattern = re.escape(template)
      for place, expression in places.items():
        pattern = pattern.replace(place, expression)
      found.append((re.compile(pattern), attribute.name))
  return found
