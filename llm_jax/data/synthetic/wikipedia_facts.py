"""Capitals and nationalities, as articles state them.

Only of articles that pretraining has; of these some are never asked about in
training, so that it can be seen whether what was read can be asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from llm_jax.data.article_facts import ArticleFact
from llm_jax.data.conversations import single_turn
from llm_jax.data.documents import unit_hash
from llm_jax.data.synthetic.drafts import Draft

HELD_OUT_ARTICLES = 0.2

QUESTIONS = {
    "capital": ("What is the capital of {subject}?",
                "Which city is the capital of {subject}?",
                "Name the capital of {subject}."),
    "nationality": ("What was the nationality of {subject}?",
                    "Which nationality did {subject} have?",
                    "Tell me the nationality of {subject}.")}
ANSWERS = {
    "capital": ("The capital of {subject} is {value}.",
                "{value} is the capital of {subject}."),
    "nationality": ("{subject} was {value}.",
                    "The nationality of {subject} was {value}.")}


def ask_facts(facts: Sequence[ArticleFact], split: str,
              rng: np.random.Generator) -> Iterator[Draft]:
  """Questions on the facts of one side of the split, without end."""
  facts = [fact for fact in facts if side_of_article(fact.title) == split]
  while facts:
    for index in rng.permutation(len(facts)):
      fact = facts[index]
      templates, answers = QUESTIONS[fact.attribute], ANSWERS[fact.attribute]
      template = templates[rng.integers(len(templates))]
      answer = answers[rng.integers(len(answers))]
      yield Draft(single_turn(template.format(**fact._asdict()),
                              answer.format(**fact._asdict()),
                              "wikipedia_facts", f"wikipedia:{fact.title}"),
                  (("article", fact.title),), template)


def side_of_article(title: str) -> str:
  """Whether an article may be asked about in training."""
  return ("validation" if unit_hash(title, 2) < HELD_OUT_ARTICLES else "train")


def fact_asked(question: str) -> tuple[str, str] | None:
  """(subject, attribute) of a question in one of these phrasings, or None."""
  for attribute, templates in QUESTIONS.items():
    for template in templates:
      before, after = template.split("{subject}")
      if question.startswith(before) and question.endswith(after):
        return question[len(before):len(question) - len(after)], attribute
  return None
