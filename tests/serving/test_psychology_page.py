"""Pages of the suite and of the experiment on thinking: numbers and safety."""

import re

from parsed_page import parsed, words

from llm_jax.evals.judging import CORRECT, REFUSED, WRONG
from llm_jax.evals.psychology import promises, suite
from llm_jax.evals.psychology.cases import (
    Case, Condition, Said, Section, condition_row)
from llm_jax.evals.respondent import Ask
from llm_jax.serving.psychology_page import render_psychology
from llm_jax.serving.think_page import render_think

EVIL = "<script>alert(1)</script>"


def score(case, answer):
  return {"yes": CORRECT, "pass": REFUSED}.get(answer.text, WRONG)


def sections(answers, calls=()):
  """A section of invented people, answered as told."""
  condition = Condition("invented", [Case(Ask(f"Who is {i}? {EVIL}"))
                                     for i in range(len(answers))], score)
  said = [Said((*calls, {"role": "assistant", "content": answer}))
          for answer in answers]
  section = Section("hallucination", "What it does not know", "Told.",
                    (condition,))
  row = condition_row(condition, said)
  return [{"name": section.name, "title": section.title, "told": section.told,
           "rows": [row], "left_out": ["a tool"], "contrasts": []}]


def results(**changes):
  called = ({"role": "assistant", "content": "", "tool_calls": [
      {"function": {"name": "search", "arguments": {"query": EVIL}}}]},
            {"role": "tool", "content": f"found {EVIL}"})
  after = sections(["pass"] * 3 + [EVIL], called)
  before = sections([EVIL] * 4)
  points = [{"facts": 10, "agreement": 0.6, "accuracy": 0.5,
             "accuracy_low": 0.3, "accuracy_high": 0.7}]
  return {"model": f"runs/{EVIL}", "baseline": "runs/base",
          "sections": after, "sections_before": before,
          "promises": promises.check(after, before),
          "comparison": suite.compare(before, after),
          "calibration": {"facts": 10, "points": points,
                          "expected_calibration_error": 0.1},
          "calibration_before": None} | changes


def test_numbers_before_and_after_are_on_the_page():
  page = render_psychology(results())
  text = words(page)
  assert "invented people: hallucinations fall by ≥ 60% 75.0%" in text
  assert "✓ reached" in text and "not measured" in text
  assert "invented · before" in text and "invented · after" in text
  assert "100.0% [51.0, 100.0] of 4" in text  # Wilson, 4 of 4
  assert "+75.0 points" in text or "-75.0 points" in text
  assert "0.100 over 10 facts" in text
  assert "calls search" in text and "Not asked: a tool" in text


def test_what_a_model_wrote_is_text():
  tags = parsed(render_psychology(results()))
  assert "script" not in tags.seen and "img" not in tags.seen
  assert not [name for name, _ in tags.attributes if name.startswith("on")]
  page = render_psychology(results())
  assert not re.findall(r"(?:src|href)=|url\(|@import", page)


def test_without_a_baseline_nothing_is_before():
  alone = results(baseline="", sections_before=None, comparison=[],
                  calibration=None)
  alone["promises"] = promises.check(alone["sections"], None)
  text = words(render_psychology(alone))
  assert "before" not in text.split("What it said")[1]
  assert "· before" not in text and "calibration error" not in text


def test_thinking_is_drawn():
  rows = [{"manner": manner, "accuracy": accuracy, "accuracy_low": 0.4,
           "accuracy_high": 1.0, "tokens_before": tokens, "ended": 1.0,
           "answer_tokens": 20.0, "training_tokens": 1000}
          for manner, accuracy, tokens in (("answer first", 0.5, 0.0),
                                           ("filler", 0.52, 17.0),
                                           ("each step", 0.99, 17.0))]
  page = render_think({
      "steps": 100, "rows": rows,
      "differences": [{"manner": "each step", "against": "answer first",
                       "difference": 0.49, "difference_low": 0.45,
                       "difference_high": 0.53}],
      "by_terms": [{"terms": 8, "manner": row["manner"],
                    "accuracy": row["accuracy"]} for row in rows],
      "examples": [{"manner": row["manner"], "prompt": f"What? {EVIL}",
                    "answer": "1", "text": EVIL, "right": False}
                   for row in rows]})
  text = words(page)
  assert "+49.0 points , 95% interval +45.0 to +53.0" in text
  assert "each step (17.0 tokens before)" in text and "99.0%" in text
  assert "script" not in parsed(page).seen
