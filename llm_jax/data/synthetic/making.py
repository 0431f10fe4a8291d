"""Conversations made by procedure: which there are, and how many of each.

Each kind teaches one thing, and has its own held-out conversations:

- identity: "who are you?" in many words, answered from one config string.
  Held out: phrasings. (The facts are the same: they are to be learnt.)
- articles: "What is X?", answered by the first sentences of X's article. Held
  out: the articles that pretraining holds out, so their facts cannot be known
  and the validation loss measures the manner of an answer, not its truth.
- counting: how many 'r' are in 'strawberry', by spelling it with a running
  count. Held out: words, by hash.
- sums: sums modulo two, see `sums.py`. Held out: problems, by hash.
- identity_variants: more phrasings, and system prompts: one that sets another
  name is followed. Held out: phrasings and names.
- facts, refusals: people of whom a corpus tells, and of whom none does, see
  `facts.py`. Held out: people, by hash.
- spelling: a word's letters. Held out: words, as in counting.
- arithmetic, arithmetic_steps, arithmetic_answer_first: see `arithmetic.py`.
  Held out: problems, by hash.
- tool_python, tool_search: see `tool_use.py`. Held out: problems, words,
  people.
- multi_turn: several subjects and follow-up questions, see `multi_turn.py`.
  Held out: whatever they are of.
- wikipedia_facts: capitals and nationalities. Held out: articles.
- reading: people looked up, see `tool_use.py`. Held out: people.

Everything is decided by the seed. An answer that is a number is on a line
"#### N", the form that `rl/verifiers.py` accepts. The kinds from
identity_variants on pass the gates of `gates.py`, and none of them has a
conversation twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from llm_jax.config import (
    SyntheticChatConfig, WriterConfig, require, require_choice)
from llm_jax.config_chat import CHAT_KINDS, TOOL_KINDS
from llm_jax.data import sums, wikipedia
from llm_jax.data.conversations import Conversation, single_turn
from llm_jax.data.documents import split_items
from llm_jax.data.synthetic import (
    arithmetic, articles, facts, identity, multi_turn, spelling, tool_use,
    wikipedia_facts)
from llm_jax.data.synthetic.drafts import Draft, Material, RunTool
from llm_jax.data.synthetic.gates import pass_gates
from llm_jax.data.synthetic.writer import rephrase

# The number of a kind is in its random stream: new ones come last.
KINDS = CHAT_KINDS


def synthetic_conversations(
    config: SyntheticChatConfig, split: str, seed: int = 0, **options: Any
    ) -> list[Conversation]:
  """The conversations of one side of the split; see `make_conversations`."""
  return make_conversations(config, split, seed, **options)[0]


def make_conversations(
    config: SyntheticChatConfig, split: str, seed: int = 0, *,
    corpus_seed: int = 0, validation_fraction: float = 0.02,
    fits: Callable[[Conversation], bool] = lambda conversation: True,
    tools: Sequence[Mapping[str, Any]] = (), run_tool: RunTool | None = None,
    writer: WriterConfig | None = None
    ) -> tuple[list[Conversation], dict[str, Any]]:
  """The conversations of one side of the split, kind after kind.

  Args:
    config: how many of each kind; a kind of which there are 0 is left out.
    split: "train", or "validation": `config.validation` of each kind.
    seed: which ones.
    corpus_seed: the `seed` that split the corpus for pretraining.
    validation_fraction: the share that it held out.
    fits: whether a conversation is short enough; article answers are shortened
      to one sentence, or their article passed over, until it is.
    tools: schemas of the tools that there are, as in OpenAI's interface.
    run_tool: what a tool says, given its name and arguments.
    writer: who puts questions for training in other words, if any.

  Returns:
    Conversations whose `kind` is one of `KINDS`; for each kind how many there
    are, and of the gated ones what the gates dropped.

  Raises:
    ConfigError: a setting that cannot be; the articles are not installed; the
      people are not there; a tool or the writer is missing; or too few pass the
      gates.
  """
  config.validate()
  require_choice("split", split, ("train", "validation"))
  material = Material(config, tools, run_tool, corpus_seed,
                      validation_fraction)
  made: list[Conversation] = []
  manifest: dict[str, Any] = {}
  side: list[wikipedia.Article] = []
  if config.articles:
    side = [article for name, article in split_items(
        wikipedia.load_articles(), lambda article: article.extract,
        corpus_seed, validation_fraction) if name == split]
  for number, kind in enumerate(KINDS):
    count = getattr(config, kind)
    if not count:
      continue
    if split == "validation":
      count = config.validation
    # A stream for each kind and side: one kind's count does not change another.
    rng = np.random.default_rng([seed, number, split == "train"])
    if kind == "identity":
      found = identity.answer_identity(config.identity_facts, count, split, rng)
    elif kind == "articles":
      found = articles.about_articles(side, count, fits, rng)
    elif kind == "counting":
      found = spelling.count_letters(material.words[split], count, rng)
    elif kind == "sums":
      found = _sums(config, count, split, seed, rng)
    else:
      drafts = _drafts(kind, material, split, rng)
      # Validation is asked in the words that everybody can have.
      if writer is not None and split == "train":
        drafts = rephrase(drafts, writer, rng)
      found, manifest[kind] = pass_gates(drafts, kind, count, split, material,
                                         fits)
    manifest.setdefault(kind, {"wanted": count, "kept": len(found)})
    made += found
  return made, manifest


def _drafts(kind: str, material: Material, split: str,
            rng: np.random.Generator) -> Iterator[Draft]:
  """Drafts of a gated kind, without end."""
  config = material.config
  for name in TOOL_KINDS.get(kind, ()):
    require(any(tool["function"]["name"] == name for tool in material.tools)
            and material.run_tool is not None, f"data.synthetic.{kind} needs "
            f"the tool {name}, which was not given; make the conversations "
            "with experiments.make_conversations.")
  if kind in arithmetic.STYLES:
    return arithmetic.compute(kind, config.arithmetic_digits, split, rng)
  if kind == "identity_variants":
    return identity.vary_identity(config.identity_facts, split, rng)
  if kind == "spelling":
    return spelling.spell_words(material.words[split], rng)
  if kind == "wikipedia_facts":
    return wikipedia_facts.ask_facts(material.article_facts, split, rng)
  return {"facts": facts.answer_facts, "refusals": facts.refuse_unknown,
          "tool_python": tool_use.compute_by_tool,
          "tool_search": tool_use.search_people,
          "multi_turn": multi_turn.talk,
          "reading": tool_use.read_people}[kind](material, split, rng)


def _sums(config: SyntheticChatConfig, count: int, split: str, seed: int,
          rng: np.random.Generator) -> list[Conversation]:
  lengths = config.sum_min_terms, config.sum_max_terms
  if split == "validation":
    # Another draw than the environment's, whose accuracy is to be reported.
    problems = sums.held_out_problems(count, seed + 1, *lengths)
  else:
    problems = [sums.train_problem(rng, *lengths) for _ in range(count)]
  return [single_turn(
      problem.prompt(),
      problem.demonstration(
          "steps" if rng.random() < config.sum_steps_share else "at_once"),
      "sums") for problem in problems]
