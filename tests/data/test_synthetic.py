"""Conversations by procedure: right, deterministic, held out by kind."""

import collections
import dataclasses
import hashlib
import json
import re

import pytest

from llm_jax.config import ConfigError, SyntheticChatConfig, TextConfig
from llm_jax.data import documents, sums, synthetic, wikipedia

KINDS = ("identity", "articles", "counting", "sums")  # the first four
CONFIG = SyntheticChatConfig(identity=300, articles=600, counting=400, sums=500)


@pytest.fixture(scope="module")
def made():
  return {split: synthetic.synthetic_conversations(CONFIG, split)
          for split in ("train", "validation")}


def _of_kind(conversations, kind):
  return [(c.messages[0]["content"], c.messages[1]["content"])
          for c in conversations if c.kind == kind]


def test_amounts(made):
  counts = collections.Counter(c.kind for c in made["train"])
  assert counts == {"identity": 300, "articles": 600, "counting": 400,
                    "sums": 500}
  counts = collections.Counter(c.kind for c in made["validation"])
  assert counts == {kind: 64 for kind in KINDS}


def test_a_kind_can_be_left_out():
  config = dataclasses.replace(CONFIG, articles=0, counting=0, identity=0)
  for split in ("train", "validation"):
    kinds = {c.kind for c in synthetic.synthetic_conversations(config, split)}
    assert kinds == {"sums"}


def test_sums_alone_need_no_articles(monkeypatch):
  monkeypatch.setattr(wikipedia, "load_articles", None)
  config = dataclasses.replace(CONFIG, articles=0, counting=0)
  assert len(synthetic.synthetic_conversations(config, "train")) == 800


def test_the_seed_decides(made):
  again = synthetic.synthetic_conversations(CONFIG, "train")
  assert again == made["train"]
  other = synthetic.synthetic_conversations(CONFIG, "train", seed=1)
  for kind in KINDS:
    assert _of_kind(other, kind) != _of_kind(again, kind)


def test_what_the_quickstart_is_trained_on_stays():
  """Written by the code of before there were other kinds."""
  config = SyntheticChatConfig(identity=300, articles=0, counting=0, sums=500)
  made = [c for split in ("train", "validation")
          for c in synthetic.synthetic_conversations(config, split, seed=3)]
  text = json.dumps([[c.messages, c.kind, c.source] for c in made])
  assert hashlib.sha256(text.encode()).hexdigest() == (
      "7b18cc9ab8c02da952118fdd2ae9d25a6a7fab01e64cad0150f963b9b7ba7e83")


def test_one_kinds_amount_does_not_change_another(made):
  config = dataclasses.replace(CONFIG, identity=7, articles=9)
  other = synthetic.synthetic_conversations(config, "train")
  for kind in ("counting", "sums"):
    assert _of_kind(other, kind) == _of_kind(made["train"], kind)


def test_no_question_is_on_both_sides(made):
  questions = [{c.messages[0]["content"] for c in made[split]}
               for split in ("train", "validation")]
  assert not questions[0] & questions[1]


def test_identity_is_answered_from_the_config(made):
  facts = CONFIG.identity_facts
  train = _of_kind(made["train"], "identity")
  for _, answer in train + _of_kind(made["validation"], "identity"):
    assert answer in facts
  answers = dict(train)
  assert answers["who are you?"] == facts
  assert "trained" in answers["what were you trained on?"]
  assert len({question for question, _ in train}) > 200
  config = SyntheticChatConfig(identity=300, articles=0, counting=0, sums=0,
                               identity_facts="I am Ada. Bo made me.")
  answers = dict(_of_kind(
      synthetic.synthetic_conversations(config, "train"), "identity"))
  assert answers["who are you?"] == "I am Ada. Bo made me."
  assert answers["who made you?"] == "Bo made me."


def test_articles_are_answered_from_their_own_side_of_the_corpus(made):
  corpus = documents.split_documents(
      documents.iter_documents(TextConfig()), 0, 0.02)
  sides = {"train": "", "validation": ""}
  for side, document in corpus:
    sides[side] += re.sub(r"\s+", " ", document.text) + "\n"
  for split, text in sides.items():
    for _, answer in _of_kind(made[split], "articles"):
      assert len(answer) <= synthetic.MAX_ANSWER_CHARACTERS
      assert all(re.sub(r"\s+", " ", part) in text
                 for part in answer.split(". "))


def test_article_questions():
  def ask(title, extract, topic="Technology"):
    return synthetic.article_question(
        wikipedia.Article(title, extract, "", topic))
  assert ask("Volcano", "A volcano is a vent.") == ("What", "is", "a volcano")
  assert ask("Paris", "Paris is a city.") == ("What", "is", "Paris")
  assert ask("Yi Sun-sin", "Yi Sun-sin was an admiral.", "People") == (
      "Who", "was", "Yi Sun-sin")
  assert ask("Field", "In mathematics, a field is a set.") == (
      "What", "is", "Field")
  assert ask("Bustard", "Bustards, including floricans, are birds.") == (
      "What", "is", "Bustard")
  assert ask("Hat", "No verb here") == ("What", "is", "Hat")


def test_first_sentences():
  text = ("J. R. R. Tolkien was born c. 1892 in St. Ives. He wrote. \"Why?\" "
          "Nobody knows.")
  assert synthetic.first_sentences(text, 1) == (
      "J. R. R. Tolkien was born c. 1892 in St. Ives.")
  assert synthetic.first_sentences(text, 2).endswith("He wrote.")
  assert synthetic.first_sentences(text, 9) == text
  assert synthetic.first_sentences("no end", 2) == "no end"


def test_answers_are_shortened_until_they_fit():
  config = SyntheticChatConfig(identity=0, articles=50, counting=0, sums=0)
  short = synthetic.synthetic_conversations(
      config, "train",
      fits=lambda c: len(c.messages[1]["content"]) <= 120)
  assert len(short) == 50
  assert max(len(c.messages[1]["content"]) for c in short) <= 120
  with pytest.raises(ConfigError, match="no article answer fits"):
    synthetic.synthetic_conversations(config, "train", fits=lambda c: False)


def test_counting_is_right(made):
  assert synthetic.count_by_spelling("r", "berry") == (
      "b0 e0 r1 r2 y2\n#### 2")
  for split in ("train", "validation"):
    for question, answer in _of_kind(made[split], "counting"):
      letter, word = re.findall(r"'(\w+)'", question)
      assert len(letter) == 1
      spelled, total = answer.split("\n#### ")
      assert "".join(part[0] for part in spelled.split()) == word
      assert int(total) == word.count(letter)
      assert int(spelled.split()[-1][1:]) == int(total)


def test_counting_words_are_disjoint(made):
  words = [{re.findall(r"'(\w+)'", question)[1] for question, _ in
            _of_kind(made[split], "counting")}
           for split in ("train", "validation")]
  assert len(words[0]) > 300 and len(words[1]) == 64
  assert not words[0] & words[1]


def test_sums_are_right_and_their_styles_mixed(made):
  def problem(question):
    return sums.SumProblem(tuple(map(int, re.findall(
        r"\d+", question.removesuffix("modulo 2?")))))
  train = _of_kind(made["train"], "sums")
  steps = sum("," in answer for _, answer in train)
  assert 0.3 < steps / len(train) < 0.5
  for question, answer in train:
    assert not sums.is_held_out(problem(question))
    assert answer in [problem(question).demonstration(style)
                      for style in sums.STYLES]
  for question, _ in _of_kind(made["validation"], "sums"):
    assert sums.is_held_out(problem(question))
  for share, expected in ((0.0, {False}), (1.0, {True})):
    config = SyntheticChatConfig(identity=0, articles=0, counting=0, sums=40,
                                 sum_steps_share=share)
    assert {"," in answer for _, answer in _of_kind(
        synthetic.synthetic_conversations(config, "train"), "sums")} == expected


def test_nothing_held_out_of_the_corpus():
  config = SyntheticChatConfig(identity=0, articles=20, counting=0, sums=0)
  assert synthetic.synthetic_conversations(
      config, "validation", validation_fraction=0.0) == []


@pytest.mark.parametrize("settings, expected", [
    ({"sums": -1}, "data.synthetic.sums is -1"),
    ({"sum_steps_share": 1.5}, "data.synthetic.sum_steps_share is 1.5"),
    ({"identity_facts": " "}, "data.synthetic.identity_facts is empty"),
    ({"sum_min_terms": 1}, "must be at least 2"),
    ({"identity": 0, "articles": 0, "counting": 0, "sums": 0},
     "makes no conversations")])
def test_impossible_wishes(settings, expected):
  with pytest.raises(ConfigError, match=expected):
    synthetic.synthetic_conversations(
        dataclasses.replace(CONFIG, **settings), "train")
