"""Words and sentences as filters and deduplication see them."""

import sys

import pytest

from llm_jax.config import ConfigError
from llm_jax.data.crawl.words import UnicodeWords, word_tokenizer


@pytest.mark.parametrize("text, words", [
    ("Don't stop.", ["Don'", "t", "stop", "."]),
    ("L’été a 1,000.5 jours, 'dit' U.S.", [
        "L’", "été", "a", "1,000.5", "jours", ",", "'", "dit", "'", "U.S",
        "."]),
    ("rock'n'roll, a,b", ["rock'", "n'", "roll", ",", "a,b"]),
    ("naïve cafés, 3 000 €", ["naïve", "cafés", ",", "3", "000", "€"]),
    ("東京は", ["東", "京", "は"]),
    ("ไทย ok", ["ไ", "ท", "ย", "ok"]),
    ("한국어 사람", ["한국어", "사람"]),
    ("a_b snake", ["a_b", "snake"]),
    (" \n\t", []),
])
def test_words(text, words):
  assert word_tokenizer("unicode").word_tokenize(text) == words


@pytest.mark.parametrize("text, sentences", [
    ('He said "Go." Then (left.) And 3.14 is pi',
     ['He said "Go."', "Then (left.)", "And 3.14 is pi"]),
    ("A line\nAnother one! Yes?No", ["A line", "Another one!", "Yes?No"]),
    ("東京。はい。", ["東京。", "はい。"]),
    ("Wait... what", ["Wait...", "what"]),
    ("  \n ", []),
    ("", []),
])
def test_sentences(text, sentences):
  tokenizer = word_tokenizer("unicode")
  assert tokenizer.sent_tokenize(text) == sentences
  assert [text[a:b] for a, b in tokenizer.span_tokenize(text)] == sentences


def test_no_word_is_lost():
  text = "Mixed 한국어, 東京! naïve — x\u0301y 12,5% \U0001f600 end"
  joined = "".join(word_tokenizer("unicode").word_tokenize(text))
  assert joined == "".join(text.split())


def test_all_of_them_are_one_key_of_datatroves_cache():
  from datatrove.utils import text as datatrove_text
  before = datatrove_text.split_into_parts.cache_info().hits
  for _ in range(2):
    words = datatrove_text.split_into_words("the same text", UnicodeWords("en"))
  assert words == ["the", "same", "text"]
  assert datatrove_text.split_into_parts.cache_info().hits == before + 1


def test_spacy_is_asked_for_where_it_is_not(monkeypatch):
  monkeypatch.setitem(sys.modules, "spacy", None)
  with pytest.raises(ConfigError, match="install spacy"):
    word_tokenizer("spacy", "en")
  with pytest.raises(ConfigError, match="'xx'"):
    word_tokenizer("spacy", "xx")
