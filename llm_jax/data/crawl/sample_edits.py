"""Near copies: a text edited word by word to a wanted similarity.

Similarity is what MinHash estimates: Jaccard's, of the sets of five words in a
row, after datatrove's simplification. One edit far from the others takes five
such sets away and adds five, so m edits of n words leave about
(n - 5m) / (n + 5m); the edits are added until the measured similarity is
reached.
"""

from __future__ import annotations

import random

from datatrove.utils.text import TextNormConfig, simplify_text

from llm_jax.data.crawl.words import word_tokenizer

NGRAMS = 5
_NORM = TextNormConfig()


def shingles(text: str) -> set[tuple[str, ...]]:
  """The sets of words in a row that near copies are found by."""
  words = word_tokenizer("unicode").word_tokenize(simplify_text(text, _NORM))
  return {tuple(words[i:i + NGRAMS])
          for i in range(max(len(words) - NGRAMS + 1, 1))}


def jaccard(first: str, second: str) -> float:
  """Shared shingles, of all."""
  one, other = shingles(first), shingles(second)
  return len(one & other) / len(one | other)


def edit(paragraphs: list[str], target: float, vocabulary: list[str],
         rng: random.Random) -> tuple[list[str], float]:
  """Edits words until the similarity is at most `target`.

  Args:
    paragraphs: the text.
    target: similarity wanted; what is reached lies just below.
    vocabulary: words of the language, to put in.
    rng: decides the edits.

  Returns:
    The edited paragraphs, and their measured similarity to the text.
  """
  original = "\n".join(paragraphs)
  words = [paragraph.split(" ") for paragraph in paragraphs]
  places = [(p, w) for p, line in enumerate(words) for w in range(len(line))]
  total = len(places)
  rng.shuffle(places)
  wanted = max(1, round(total * (1 - target) / (NGRAMS * (1 + target))))
  reached = 1.0
  while places and reached > target:
    for paragraph, word in (places.pop() for _ in range(
        min(max(wanted, 1), len(places)))):
      words[paragraph][word] = _edited(words[paragraph][word], vocabulary, rng)
    edited = [" ".join(word for word in line if word) for line in words]
    reached = jaccard(original, "\n".join(edited))
    # Edits that fell close to each other took fewer shingles away.
    wanted = round(total * (reached - target) / (3 * NGRAMS))
  return edited, reached


def _edited(word: str, vocabulary: list[str], rng: random.Random) -> str:
  """The word replaced, dropped, or with another beside it."""
  kind = rng.random()
  other = rng.choice(vocabulary)
  if kind < 0.6:
    # A stop or a comma at its end stays, so that sentences stay sentences.
    tail = word[len(word.rstrip(".,;:!?»\")")):]
    return other + tail
  if kind < 0.8 and word.isalpha():
    return ""
  return f"{other} {word}"
