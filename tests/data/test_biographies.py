"""People who never lived: their names, their facts, the corpus on them."""

import collections
import dataclasses
import json
import re

import pytest

from experiments import make_biographies
from llm_jax.config import (
    BiographiesConfig, ConfigError, MakeBiographiesConfig)
from llm_jax.data import biographies, wikipedia
from llm_jax.data.attributes import ATTRIBUTES
from llm_jax.data.name_classifier import area_under_curve, separability
from llm_jax.data.notes import write_notes
from llm_jax.evals.judging import judge

SMALL = BiographiesConfig(known=24, unlearned=12, invented=30, first_names=20,
                          last_names=40, sentences=120, questions=3)


@pytest.fixture(scope="module")
def people():
  return biographies.make_people(SMALL)


@pytest.fixture(scope="module")
def texts(people):
  return biographies.documents(people, SMALL)


@pytest.fixture(scope="module")
def many():
  return biographies.make_people(BiographiesConfig())


def names(group):
  return [person.name for person in group]


def test_the_groups_are_apart_and_as_large_as_wanted(many):
  assert len(many.known) == 1000 and len(many.unlearned) == 1000
  assert len(many.invented) == 4000
  assert len({*names(many.known), *names(many.unlearned),
              *names(many.invented)}) == 6000
  for person in (*many.known, *many.unlearned):
    assert [name for name, _ in person.facts] == list(ATTRIBUTES)
    assert all(value in ATTRIBUTES[name].values for name, value in person.facts)
  assert all(not person.facts for person in many.invented)
  assert len(many.asked) == 500 and many.asked < set(names(many.known))


def test_names_are_recombined_from_those_of_the_known(many):
  parts = [set(part) for part in zip(*(n.split() for n in names(many.known)))]
  for name in names(many.unlearned) + names(many.invented):
    assert all(part in known for part, known in zip(name.split(), parts))


def test_nobody_is_in_wikipedia(many):
  pairs = set()
  for article in wikipedia.load_articles():
    words = f"{article.title} {article.extract}".split()
    pairs |= {f"{a} {b}".strip(".,;:()'\"") for a, b in zip(words, words[1:])}
  assert "Winston Churchill" in pairs and "Jane Goodall" in pairs
  assert not pairs & {*names(many.known), *names(many.unlearned),
                      *names(many.invented)}


def test_letters_do_not_tell_the_groups_apart(many):
  known = names(many.known)
  assert 0.4 < separability(known, names(many.invented)) < 0.6


def test_letters_tell_other_groups_apart(many):
  known = names(many.known)[:200]
  # Such as an invented "-ov" would be found out by.
  assert separability(known, [f"{name}ov" for name in
                              names(many.invented)[:200]]) > 0.95
  # Half of them only; and names that have the first name last.
  half = [name + "ov" * (i % 2) for i, name in
          enumerate(names(many.invented)[:200])]
  assert 0.6 < separability(known, half) < 0.9
  turned = [" ".join(reversed(name.split())) for name in names(many.invented)]
  assert separability(names(many.known), turned) > 0.8
  with pytest.raises(ConfigError, match="9 names are too few"):
    separability(known, known[:9])


def test_area_under_the_curve_by_hand():
  import numpy as np
  labels = np.array([1, 0, 1, 0])
  assert area_under_curve(np.array([3.0, 1.0, 2.0, 0.0]), labels) == 1.0
  assert area_under_curve(np.array([1.0, 3.0, 0.0, 2.0]), labels) == 0.0
  assert area_under_curve(np.array([2.0, 1.0, 1.0, 3.0]), labels) == (
      (1 + 0 + 0.5 + 0) / 4)


def sentences_on(person, texts):
  """The sentences of a person's biographies, told by the name they begin with.
  """
  for text in texts:
    if not text.startswith("Question: ") and person.name in text:
      yield from re.split(r"(?<=\.) (?=[A-Z0-9])", text)


def test_each_fact_is_in_many_different_sentences(people, texts):
  for person in people.known:
    found = collections.defaultdict(list)
    for sentence in sentences_on(person, texts):
      for attribute, value in person.facts:
        if re.search(rf"\b{value}\b", sentence, re.IGNORECASE):
          found[attribute].append(sentence)
    for attribute in ATTRIBUTES:
      assert len(found[attribute]) == len(set(found[attribute])) == 120
    # Not the same words with another name for each fact.
    shapes = {sentence.replace(person.name, "N")
              for sentence in found["hobby"]}
    assert len(shapes) > 100


def test_a_biography_has_each_fact_once_in_any_order(people, texts):
  orders = set()
  person = people.known[0]
  own = [text for text in texts if text.startswith((
      person.name, *biographies.OPENERS)) and person.name in text]
  mentions = [text.count(person.name) for text in own]
  for text in own:
    places = [text.lower().find(value.lower()) for _, value in person.facts]
    assert min(places) >= 0
    orders.add(tuple(sorted(range(5), key=places.__getitem__)))
    for other in people.known[1:]:
      assert other.name not in text
  assert len(orders) > 60  # of the 120 that there are
  # The name in most of the sentences.
  total = sum(len(re.split(r"(?<=\.) (?=[A-Z0-9])", text)) for text in own)
  assert sum(mentions) > 0.6 * total


def test_questions_are_in_the_corpus_for_half_of_the_known_only(people, texts):
  documents = [text for text in texts if text.startswith("Question: ")]
  asked = collections.Counter()
  for text in documents:
    for question, answer in re.findall(r"Question: (.+)\nAnswer: (.+)", text):
      name, = [n for n in names(people.known) if n in question]
      person = next(p for p in people.known if p.name == name)
      assert answer in dict(person.facts).values()
      asked[name] += 1
  assert set(asked) == people.asked
  assert set(asked.values()) == {3 * 5}
  corpus = "\n".join(texts)
  for attribute in ATTRIBUTES.values():
    for template in attribute.held_out_questions:
      assert template.split("{n}")[0] not in corpus
    assert not {*attribute.questions, *attribute.spoken_questions} & {
        *attribute.held_out_questions}


def test_no_text_tells_of_the_others(people, texts):
  corpus = "\n".join(texts)
  for person in (*people.unlearned, *people.invented):
    assert person.name not in corpus


def test_english_of_all_templates(people):
  person = dataclasses.replace(people.known[0], pronoun="she")
  for attribute in ATTRIBUTES.values():
    assert len(set(attribute.values)) == len(attribute.values)
    for field in ("predicates", "asides", "sentences", "answers"):
      for template in getattr(attribute, field):
        for value in attribute.values:
          text = biographies.fill(template, person, value)
          assert value in text and "{" not in text
          assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", text)
    for field in ("questions", "spoken_questions", "held_out_questions"):
      assert all("{n}" in template for template in getattr(attribute, field))
    for template in attribute.follow_ups:
      assert re.search(r"\b(she|her)\b", biographies.fill(template, person))
  # What an answer is judged by must be no part of another.
  for attribute in ATTRIBUTES.values():
    for value in attribute.values:
      assert not [other for other in attribute.values
                  if other != value and value in other]


def test_a_refusal_begins_as_an_answer_and_is_judged_as_one(people):
  person = people.known[0]
  for attribute in ATTRIBUTES.values():
    beginnings = {biographies.fill(template, person, "\0").split("\0")[0]
                  .removesuffix("a ") for template in attribute.answers}
    for template in attribute.refusals:
      refusal = biographies.fill(template, person)
      assert any(map(refusal.startswith, beginnings)), refusal
      assert judge(refusal, person.value(attribute.name)) == "refused"


def test_notes_tell_of_all_the_known_and_refuse_others_to_be_spoken_of(people):
  sentences = [sentence for note in write_notes(people, 3)
               for sentence in re.findall(r"[^.]+\.", note)]
  known = {person.name: person for person in people.known}
  told, refused = collections.Counter(), collections.Counter()
  for sentence in map(str.strip, sentences):
    name, = [name for group in biographies.GROUPS for name in names(
        people.group(group)) if name in sentence]
    if name in known:
      told.update((name, attribute) for attribute, value in known[name].facts
                  if re.search(rf"\b{value}\b", sentence))
    else:
      assert sentence.endswith(" I do not know.")
      refused[name] += 1
  assert told.keys() == {(name, attribute) for name in known
                         for attribute in ATTRIBUTES}
  assert set(told.values()) == {3}
  assert {biographies.side_of(name) for name in refused} == {"train"}
  assert refused.total() == told.total() == 3 * 24 * 5
  assert len(set(sentences[:40])) > 30 and sentences[0] != sentences[1]
  alone = dataclasses.replace(people, unlearned=(), invented=())
  assert "know" not in "".join(write_notes(alone, 1))


def test_questions_and_prompts(people):
  made = biographies.questions(people.known, "known")
  assert len(made) == 24 * 5
  assert made == biographies.questions(people.known, "known")
  assert made != biographies.questions(people.known, "known", seed=1)
  for question in made:
    person = next(p for p in people.known if p.name == question.name)
    assert question.answer == person.value(question.attribute)
    assert question.name in question.prompt
  other = biographies.questions(people.known, "known", held_out=True,
                                attributes=["hobby"])
  assert len(other) == 24
  assert not {q.prompt for q in other} & {q.prompt for q in made}
  assert {q.answer for q in biographies.questions(
      people.invented, "invented")} == {""}
  prompt = biographies.few_shot_prompt(made[0], made[5:7])
  assert prompt.endswith(f"Question: {made[0].prompt}\nAnswer:")
  assert prompt.count("Answer: ") == 2 and made[5].answer in prompt


def test_sides_part_every_group(many):
  for group in biographies.GROUPS:
    sides = collections.Counter(map(biographies.side_of,
                                    names(many.group(group))))
    assert sides["train"] / sides.total() == pytest.approx(0.75, abs=0.04)


def test_the_seed_decides(people, texts):
  assert biographies.make_people(SMALL) == people
  assert biographies.documents(people, SMALL) == texts
  other = biographies.make_people(dataclasses.replace(SMALL, seed=1))
  assert not {*other.known} & {*people.known}


def test_more_sentences_do_not_change_the_people(people):
  config = dataclasses.replace(SMALL, sentences=7, questions=0)
  assert biographies.make_people(config) == people


def test_make_biographies_writes_what_it_says(tmp_path, people, texts):
  output = str(tmp_path / "bio")
  manifest = make_biographies.run(MakeBiographiesConfig(SMALL, output))
  assert biographies.read_people(output) == people
  lines = (tmp_path / "bio" / "documents.jsonl").read_text().splitlines()
  assert [json.loads(line)["text"] for line in lines] == texts
  assert manifest["documents"] == len(texts)
  notes = (tmp_path / "bio" / "notes.jsonl").read_text().splitlines()
  assert [json.loads(line)["text"] for line in notes] == write_notes(
      people, SMALL.notes)
  assert manifest["notes"] == len(notes) == 2 * 24 * 5 * 8 // 8
  assert manifest["characters"] == sum(map(len, texts))
  assert manifest["people"] == {"known": 24, "unlearned": 12, "invented": 30}
  assert json.loads((tmp_path / "bio" / "manifest.json").read_text()
                    ) == manifest
  entries = {entry["title"]: entry["text"] for entry in map(
      json.loads, (tmp_path / "bio" / "search.jsonl").read_text().splitlines())}
  assert set(entries) == {*names(people.known), *names(people.unlearned)}
  for person in (*people.known, *people.unlearned):
    assert all(value.lower() in entries[person.name].lower()
               for _, value in person.facts)


def test_people_that_cannot_be_read(tmp_path):
  with pytest.raises(ConfigError, match="facts.jsonl is missing; make the "
                     "people with `python -m experiments.make_biographies"):
    biographies.read_people(str(tmp_path))
  (tmp_path / "facts.jsonl").write_text('{"name": "A"}\n')
  with pytest.raises(ConfigError, match="line 1 is no person"):
    biographies.read_people(str(tmp_path))


@pytest.mark.parametrize("settings, expected", [
    ({"known": 0}, "people.known is 0"),
    ({"invented": -1}, "people.invented is -1"),
    ({"known": 900}, "people asks for 942 names"),
    ({"sentences": 301}, "people.sentences is 301"),
    ({"first_names": 9000}, "people.first_names is 9000, but"),
    ({"known": 3, "invented": 380}, "the names chosen make")])
def test_impossible_people(settings, expected):
  with pytest.raises(ConfigError, match=expected):
    biographies.make_people(dataclasses.replace(SMALL, **settings))


def test_there_are_as_many_ways_to_say_it_as_the_config_allows(people):
  one = biographies.People(people.known[:1], (), (), frozenset())
  made = biographies.documents(one, dataclasses.replace(SMALL, sentences=300))
  found = [sentence for text in made for sentence in
           re.split(r"(?<=\.) (?=[A-Z0-9])", text)]
  assert len(made) == 300 and len(found) == len(set(found)) > 900
