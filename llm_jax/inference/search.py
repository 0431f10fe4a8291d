"""Search in a local collection of pages, and the interface a real one fits.

The index is BM25 (Robertson et al. 1995, "Okapi at TREC-3"), by `bm25s`: rare
words that a page shares with the query, with less for each repetition and for
long pages. A service of the web needs the two methods of `SearchBackend`.
"""

from __future__ import annotations

import logging
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

import numpy as np

from llm_jax.config import ConfigError, TextConfig, require
from llm_jax.config_tools import ToolsConfig
from llm_jax.data import files as files_lib
from llm_jax.data import wikipedia
from llm_jax.data.documents import SUFFIXES, iter_documents

SNIPPET_CHARACTERS = 160
# A page that is called like the query comes first whatever its score.
_TITLE_REPEATS = 3
_TITLE_WORDS = 8  # of a text without a title


class Hit(NamedTuple):
  """A page that was found: its title, and a sentence to choose by."""
  title: str
  snippet: str

  def __str__(self) -> str:
    """The line that a model reads."""
    return f"{self.title}: {self.snippet}"


class SearchBackend(Protocol):
  """Somewhere to search; may be called by several threads."""

  def search(self, query: str, limit: int) -> list[Hit]:
    """The best pages for some words, at most `limit`; none where none is."""
    ...

  def open(self, title: str) -> str:
    """The text of the page with a title that `search` gave; "" if none."""
    ...


class Bm25Index:
  """Pages in memory (`SearchBackend`)."""

  def __init__(self, titles: list[str], texts: list[str], scorer):
    """Use `build`."""
    self._titles, self._texts = titles, texts
    self._scorer = scorer
    self._by_title: dict[str, int] = {}
    for number, title in enumerate(titles):
      self._by_title.setdefault(_folded(title), number)

  @classmethod
  def build(cls, pages: Iterable[tuple[str, str]]) -> Bm25Index:
    """An index of (title, text) pairs; of equal titles the first is opened.

    Raises:
      ConfigError: there are no pages with words in them, or bm25s is missing.
    """
    try:
      import bm25s
    except ImportError as error:
      raise ConfigError("search needs bm25s, which is not installed; run `pip "
                        "install 'llm_jax[tools]'`.") from error
    logging.getLogger("bm25s").setLevel(logging.WARNING)
    titles, texts, words = [], [], []
    for title, text in pages:
      titles.append(" ".join(title.split()))
      texts.append(text.strip())
      words.append(_words(title) * _TITLE_REPEATS + _words(text))
    require(any(words), "there is nothing to search in: the corpus has no "
            "page with a word in it.")
    scorer = bm25s.BM25()
    scorer.index(words, show_progress=False)
    return cls(titles, texts, scorer)

  def __len__(self) -> int:
    return len(self._titles)

  def search(self, query: str, limit: int) -> list[Hit]:
    """See `SearchBackend.search`; of equal scores the first page wins."""
    known = [word for word in _words(query) if word in self._scorer.vocab_dict]
    if not known:
      return []
    scores_N = self._scorer.get_scores(known)
    exact = self._by_title.get(_folded(query))
    if exact is not None:
      scores_N[exact] = np.inf
    best = np.argsort(-scores_N, kind="stable")[:limit]
    return [Hit(self._titles[n], snippet(self._texts[n]))
            for n in best.tolist() if scores_N[n] > 0]

  def open(self, title: str) -> str:
    """See `SearchBackend.open`; case and accents do not matter."""
    number = self._by_title.get(_folded(title))
    return "" if number is None else self._texts[number]


def snippet(text: str) -> str:
  """The first sentence of a text, cut to `SNIPPET_CHARACTERS`."""
  text = " ".join(text[:4 * SNIPPET_CHARACTERS].split())
  # Not behind "St." or "J.": three small letters or a bracket end a sentence.
  end = re.search(r"(?<=[a-z\d]{3}|[\d)\]\"”’]..)(?<=[^A-Z.])[.!?](?=\s|$)",
                  text)
  sentence = text[:end.end()] if end else text
  if len(sentence) <= SNIPPET_CHARACTERS:
    return sentence
  return sentence[:SNIPPET_CHARACTERS - 1].rstrip() + "…"


def read_pages(config: ToolsConfig) -> Iterator[tuple[str, str]]:
  """(title, text) of each page of `config.corpus`.

  Records have their title in `title_column`, or else are called by their first
  words. A text file is called by its name; a long one is several pages.

  Raises:
    ConfigError: the corpus is missing, or cannot be read.
  """
  if config.corpus == "wikipedia":
    for article in wikipedia.load_articles():
      yield article.title, article.extract
    return
  title_column, text_column = config.title_column, config.text_column
  for file in files_lib.find_files(config.corpus, SUFFIXES):
    if file.path.endswith(files_lib.TEXT_SUFFIXES):
      name = os.path.basename(file.path).partition(".txt")[0]
      for number, document in enumerate(
          iter_documents(TextConfig(path=file.path)), start=1):
        yield (name if number == 1 else f"{name} ({number})"), document.text
      continue
    for record in files_lib.read_records(
        file, (f"{title_column}+{text_column}", text_column)):
      title, text = (record.fields.get(column) for column in (
          title_column, text_column))
      require(isinstance(text, str), f"{record.source}: {text_column!r} is a "
              f"{type(text).__name__}, not text; name the field of the text "
              "with --tools.text_column.")
      words = text.split()
      yield (str(title) if title else " ".join(words[:_TITLE_WORDS])), text


def _folded(text: str) -> str:
  """Text without case, accents and repeated spaces, to compare by."""
  plain = unicodedata.normalize("NFKD", text.casefold())
  return " ".join("".join(
      each for each in plain if not unicodedata.combining(each)).split())


def _words(text: str) -> list[str]:
  return re.findall(r"\w+", _folded(text))
