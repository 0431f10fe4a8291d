"""What the articles of the sample crawl say: introductions, joined to pages.

An introduction has three sentences in the middle, too few for a page (and for
C4's rule of five); a real page says more than that. So a page of the sample
crawl takes up two or more introductions of one topic, each under its heading,
as an overview does. Each introduction is on one page before any is used again,
and then among other ones, so that pages which are not meant to be copies share
a third of their text at most.

The introductions that are held out for validation are set apart first, by
`documents.split_documents`, as `tokenize_corpus` does over
`--data.path=wikipedia`; no page is made of them.
"""

from __future__ import annotations

import collections
import dataclasses
import random
import re
from collections.abc import Iterable, Iterator

from llm_jax.config import TextConfig
from llm_jax.data import wikipedia
from llm_jax.data.documents import iter_documents, split_documents

# A page is long enough with this many sentences and words.
_SENTENCES, _WORDS = 7, 120
# Pages of introductions that were used before are longer, and none of these
# may be more than a third of one.
_AGAIN_WORDS, _AGAIN_SHARE = 260, 0.3
_PARAGRAPH = 600  # characters; a longer introduction is cut in two
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")
# "J. R. R. Tolkien", "St. John" and "e.g." end no sentence.
_ABBREVIATION = re.compile(r"(\w|[A-Z]\w{1,2}|\S*\.\S*)\.")


@dataclasses.dataclass(frozen=True)
class Lead:
  """The introduction of an article."""
  language: str
  title: str
  text: str
  topic: str
  description: str

  @property
  def key(self) -> str:
    """Names it in the truth file."""
    return f"{self.language}:{self.title}"

  @property
  def paragraphs(self) -> list[str]:
    """Its text, cut between sentences where it is long."""
    paragraphs, current = [], ""
    for line in self.text.split("\n"):
      for sentence in split_sentences(line):
        if current and len(current) + len(sentence) > _PARAGRAPH:
          paragraphs.append(current)
          current = ""
        current = f"{current} {sentence}".strip()
      if current:
        paragraphs.append(current)
        current = ""
    return paragraphs


def split_sentences(text: str) -> list[str]:
  """Pieces that end in a stop; joined by spaces they are the text again."""
  start, sentences = 0, []
  for match in _SENTENCE_END.finditer(text):
    piece = text[start:match.end()].strip()
    if not _ABBREVIATION.fullmatch(piece.rpartition(" ")[2]):
      sentences.append(piece)
      start = match.end()
  rest = text[start:].strip()
  return sentences + [rest] if rest else sentences


def held_out(seed: int, fraction: float) -> list[str]:
  """Texts of the validation side of `--data.path=wikipedia`, in order."""
  return [document.text for side, document in split_documents(
      iter_documents(TextConfig(path="wikipedia")), seed, fraction)
      if side == "validation"]


def load_leads(languages: Iterable[str], exclude: Iterable[str]
               ) -> dict[str, list[Lead]]:
  """The introductions of each language, without those of `exclude`."""
  seen = {_normal(text) for text in exclude}
  leads: dict[str, list[Lead]] = {}
  for language in languages:
    leads[language] = []
    for article in wikipedia.load_articles(language):
      text = article.extract.strip()
      if len(text) < 40 or _normal(text) in seen:
        continue
      seen.add(_normal(text))
      leads[language].append(Lead(language, article.title, text, article.topic,
                                  article.description))
  return leads


def pages_of(leads: list[Lead], seed: int) -> Iterator[tuple[Lead, ...]]:
  """Endlessly: introductions for one page after the other."""
  yield from _grouped(leads, f"{seed}:0", _SENTENCES, _WORDS, 1.0)
  for turn in range(1, 1_000):
    yield from _grouped(leads, f"{seed}:{turn}", _SENTENCES, _AGAIN_WORDS,
                        _AGAIN_SHARE)


def _grouped(leads: list[Lead], seed: str, sentences: int, words: int,
             share: float) -> Iterator[tuple[Lead, ...]]:
  """Every introduction once, with others of its topic."""
  rng = random.Random(seed)
  topics = collections.defaultdict(list)
  for lead in leads:
    if share == 1.0 or len(lead.text.split()) <= share * words:
      topics[lead.topic].append(lead)
  groups = []
  for topic in sorted(topics):
    members = topics[topic]
    rng.shuffle(members)
    group: list[Lead] = []
    for lead in members:
      group.append(lead)
      text = " ".join(lead.text for lead in group)
      if (len(split_sentences(text)) >= sentences
          and len(text.split()) >= words):
        groups.append(tuple(group))
        group = []
    if group and groups and groups[-1][0].topic == topic:
      groups[-1] += tuple(group)
    elif group:
      groups.append(tuple(group))
  rng.shuffle(groups)
  yield from groups


def _normal(text: str) -> str:
  return " ".join(text.lower().split())


