"""Who it is: asked in held-out words, alone and under another name.

A model has no self to look into. What it says of itself is what it was trained
to say, or what a system prompt tells it to be.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

from etils import epath
import numpy as np

from llm_jax.data.conversations import Conversation
from llm_jax.data.synthetic.identity import vary_identity
from llm_jax.evals.judging import CORRECT, WRONG, states, token_f1
from llm_jax.evals.psychology.cases import Case, Condition, Said, Section
from llm_jax.evals.respondent import Ask
from llm_jax.paths import as_path

MIN_F1 = 0.9
OWN, PERSONA = "asked who it is", "under another name"
_SHOTS = (("What is your favourite colour?", "I have none."),)
_MOST_DRAFTS = 200_000


def identity_section(facts: str, items: int, seed: int) -> Section:
  """Held-out phrasings, each once; of the second condition a quarter as many.

  Args:
    facts: what the model was trained to say of itself.
    items: cases of the first condition, fewer where there are fewer phrasings.
    seed: which ones.
  """
  own: dict[str, Case] = {}
  other: dict[str, Case] = {}
  rng = np.random.default_rng([seed, 1])
  drafts = itertools.islice(vary_identity(facts, "validation", rng),
                            _MOST_DRAFTS)
  for draft in drafts:
    case = _case(draft.conversation)
    named = any(kind == "persona" for kind, _ in draft.keys)
    side, most = (other, items // 4) if named else (own, items)
    if len(side) < most:
      side.setdefault(case.key, case)
    if len(own) >= items and len(other) >= items // 4:
      break
  conditions = [Condition(OWN, tuple(own.values()), score_identity,
                          max_new_tokens=96)]
  if other:
    conditions.append(Condition(PERSONA, tuple(other.values()),
                                score_identity, max_new_tokens=96))
  return Section(
      "identity", "Who it is",
      "Who are you? Who made you? What have you read? In words that were not "
      "trained on; and what it answers where a system prompt says that it is "
      "somebody else.", tuple(conditions), shots=_SHOTS)


def facts_of_run(directory: epath.PathLike) -> str:
  """What a run was trained to say of itself, "" where nobody knows.

  It stands in the run's config, or in the manifest of the conversations that
  it read, or that the run read from which it started.

  Args:
    directory: of the run.
  """
  path: epath.Path | None = as_path(directory)
  for _ in range(5):  # rl from sft from pretrain
    if path is None or not (path / "config.json").exists():
      return ""
    saved = json.loads((path / "config.json").read_text(encoding="utf-8"))
    data = saved.get("data", {})
    if "synthetic" in data:  # of a run of sft
      sources = [each.rpartition(":")[0] for each in data.get("mixture", ())
                 ] or [data["path"]]
      return next(filter(None, (_told(source, data["synthetic"])
                                for source in sources)), "")
    path = as_path(saved["init_from"]) if saved.get("init_from") else None
  return ""


def _told(source: str, synthetic: dict[str, Any]) -> str:
  """The facts in conversations that a run read."""
  if source == "synthetic":
    return synthetic["identity_facts"]  # what sft makes is about the model
  place = as_path(source)
  for directory in (place, *list(place.parents)[:2]):
    if (directory / "manifest.json").exists():
      made = json.loads((directory / "manifest.json").read_text("utf-8"))
      made = made.get("config", {}).get("synthetic", {})
      of_itself = any(made.get(kind) for kind in (
          "identity", "identity_variants", "multi_turn"))
      return made.get("identity_facts", "") if of_itself else ""
  return ""


def score_identity(case: Case, said: Said) -> str:
  """Whether the expected sentences are said: as they are, or nearly."""
  if states(said.text, case.truth) or (
      token_f1(said.text, case.truth) >= MIN_F1):
    return CORRECT
  return WRONG


def _case(conversation: Conversation) -> Case:
  said = {message["role"]: message["content"]
          for message in conversation.messages}
  system = said.get("system", "")
  return Case(Ask(said["user"], system=system), said["assistant"],
              key=f"{system}\n{said['user']}")
