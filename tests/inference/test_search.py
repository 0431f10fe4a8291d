"""Search: BM25 against its formula, pages from files, misses in words."""

import json
import math

import pytest

from llm_jax.config import ConfigError
from llm_jax.config_tools import ToolsConfig
from llm_jax.inference.search import Bm25Index, Hit, read_pages, snippet

PAGES = [
    ("Ada Lovelace", "Ada Lovelace was an English mathematician. She wrote "
     "the first program."),
    ("Paris", "Paris is the capital of France. It lies on the Seine."),
    ("France", "France is a country in Europe. Its capital is Paris."),
    ("Café", "A café serves coffee."),
    ("Empty", "")]


@pytest.fixture(scope="module")
def index():
  return Bm25Index.build(PAGES)


def test_the_page_that_is_asked_for_comes_first(index):
  assert index.search("Where does the Seine flow?", 3)[0].title == "Paris"
  assert index.search("ada lovelace", 1) == [
      Hit("Ada Lovelace", "Ada Lovelace was an English mathematician.")]
  # By score alone Paris has the word more often.
  assert index.search("France", 2)[0].title == "France"
  assert [hit.title for hit in index.search("CAFE coffee", 5)] == ["Café"]
  assert len(index.search("capital Paris France", 1)) == 1


@pytest.mark.parametrize("query", ["zzz", "", "?!", "\0", "\ud800"])
def test_nothing_found_is_no_error(index, query):
  assert index.search(query, 3) == []


def test_a_page_is_opened_by_its_title(index):
  assert index.open("Paris") == PAGES[1][1]
  assert index.open("  ada   LOVELACE ") == PAGES[0][1]
  assert index.open("cafe") == PAGES[3][1]
  assert index.open("Berlin") == index.open("") == index.open("Empty") == ""


def test_scores_are_bm25():
  """Lucene's variant: idf · tf / (tf + k1·(1 - b + b·length/mean))."""
  texts = ["a a b", "b c", "c c c d a", "d"]
  index = Bm25Index.build([("", text) for text in texts])
  documents = [text.split() for text in texts]
  mean = sum(map(len, documents)) / len(documents)

  def score(document, word, k1=1.5, b=0.75):
    count = sum(word in other for other in documents)
    idf = math.log(1 + (len(documents) - count + 0.5) / (count + 0.5))
    tf = document.count(word)
    return idf * tf / (tf + k1 * (1 - b + b * len(document) / mean))

  for query in ("a", "b d", "c a"):
    expected = [sum(score(each, word) for word in query.split())
                for each in documents]
    assert index._scorer.get_scores(query.split()).tolist() == pytest.approx(
        expected, rel=1e-5)


@pytest.mark.parametrize("text, first", [
    ("One two three. Four.", "One two three."),
    ("Born in St. Louis, J. R. Smith sang. Then died.",
     "Born in St. Louis, J. R. Smith sang."),
    ("It cost 1.5 million in the year 1990. Then more.",
     "It cost 1.5 million in the year 1990."),
    ("No end at all", "No end at all"), ("", ""),
    ("Ada (born 1815). Next.", "Ada (born 1815)."),
    ("word " * 100, ("word " * 32)[:159].rstrip() + "…")])
def test_a_snippet_is_the_first_sentence(text, first):
  assert snippet(text) == first


def test_an_index_needs_words():
  with pytest.raises(ConfigError, match="nothing to search in"):
    Bm25Index.build([("", "?!"), ("", "")])


def test_pages_come_from_files(tmp_path):
  (tmp_path / "sub").mkdir()
  (tmp_path / "sub" / "Notes on tea.txt").write_text("Tea is brewed.")
  (tmp_path / "facts.jsonl").write_text("".join(
      json.dumps(row) + "\n" for row in (
          {"title": "Bo", "text": "Bo is a dog."},
          {"text": "one two three four five six seven eight nine ten"})))
  pages = list(read_pages(ToolsConfig(corpus=str(tmp_path))))
  assert pages == [
      ("Bo", "Bo is a dog."),
      ("one two three four five six seven eight",
       "one two three four five six seven eight nine ten"),
      ("Notes on tea", "Tea is brewed.")]
  assert Bm25Index.build(pages).search("dog", 3)[0].title == "Bo"


def test_a_long_file_is_several_pages(tmp_path):
  (tmp_path / "book.txt").write_text("\n\n".join(
      f"The {colour} chapter. " + "words " * 900 for colour in (
          "red", "green", "blue", "black", "white", "grey", "pink", "brown")))
  pages = list(read_pages(ToolsConfig(corpus=str(tmp_path / "book.txt"))))
  assert [title for title, _ in pages] == [
      "book", *(f"book ({n})" for n in range(2, len(pages) + 1))]
  assert len(pages) > 4
  found = Bm25Index.build(pages).search("a white chapter", 1)[0].title
  assert "The white chapter" in dict(pages)[found]


@pytest.mark.parametrize("row, told", [
    ({"title": "x"}, "lacks the field"), ({"text": 3}, "not text; name the "),
    ({"body": "x"}, "lacks the field")])
def test_wrong_records_are_told(tmp_path, row, told):
  (tmp_path / "a.jsonl").write_text(json.dumps(row))
  with pytest.raises(ConfigError, match=told):
    list(read_pages(ToolsConfig(corpus=str(tmp_path))))


@pytest.mark.slow
def test_the_embedded_corpus_is_searched():
  index = Bm25Index.build(read_pages(ToolsConfig()))
  assert len(index) > 9000
  assert index.search("Marie Curie", 3)[0].title == "Marie Curie"
  assert any("Eiffel" in hit.title
             for hit in index.search("iron tower in Paris built 1889", 3))
