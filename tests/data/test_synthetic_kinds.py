"""The gated kinds: each answer worked out again, each side of the split apart.
"""

import collections
import dataclasses
import re

import pytest

from llm_jax.config import ConfigError, TextConfig
from llm_jax.config_chat import TOOL_KINDS
from llm_jax.data import biographies, documents, synthetic, wikipedia
from llm_jax.data.attributes import ATTRIBUTES
from llm_jax.data.synthetic import arithmetic, identity
from llm_jax.data.synthetic.drafts import side_of_word
from llm_jax.tokenizer.messages import check_messages, check_tools
from tests.data import synthetic_material as given



@pytest.fixture(scope="module")
def config(tmp_path_factory):
  directory = given.write_people(tmp_path_factory.mktemp("people"))
  return given.config(directory, **dict.fromkeys(given.GATED, 150))


def make(config, split, **options):
  return synthetic.make_conversations(
      config, split, **{"tools": given.TOOLS, "run_tool": given.run_tool,
                        **options})


@pytest.fixture(scope="module")
def made(config):
  return {split: make(config, split)[0] for split in ("train", "validation")}


def of_kind(made, kind, split=None):
  return [c for side, found in made.items() for c in found
          if c.kind == kind and split in (None, side)]


def text_of(conversation):
  return "\n".join(message["content"] for message in conversation.messages)


def turns(conversation):
  """(question, messages between, answer) of each turn."""
  question, between = "", []
  for message in conversation.messages:
    if message["role"] == "user":
      question, between = message["content"], []
    elif message["role"] == "assistant" and not message.get("tool_calls"):
      yield question, between, message["content"]
    elif message["role"] != "system":
      between.append(message)


def names_in(text, group):
  return [person for person in given.people().group(group)
          if person.name in text]


def test_amounts_and_form(made):
  for split, count in (("train", 150), ("validation", 40)):
    kinds = collections.Counter(c.kind for c in made[split])
    assert kinds == dict.fromkeys(given.GATED, count)
    for conversation in made[split]:
      check_messages(conversation.messages)
      check_tools(conversation.tools)
      assert bool(conversation.tools) == (conversation.kind in TOOL_KINDS)


def test_no_conversation_twice_and_no_question_on_both_sides(made):
  for found in made.values():
    assert len({repr(c) for c in found}) == len(found)
  # Short questions of a conversation are everybody's ("Who are you?").
  questions = [{c.messages[0]["content"] for c in made[split]
                if c.messages[0]["role"] == "user"
                and c.kind != "multi_turn"} for split in made]
  assert not questions[0] & questions[1]


def test_people_are_on_one_side(made):
  for split, found in made.items():
    spoken = {name for c in found
              if c.kind in ("facts", "refusals", "tool_search", "multi_turn",
                            "reading")
              for question, _, _ in turns(c)
              for name in re.findall(r"[A-Z]\w+ [A-Z]\w+", question)
              if name in {p.name for group in biographies.GROUPS
                          for p in given.people().group(group)}}
    assert len(spoken) > 40
    assert {biographies.side_of(name) for name in spoken} == {split}


def test_words_and_problems_are_on_one_side(made):
  for split, found in made.items():
    words, problems = set(), set()
    for c in found:
      for question, _, _ in turns(c):
        words |= set(re.findall(r"'(\w{3,})'", question))
        problems |= set(re.findall(r"\d+ [-+*] \d+", question))
    assert {side_of_word(word) for word in words} == {split}
    assert {arithmetic.side_of_problem(p) for p in problems} == {split}
  for left, right in ((12, 34), (4821, 3), (77, 78)):
    assert (arithmetic.side_of_problem(f"{left} + {right}")
            == arithmetic.side_of_problem(f"{right} + {left}"))


def test_facts_are_those_of_the_known(made):
  for c in of_kind(made, "facts"):
    (question, _, answer), = turns(c)
    person, = names_in(question, "known")
    said = [attribute for attribute, value in person.facts
            if re.search(rf"\b{value}\b", answer)]
    assert len(said) == 1
    asked = ATTRIBUTES[said[0]]
    assert question in [template.format(n=person.name) for template in
                        asked.questions + asked.spoken_questions]
  attributes = collections.Counter(
      next(a for a, v in names_in(text_of(c), "known")[0].facts
           if v in text_of(c)) for c in of_kind(made, "facts", "train"))
  assert min(attributes.values()) > 12 and len(attributes) == 5


def test_refusals_are_of_people_of_whom_nothing_is_known(made):
  groups = collections.Counter()
  for c in of_kind(made, "refusals"):
    (question, _, answer), = turns(c)
    assert not names_in(question, "known")
    person, = names_in(question, "invented") + names_in(question, "unlearned")
    groups[bool(person.facts)] += 1
    assert re.search(r"I (don't|do not) know|no information|not sure", answer)
    assert not any(value in answer for _, value in person.facts)
  assert min(groups.values()) > 20
  wordings = {re.sub(r"[A-Z]\w+ [A-Z]\w+", "N", c.messages[-1]["content"])
              for c in of_kind(made, "refusals")}
  assert len(wordings) >= 5


def test_questions_are_asked_in_the_same_words_of_all(made):
  shapes = {}
  for kind in ("facts", "refusals"):
    shapes[kind] = {re.sub(r"[A-Z]\w+ [A-Z]\w+", "N", c.messages[0]["content"])
                    for c in of_kind(made, kind)}
    held_out = {template.replace("{n}", "N") for attribute in
                ATTRIBUTES.values() for template in
                attribute.held_out_questions}
    assert not shapes[kind] & held_out
  assert len(shapes["facts"] & shapes["refusals"]) > 50  # of 70


def test_spelling(made):
  for c in of_kind(made, "spelling"):
    (question, _, answer), = turns(c)
    assert answer.split("-") == list(re.findall(r"'(\w+)'", question)[0])


@pytest.mark.parametrize("kind", arithmetic.STYLES)
def test_arithmetic(made, kind):
  operations = collections.Counter()
  for c in of_kind(made, kind):
    (question, _, answer), = turns(c)
    left, operation, right = re.search(r"(\d+) ([-+*]) (\d+)",
                                       question).groups()
    operations[operation] += 1
    assert len(left) == 4
    assert len(right) == (1 if operation == "*" and kind != "arithmetic"
                          else 4)
    right_answer = eval(f"{left}{operation}{right}")
    assert right_answer >= 0
    lines = answer.split("\n")
    if kind == "arithmetic":
      assert lines == [f"#### {right_answer}"]
      continue
    steps, stated = lines if kind == "arithmetic_steps" else lines[::-1]
    assert stated == f"#### {right_answer}"
    # Every column is right, and the digits are those of the result.
    values = []
    for column in steps.split(", "):
      expression, value = column.split("=")
      assert eval(expression) == int(value)
      values.append(int(value))
    assert len(values) == 4
    digits = "".join(str(value % 10) for value in values[:-1])[::-1]
    assert int(str(values[-1]) + digits) == right_answer
  assert min(operations.values()) > 40


def test_steps_first_and_answer_first_have_the_same_tokens():
  for problem in (arithmetic.ArithmeticProblem(4827, "+", 1596),
                  arithmetic.ArithmeticProblem(8002, "-", 1596),
                  arithmetic.ArithmeticProblem(9999, "*", 9)):
    first = problem.demonstration("steps_first")
    other = problem.demonstration("answer_first")
    assert sorted(first.split("\n")) == sorted(other.split("\n"))
    assert first.split("\n") == other.split("\n")[::-1]
  assert arithmetic.ArithmeticProblem(8002, "-", 1596).steps() == (
      "12-6-0=6, 10-9-1=0, 10-5-1=4, 8-1-1=6")
  with pytest.raises(ConfigError, match="style is 'aloud'; choose one of"):
    problem.demonstration("aloud")


def test_programs(made):
  forms = collections.Counter()
  for c in of_kind(made, "tool_python"):
    (question, (call, result), answer), = turns(c)
    code = call["tool_calls"][0]["function"]["arguments"]["code"]
    assert call["tool_calls"][0]["function"]["name"] == "python"
    if "'" in question:
      letter, word = re.findall(r"'(\w+)'", question)
      value, form = word.count(letter), "letters"
    else:
      left, form, right = re.search(r"(\d+) ([-+*]) (\d+)", question).groups()
      value = eval(f"{left}{form}{right}")
    printed = []
    exec(code, {"print": printed.append})
    assert printed == [value]
    assert result["role"] == "tool" and result["content"] == str(value)
    assert answer == f"#### {value}"
    assert c.tools[0] == given.TOOLS[0]
    forms[form, len(c.tools)] += 1
  assert len(forms) == 8 and min(forms.values()) >= 3


def test_searches(made):
  forms = collections.Counter()
  for c in of_kind(made, "tool_search"):
    (question, between, answer), = turns(c)
    names = [call["function"] for message in between
             for call in message.get("tool_calls", ())]
    offered = {tool["function"]["name"] for tool in c.tools}
    assert offered >= {"search", "open"}
    results = [m["content"] for m in between if m["role"] == "tool"]
    if known := names_in(question, "known"):
      assert not between
      person, group = known[0], "known"
    elif unlearned := names_in(question, "unlearned"):
      person, group = unlearned[0], "unlearned"
      assert [name["name"] for name in names] in (["search"],
                                                  ["search", "open"])
    else:
      person, group = names_in(question, "invented")[0], "invented"
      assert [name["name"] for name in names] == ["search"]
      assert person.name not in results[0]
      assert "I don't know" in answer
    if names:
      assert names[0]["arguments"] == {"query": person.name}
    if group != "invented":
      said, = [value for attribute, value in person.facts
               if re.search(rf"\b{value}\b", answer)]
      if names:
        assert said.lower() in results[-1].lower()
      if len(names) == 2:  # what was found did not say it
        assert names[1]["arguments"] == {"title": person.name}
        line = next(line for line in results[0].splitlines()
                    if line.startswith(person.name))
        assert said.lower() not in line.lower()
    forms[group, len(names)] += 1
  assert set(forms) == {("known", 0), ("invented", 1), ("unlearned", 1),
                        ("unlearned", 2)}
  assert min(forms.values()) >= 10


def test_reading_always_looks_the_person_up(made):
  calls = collections.Counter()
  for c in of_kind(made, "reading"):
    (question, between, answer), = turns(c)
    person, = names_in(question, "unlearned")
    results = [m["content"] for m in between if m["role"] == "tool"]
    said, = [value for attribute, value in person.facts
             if re.search(rf"\b{value}\b", answer)]
    assert said.lower() in results[-1].lower()
    calls[len(results)] += 1
  assert set(calls) == {1, 2} and min(calls.values()) >= 5


def test_the_same_people_are_refused_without_tools_and_found_with(made):
  def names(kind, split):
    return {name for c in of_kind(made, kind, split)
            for name in re.findall(r"[A-Z]\w+ [A-Z]\w+",
                                   c.messages[0]["content"])
            if name in {p.name for p in given.people().unlearned}}
  assert len(names("refusals", "train") & names("tool_search", "train")) > 5


def test_several_turns(made):
  lengths, follow_ups = collections.Counter(), 0
  for c in of_kind(made, "multi_turn"):
    spoken, person = list(turns(c)), None
    lengths[len(spoken)] += 1
    for question, _, answer in spoken:
      named = names_in(question, "known") + names_in(question, "invented")
      if named:
        person = named[0]
      pronoun = re.search(r"\b(he|his|him|she|her)\b", question)
      if not named and not pronoun:
        continue
      if pronoun:
        follow_ups += 1
        assert (pronoun[1] in ("she", "her")) == (person.pronoun == "she")
      if person.facts:
        assert sum(bool(re.search(rf"\b{value}\b", answer))
                   for _, value in person.facts) == 1
      assert person.name in answer or not person.facts
  assert min(lengths) >= 2 and max(lengths) <= 9 and follow_ups > 150


def test_articles_state_what_is_answered(made):
  leads = {article.title: article.extract
           for article in wikipedia.load_articles()}
  corpus = dict.fromkeys(document.source for side, document in
                         documents.split_documents(documents.iter_documents(
                             TextConfig()), 0, 0.02) if side == "train")
  asked = {"capital": set(), "nationality": set()}
  for split, found in made.items():
    for c in found:
      if c.kind != "wikipedia_facts":
        continue
      assert c.source in corpus
      title = c.source.removeprefix("wikipedia:")
      (question, _, answer), = turns(c)
      if "capital" in question:
        assert title in answer and title not in question
        assert f"{title} is the capital" in leads[title]
        land = re.search(r"capital of (.+)[?.]", question)[1]
        assert land in answer and land in leads[title]
      else:
        assert title in question and title in answer
        nation = set(re.findall(r"[A-Z]\w+", answer)) - set(
            re.findall(r"[A-Z]\w+", question)) - {"The"}
        assert len(nation) == 1 and nation.pop() in leads[title][:200]
      asked["capital" if "capital" in question else "nationality"].add(
          (split, title))
  assert min(map(len, asked.values())) > 5
  sides = [{title for titles in asked.values() for side, title in titles
            if side == split} for split in made]
  assert not sides[0] & sides[1]


def test_identity_follows_the_system_prompt(made, config):
  systems = collections.Counter()
  for split, found in made.items():
    for c in found:
      if c.kind != "identity_variants":
        continue
      system = (c.messages[0]["content"] if c.messages[0]["role"] == "system"
                else "")
      answer = c.messages[-1]["content"]
      name = re.search(r"(?:You are|name is|called|Speak as) ([A-Z]\w+)",
                       system)
      if name:
        assert name[1] in answer and config.identity_facts not in answer
        assert identity.side_of_persona(name[1]) == split
      else:
        assert answer in config.identity_facts
      systems["name" if name else bool(system)] += 1
  assert min(systems.values()) > 20 and len(systems) == 3


def test_a_thousand_held_out_questions_on_identity(config):
  config = dataclasses.replace(config, validation=1000, **dict.fromkeys(
      given.GATED[1:], 0))
  found = make(config, "validation")[0]
  assert len({repr(c.messages) for c in found}) == 1000


def test_the_seed_decides_and_counts_do_not_mix(made, config):
  few = dataclasses.replace(config, **dict.fromkeys(given.GATED, 20))
  once, again, other = (make(few, "train", seed=seed)[0] for seed in (0, 0, 1))
  assert once == again
  for kind in given.GATED:
    mine = of_kind({"": once}, kind)
    assert mine != of_kind({"": other}, kind)
    # The first of as many as there were wanted of it above.
    assert mine == of_kind(made, kind, "train")[:20]


@pytest.mark.parametrize("settings, options, expected", [
    ({"people": ""}, {}, "data.synthetic.facts is about people; name the dir"),
    ({"people": "/nowhere"}, {}, "facts.jsonl is missing; make the people"),
    ({}, {"tools": (), "run_tool": None}, "tool_python needs the tool python"),
    ({}, {"tools": given.TOOLS[:1]}, "tool_search needs the tool search"),
    ({"arithmetic_digits": 1}, {}, "arithmetic_digits is 1; choose 2 to 9"),
    ({"identity_facts": " "}, {}, "data.synthetic.identity_facts is empty")])
def test_impossible_wishes(config, settings, options, expected):
  with pytest.raises(ConfigError, match=expected):
    make(dataclasses.replace(config, **settings), "train", **options)
