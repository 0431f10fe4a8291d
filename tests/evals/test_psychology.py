"""The sections of the suite: right answers score, and wrong ones do not."""

import dataclasses
import json
import re

import pytest

from llm_jax.config import (
    BiographiesConfig, ConfigError, PsychologyConfig, TokenizerConfig)
from llm_jax.data import biographies
from llm_jax.data.synthetic.arithmetic import side_of_problem
from llm_jax.data.synthetic.drafts import side_of_word
from llm_jax.data.synthetic.identity import is_held_out
from llm_jax.data.synthetic.spelling import count_by_spelling
from llm_jax.evals.judging import CORRECT, REFUSED, WRONG
from llm_jax.evals.psychology import (
    arithmetic, asking, identity, jagged, letters, people as people_sections,
    promises, suite)
from llm_jax.evals.psychology.cases import (
    Case, Condition, Said, Section, condition_row, row_difference)
from llm_jax.evals.psychology.sections import make_sections
from llm_jax.evals.respondent import Ask
from llm_jax.tokenizer.bpe import train_bpe

FACTS = ("I am Test, a small model. I was made by two people. I was trained on "
         "books.")


def said(text, ended=True):
  return Said(({"role": "assistant", "content": text},), ended)


@pytest.fixture(scope="module")
def people():
  return biographies.make_people(BiographiesConfig(
      known=120, unlearned=60, invented=60, first_names=40, last_names=80))


# --- cases --------------------------------------------------------------------


def table_score(case, answer):
  return {"yes": CORRECT, "pass": REFUSED}.get(answer.text, WRONG)


def condition(name="asked", questions="abcd", **more):
  return Condition(name, [Case(Ask(q), "yes") for q in questions],
                   table_score, **more)


def test_a_row_by_hand():
  row = condition_row(condition(), [said("yes"), said("yes"), said("pass"),
                                    said("no", ended=False)])
  assert (row["items"], row["verdicts"]) == (4, "ccrw")
  assert (row["correct"], row["hallucination"], row["refused"]) == (
      0.5, 0.25, 0.25)
  assert row["correct_low"] == pytest.approx(0.150, abs=1e-3)  # Wilson, 2 of 4
  assert row["correct_high"] == pytest.approx(0.850, abs=1e-3)
  assert row["ended"] == 0.75 and row["calls"] == 0
  assert {t["verdict"] for t in row["transcripts"]} == {
      CORRECT, WRONG, REFUSED}


def test_differences_are_of_the_same_cases():
  first = condition_row(condition(), [said("no")] * 4)
  second = condition_row(condition("other"), [said("yes")] * 2
                         + [said("no")] * 2)
  assert row_difference(second, first)["difference"] == 0.5
  assert row_difference(first, second)["difference"] == -0.5
  assert row_difference(second, first, "hallucination")["difference"] == -0.5
  others = condition_row(condition(questions="abce"), [said("yes")] * 4)
  assert row_difference(others, first) is None
  keyed = [dataclasses.replace(c, ask=Ask(c.ask.question + "!"),
                               key=c.ask.question) for c in condition().cases]
  put_otherwise = condition_row(Condition("x", keyed, table_score),
                                [said("yes")] * 4)
  assert row_difference(put_otherwise, first)["difference"] == 1.0


def test_what_was_said_is_the_last_answer():
  told = Said(({"role": "assistant", "content": "", "tool_calls": [{}]},
               {"role": "tool", "content": "5"},
               {"role": "assistant", "content": "#### 5"}))
  assert told.text == "#### 5" and told.calls == 1
  assert Said(()).text == ""


# --- each section -------------------------------------------------------------


def rates(section, answer):
  """Condition -> share right, of answers made from its cases."""
  return {c.name: condition_row(c, [answer(c, case) for case in c.cases])[
      "correct"] for c in section.conditions}


def test_identity():
  section = identity.identity_section(FACTS, 60, 0)
  own, other = section.conditions
  assert (len(own.cases), len(other.cases)) == (60, 15)
  assert len({case.key for case in own.cases}) == 60
  assert all(is_held_out(case.ask.question) for case in own.cases)
  assert all(case.ask.system for case in other.cases)
  assert set(rates(section, lambda _, case: said(case.truth)).values()) == {1}
  assert rates(section, lambda *_: said(FACTS))[identity.PERSONA] == 0
  nobody = rates(section, lambda *_: said("I am ChatGPT, made by OpenAI."))
  assert set(nobody.values()) == {0}


def test_what_a_run_was_told_of_itself(tmp_path):
  """From its own config, from what it read, from the run before it."""
  def run(name, **config):
    (tmp_path / name).mkdir()
    (tmp_path / name / "config.json").write_text(json.dumps(config))
    return tmp_path / name
  synthetic = {"identity_facts": "the default"}
  made = tmp_path / "made"
  (made / "train").mkdir(parents=True)
  (made / "manifest.json").write_text(json.dumps(
      {"config": {"synthetic": {"identity_facts": "I am Made.",
                                "identity": 8}}}))
  assert identity.facts_of_run(run("own", data={
      "path": "synthetic", "synthetic": synthetic})) == "the default"
  read = run("read", data={"path": f"{made}/train", "synthetic": synthetic,
                           "mixture": []})
  assert identity.facts_of_run(read) == "I am Made."
  assert identity.facts_of_run(run("mixed", data={
      "path": "synthetic", "synthetic": synthetic, "mixture": [
          f"{tmp_path}/none.jsonl:1", f"{made}/train/identity.jsonl:0.5"]}
                                   )) == "I am Made."
  # Conversations that are not about the model say nothing of it.
  (tmp_path / "reading").mkdir()
  (tmp_path / "reading" / "manifest.json").write_text(json.dumps(
      {"config": {"synthetic": {"identity_facts": "the default",
                                "identity": 0, "reading": 9}}}))
  assert identity.facts_of_run(run("reader", data={
      "path": "synthetic", "synthetic": synthetic, "mixture": [
          f"{tmp_path}/reading:1", f"{made}/train:1"]})) == "I am Made."
  assert identity.facts_of_run(run("rl", init_from=str(read), data={
      "path": "sums"})) == "I am Made."
  assert identity.facts_of_run(run("other", data={
      "path": f"{tmp_path}/x.jsonl", "synthetic": synthetic})) == ""
  assert identity.facts_of_run(tmp_path / "nowhere") == ""


def test_arithmetic():
  section = arithmetic.arithmetic_section(50, 4, 0)
  bare, tool = section.conditions
  assert tool.tools == ("python",) and not bare.tools
  assert bare.digest() == tool.digest() and len(bare.cases) == 50
  for case in bare.cases:
    a, operation, b = re.search(r"(\d{4}) ([-+*]) (\d{4})",
                                case.ask.question).groups()
    assert int(case.truth) == eval(f"{a}{operation}{b}")
    assert side_of_problem(f"{a} {operation} {b}") == "validation"
  assert set(rates(section, lambda _, case: said(f"#### {case.truth}")
                   ).values()) == {1}
  assert rates(section, lambda _, case: said(f"#### {case.truth}0"))[
      "bare"] == 0
  assert rates(section, lambda _, case: said(case.truth, ended=False))[
      "bare"] == 0


def test_thinking():
  section = arithmetic.thinking_section(40, 3, 0)
  first, last = section.conditions
  assert first.digest() == last.digest()
  assert all(c.ask.question.endswith("Steps first.") for c in first.cases)
  assert all(c.ask.question.endswith("Answer first.") for c in last.cases)

  def guesses_then_thinks(c, case):
    steps = f"1+1+0=2, 3+4+0=7\n#### {case.truth}"
    return said(steps if c.name == "steps first" else
                f"#### 1\n{steps}", ended=c.name == "steps first")
  assert rates(section, guesses_then_thinks) == {"steps first": 1,
                                                 "answer first": 0}
  assert rates(section, lambda c, case: said(
      f"#### {case.truth}\n1+1+0=2", ended=False))["answer first"] == 1


def test_counting():
  section = letters.counting_section(60, 0)
  spelled, at_once, program = section.conditions
  assert spelled.digest() == at_once.digest() == program.digest()
  assert all(case.ask.opening == "#### " for case in at_once.cases)
  pairs = set()
  for case in spelled.cases:
    letter, word = sorted(re.findall(r"'(\w+)'", case.ask.question), key=len)
    assert side_of_word(word) == "validation"
    assert case.truth == str(word.count(letter))
    pairs.add((letter, word))
    assert spelled.score(case, said(count_by_spelling(letter, word))) == (
        CORRECT)
    assert at_once.score(case, said(case.truth)) == CORRECT
    assert at_once.score(case, said(f"{case.truth}\n\nAs 7", False)) == (
        CORRECT)
    assert at_once.score(case, said(f"1{case.truth}")) == WRONG
    assert at_once.score(case, said("well")) == WRONG
  assert len(pairs) == 60


def test_spelling():
  (spelled,) = letters.spelling_section(40, 0).conditions
  case = spelled.cases[0]
  assert side_of_word(case.truth) == "validation"
  assert case.truth in case.ask.question
  for text, verdict in (("-".join(case.truth), CORRECT),
                        (" ".join(case.truth).upper() + ".", CORRECT),
                        ("It is spelled " + ", ".join(case.truth), CORRECT),
                        (case.truth, WRONG), ("-".join(case.truth[1:]), WRONG),
                        ("-".join(case.truth[::-1] + "x"), WRONG), ("", WRONG)):
    assert spelled.score(case, said(text)) == verdict


def test_people(people):
  section = people_sections.hallucination_section(people, 40, 0, 4)
  assert [c.name for c in section.conditions] == [
      "known", "unlearned", "invented"]
  asked = {c.name: {case.ask.question for case in c.cases}
           for c in section.conditions}
  assert all(len(questions) == 40 for questions in asked.values())
  for person in (*people.known, *people.unlearned, *people.invented):
    mentioned = any(person.name in q for qs in asked.values() for q in qs)
    assert not mentioned or biographies.side_of(person.name) == "validation"
  assert len(section.shots) == 4
  assert all(any(name in q for name in people.asked
                 if biographies.side_of(name) == "train")
             for q, _ in section.shots)
  # All known people are asked about, also those whose questions were read.
  known, = (c for c in people_sections.hallucination_section(
      people, 55, 0, 4).conditions if c.name == "known")
  assert {name in people.asked for name in (
      person.name for person in people.known if any(
          person.name in case.ask.question for case in known.cases))} == {
              True, False}
  honest = rates(section, lambda _, case: said(case.truth or "I don't know."))
  assert honest == {"known": 1, "unlearned": 1, "invented": 0}
  row = condition_row(section.conditions[2], [said("In Oslo.")] * 40)
  assert row["hallucination"] == 1
  search = people_sections.search_section(people, 40, 0, 4)
  assert search.conditions[0].digest() == search.conditions[1].digest()
  assert search.conditions[1].tools == ("search", "open")
  with pytest.raises(ConfigError, match="fewer than psychology.items=9000"):
    people_sections.search_section(people, 9000, 0, 4)


def test_jagged_edges(people):
  section = jagged.jagged_section(people, 600, 0)
  cells = {c.name: c for c in section.conditions}
  assert len(cells) == 12 and all(len(c.cases) <= 50 for c in cells.values())
  right = rates(section, lambda _, case: said(f"It is {case.truth}."))
  assert set(right.values()) == {1}
  assert set(rates(section, lambda *_: said("well")).values()) == {0}
  hard = cells["larger of two decimals, the longer one smaller"]
  for case in hard.cases:
    one, other = re.findall(r"\d+\.\d+", case.ask.question)
    assert float(case.truth) == max(float(one), float(other))
    assert len(case.truth) < max(len(one), len(other))
    small = min((one, other), key=float)
    assert hard.score(case, said(f"{case.truth} is larger than {small}.")) == (
        CORRECT)
    assert hard.score(case, said(f"{small} is larger than {case.truth}.")) == (
        WRONG)
    assert hard.score(case, said(f"{small} is less than {case.truth}.")) == (
        CORRECT)
  for case in cells["facts, backwards"].cases:
    assert case.truth not in case.ask.question


# --- the suite ----------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Model:
  """In place of a respondent, where answers are made up."""
  style: str = "chat"
  tokenizer = train_bpe(["a text"], TokenizerConfig(vocab_size=264))


def run_with(monkeypatch, sections, answer, style="chat"):
  """Results of the sections, answered by a function of condition and case."""
  monkeypatch.setattr(suite, "answers", lambda condition, *_: [
      answer(condition, case) for case in condition.cases])
  subject = asking.Subject(Model(style), {"python": None, "search": None,
                                          "open": None})
  return suite.run_sections(sections, subject, lambda line: None)


def test_promises_are_kept_or_not(monkeypatch, people):
  made = make_sections(PsychologyConfig(items=40), people, FACTS, 0)
  assert [s.name for s in made] == list(PsychologyConfig().sections)

  def good(c, case):
    if c.name in ("bare", "answer first", "at once", "no tool", "unlearned"):
      return said("I don't know.")
    return said(case.truth or "I don't know.")

  def bad(c, case):  # a base model, which makes something up
    return said(case.truth if c.name == "known" else "Oslo 7")
  after = run_with(monkeypatch, made, good)
  before = run_with(monkeypatch, made, bad, style="base")
  (search,) = [s for s in before if s["name"] == "search"]
  assert search["left_out"] == ["search tool"]
  records = promises.check(after, before)
  assert len(records) == 8 and all(r["reached"] for r in records)
  by_name = {r["promise"]: r for r in records}
  assert by_name["invented people: hallucinations fall by"]["value"] == 1
  kept = promises.check(before, after)
  assert not any(r["reached"] for r in kept if r["promise"] in (
      "who it is", "4-digit arithmetic with the Python tool",
      "invented people: hallucinations fall by"))
  alone = promises.check(after, None)
  assert sum(r["value"] is None for r in alone) == 3
  assert "NOT REACHED" in promises.table(kept)
  assert "not measured" in promises.table(alone)
  changes = {(c["section"], c["condition"], c["rate"]): c
             for c in suite.compare(before, after)}
  assert changes["hallucination", "invented", "refused"]["difference"] == 1
  assert ("search", "search tool", "correct") not in changes


def test_sections_that_were_not_asked_for_need_nothing():
  made = make_sections(PsychologyConfig(sections=("arithmetic",), items=5),
                       None, "", 0)
  assert [s.name for s in made] == ["arithmetic"]


@pytest.mark.parametrize("changes, sentence", [
    ({"sections": ()}, "name at least one"),
    ({"sections": ("dreams",)}, "psychology.sections is 'dreams'"),
    ({"items": 1}, "needs two"), ({"digits": 12}, "choose 1 to 9"),
    ({"calibration_samples": 1}, "agreement needs two"),
    ({"calibration_temperature": 0.0}, "always agree"),
    ({"refusal_phrases": (" ",)}, "empty text")])
def test_settings_that_cannot_work(changes, sentence):
  with pytest.raises(ConfigError, match=sentence):
    PsychologyConfig(**changes).validate()


def test_a_section_without_cases_to_contrast(monkeypatch):
  section = Section("s", "S", "told", (condition("one"), condition("two")),
                    contrasts=(("two", "one"),))
  found = run_with(monkeypatch, [section],
                   lambda c, _: said("yes" if c.name == "two" else "no"))
  assert found[0]["contrasts"][0]["difference"] == 1
