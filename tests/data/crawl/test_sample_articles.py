"""Which introductions are on pages, and which are held out."""

import collections
import itertools
import json

import pytest

from llm_jax.data import documents, wikipedia
from llm_jax.data.crawl import sample_articles
from llm_jax.config import TextConfig


@pytest.fixture(scope="module")
def leads():
  return sample_articles.load_leads(
      ("en", "es"), sample_articles.held_out(0, 0.02))


def test_held_out_are_those_of_tokenize_corpus(leads):
  config = TextConfig(path="wikipedia", validation_fraction=0.02)
  sides = collections.defaultdict(list)
  for side, document in documents.split_corpus(config, 0):
    sides[side].append(document.text)
  assert sample_articles.held_out(0, 0.02) == sides["validation"]
  assert len(sides["validation"]) > 150
  texts = {lead.text for lead in leads["en"]}
  assert texts <= set(sides["train"])
  assert len(texts) == len(leads["en"]) > 9_800
  assert sample_articles.held_out(1, 0.02) != sides["validation"]


def test_all_are_used_once_before_any_is_used_again(leads):
  for language in ("en", "es"):
    seen = collections.Counter()
    for page in sample_articles.pages_of(leads[language], 0):
      if any(lead.key in seen for lead in page):
        break
      seen.update(lead.key for lead in page)
      assert len({lead.topic for lead in page}) == 1
    assert set(seen) == {lead.key for lead in leads[language]}


def test_pages_share_a_third_of_their_words_at_most(leads):
  pages = list(itertools.islice(sample_articles.pages_of(leads["en"], 0),
                                7_000))
  assert sum(1 for page in pages) == 7_000
  later = pages[4_500:]
  for page in later:
    lengths = [len(lead.text.split()) for lead in page]
    assert max(lengths) <= sum(lengths) / 3
  # The same ones never stand together again.
  together = collections.Counter(
      pair for page in pages
      for pair in itertools.combinations(sorted(lead.key for lead in page), 2))
  assert sum(number > 2 for number in together.values()) < 20


def test_most_pages_have_five_sentences(leads):
  pages = list(itertools.islice(sample_articles.pages_of(leads["en"], 0),
                                3_000))
  sentences = [len(sample_articles.split_sentences(
      " ".join(lead.text for lead in page))) for page in pages]
  assert sum(number >= 5 for number in sentences) > 0.99 * len(pages)


def test_sentences_joined_are_the_text():
  text = ("J. R. R. Tolkien wrote it. It was read by many! Was it not? Cf. the "
          "letters")
  sentences = sample_articles.split_sentences(text)
  assert sentences == [
      "J. R. R. Tolkien wrote it.", "It was read by many!", "Was it not?",
      "Cf. the letters"]
  assert " ".join(sentences) == text


def test_paragraphs_hold_all_the_words(leads):
  for lead in leads["en"]:
    assert " ".join(lead.paragraphs).split() == lead.text.split()
  assert max(len(lead.paragraphs) for lead in leads["en"]) > 1


@pytest.mark.parametrize("language, number", [("en", 10_000), ("fr", 9_000),
                                              ("es", 6_000)])
def test_the_corpus_has_three_languages(language, number):
  articles = wikipedia.load_articles(language)
  assert len(articles) > number
  assert json.dumps(articles[0].title) and articles[0].extract
