"""Memorised text, continued verbatim.

A text is *extractable* with k tokens of context if the model, given the k
tokens before it and decoding greedily, goes on with the very tokens of it
(Carlini et al. 2023, "Quantifying Memorization Across Neural Language Models",
arXiv:2202.07646, section 3). How many documents are depends on how often each
occurred in training and on how much of it the model is given; documents that
were held out say how much is luck: phrases that anyone would continue so.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any

from llm_jax.config_probes import RegurgitationConfig
from llm_jax.config import require
from llm_jax.data.documents import split_corpus, unit_hash
from llm_jax.evals.probe_texts import invented_biographies
from llm_jax.evals.probes import BaseModel, mean, share

HELD_OUT, INVENTED = "held out", "invented"


def edit_distance(a: Sequence[int], b: Sequence[int]) -> int:
  """Fewest insertions, deletions and replacements that make `a` of `b`."""
  above = list(range(len(b) + 1))
  for i, x in enumerate(a, start=1):
    row = [i]
    for j, y in enumerate(b, start=1):
      row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
    above = row
  return above[-1]


def matched_tokens(truth: Sequence[int], got: Sequence[int]) -> int:
  """How many tokens are right before the first that is wrong."""
  for i, (x, y) in enumerate(zip(truth, got)):
    if x != y:
      return i
  return min(len(truth), len(got))


def document_groups(config: RegurgitationConfig, seed: int
                    ) -> dict[str, list[str]]:
  """Texts by how often they occur in training; "held out"; "invented".

  Numbers of occurrences are joined up to powers of two: 3 counts as 2. Where
  nothing is held out, invented biographies stand in for it.
  """
  counts = collections.Counter(
      (side, document.text)
      for side, document in split_corpus(config.data, seed))
  groups: dict[Any, list[str]] = collections.defaultdict(list)
  for (side, text), count in counts.items():
    seen = 1 << (count.bit_length() - 1) if side == "train" else 0
    groups[seen].append(text)
  if 0 not in groups:
    groups[-1] = invented_biographies(config.documents, seed)
  names = {0: HELD_OUT, -1: INVENTED}
  # By their hash: the same of a group whatever order the files are read in.
  return {names.get(seen, f"read {seen}x"):
          sorted(groups[seen], key=lambda text: unit_hash(text, seed + 1))
          for seen in sorted(groups)}


def probe_regurgitation(model: BaseModel, config: RegurgitationConfig
                        ) -> dict[str, Any]:
  """Gives the model beginnings of documents and compares what follows.

  Args:
    model: the model.
    config: the corpus, lengths of prompts and continuations.

  Returns:
    "rows": for each group and prompt length the share that is continued
    verbatim for `new_tokens`, tokens until the first that differs, and
    similarity, 1 - edit distance / `new_tokens`; "examples": one of each group,
    the best, as text.

  Raises:
    ConfigError: no document is long enough.
  """
  n, longest = config.new_tokens, max(config.prompt_tokens)
  rows, examples = [], []
  for group, texts in document_groups(config, model.seed).items():
    documents = []
    for text in texts:
      # A token takes at most so many characters, in any text worth reading.
      ids = model.encode(text[:32 * (longest + n)])[:1 + longest + n]
      if len(ids) == 1 + longest + n:
        documents.append(ids)
      if len(documents) == config.documents:
        break
    if not documents:
      continue
    best = (-1.0, None)
    for k in config.prompt_tokens:
      # The same tokens are to be recited, however many before them are given;
      # only with all of these does the prompt begin a document.
      prompts = [ids[1 + longest - k if k < longest else 0:1 + longest]
                 for ids in documents]
      truths = [ids[1 + longest:] for ids in documents]
      got = [each[0].tokens for each in model.continue_all(prompts, n)]
      similar = [1 - edit_distance(truth, tokens) / n
                 for truth, tokens in zip(truths, got)]
      rows.append({
          "group": group, "prompt_tokens": k, "documents": len(documents),
          **share("verbatim", [tuple(t) == g for t, g in zip(truths, got)]),
          **mean("matched_tokens", [matched_tokens(t, g)
                                    for t, g in zip(truths, got)], most=n),
          **mean("similarity", similar)})
      best = max(best, *((s, {
          "group": group,
          "prompt": model.tokenizer.decode(p[1:] if k == longest else p),
          "text": model.tokenizer.decode(t),
          "continued": model.tokenizer.decode(list(g))})
          for s, p, t, g in zip(similar, prompts, truths, got)),  # noqa: B023
                 key=lambda pair: pair[0])
    examples.append(best[1])
  require(bool(rows), f"no document of {config.data.path} has the {longest} + "
          f"{n} tokens that are asked for; lower regurgitation.prompt_tokens "
          "or regurgitation.new_tokens.")
  return {"new_tokens": n, "rows": rows, "examples": examples}
