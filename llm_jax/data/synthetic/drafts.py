"""What a kind hands to the gates, and what it is made from."""

from __future__ import annotations

import collections
import dataclasses
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from llm_jax.config import SyntheticChatConfig
from llm_jax.data import article_facts, biographies, wikipedia
from llm_jax.data.conversations import Conversation
from llm_jax.data.documents import split_items, unit_hash

HELD_OUT_WORDS = 0.1

# name, arguments -> what the tool says
RunTool = Callable[[str, dict[str, Any]], str]


class Draft(NamedTuple):
  """A conversation that has yet to pass the gates.

  Attributes:
    conversation: as it would be trained on.
    keys: what it speaks of that is of one side of the split, by sort and name:
      ("person", "Ada Brown"), ("word", "straw"), ("problem", "12+34"),
      ("phrasing", "Who are you?").
    template: what its questions were made from, to count how often each is.
    checked: where a writer rephrased it, the conversation as it was, whose
      questions can be understood.
  """
  conversation: Conversation
  keys: tuple[tuple[str, str], ...]
  template: str
  checked: Conversation | None = None


@dataclasses.dataclass(frozen=True)
class Material:
  """What conversations are made from; read when wanted.

  Attributes:
    config: the settings.
    tools: schemas of the tools that the assistant may be offered.
    run_tool: what a call gives.
    corpus_seed: the `seed` that split the corpus for pretraining.
    validation_fraction: the share that it held out.
    results: of the calls that were made, by name and arguments.
  """
  config: SyntheticChatConfig
  tools: Sequence[Mapping[str, Any]] = ()
  run_tool: RunTool | None = None
  corpus_seed: int = 0
  validation_fraction: float = 0.02
  results: dict[tuple[str, str], str] = dataclasses.field(default_factory=dict)

  @property
  def article_facts(self) -> tuple[article_facts.ArticleFact, ...]:
    """What the articles state that pretraining has not held out."""
    return _facts_read(self.corpus_seed, self.validation_fraction)

  @property
  def words(self) -> dict[str, list[str]]:
    """The common words of each side."""
    return wikipedia_words()

  @functools.cached_property
  def people(self) -> biographies.People:
    """Those of the directory `people`; `ConfigError` where there are none."""
    return biographies.read_people(self.config.people)

  @functools.cached_property
  def groups(self) -> dict[str, str]:
    """Name -> group."""
    return {person.name: group for group in biographies.GROUPS
            for person in self.people.group(group)}

  @functools.cached_property
  def persons(self) -> dict[str, biographies.Person]:
    """Name -> person."""
    return {person.name: person for group in biographies.GROUPS
            for person in self.people.group(group)}

  def persons_of(self, group: str, side: str) -> list[biographies.Person]:
    """The people of a group and a side of the split."""
    return [person for person in self.people.group(group)
            if biographies.side_of(person.name) == side]

  def tools_named(self, *names: str) -> tuple[Mapping[str, Any], ...]:
    """Schemas of tools, in the order of the names."""
    found = {tool["function"]["name"]: tool for tool in self.tools}
    return tuple(found[name] for name in names)


@functools.lru_cache
def wikipedia_words() -> dict[str, list[str]]:
  """Common lower-case words of 3 to 12 letters, of each side of the split."""
  counts = collections.Counter(
      word for article in wikipedia.load_articles()
      for word in re.findall(r"(?<![^\s(])[a-z]{3,12}(?![^\s.,;:)])",
                             article.extract))
  found = sorted(word for word, count in counts.items() if count >= 3)
  return {side: [word for word in found if side_of_word(word) == side]
          for side in ("train", "validation")}


@functools.lru_cache
def _facts_read(seed: int, fraction: float
                ) -> tuple[article_facts.ArticleFact, ...]:
  sides = split_items(wikipedia.load_articles(),
                      lambda article: article.extract, seed, fraction)
  return tuple(article_facts.article_facts(
      article for side, article in sides if side == "train"))


def side_of_word(word: str) -> str:
  """Whether a word may be trained on, "train" or "validation"."""
  return "validation" if unit_hash(word, 0) < HELD_OUT_WORDS else "train"


def draw_evenly(size: int, count: int, rng: np.random.Generator
                ) -> list[int]:
  """`count` indices below `size`; each comes again only after all others."""
  rounds = [rng.permutation(size) for _ in range(-(-count // size))]
  return np.concatenate([*rounds, []]).astype(int)[:count].tolist()
