"""A corpus in which some documents occur more often than others.

Web text repeats itself, and what it repeats is what models memorise (Lee et
al. 2022, "Deduplicating Training Data Makes Language Models Better",
arXiv:2107.06499). Here the number of repeats is set, to see its effect.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from llm_jax.config import require
from llm_jax.data.documents import unit_hash


def shortened(text: str, max_chars: int) -> str:
  """`text` up to the last space within `max_chars`."""
  if len(text) <= max_chars:
    return text
  head = text[:max_chars + 1]
  return head[:head.rfind(" ")] if " " in head else text[:max_chars]


def repeat_documents(texts: Iterable[str], repeats: Sequence[int],
                     documents: int, max_chars: int, seed: int) -> list[str]:
  """Chosen texts, some of them several times, in random order.

  Args:
    texts: at least `documents` x len(`repeats`) of `max_chars` or more.
    repeats: how often a chosen document occurs.
    documents: how many documents occur so often, for each number.
    max_chars: a document's first characters, up to the end of a word.
    seed: which documents (by their hash) and their order.

  Raises:
    ConfigError: too few texts are long enough.
  """
  long_enough = dict.fromkeys(t for t in texts if len(t) >= max_chars)
  chosen = sorted(long_enough, key=lambda text: unit_hash(text, seed))
  wanted = documents * len(repeats)
  require(len(chosen) >= wanted, f"{len(chosen)} documents have the "
          f"{max_chars} characters of max_chars, but {len(repeats)} repeats of "
          f"{documents} documents need {wanted}; lower one of the three.")
  corpus = [shortened(text, max_chars)
            for i, times in enumerate(repeats)
            for text in chosen[i * documents:(i + 1) * documents]
            for _ in range(times)]
  random.Random(seed).shuffle(corpus)
  return corpus
