"""Settings of what an assistant is made from: people and conversations.

`config.py` hands all of them on: import settings from there.
"""

from __future__ import annotations

import dataclasses

from llm_jax.config_parts import require, setting
from llm_jax.config_tools import ToolsConfig

CHAT_KINDS = ("identity", "articles", "counting", "sums", "identity_variants",
              "facts", "refusals", "spelling", "arithmetic",
              "arithmetic_steps", "arithmetic_answer_first", "tool_python",
              "tool_search", "multi_turn", "wikipedia_facts", "reading")
TOOL_KINDS = {"tool_python": ("python",), "tool_search": ("search", "open"),
              "reading": ("search", "open")}


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
  notes: int = setting(8, "times that each known fact is told in notes.jsonl, "
                       "beside as many that are said not to be known")
  seed: int = setting(0, "which names and facts")

  def validate(self) -> None:
    """Raises `ConfigError` for amounts that cannot be made."""
    for name in ("known", "first_names", "last_names", "sentences"):
      require(getattr(self, name) > 0, f"people.{name} is "
              f"{getattr(self, name)}; it must be positive.")
    for name in ("unlearned", "invented", "questions", "notes"):
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
  identity_variants: int = setting(0, "more ways to ask who it is, and system "
                                   "prompts that set another name")
  facts: int = setting(0, "facts of people whom the corpus tells of")
  refusals: int = setting(0, "people of whom nothing is known")
  spelling: int = setting(0, "the letters of a word")
  arithmetic: int = setting(0, "numbers added, subtracted and multiplied; the "
                            "answer at once")
  arithmetic_steps: int = setting(0, "the same, worked out and then answered")
  arithmetic_answer_first: int = setting(0, "the same, answered and then "
                                         "worked out")
  tool_python: int = setting(0, "numbers and letters, by a program")
  tool_search: int = setting(0, "people looked up where the text that was "
                             "learnt does not tell of them")
  multi_turn: int = setting(0, "several questions, some of which lean on "
                            "earlier ones")
  wikipedia_facts: int = setting(0, "capitals and nationalities, as articles "
                                 "state them")
  reading: int = setting(0, "people of whom only a search can tell, of many of "
                         "whom each is met a few times")
  sum_steps_share: float = setting(0.4, "share of the sums whose answer is "
                                   "worked out; the rest state it at once")
  identity_facts: str = setting(
      "I am llm_jax quickstart, a small language model made by you with the "
      "llm_jax codebase. I was trained on English Wikipedia introductions.",
      "what the model says of itself")
  people: str = setting("", "directory of experiments.make_biographies, for "
                        "the kinds about people")
  arithmetic_digits: int = setting(4, "digits of the numbers")
  sum_min_terms: int = setting(4, "sums: fewest terms")
  sum_max_terms: int = setting(6, "sums: most terms")
  validation: int = setting(64, "held-out conversations of each kind")

  def validate(self) -> None:
    """Raises `ConfigError` for amounts that cannot be made."""
    for name in (*CHAT_KINDS, "validation"):
      require(getattr(self, name) >= 0, f"data.synthetic.{name} is "
              f"{getattr(self, name)}; it cannot be negative.")
    require(sum(getattr(self, name) for name in CHAT_KINDS) > 0,
            "data.synthetic makes no conversations; ask for some of a kind.")
    for name in ("facts", "refusals", "tool_search", "multi_turn", "reading"):
      require(bool(self.people) or not getattr(self, name), "data.synthetic."
              f"{name} is about people; name the directory that python -m "
              "experiments.make_biographies has written in "
              "data.synthetic.people.")
    require(2 <= self.arithmetic_digits <= 9, "data.synthetic.arithmetic_digits"
            f" is {self.arithmetic_digits}; choose 2 to 9.")
    require(0 <= self.sum_steps_share <= 1, "data.synthetic.sum_steps_share is "
            f"{self.sum_steps_share}; it is a share between 0 and 1.")
    require(bool(self.identity_facts.strip()) or not (
        self.identity or self.identity_variants or self.multi_turn),
            "data.synthetic.identity_facts is empty; say who the model is, or "
            "set data.synthetic.identity=0.")


@dataclasses.dataclass(frozen=True)
class WriterConfig:
  """A model that puts questions in other words."""
  endpoint: str = setting("", "base address of a server with OpenAI's API, "
                          "such as http://localhost:8000/v1; empty: nobody "
                          "rephrases")
  model: str = setting("", "name of the model there")
  key_variable: str = setting("OPENAI_API_KEY", "environment variable that "
                              "holds the key of that server, if it wants one")
  share: float = setting(0.5, "of the conversations that are rephrased")
  temperature: float = setting(1.0, "of what it writes")
  concurrency: int = setting(8, "questions that it is given at once")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    require(not self.endpoint or bool(self.model), "writer.endpoint is given "
            "without --writer.model, the name of the model there.")
    require(not self.endpoint or self.endpoint.startswith(
        ("http://", "https://")), f"writer.endpoint is {self.endpoint!r}; it "
            "begins with http:// or https://.")
    require(0 <= self.share <= 1, f"writer.share is {self.share}; it is a "
            "share between 0 and 1.")
    require(self.temperature >= 0, f"writer.temperature is "
            f"{self.temperature}; it cannot be negative.")
    require(self.concurrency > 0, f"writer.concurrency is {self.concurrency}; "
            "it must be positive.")


@dataclasses.dataclass(frozen=True)
class MakeConversationsConfig:
  """experiments/make_conversations.py"""
  synthetic: SyntheticChatConfig = setting(
      SyntheticChatConfig(people="runs/biographies"), "how many of each kind")
  tools: ToolsConfig = setting(
      ToolsConfig(names=("python", "search"),
                  corpus="runs/biographies/search.jsonl"), "what is called")
  writer: WriterConfig = setting(WriterConfig(), "who rephrases")
  tokenizer: str = setting("", "tokenizer to measure with; empty: nothing is "
                           "too long")
  seq_len: int = setting(256, "tokens of a conversation at most")
  output: str = setting("runs/conversations", "directory for train/, "
                        "validation/ and manifest.json")
  seed: int = setting(0, "which ones")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    for part in (self.synthetic, self.tools, self.writer):
      part.validate()
    for kind, names in TOOL_KINDS.items():
      name = names[0]
      require(not getattr(self.synthetic, kind) or name in self.tools.names,
              f"synthetic.{kind} needs the tool {name}; add it to "
              "--tools.names.")
    require(self.seq_len > 0, f"seq_len is {self.seq_len}; it must be "
            "positive.")
    require(bool(self.output), "output is empty; give a directory.")
