"""The gates let pass what is right, and count what is not."""

import dataclasses
import itertools

import pytest

from llm_jax.config import ConfigError
from llm_jax.data import synthetic
from llm_jax.data.biographies import side_of
from llm_jax.data.conversations import Conversation, single_turn
from llm_jax.data.synthetic.drafts import Draft, Material
from llm_jax.data.synthetic.gates import GATES, pass_gates
from llm_jax.data.synthetic.verification import fault, person_asked
from tests.data import synthetic_material as given


@pytest.fixture(scope="module")
def material(tmp_path_factory):
  directory = given.write_people(tmp_path_factory.mktemp("people"))
  return Material(given.config(directory, facts=1), given.TOOLS,
                  given.run_tool)


def through(drafts, material, count=1, split="train", fits=lambda c: True):
  return pass_gates(iter(drafts), "facts", count, split, material, fits)


def spelling(word, answer=None, template="t"):
  return Draft(single_turn(f"Spell '{word}'.", answer or "-".join(word)),
               (("word", word),), template)


WORDS = [a + b + "e" for a in "bcdfghlmnprstvw" for b in "aeiouy"]


def train_words():
  from llm_jax.data.synthetic.drafts import side_of_word
  return [word for word in WORDS if side_of_word(word) == "train"]


def test_each_gate_drops_and_counts(material):
  word, other, third = train_words()[:3]
  held_out = next(w for w in WORDS if w not in train_words())
  drafts = [spelling(word), spelling(word), spelling(held_out),
            spelling(other, "x-y"), spelling(third), spelling(other)]
  kept, record = through(drafts, material, 2,
                         fits=lambda c: third not in repr(c))
  assert [c.messages[0]["content"] for c in kept] == [
      f"Spell '{word}'.", f"Spell '{other}'."]
  assert record["dropped"] == dict.fromkeys(GATES, 0) | {
      "duplicate": 1, "held_out": 1, "answer": 1, "length": 1}
  assert record["drafts"] == 6 and record["kept"] == record["wanted"] == 2
  # For validation it is the other way round.
  kept, record = through(drafts, material, 1, "validation")
  assert held_out in repr(kept) and record["dropped"]["held_out"] == 2


def test_no_template_comes_much_more_often_than_others(material):
  words = iter(train_words())
  drafts = [spelling(next(words), template="ab"[i % 9 == 0])
            for i in range(70)]
  kept, record = through([*drafts[:9], *drafts], material, 62)
  assert record["dropped"]["balance"] == 0  # two templates: none above 3 means
  drafts = [draft._replace(template="b" if i % 9 else str(i % 4))
            for i, draft in enumerate(drafts)]
  with pytest.raises(ConfigError, match="balance"):
    through(drafts, material, 70)


def test_too_few_pass(material):
  word = train_words()[0]
  with pytest.raises(ConfigError, match=r"only 1 of 2 facts conversations for "
                     r"train passed the gates \(duplicate 1000\); lower "
                     "data.synthetic.facts"):
    through(itertools.repeat(spelling(word)), material, 2)
  with pytest.raises(ConfigError, match="there are no more"):
    through([spelling(word)], material, 2)


def first(group, side="train"):
  return next(p for p in given.people().group(group)
              if side_of(p.name) == side)


@pytest.mark.parametrize("question, answer, expected", [
    ("Spell 'berry'.", "b-e-r-r-y", ""),
    ("Spell 'berry'.", "b-e-r-y", "spells wrongly"),
    ("How many 'r' are in 'berry'?", "b0 e0 r1 r2 y2\n#### 2", ""),
    ("How many 'r' are in 'berry'?", "b0 e0 r1 r1 y1\n#### 1",
     "counts wrongly"),
    ("How many 'r' are in 'berry'?", "b0 e0 r1 r2 y2\n#### 3",
     "counts wrongly"),
    ("What is 1+2+3 modulo 2?", "1,1,0\n#### 0", ""),
    ("What is 1+2+3 modulo 2?", "#### 1", "computes wrongly"),
    ("What is 12 + 39?", "#### 51", ""),
    ("What is 12 + 39?", "#### 41", "computes wrongly"),
    ("What is 12 + 39?", "2+9+0=11, 1+3+1=5\n#### 51", "has wrong steps"),
    ("What is 12 + 39? Steps first.", "2+9+0=11, 1+3+1=5\n#### 51", ""),
    ("What is 12 + 39? Steps first.", "2+9+0=11, 1+3+0=4\n#### 51",
     "has wrong steps"),
    ("What is 12 + 39? Steps first.", "2+9+0=11\n#### 51", "has wrong steps"),
    ("What is 12 + 39? Steps first.", "2+8+0=10, 1+3+1=5\n#### 51",
     "has wrong steps"),
    ("What is 12 + 39? Steps first.", "#### 51", "has wrong steps"),
    ("What is 12 + 39? Steps first.", "#### 51\n2+9+0=11, 1+3+1=5",
     "has its steps in the wrong place"),
    ("What is 52 - 39? Answer first.", "#### 13\n12-9-0=3, 5-3-1=1", ""),
    ("What is 52 - 39? Answer first.", "#### 13\n12-9-0=3, 5-3-0=2",
     "has wrong steps"),
    ("What is 52 * 9? Answer first.", "#### 468\n2*9+0=18, 5*9+1=46", ""),
    ("Who are you?", "I am llm_jax quickstart, a small language model made by "
     "you with the llm_jax codebase.", ""),
    ("Who are you?", "I am ChatGPT.", "is not in identity_facts"),
    ("What is the capital of Kenya?", "The capital of Kenya is Nairobi.", ""),
    ("What is the capital of Kenya?", "The capital of Kenya is Accra.",
     "is not in the article"),
    ("Where was Bob Nobody born?", "In Lima.", "nobody is called Bob Nobody"),
])
def test_what_is_wrong_with_an_answer(material, question, answer, expected):
  assert fault(single_turn(question, answer), material) == expected


def test_what_is_wrong_with_an_answer_on_people(material):
  known, unlearned, invented = map(first, ("known", "unlearned", "invented"))
  city, other = known.value("birthplace"), "Lima"
  assert city != other

  def wrong(person, answer, **more):
    question = f"Where was {person.name} born?"
    return fault(dataclasses.replace(single_turn(question, answer), **more),
                 material)

  assert not wrong(known, f"In {city}.")
  assert wrong(known, f"In {other}.") == f"does not say {city}"
  assert wrong(known, f"In {city} or {other}.") == "says another value, too"
  assert wrong(known, "I don't know.") == "refuses what is known"
  for person in (unlearned, invented):
    assert not wrong(person, "I don't know.")
    assert wrong(person, "In Lima.") == "answers what nobody knows"
  # With tools the unlearned can be looked up, and have to be.
  answer = f"In {unlearned.value('birthplace')}."
  assert wrong(unlearned, answer, tools=given.TOOLS) == (
      "the result does not say so")
  assert wrong(unlearned, "I don't know.", tools=given.TOOLS) == (
      "refuses what is known")


def test_follow_ups_are_on_who_was_spoken_of(material):
  known = first("known")
  pronoun = known.pronoun
  talk = [("Spell 'berry'.", "b-e-r-r-y"),
          (f"Where was {known.name} born?", known.value("birthplace")),
          (f"When was {pronoun} born?", known.value("birth_year"))]

  def wrong(pairs):
    return fault(Conversation(tuple(
        {"role": role, "content": text} for pair in pairs
        for role, text in zip(("user", "assistant"), pair))), material)

  assert not wrong(talk)
  assert wrong([*talk[:2], (talk[2][0], "In 1066.")]).startswith("does not say")
  assert person_asked("When was he born?") is None
  assert person_asked("When was he born?", "Ada B") == ("Ada B", "birth_year")


def test_who_the_system_prompt_says(material):
  def wrong(system, answer):
    return fault(Conversation((
        {"role": "system", "content": system},
        {"role": "user", "content": "Who are you?"},
        {"role": "assistant", "content": answer})), material)
  system = "You are Nova, an assistant made by Acme Works."
  assert not wrong(system, "I am Nova, an assistant made by Acme Works.")
  assert wrong(system, "I am llm_jax.") == "is not who the system prompt says"
  assert not wrong("Be brief.", "I was trained on English Wikipedia "
                   "introductions.")


def test_a_tool_that_errs_is_found_out(material):
  config = dataclasses.replace(material.config, facts=0, tool_python=5)
  with pytest.raises(ConfigError, match=r"only 0 of 5 .*answer"):
    synthetic.make_conversations(config, "train", tools=given.TOOLS,
                                 run_tool=lambda name, arguments: "7")


def test_the_manifest_says_what_there_is(material):
  config = dataclasses.replace(material.config, facts=30, sums=10)
  made, manifest = synthetic.make_conversations(config, "train")
  assert len(made) == 40
  assert manifest["sums"] == {"wanted": 10, "kept": 10}
  record = manifest["facts"]
  assert record["kept"] == 30 and record["drafts"] == 30 + sum(
      record["dropped"].values())
  assert set(record["dropped"]) == set(GATES)
  assert 10 < record["templates"] <= 40
  assert 1 / 30 <= record["largest_template_share"] <= 0.3
