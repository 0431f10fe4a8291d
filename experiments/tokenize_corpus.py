"""Documents -> token shards, with a share of the documents held out.

  python -m experiments.tokenize_corpus --data.path=my_texts/ \\
      --tokenizer=runs/tokenizer --output=runs/shards

Shards that are there already, made from the same files with the same tokenizer
and settings, are kept as they are. A run that was stopped goes on after the
last shard that it finished. `--verify` reads finished shards and compares them
with their checksums.
"""

from __future__ import annotations

import hashlib
import os
import time
from typing import Any

from llm_jax import config_flags
from llm_jax.config import ConfigError, TokenizeCorpusConfig


def run(config: TokenizeCorpusConfig) -> dict[str, Any]:
  """Makes the shards that `config` asks for, unless they are there.

  Returns:
    What meta.json says of them, with `path`, whether they were `skipped`, and
    the `seconds` it took.

  Raises:
    ConfigError: text that is missing or cannot be read, or a tokenizer or an
      output that is not one.
  """
  from llm_jax.data import documents, shard_writer, token_shards
  from llm_jax.tokenizer.loading import load_tokenizer

  config.validate()
  if config.verify:
    return _verify(config.output)
  start = time.monotonic()
  tokenizer = load_tokenizer(config.tokenizer)
  fingerprint = hashlib.sha256(repr((
      documents.corpus_fingerprint(config.data),
      token_shards.tokenizer_fingerprint(tokenizer),
      config.data.validation_fraction, config.seed, config.tokens_per_shard,
  )).encode()).hexdigest()

  meta = _finished(config.output, fingerprint)
  skipped = meta is not None
  if meta is None:
    meta = shard_writer.write_shards(
        documents.split_corpus(config.data, config.seed),
        tokenizer, config.output, tokens_per_shard=config.tokens_per_shard,
        fingerprint=fingerprint,
        num_workers=config.num_workers or os.cpu_count() or 1)
  for split, counts in meta["splits"].items():
    print(f"tokenize: {split}: {counts['num_documents']:,} documents, "
          f"{counts['num_bytes']:,} bytes, {counts['num_tokens']:,} tokens in "
          f"{config.output}" + (" (there already)" if skipped else ""))
  return {**meta, "path": config.output, "skipped": skipped,
          "seconds": time.monotonic() - start}


def _verify(output: str) -> dict[str, Any]:
  """Compares the files of `output` with their checksums; its meta.json."""
  from llm_jax.data.token_shards import TokenShards
  shards = TokenShards.open(output)
  print(f"tokenize: {shards.verify()} files of {output} are as they were "
        "written")
  return {**shards.meta, "path": output}


def _finished(output: str, fingerprint: str) -> dict[str, Any] | None:
  """meta.json of whole shards with this fingerprint; None if there are none."""
  from llm_jax.data import token_shards
  meta = token_shards.read_meta(output)
  if meta is None or meta.get("fingerprint") != fingerprint:
    return None
  try:
    return token_shards.TokenShards.open(output).meta
  except ConfigError as error:
    print(f"tokenize: {error} Making them again.")
    return None


if __name__ == "__main__":
  config_flags.launch(TokenizeCorpusConfig, run)
