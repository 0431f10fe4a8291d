"""Letters that a model never sees: to spell words, and to count letters.

Words are held out by hash, so that their spelling cannot have been learnt by
heart from the conversations. A letter is counted in three ways: spelled out
first, at once (by tokens, in which no letters are), and by a program.
"""

from __future__ import annotations

import collections
import dataclasses
import decimal
import re

import numpy as np

from llm_jax.data.synthetic.drafts import wikipedia_words
from llm_jax.data.synthetic.spelling import SPELLING, counting_question
from llm_jax.evals.judging import CORRECT, WRONG, final_number, numbers
from llm_jax.evals.psychology.cases import Case, Condition, Said, Section
from llm_jax.evals.respondent import Ask

SPELLED, AT_ONCE, BY_PROGRAM = "spelled out", "at once", "Python tool"
STATED = "#### "  # an answer that begins so has nothing before the number
_COUNT_SHOTS = (("How many 'e' are in 'tree'?", "#### 2"),
                ("How many 'a' are in 'dog'?", "#### 0"))
_SPELL_SHOTS = (("Spell 'tree'.", "t-r-e-e"), ("Spell 'dog'.", "d-o-g"))


def held_out_words() -> list[str]:
  """The words that no conversation has.

  Raises `ConfigError` where the articles are not installed.
  """
  return wikipedia_words()["validation"]


def counting_section(items: int, seed: int) -> Section:
  """`items` pairs of a held-out word and a letter, each once."""
  rng = np.random.default_rng([seed, 5])
  words = rng.permutation(held_out_words()).tolist()
  cases: dict[tuple[str, ...], Case] = {}
  tried = 0
  while len(cases) < items and tried < 100 * items:
    word = words[tried % len(words)]
    tried += 1
    _, question, answer = counting_question(word, rng)
    pair = tuple(re.findall(r"'(\w+)'", question))
    cases.setdefault(pair, Case(
        Ask(question), answer.rpartition(STATED)[2]))
  spelled = tuple(cases.values())
  commonest, times = collections.Counter(
      case.truth for case in spelled).most_common(1)[0]
  at_once = tuple(dataclasses.replace(case, ask=dataclasses.replace(
      case.ask, opening=STATED)) for case in spelled)
  return Section(
      "counting", "Letters it cannot see",
      "How often a letter is in a word that no conversation had: spelled out "
      "with a running count, as it was trained to; at once, the answer being "
      f"begun for it; and by a program. Who always says {commonest} is right "
      f"in {times / len(spelled):.0%}.",
      (Condition(SPELLED, spelled, score_count, max_new_tokens=96),
       Condition(AT_ONCE, at_once, score_at_once, max_new_tokens=8),
       Condition(BY_PROGRAM, spelled, score_count, ("python",), 64)),
      contrasts=((SPELLED, AT_ONCE), (BY_PROGRAM, AT_ONCE)),
      shots=_COUNT_SHOTS)


def spelling_section(items: int, seed: int) -> Section:
  """Held-out words, spelled; in another phrasing each time a word comes."""
  rng = np.random.default_rng([seed, 6])
  words = rng.permutation(held_out_words()).tolist()
  cases: dict[str, Case] = {}
  tried = 0
  while len(cases) < min(items, len(words) * len(SPELLING)):
    word = words[tried % len(words)]
    tried += 1
    question = SPELLING[rng.integers(len(SPELLING))].format(word=word)
    cases.setdefault(question, Case(Ask(question), word))
  return Section(
      "spelling", "How words are spelled",
      "The letters of a word that no conversation had, one by one.",
      (Condition("spelled", tuple(cases.values()), score_spelling,
                 max_new_tokens=64),), shots=_SPELL_SHOTS)


def score_count(case: Case, said: Said) -> str:
  """Whether the answer ended, and with the right number."""
  right = final_number(said.text) == decimal.Decimal(case.truth)
  return CORRECT if right and said.ended else WRONG


def score_at_once(case: Case, said: Said) -> str:
  """Whether the first number is the right one, whatever follows."""
  first = numbers(said.text)[:1]
  return CORRECT if first == [decimal.Decimal(case.truth)] else WRONG


def score_spelling(case: Case, said: Said) -> str:
  """Whether the letters stand there one by one, in order, and no others."""
  letters = re.findall(r"(?<![^\W_])[^\W_](?![^\W_])", said.text.lower())
  right = "".join(letters) == case.truth and said.ended
  return CORRECT if right else WRONG
