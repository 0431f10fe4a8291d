"""Several token shards trained on at once, each with its share of the tokens.

A corpus is more than one source: web pages, books, code. Their shares decide
what a model is good at, and the best ones are not those of their sizes (Xie et
al. 2023, arXiv:2305.10429). `pipeline.mixture_dataset` makes the batches.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from llm_jax.config import require
from llm_jax.data import packing
from llm_jax.data.token_shards import TokenShards


@dataclasses.dataclass(frozen=True)
class Source:
  """One part of a mixture.

  Attributes:
    name: what it is called in metrics: the end of its path.
    shards: the opened directory.
    share: its part of the training tokens, from 0 to 1.
  """
  name: str
  shards: TokenShards
  share: float


def open_sources(sources: Sequence[tuple[str, float]]) -> list[Source]:
  """Opens (path, share) pairs, as `PretrainDataConfig.sources` gives them.

  Raises:
    ConfigError: no shards there, or they were made with different tokenizers.
  """
  opened = [TokenShards.open(path) for path, _ in sources]
  first = opened[0]
  for shards in opened[1:]:
    require(shards.meta["tokenizer_fingerprint"]
            == first.meta["tokenizer_fingerprint"],
            f"{shards.path} was made with another tokenizer than {first.path}; "
            "make the shards of a mixture with one tokenizer.")
  return [Source(name, shards, share) for name, shards, (_, share)
          in zip(short_names([path for path, _ in sources]), opened, sources)]


def passes(source: Source, seq_len: int, num_rows: int) -> float:
  """How often a run of `num_rows` rows reads a source's training split."""
  rows = packing.num_windows(source.shards.num_tokens("train"), seq_len)
  return num_rows * source.share / rows


def short_names(paths: Sequence[str]) -> list[str]:
  """The shortest ends of paths by which they can be told apart."""
  parts = [path.rstrip("/").split("/") for path in paths]
  for length in range(1, max(map(len, parts)) + 1):
    names = ["/".join(part[-length:]) for part in parts]
    if len(set(names)) == len(names):
      return names
  return list(paths)
