"""What a conversation has to be before it is trained on, and what was not.

  duplicate   the same messages came before
  length      it does not fit
  answer      an answer is not what the question's text says it should be
  held_out    it speaks of what is on the other side of the split
  wording     a writer changed more than the words of its question
  balance     its template has come much more often than others have
"""

from __future__ import annotations

import collections
import json
from collections.abc import Callable, Iterator
from typing import Any

from llm_jax.config import ConfigError
from llm_jax.data import biographies
from llm_jax.data.conversations import Conversation
from llm_jax.data.synthetic import arithmetic, identity, wikipedia_facts
from llm_jax.data.synthetic.drafts import Draft, Material, side_of_word
from llm_jax.data.synthetic.verification import fault
from llm_jax.data.synthetic.writer import keeps_its_meaning

GATES = ("duplicate", "length", "answer", "held_out", "wording",
         "balance")
BALANCE, BALANCE_FROM = 3, 10  # times the mean, from so many of a template
STALE = 1000  # drafts in a row none of which passes: there are no more

# On which side of the split a name, word, problem or phrasing is.
_SIDES: dict[str, Callable[[str], str]] = {
    "person": biographies.side_of, "word": side_of_word,
    "problem": arithmetic.side_of_problem,
    "article": wikipedia_facts.side_of_article,
    "persona": identity.side_of_persona,
    "phrasing": lambda text: ("validation" if identity.is_held_out(text)
                              else "train")}


def pass_gates(drafts: Iterator[Draft], kind: str, count: int, split: str,
               material: Material, fits: Callable[[Conversation], bool]
               ) -> tuple[list[Conversation], dict[str, Any]]:
  """The first `count` drafts that pass, and the record of it.

  Returns:
    The conversations; `wanted`, `drafts`, `kept`, `dropped` (by gate),
    `templates` and `largest_template_share`.

  Raises:
    ConfigError: too few pass.
  """
  kept: list[Conversation] = []
  seen: set[str] = set()
  templates: collections.Counter[str] = collections.Counter()
  dropped = dict.fromkeys(GATES, 0)
  tried = last = 0
  for draft in drafts:
    if len(kept) == count or tried - last == STALE:
      break
    tried += 1
    text = json.dumps([draft.conversation.messages, draft.conversation.tools])
    gate = _closed(draft, split, material, fits, text in seen, templates)
    if gate:
      dropped[gate] += 1
      continue
    seen.add(text)
    templates[draft.template] += 1
    kept.append(draft.conversation)
    last = tried
  told = ", ".join(f"{gate} {number}" for gate, number in dropped.items()
                   if number)
  if len(kept) < count:
    raise ConfigError(
        f"only {len(kept)} of {count} {kind} conversations for {split} passed "
        f"the gates ({told or 'there are no more'}); lower "
        f"data.synthetic.{'validation' if split == 'validation' else kind}, or "
        "give more people or a longer seq_len.")
  return kept, {
      "wanted": count, "drafts": tried, "kept": len(kept), "dropped": dropped,
      "templates": len(templates),
      "largest_template_share": max(templates.values(), default=0)
                                / max(len(kept), 1)}


def _closed(draft: Draft, split: str, material: Material,
            fits: Callable[[Conversation], bool], seen: bool,
            templates: collections.Counter[str]) -> str:
  """The gate that a draft does not pass; "" where it passes all."""
  if seen:
    return "duplicate"
  if any(_SIDES[sort](name) != split for sort, name in draft.keys):
    return "held_out"
  if fault(draft.checked or draft.conversation, material):
    return "answer"
  if draft.checked and not keeps_its_meaning(draft):
    return "wording"
  mine = templates[draft.template]
  if mine >= BALANCE_FROM and mine > BALANCE * (
      templates.total() / len(templates)):
    return "balance"
  return "" if fits(draft.conversation) else "length"
