"""A tokenizer.json as a `BpeTokenizer`, where it is one and no more than one.

Hugging Face lists which pairs merge, in order; tiktoken ranks tokens. The two
say the same only under conditions, and each is checked: elsewhere the file is
run as it is (`huggingface.py`), which is slower and never wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from llm_jax.tokenizer import huggingface_format
from llm_jax.tokenizer.bpe import BpeTokenizer, split_by_older

# Every n-th token of a foreign vocabulary is checked; all would take seconds.
_CHECKED_TOKENS = 2000


def bpe_from_json(contents: Mapping) -> BpeTokenizer | None:
  """The `BpeTokenizer` with the same ids as a tokenizer.json, if there is one.

  There is one for GPT-2's, Llama 3's and ours: bytes, one split pattern, and
  ids that grow with the order of merging. None otherwise, as for RoBERTa's
  (ids by frequency), SmolLM2's (two patterns) or Qwen's (Unicode normalised).
  """
  model = contents["model"]
  pattern = huggingface_format.split_pattern_of(contents.get("pre_tokenizer"))
  added = contents.get("added_tokens") or []
  # "{1,3}+" is possessive to tiktoken, a repeated group to Hugging Face's; "$"
  # is the end of the text there, of a line here.
  if (pattern is None or re.search(r"\{[\d,]+\}\+|\$", pattern)
      or contents.get("normalizer")
      or any(model.get(field) for field in (
          "dropout", "byte_fallback", "continuing_subword_prefix",
          "end_of_word_suffix"))
      or not all(token["special"] for token in added)):
    return None
  special = {token["content"]: token["id"] for token in added}
  try:
    ranks = {huggingface_format.to_bytes(name): i
             for name, i in model["vocab"].items() if name not in special}
    merges = [tuple(map(huggingface_format.to_bytes,
                        pair.split(" ") if isinstance(pair, str) else pair))
              for pair in model["merges"]]
  except KeyError:  # a token that is not of the byte alphabet
    return None
  ids = [*ranks.values(), *special.values()]
  if len(set(ids)) < len(ids):  # two names for one id: tiktoken would abort
    return None
  if not _merges_follow_ranks(ranks, merges, model.get("ignore_merges", False)):
    return None
  try:
    return BpeTokenizer(ranks, special, pattern)
  except ValueError:  # a pattern that only Oniguruma understands
    return None


def _merges_follow_ranks(ranks: Mapping[bytes, int],
                         merges: list[tuple[bytes, bytes]],
                         ignore_merges: bool) -> bool:
  """Whether merging by rank and merging by the list are the same thing."""
  if not all(bytes([byte]) in ranks for byte in range(256)):
    return False
  made = [ranks.get(a + b, -1) for a, b in merges]
  if made != sorted(made) or (made and made[0] < 0):
    return False
  made, pairs = set(made), set(merges)
  unmade = [token for token, i in ranks.items()
            if len(token) > 1 and i not in made]
  # A token without a merge is met as a whole piece, where those go first;
  # elsewhere it must be out of reach for merging by rank as well.
  if unmade and not ignore_merges or any(
      token[:i] in ranks and token[i:] in ranks
      for token in unmade for i in range(1, len(token))):
    return False
  longer = [token for token, i in ranks.items() if i in made]
  for token in longer[::max(1, len(longer) // _CHECKED_TOKENS)]:
    parts = split_by_older(token, ranks, ranks[token])
    if len(parts) != 2 and not ignore_merges or (
        len(parts) == 2 and tuple(parts) not in pairs):
      return False
  return True
