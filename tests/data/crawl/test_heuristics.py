"""Gopher's, C4's and FineWeb's rules, as datatrove has them."""

import random

import dill
import pytest
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter, FineWebQualityFilter, GopherQualityFilter,
    GopherRepetitionFilter)
from datatrove.utils import text as datatrove_text

from llm_jax.config_crawl import (
    C4Config, FineWebConfig, GopherQualityConfig, GopherRepetitionConfig)
from llm_jax.data import wikipedia
from llm_jax.data.crawl import heuristics
from llm_jax.data.crawl.words import word_tokenizer

WORDS = word_tokenizer("unicode")


def documents() -> list[str]:
  """Introductions, whole and mutilated in the ways that the rules look for."""
  rng = random.Random(0)
  texts = [a.extract for a in wikipedia.load_articles()[:160]]
  changed = []
  for number, text in enumerate(texts):
    words = text.split()
    changed.append((
        "\n".join(words[:60]), text + "\n" + text, " ".join(words[:3] * 40),
        text.replace(". ", "...\n"), "- " + text.replace(". ", ".\n- "),
        text + " {curly}", text + " lorem ipsum", text.replace(" ", " # ", 20),
        " ".join(str(rng.randrange(10**6)) for _ in range(80)),
        text[:120], "", "x" * 1200 + " " + text,
        text + "\nWe use cookies, see our privacy policy.",
        "the\n\n" * 8 + text)[number % 14])
  return texts + changed


@pytest.mark.parametrize("ours, theirs", [
    (heuristics.gopher_repetition(GopherRepetitionConfig()),
     GopherRepetitionFilter(language=WORDS)),
    (heuristics.gopher_quality(GopherQualityConfig()),
     GopherQualityFilter(language=WORDS)),
    (heuristics.c4(C4Config()),
     C4QualityFilter(filter_no_terminal_punct=False, language=WORDS)),
    (heuristics.c4(C4Config(terminal_punctuation=True)),
     C4QualityFilter(language=WORDS)),
    (heuristics.fineweb(FineWebConfig()), FineWebQualityFilter(language=WORDS)),
], ids=["repetition", "quality", "c4", "c4 as in the paper", "fineweb"])
def test_our_defaults_are_datatroves(ours, theirs):
  """Same answer, same reason, same text after it; both sorts occur."""
  ours = dill.loads(dill.dumps(ours))
  reasons = set()
  for text in documents():
    if not text and theirs.name == "🥇 Gopher Quality":
      continue  # datatrove takes the mean of nothing
    mine, his = Document(text, "1"), Document(text, "1")
    mine.metadata["language"] = "en"
    answer = ours.filter(mine)
    assert answer == theirs.filter(his), text[:80]
    assert mine.text == his.text
    reasons.add(answer)
  assert True in reasons and len(reasons) >= 2, reasons


LONG = "A sentence of the text has a few words in it, and that is all. " * 3


@pytest.mark.parametrize("make, settings, text, reason", [
    (heuristics.gopher_repetition, GopherRepetitionConfig(
        top_ngrams=(1.0, 0.1, 1.0)), LONG, "top_3_gram"),
    (heuristics.gopher_repetition, GopherRepetitionConfig(
        top_ngrams=(1.0, 1.0, 1.0), dup_ngrams=(1.0,) * 5 + (0.2,)),
     LONG, "duplicated_10_n_grams"),
    (heuristics.gopher_quality, GopherQualityConfig(min_words=60), LONG,
     "gopher_short_doc"),
    (heuristics.gopher_quality, GopherQualityConfig(
        min_words=1, max_words=10), LONG, "gopher_long_doc"),
    (heuristics.gopher_quality, GopherQualityConfig(
        min_words=1, max_word_length=3.0), LONG, "gopher_above_avg_threshold"),
    (heuristics.gopher_quality, GopherQualityConfig(
        min_words=1, min_alpha_words=0.99), LONG,
     "gopher_below_alpha_threshold"),
    (heuristics.gopher_quality, GopherQualityConfig(
        min_words=1, min_stop_words=5), LONG, "gopher_enough_stop_words"),
    (heuristics.c4, C4Config(min_sentences=4), LONG, "too_few_sentences"),
    (heuristics.fineweb, FineWebConfig(
        line_punctuation=0.0, short_line_length=400, short_lines=0.5), LONG,
     "short_line_ratio"),
])
def test_each_setting_arrives(make, settings, text, reason):
  document = Document(text, "1", metadata={"language": "en"})
  assert make(settings).filter(document) == (False, reason)


@pytest.mark.parametrize("settings, text", [
    (C4Config(min_sentences=0, curly_bracket=False), "A line with { in it."),
    (C4Config(min_sentences=0, lorem_ipsum=False), "So lorem ipsum it is."),
    (C4Config(min_sentences=0, javascript=False), "Some JavaScript is here."),
    (C4Config(min_sentences=0, policy=False), "We use cookies for all of it."),
    (C4Config(min_sentences=0, max_word_length=0), "a b " + "c" * 2000),
    (C4Config(min_sentences=0, min_words_per_line=0), "Two words"),
])
def test_a_rule_of_c4_that_is_off(settings, text):
  document = Document(text, "1")
  assert heuristics.c4(settings).filter(document) is True
  assert document.text == text
  strict = Document(text, "1")
  answer = heuristics.c4(C4Config(min_sentences=0)).filter(strict)
  assert answer is not True or strict.text == ""


FRENCH = ("Le fleuve prend sa source dans les collines et se jette dans la mer "
          "après un long voyage. ") * 4


@pytest.mark.parametrize("language, answer", [
    ("fr", True), ("en", (False, "gopher_enough_stop_words")), ("eo", True)])
def test_stop_words_are_the_languages_own(language, answer):
  step = heuristics.gopher_quality(GopherQualityConfig())
  assert step.filter(Document(FRENCH, "1", metadata={
      "language": language})) == answer


@pytest.mark.parametrize("text", ["", " ", "\n\n"])
def test_a_document_without_words(text):
  """Whatever the settings; datatrove's filter divides by their number."""
  step = heuristics.gopher_quality(GopherQualityConfig(
      min_words=0, min_stop_words=0))
  assert step.filter(Document(text, "1")) == (False, "gopher_short_doc")


def test_words_are_cut_once_for_all_rules():
  datatrove_text.split_into_parts.cache_clear()
  document = Document(documents()[0], "1", metadata={"language": "en"})
  for step in (heuristics.gopher_repetition(GopherRepetitionConfig()),
               heuristics.gopher_quality(GopherQualityConfig()),
               heuristics.fineweb(FineWebConfig())):
    step.filter(document)
  assert datatrove_text.split_into_parts.cache_info().misses == 1


def test_what_c4_counts_is_the_steps(tmp_path):
  step = heuristics.c4(C4Config())
  list(step.run(iter([Document("One.\n" + LONG + LONG, "1")])))
  assert step.stats.stats["line-filter-too_few_words"].total == 1
