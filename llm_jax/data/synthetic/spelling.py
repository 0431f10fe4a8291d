"""Letters: to spell a word, and to count a letter by spelling.

A model reads tokens, not letters; what letters a token has is a fact that it
has to learn for each. Written out one by one, they can be counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from llm_jax.data.conversations import Conversation, single_turn
from llm_jax.data.synthetic.drafts import Draft, draw_evenly

COUNTING = ("How many '{letter}' are in '{word}'?",
            "How many times does '{letter}' occur in '{word}'?",
            "Count the letter '{letter}' in '{word}'.")
SPELLING = ("Spell '{word}'.", "How do you spell '{word}'?",
            "Which letters are in '{word}'?", "Spell the word '{word}'.",
            "What are the letters of '{word}'?")


def count_by_spelling(letter: str, word: str) -> str:
  """Letters of `word`, each with the running count of `letter`; the total.

  ("r", "berry") -> "b0 e0 r1 r2 y2" and, on its own line, "#### 2".
  """
  counts = np.cumsum([other == letter for other in word]).tolist()
  spelled = " ".join(f"{other}{count}" for other, count in zip(word, counts))
  return f"{spelled}\n#### {counts[-1]}"


def counting_question(word: str, rng: np.random.Generator
                      ) -> tuple[str, str, str]:
  """(template, question, answer) on one letter of a word, or of none."""
  letter = word[rng.integers(len(word))]
  if rng.random() < 0.15:  # most likely absent: the answer can be 0
    letter = chr(ord("a") + rng.integers(26))
  template = COUNTING[rng.integers(len(COUNTING))]
  return (template, template.format(letter=letter, word=word),
          count_by_spelling(letter, word))


def count_letters(words: Sequence[str], count: int,
                  rng: np.random.Generator) -> list[Conversation]:
  """`count` conversations; each word comes again only after all others."""
  made = []
  for index in draw_evenly(len(words), count, rng):
    _, question, answer = counting_question(words[index], rng)
    made.append(single_turn(question, answer, "counting"))
  return made


def spell_words(words: Sequence[str], rng: np.random.Generator
                ) -> Iterator[Draft]:
  """"Spell 'straw'." -> "s-t-r-a-w", without end."""
  while True:
    for index in rng.permutation(len(words)):
      word = words[index]
      template = SPELLING[rng.integers(len(SPELLING))]
      yield Draft(single_turn(template.format(word=word), "-".join(word),
                              "spelling"), (("word", word),), template)
