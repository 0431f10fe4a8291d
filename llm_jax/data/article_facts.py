"""Facts that an article's first lines state in a form that can be read off.

Which city is the capital of what, and of which nationality somebody was: few
forms, but sure ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from llm_jax.data.wikipedia import Article

_CAPITAL = re.compile(
    r"(?P<city>[^.]{1,60}?) is the capital(?: city)?"
    r"(?: and (?:the )?(?:\w+[- ])?\w+ (?:city|town))? of "
    r"(?P<land>(?:the )?[A-Z]\w+(?: [A-Z]\w+){0,2})[.,]")
_PERSON = re.compile(
    r"(?P<name>[^.(]{1,60}?) was an? (?P<nation>[A-Z]\w+(?:ish|ese|an|ch|k)) ")
# Words that end like a nationality and are none.
_NO_NATIONS = frozenset(
    "Christian Church Dominican Franciscan Gandhian Lutheran Puritan Republican"
    .split())


class ArticleFact(NamedTuple):
  """What an article says of something.

  Attributes:
    subject: whose it is.
    attribute: "capital" or "nationality".
    value: the answer.
    title: of the article.
  """
  subject: str
  attribute: str
  value: str
  title: str


def article_facts(articles: Iterable[Article]) -> list[ArticleFact]:
  """Facts of which each subject has one only; the others are left out."""
  found: dict[tuple[str, str], list[ArticleFact]] = {}
  for article in articles:
    if "(" in article.title:  # nobody says "Michael Collins (Irish leader)"
      continue
    capital = _CAPITAL.match(article.extract)
    if (capital and capital["city"] == article.title
        and article.title not in capital["land"]):  # Kaduna of Kaduna State
      fact = ArticleFact(capital["land"], "capital", article.title,
                         article.title)
      found.setdefault(fact[:2], []).append(fact)
    person = _PERSON.match(article.extract)
    if (person and article.topic == "People"
        and person["nation"] not in _NO_NATIONS):
      fact = ArticleFact(article.title, "nationality", person["nation"],
                         article.title)
      found.setdefault(fact[:2], []).append(fact)
  return [facts[0] for facts in found.values() if len(facts) == 1]
