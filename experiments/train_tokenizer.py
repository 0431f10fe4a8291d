"""Learns a vocabulary from text.

    python -m experiments.train_tokenizer \\
        --config=configs/quickstart_tokenizer.py
    python -m experiments.train_tokenizer --data.path=my_book.txt \\
        --tokenizer.vocab_size=2048 --output=runs/book/tokenizer

Writes `<output>/tokenizer.json` and `tokenizer_config.json` (Hugging Face's
formats; `tokenizer.model` with --tokenizer.kind=sentencepiece, or
sentencepiece_bpe) and `stats.json`, whose `bytes_per_token` is the compression
on held-out documents. An output that was made from the same settings and the
same data is kept as it is.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from llm_jax import config_flags
from llm_jax.config import ConfigError, TrainTokenizerConfig
from llm_jax.config_tree import to_dict

STATS_FILE = "stats.json"
_MEASURED_BYTES = 16_000_000  # held-out text kept to measure compression on
_PROGRESS_SECONDS = 2.0


def run(config: TrainTokenizerConfig) -> dict[str, Any]:
  """Trains, saves and measures; returns what `stats.json` holds.

  Raises:
    ConfigError: if there is no text, too little of it for the vocabulary size,
      or something else at `config.output`.
  """
  from llm_jax import paths
  from llm_jax.data.documents import corpus_fingerprint
  from llm_jax.tokenizer.bpe import train_bpe
  config.validate()
  start = time.monotonic()
  output = paths.as_path(config.output)
  made_from = {"data": to_dict(config.data) | {
      "fingerprint": corpus_fingerprint(config.data), "seed": config.seed},
      "tokenizer": to_dict(config.tokenizer)}
  stored = _stored_stats(output)
  if stored is not None and stored["made_from"] == made_from:
    print(f"tokenizer: {output} was trained with these settings on this data; "
          "keeping it.", flush=True)
    return stored

  reader = _Reader(config)
  if config.tokenizer.kind == "bpe":
    tokenizer = train_bpe(reader.train_texts(), config.tokenizer,
                          show_progress=sys.stderr.isatty())
  else:
    from llm_jax.tokenizer.sentencepiece import train_sentencepiece
    tokenizer = train_sentencepiece(reader.train_texts(), config.tokenizer)
  split, texts = (("validation", reader.held_out) if reader.held_out
                  else ("train", reader.sample))
  num_bytes = sum(len(text.encode()) for text in texts)
  num_tokens = sum(map(len, tokenizer.encode_batch(texts)))
  stats = {
      "kind": config.tokenizer.kind,
      "vocab_size": tokenizer.vocab_size,
      "bytes_per_token": num_bytes / num_tokens,
      "measured_on": split,
      "measured_bytes": num_bytes,
      "train_documents": reader.num_documents,
      "train_bytes": reader.num_bytes,
      "seconds": time.monotonic() - start,
      "made_from": made_from,
  }

  def write(directory: Any) -> None:
    tokenizer.save(directory)
    (directory / STATS_FILE).write_text(json.dumps(stats, indent=1))

  _put_in_place(write, output)
  print(f"tokenizer: {tokenizer.vocab_size:,} tokens from "
        f"{reader.num_bytes / 1e6:.1f} MB in {stats['seconds']:.1f} s; "
        f"{stats['bytes_per_token']:.3f} bytes per token on {split} text; "
        f"saved in {output}.", flush=True)
  return stats


class _Reader:
  """Streams the training split, and keeps text to measure compression on."""

  def __init__(self, config: TrainTokenizerConfig):
    self._config = config
    self.held_out: list[str] = []
    self.sample: list[str] = []  # of the training text, if nothing is held out
    self.num_documents = self.num_bytes = 0

  def train_texts(self) -> Iterator[str]:
    """Texts of training documents; prints how far it is."""
    from llm_jax.data.documents import split_corpus
    data = self._config.data
    start = last_told = time.monotonic()
    room = {"validation": _MEASURED_BYTES, "train": _MEASURED_BYTES}
    kept = {"validation": self.held_out, "train": self.sample}
    for split, document in split_corpus(data, self._config.seed):
      num_bytes = len(document.text.encode())
      if room[split] > 0 and not (split == "train" and self.held_out):
        kept[split].append(document.text)
        room[split] -= num_bytes
      if split == "validation":
        continue
      self.num_documents += 1
      self.num_bytes += num_bytes
      limit = self._config.tokenizer.max_bytes  # the trainer stops at it
      self.num_bytes = min(self.num_bytes, limit or self.num_bytes)
      if time.monotonic() - last_told > _PROGRESS_SECONDS:
        last_told = time.monotonic()
        done = max(document.corpus_fraction,
                   self.num_bytes / limit if limit else 0.0)
        seconds = last_told - start
        print(f"tokenizer: read {self.num_bytes / 1e6:.1f} MB of text "
              f"({done:.0%}), {self.num_bytes / 1e6 / seconds:.1f} MB/s, "
              f"{seconds * (1 - done) / max(done, 1e-9):.0f} s left to read",
              flush=True)
      yield document.text
    print(f"tokenizer: read all {self.num_bytes / 1e6:.1f} MB in "
          f"{self.num_documents:,} documents; learning "
          f"{self._config.tokenizer.vocab_size:,} tokens", flush=True)


def _stored_stats(output: Any) -> dict[str, Any] | None:
  """The stats of the tokenizer at `output`; None if nothing is there.

  Raises `ConfigError` if something else is there, which must not be replaced.
  """
  if (output / STATS_FILE).exists():
    try:
      stored = json.loads((output / STATS_FILE).read_text())
      if "made_from" in stored and "bytes_per_token" in stored:
        return stored
    except ValueError:
      pass
  elif not output.exists() or (output.is_dir() and not any(output.iterdir())):
    return None
  raise ConfigError(f"{output} exists and is not a tokenizer that this "
                    "experiment made; choose another --output.")


def _put_in_place(write: Callable[[Any], None], output: Any) -> None:
  """Fills a directory beside `output` and renames it, so that a run that is
  killed leaves the old tokenizer, or none, and never half of one."""
  partial = output.parent / f"{output.name}.partial"
  if partial.exists():
    partial.rmtree()
  write(partial)
  if output.exists():
    output.rmtree()
  partial.rename(output)


if __name__ == "__main__":
  config_flags.launch(TrainTokenizerConfig, run)
