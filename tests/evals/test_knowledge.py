"""Knowing and not knowing, by hand; and facts from wherever they are."""

import json

import numpy as np
import pytest

from llm_jax.config import ConfigError, ProbeKnowledgeConfig
from llm_jax.data.biographies import People, Person, side_of
from llm_jax.data.wikipedia import Article
from llm_jax.evals import facts as facts_lib
from llm_jax.evals import knowledge
from llm_jax.evals.answer_log import AnswerLog, read_answers
from llm_jax.evals.facts import Fact, article_facts, cloze_facts, read_facts
from llm_jax.evals.judging import CORRECT, REFUSED, WRONG
from llm_jax.evals.knowledge import (
    calibration, compare, conversations, headline, judge_answers, proportion,
    rule_judge, state_of, summary_rows)

CONFIG = ProbeKnowledgeConfig(held_out_fraction=0.0)
JUDGE = rule_judge(CONFIG)


def probe(answers, answer="1984", group="known", question="When?", **more):
  fact = Fact(question, answer, group, "year", name=question, **more)
  return judge_answers(fact, answers, JUDGE)


# --- judgement ----------------------------------------------------------------


def test_a_probe_by_hand():
  found = probe(["In 1984.", "1984", "It was 1985.", "I don't know.", "?"])
  assert found.verdicts == (CORRECT, CORRECT, WRONG, REFUSED, WRONG)
  assert found.agreement == 2 / 5 and found.common == CORRECT
  assert found.share(CORRECT) == found.share(WRONG) == 2 / 5
  found = probe(["I don't know.", "I have no idea.", "1984"])
  assert found.agreement == 2 / 3 and found.common == REFUSED


@pytest.mark.parametrize("right, of, state", [
    (5, 5, knowledge.KNOWS), (3, 5, knowledge.KNOWS),
    (2, 5, knowledge.UNSURE), (1, 5, knowledge.DOES_NOT_KNOW),
    (0, 5, knowledge.DOES_NOT_KNOW)])
def test_knowing_is_a_share(right, of, state):
  found = probe(["1984"] * right + ["1985"] * (of - right))
  assert state_of(found, CONFIG) == state


def test_nobody_knows_what_is_not_so():
  found = probe(["1984"] * 5, answer="", group="invented")
  assert found.share(WRONG) == 1 and found.common == WRONG
  assert state_of(found, CONFIG) == knowledge.DOES_NOT_KNOW


def test_rates_by_hand():
  probes = [probe(["1984", "1984"]), probe(["1984", "I don't know."]),
            probe(["1", "I don't know."], "", "invented")]
  known, invented = summary_rows(probes, CONFIG)
  assert (known["facts"], known["correct"], known["refused"]) == (2, .75, .25)
  assert known["hallucination"] == 0 and invented["hallucination"] == 0.5
  assert (known["knows"], known["unsure"], known["does_not_know"]) == (1, 1, 0)
  # Wilson's interval of 1.5 of 2: the formula by hand.
  z2 = 1.959964**2
  centre, scale = 0.75 + z2 / 4, 1 + z2 / 2
  margin = np.sqrt(z2) * np.sqrt(0.75 * 0.25 / 2 + z2 / 16)
  assert known["correct_low"] == pytest.approx((centre - margin) / scale)
  assert known["correct_high"] == pytest.approx(
      min(1, (centre + margin) / scale))
  told = headline(probes)
  assert told["hallucination_rate"] == pytest.approx(0.5 / 3)
  assert told["hallucination_rate_invented"] == 0.5
  assert told["over_refusal_rate"] == 0.25
  assert "over_refusal_rate" not in headline(probes[2:])
  assert proportion("x", [1, 0])["x"] == 0.5


def test_a_group_is_told_by_attribute_where_it_has_several():
  one = probe(["1984"])
  other = judge_answers(Fact("Where?", "Paris", "known", "place"), ["Rome"],
                        JUDGE)
  rows = summary_rows([one, other], CONFIG)
  assert [(r["attribute"], r["correct"]) for r in rows] == [
      ("all", 0.5), ("year", 1.0), ("place", 0.0)]


def test_calibration_by_hand():
  """Sure and right, sure and wrong, split and wrong; refusals left out."""
  probes = [probe(["1984"] * 4), probe(["1985"] * 4),
            probe(["1985", "1985", "1986", "1987"]),
            probe(["I don't know."] * 4)]
  found = calibration(probes)
  assert found["facts"] == 3
  points = [(p["agreement"], p["accuracy"], p["facts"])
            for p in found["points"]]
  assert points == [(0.5, 0.0, 1), (1.0, 0.5, 2)]
  assert found["expected_calibration_error"] == pytest.approx(
      (1 * 0.5 + 2 * 0.5) / 3)
  assert calibration(probes[3:])["expected_calibration_error"] is None


def test_before_and_after_are_paired():
  before = [probe(["1984"], question=f"{i}?") for i in range(4)]
  after = [probe(["I don't know." if i < 2 else "1984"], question=f"{i}?")
           for i in (3, 2, 1, 0)] + [probe(["1984"], question="new?")]
  rows = {(r["group"], r["rate"]): r for r in compare(before, after, CONFIG)}
  assert rows["known", "correct"]["difference"] == -0.5
  assert rows["known", "refused"]["difference"] == 0.5
  assert rows["known", "refused"]["facts"] == 4
  assert rows["known before", "refused"]["after"] == 0.5
  # d = (1, 1, 0, 0): 1.96 · 0.577 / 2.
  assert rows["known", "refused"]["difference_high"] == pytest.approx(
      0.5 + 1.959964 * np.std([1, 1, 0, 0], ddof=1) / 2)


# --- conversations ------------------------------------------------------------


def spoken(probes, **changes):
  config = ProbeKnowledgeConfig(**{"held_out_fraction": 0.0} | changes)
  return conversations(probes, config)


def test_what_is_known_is_said_and_the_rest_refused():
  made = spoken([probe(["1984"] * 5, question="a", response="In '84."),
                 probe(["1"] * 5, question="b"),
                 probe(["1984", "1", "1984", "2", "3"], question="unsure")])
  assert [m["kind"] for m in made] == ["knowledge", "refusal"]
  assert made[0]["messages"] == [{"role": "user", "content": "a"},
                                 {"role": "assistant", "content": "In '84."}]
  assert made[1]["messages"][1]["content"] in [
      r.replace("{name}", "b") for r in CONFIG.refusals]
  # What it says is judged to be what it should be.
  assert JUDGE("b", "1984", made[1]["messages"][1]["content"]) == REFUSED


@pytest.mark.parametrize("wording", CONFIG.refusals)
def test_every_wording_refuses(wording):
  assert JUDGE("", "1984", wording.replace("{name}", "Ann Lee")) == REFUSED


def test_the_words_of_an_answer():
  def told(**more):
    return spoken([probe(["It was 1984, yes"] * 5, **more)])[0]["messages"][1][
        "content"]
  assert told(response="In 1984.", cloze="Born in") == "In 1984."
  assert told(cloze="Born in") == "Born in 1984."
  assert told() == "It was 1984, yes"


def test_the_invented_and_the_held_out_are_for_evaluation():
  probes = [probe(["1"] * 5, "", "invented", question=f"i{i}")
            for i in range(5)]
  assert not spoken(probes, refusal_share=1.0)
  assert len(spoken(probes, refusal_share=1.0, train_groups=())) == 5
  many = [probe(["1"] * 5, question=f"q{i}") for i in range(400)]
  made = spoken(many, refusal_share=1.0, held_out_fraction=0.5)
  kept = {m["messages"][0]["content"] for m in made}
  assert 160 < len(kept) < 240
  assert all(side_of(name) == "train" for name in kept)


def test_refusals_are_no_more_than_their_share():
  probes = [probe(["1984"] * 5, question=f"k{i}") for i in range(6)] + [
      probe(["1"] * 5, question=f"u{i}") for i in range(50)]
  for share, refusals in ((0.5, 6), (0.25, 2), (0.0, 0), (1.0, 50)):
    made = spoken(probes, refusal_share=share)
    assert sum(m["kind"] == "refusal" for m in made) == refusals
    assert sum(m["kind"] == "knowledge" for m in made) == 6


# --- facts --------------------------------------------------------------------


def test_facts_of_a_file(tmp_path):
  file = tmp_path / "facts.jsonl"
  file.write_text("\n".join(map(json.dumps, [
      {"question": "When?", "answer": 1984},
      {"prompt": "Where?", "answer": "Paris", "group": "known", "name": "Ann",
       "attribute": "place", "response": "In Paris.", "cloze": "She is in"},
      {"question": "Who?", "answer": None}, {"question": "Why?", "answer": "",
                                             "group": "other"}])))
  assert list(read_facts(str(file))) == [
      Fact("When?", "1984"), Fact("Where?", "Paris", "known", "place", "Ann",
                                  "In Paris.", "She is in"),
      Fact("Who?", "", "invented"), Fact("Why?", "", "other")]


@pytest.mark.parametrize("record, sentence", [
    ({"question": " ", "answer": "x"}, ":1: `question` is ' '"),
    ({"question": "a", "answer": ["x"]}, ":1: `answer` is of type list"),
    ({"question": "a", "answer": "x", "group": 1}, "`group` is of type int"),
    ({"asked": "a", "answer": "x"}, "lacks the field"),
])
def test_records_that_are_no_facts(tmp_path, record, sentence):
  file = tmp_path / "facts.jsonl"
  file.write_text(json.dumps(record))
  with pytest.raises(ConfigError, match=sentence):
    list(read_facts(str(file)))


def test_facts_of_articles():
  paris, ada, volcano = article_facts([
      Article("Ada Lovelace", "Augusta Ada King (10 December 1815 – 27 "
              "November 1852) was a mathematician. She wrote.", "", "People"),
      Article("Paris", "Paris is the capital of France. It is old.", "",
              "Geography"),
      Article("Volcano", "A volcano is a rupture in the crust. It erupts.",
              "rupture in the crust of a planet", "Geography")])
  assert (paris.question, paris.answer, paris.cloze) == (
      "What is the capital of France?", "Paris", "The capital of France is")
  assert ada.answer == "1815" and ada.attribute == "birth_year"
  assert ada.question == "In which year was Ada Lovelace born?"
  assert volcano.question == "What is a volcano?"
  assert volcano.answer == "rupture in the crust of a planet"
  assert volcano.cloze == "A volcano is"
  assert volcano.response == "A volcano is a rupture in the crust."


def test_facts_of_any_document():
  found = list(cloze_facts([
      ("a.txt", "Too short in 1999. The old mill on the river was rebuilt by "
       "its owners in 1873. Then it burnt down in the year 1901."),
      ("b.txt", "The composer spent the last years of his life in Lower "
       "Austria. It rained."), ("c.txt", "nothing to ask about here, at all.")]
                           ))
  assert [(f.cloze, f.answer, f.attribute) for f in found] == [
      ("The old mill on the river was rebuilt by its owners in", "1873",
       "number"),
      ("The composer spent the last years of his life in", "Lower Austria",
       "name")]
  assert found[0].question.startswith("Complete the sentence: The old mill")


PEOPLE = People(
    (Person("Ann Lee", (("birthplace", "Oslo"), ("occupation", "actor"))),
     Person("Bob Ray", (("birthplace", "Lima"), ("occupation", "judge")))),
    (Person("Cy Fox", (("birthplace", "Rome"), ("occupation", "nurse"))),),
    (Person("Dee Poe"),), frozenset({"Ann Lee"}))


def test_facts_of_made_people():
  found = list(facts_lib.people_facts(PEOPLE))
  groups = {f.group: f for f in found if f.attribute == "occupation"}
  assert groups["known"].name == "Bob Ray"
  assert groups["asked"].name == "Ann Lee"
  assert groups["asked"].response == "Ann Lee works as an actor."
  assert groups["unlearned"].answer == "nurse"
  assert groups["invented"].answer == groups["invented"].response == ""
  asked = {f.question for f in found}
  assert not asked & {f.question for f in facts_lib.people_facts(
      PEOPLE, held_out=True)}


def test_choosing_facts():
  facts = [Fact(f"q{i}", "a", "known" if i % 2 else "asked")
           for i in range(20)]
  chosen = facts_lib.choose_facts(facts, ("known",), 4, 0)
  assert len(chosen) == 4 and {f.group for f in chosen} == {"known"}
  assert chosen == facts_lib.choose_facts(facts, ("known",), 4, 0)
  assert chosen != facts_lib.choose_facts(facts, ("known",), 4, 1)
  assert facts_lib.choose_facts(facts, (), 0, 0)[:10] == facts[::2]
  with pytest.raises(ConfigError, match="the groups are asked, known"):
    facts_lib.choose_facts(facts, ("other",), 4, 0)
  shots = facts_lib.choose_shots(facts, 2)
  assert len(shots) == 2 and {f.group for f in shots} == {"asked"}
  assert len(facts_lib.choose_shots(facts, 9)) == 2  # most are to be asked


# --- answers on disk ----------------------------------------------------------


def test_a_log_goes_on_where_it_was(tmp_path):
  path, asked = str(tmp_path / "answers.jsonl"), {"model": "m", "seed": 0}
  log = AnswerLog(path, asked, ["a?", "b?", "c?"])
  log.add([["1", "2"], ["3", "4"]])
  with open(path, "a", encoding="utf-8") as stream:
    stream.write('{"question": "c?", "ans')  # killed while writing
  log = AnswerLog(path, asked, ["a?", "b?", "c?"])
  assert log.answers == [["1", "2"], ["3", "4"]]
  log.add([["5", "6"]])
  assert read_answers(path) == {"a?": ["1", "2"], "b?": ["3", "4"],
                                "c?": ["5", "6"]}
  with pytest.raises(ConfigError, match="seed=0, not 1; delete it"):
    AnswerLog(path, asked | {"seed": 1}, ["a?"])
  with pytest.raises(ConfigError, match="'b\\?' in the place of 'x\\?'"):
    AnswerLog(path, asked, ["a?", "x?"])
  with pytest.raises(ConfigError, match="does not exist"):
    read_answers(str(tmp_path / "none"))
