"""Settings of what an assistant is made from: people and conversations.

`config.py` hands all of them on: import settings from there.
"""

from __future__ import annotations

import dataclasses

from llm_jax.config_parts import require, setting


@dataclasses.dataclass(frozen=True)
class BiographiesConfig:
  """Invented people with facts, and names without any."""
  known: int = setting(1000, "people whom the corpus tells of")
  unlearned: int = setting(1000, "people with facts that are in no corpus, "
                           "only in the search index")
  invented: int = setting(4000, "names of nobody, for questions that have no "
                          "answer")
  first_names: int = setting(200, "first names that all names are made of")
  last_names: int = setting(400, "last names that all names are made of")
  sentences: int = setting(100, "different sentences of each fact in the "
                           "corpus, each in another document")
  questions: int = setting(10, "times that each fact of every other known "
                           "person is also there as question and answer")
  seed: int = setting(0, "which names and facts")

  def validate(self) -> None:
    """Raises `ConfigError` for amounts that cannot be made."""
    for name in ("known", "first_names", "last_names", "sentences"):
      require(getattr(self, name) > 0, f"people.{name} is "
              f"{getattr(self, name)}; it must be positive.")
    for name in ("unlearned", "invented", "questions"):
      require(getattr(self, name) >= 0, f"people.{name} is "
              f"{getattr(self, name)}; it cannot be negative.")
    wanted = self.known + self.unlearned + self.invented
    most = self.first_names * self.last_names // 2
    require(wanted <= most, f"people asks for {wanted:,} names, but "
            f"{self.first_names} first and {self.last_names} last names give "
            f"{most:,} to choose among; raise people.first_names or "
            "people.last_names.")
    require(self.sentences <= 300, f"people.sentences is {self.sentences}; "
            "there are no more than 300 ways to say every fact.")


@dataclasses.dataclass(frozen=True)
class MakeBiographiesConfig:
  """experiments/make_biographies.py"""
  people: BiographiesConfig = setting(BiographiesConfig(), "who there is, and "
                                      "what is told of them")
  output: str = setting("runs/biographies", "directory for documents.jsonl, "
                        "facts.jsonl, search.jsonl and manifest.json")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    self.people.validate()
    require(bool(self.output), "output is empty; give a directory.")


@dataclasses.dataclass(frozen=True)
class SyntheticChatConfig:
  """Conversations made by procedure; zero leaves a kind out."""
  identity: int = setting(400, "who are you? and its variants")
  articles: int = setting(4000, "what is X?, answered by X's article")
  counting: int = setting(4000, "letters of a word, spelled then counted")
  sums: int = setting(16000, "sums modulo two")
  sum_steps_share: float = setting(0.4, "share of the sums whose answer is "
                                   "worked out; the rest state it at once")
  identity_facts: str = setting(
      "I am llm_jax quickstart, a small language model made by you with the "
      "llm_jax codebase. I was trained on English Wikipedia introductions.",
      "what the model says of itself")
  sum_min_terms: int = setting(4, "sums: fewest terms")
  sum_max_terms: int = setting(6, "sums: most terms")
  validation: int = setting(64, "held-out conversations of each kind")

  def validate(self) -> None:
    """Raises `ConfigError` for amounts that cannot be made."""
    for name in ("identity", "articles", "counting", "sums", "validation"):
      require(getattr(self, name) >= 0, f"data.synthetic.{name} is "
              f"{getattr(self, name)}; it cannot be negative.")
    require(self.identity + self.articles + self.counting + self.sums > 0,
            "data.synthetic makes no conversations; ask for some of a kind.")
    require(0 <= self.sum_steps_share <= 1, "data.synthetic.sum_steps_share is "
            f"{self.sum_steps_share}; it is a share between 0 and 1.")
    require(bool(self.identity_facts.strip()) or not self.identity,
            "data.synthetic.identity_facts is empty; say who the model is, or "
            "set data.synthetic.identity=0.")
