"""Tokenizers beside the libraries they stand on, used directly.

    python -m benchmarks.tokenizer --megabytes=10 --repeats=5

On encyclopedia text of three languages, and but for training, one document in
eleven of code points from everywhere:

* training: `train_bpe` against `tokenizers` and `rustbpe` with the same
  pattern, `train_sentencepiece` against `sentencepiece`;
* encoding: one vocabulary, by us, by `tiktoken` and by `tokenizers`, and a
  SentencePiece one by us and by `sentencepiece`, on one thread, with equal ids
  (asserted);
* a corpus: documents in a .jsonl file -> ids in .npy files, by
  `experiments.tokenize_corpus` (which also splits, checks and checksums) and
  by the shortest loop over each library that does the reading and writing.

Sides alternate, so that whatever else the machine does falls on all. Speeds
are megabytes of text per second of wall time, and per second of processor time
(of all processes): the latter is "per core", and disturbed less by a busy
machine. Prints a JSON line for each row and appends it to
`benchmarks/RESULTS.md`; a ratio above 1 says ours is faster than the best.
"""

from __future__ import annotations

import importlib.util
import io
import itertools
import json
import os
import pathlib
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

from absl import app
from absl import flags
from absl import logging
import numpy as np

from benchmarks.results import append_row, surroundings

_MEGABYTES = flags.DEFINE_float("megabytes", 10.0, "text, in 10^6 bytes", 0.1)
_VOCAB_SIZE = flags.DEFINE_integer("vocab_size", 16_384, "tokens to learn", 300)
_REPEATS = flags.DEFINE_integer("repeats", 5, "timed runs of each", 1)
_COPIES = flags.DEFINE_integer("copies", 5, "of the text in the corpus's file, "
                               "so that what is done once matters little", 1)
_WORKERS = flags.DEFINE_list("workers", ["1", "2"], "processes of the corpus")
_APPEND = flags.DEFINE_bool("append", True, "append to benchmarks/RESULTS.md")

COLUMNS = ("date", "what", "ratio", "ratio_per_core", "llm_jax_mb_s",
           "llm_jax_mb_s_per_core", "best", "best_mb_s", "best_mb_s_per_core",
           "megabytes", "vocab_size", "repeats", "load_average")
# Latin, Greek, Cyrillic, Hebrew and Arabic, Indic, Thai, kana, CJK, Hangul,
# symbols, pictures, and planes beyond.
_RANGES = ((0x20, 0x250), (0x370, 0x530), (0x590, 0x700), (0x900, 0xE00),
           (0xE00, 0x1000), (0x3040, 0x3100), (0x4E00, 0xA000),
           (0xAC00, 0xD7A4), (0x2000, 0x2C00), (0x1F300, 0x1FB00),
           (0x10000, 0x11000), (0x20000, 0x2A6E0))


def documents(megabytes: float, mixed: bool, seed: int = 0) -> list[str]:
  """Articles of three languages in turn; `mixed`: after ten of them, random
  characters."""
  from llm_jax.data import wikipedia
  rng = random.Random(seed)
  languages = [wikipedia.load_articles(name) for name in ("en", "fr", "es")]
  articles = itertools.cycle(
      article.extract for group in itertools.zip_longest(*languages)
      for article in group if article is not None)
  texts: list[str] = []
  size = 0
  while size < megabytes * 1e6:
    text = next(articles)
    if mixed and len(texts) % 11 == 10:
      text = " ".join("".join(chr(rng.randrange(low, high)) for _ in range(9))
                      for low, high in rng.choices(_RANGES, k=20))
    texts.append(text)
    size += len(text.encode())
  return texts


def measure(sides: Mapping[str, Callable[[], Any]], megabytes: float,
            repeats: int) -> dict[str, dict[str, float]]:
  """Megabytes per second of each side, by wall and by processor time; medians.
  """
  times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
  for _ in range(repeats):
    for name, side in sides.items():
      wall, cpu = time.perf_counter(), _cpu_seconds()
      side()
      times[name].append((time.perf_counter() - wall, _cpu_seconds() - cpu))
  return {name: {"mb_s": megabytes / statistics.median(w for w, _ in pairs),
                 "mb_s_per_core": megabytes / statistics.median(
                     c for _, c in pairs)} for name, pairs in times.items()}


def _cpu_seconds() -> float:
  """Processor time of this process and of those that it has waited for."""
  spent = os.times()
  return sum(spent[:4])


def row(what: str, speeds: Mapping[str, Mapping[str, float]],
        **fields: Any) -> dict[str, Any]:
  """A record of our side ("llm_jax") against the best of the others."""
  ours = speeds["llm_jax"]
  others = {name: speed for name, speed in speeds.items() if name != "llm_jax"}
  best = max(others, key=lambda name: others[name]["mb_s_per_core"])
  return {
      "benchmark": "tokenizer", "what": what, "best": best,
      "ratio": ours["mb_s"] / max(s["mb_s"] for s in others.values()),
      "ratio_per_core": ours["mb_s_per_core"] / others[best]["mb_s_per_core"],
      "llm_jax_mb_s": ours["mb_s"],
      "llm_jax_mb_s_per_core": ours["mb_s_per_core"],
      "best_mb_s": others[best]["mb_s"],
      "best_mb_s_per_core": others[best]["mb_s_per_core"],
      "sides": speeds, **surroundings(), **fields}


def huggingface_learner(pattern: str) -> Any:
  """An untrained byte-level BPE of `tokenizers` with a split pattern."""
  import tokenizers
  learner = tokenizers.Tokenizer(tokenizers.models.BPE())
  learner.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([
      tokenizers.pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated"),
      tokenizers.pre_tokenizers.ByteLevel(
          add_prefix_space=False, use_regex=False)])
  return learner


def training_sides(texts: list[str], vocab_size: int, kind: str
                   ) -> dict[str, Callable[[], Any]]:
  """Learning a vocabulary of `kind`, by us and by the libraries."""
  import sentencepiece
  import tokenizers

  from llm_jax.config import TokenizerConfig
  from llm_jax.tokenizer.bpe import train_bpe
  from llm_jax.tokenizer.sentencepiece import train_sentencepiece
  from llm_jax.tokenizer.split_pattern import split_pattern
  config = TokenizerConfig(kind=kind, vocab_size=vocab_size, special_tokens=())
  pattern = split_pattern(config.max_digits)

  def with_tokenizers() -> None:
    huggingface_learner(pattern).train_from_iterator(
        texts, tokenizers.trainers.BpeTrainer(
            vocab_size=vocab_size, show_progress=False, min_frequency=2,
            initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet()))

  def with_rustbpe() -> None:
    import rustbpe
    rustbpe.Tokenizer().train_from_iterator(
        iter(texts), vocab_size, pattern=pattern)

  def with_sentencepiece() -> None:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line for text in texts
                           for line in text.splitlines() if line),
        model_writer=io.BytesIO(), vocab_size=vocab_size, byte_fallback=True,
        model_type="bpe" if kind == "sentencepiece_bpe" else "unigram",
        normalization_rule_name="identity", minloglevel=2,
        num_threads=os.cpu_count() or 1, max_sentence_length=1 << 30)

  if kind != "bpe":
    return {"llm_jax": lambda: train_sentencepiece(texts, config),
            "sentencepiece": with_sentencepiece}
  sides = {"llm_jax": lambda: train_bpe(texts, config),
           "tokenizers": with_tokenizers}
  if importlib.util.find_spec("rustbpe") is not None:
    sides["rustbpe"] = with_rustbpe
  return sides


class Encoders:
  """The same two vocabularies in everybody's hands."""

  def __init__(self, texts: list[str], vocab_size: int, folder: str):
    import sentencepiece
    import tiktoken
    import tokenizers

    from llm_jax.config import TokenizerConfig
    from llm_jax.tokenizer.bpe import train_bpe
    from llm_jax.tokenizer.sentencepiece import train_sentencepiece
    self.bpe = train_bpe(texts, TokenizerConfig(vocab_size=vocab_size))
    self.bpe_folder = f"{folder}/bpe"
    self.bpe.save(self.bpe_folder)
    self.tiktoken = tiktoken.Encoding(
        "same", pat_str=self.bpe.pattern, mergeable_ranks=self.bpe.ranks,
        special_tokens=self.bpe.special_tokens)
    self.tokenizers = tokenizers.Tokenizer.from_file(
        f"{self.bpe_folder}/tokenizer.json")
    self.tokenizers.encode_special_tokens = True
    self.pieces = train_sentencepiece(texts, TokenizerConfig(
        kind="sentencepiece", vocab_size=vocab_size))
    self.sentencepiece = sentencepiece.SentencePieceProcessor(
        model_proto=self.pieces.model_bytes)

  def check(self, texts: list[str]) -> None:
    """Raises `AssertionError` where two sides have different ids."""
    for text, batched in zip(texts, self.bpe.encode_batch(texts), strict=True):
      ids = self.tiktoken.encode_ordinary(text)
      assert batched.tolist() == ids, text[:80]
      assert self.tokenizers.encode(text).ids == ids, text[:80]
    for text, batched in zip(texts, self.pieces.encode_batch(texts),
                             strict=True):
      assert batched.tolist() == self.sentencepiece.encode(text), text[:80]

  def bpe_sides(self, texts: list[str]) -> dict[str, Callable[[], Any]]:
    """Encoding with the byte-level vocabulary."""
    return {
        "llm_jax": lambda: self.bpe.encode_batch(texts, num_threads=1),
        "tiktoken": lambda: [self.tiktoken.encode_ordinary(t) for t in texts],
        "tokenizers": lambda: self.tokenizers.encode_batch_fast(
            texts, add_special_tokens=False)}

  def sentencepiece_sides(self, texts: list[str]
                          ) -> dict[str, Callable[[], Any]]:
    """Encoding with the SentencePiece vocabulary."""
    return {
        "llm_jax": lambda: self.pieces.encode_batch(texts, num_threads=1),
        "sentencepiece": lambda: self.sentencepiece.encode(
            texts, num_threads=1)}


def corpus_sides(encoders: Encoders, file: str, folder: str, workers: int
                 ) -> dict[str, Callable[[], Any]]:
  """From documents in a file to ids in a file."""
  from experiments import tokenize_corpus
  from llm_jax.config import TextConfig, TokenizeCorpusConfig
  count = itertools.count()
  start = encoders.bpe.endoftext_id

  def ours() -> None:
    tokenize_corpus.run(TokenizeCorpusConfig(
        data=TextConfig(path=file), tokenizer=encoders.bpe_folder,
        output=f"{folder}/shards-{workers}-{next(count)}", num_workers=workers))

  def loop(encode: Callable[[str], list[int]]) -> None:
    parts = []
    with open(file, encoding="utf-8") as stream:
      for line in stream:
        ids = encode(json.loads(line)["text"])
        parts.append(np.asarray([start, *ids], np.uint16))
    np.save(f"{folder}/direct.npy", np.concatenate(parts))

  def with_tokenizers() -> None:
    parts = []
    with open(file, encoding="utf-8") as stream:
      for lines in iter(lambda: list(itertools.islice(stream, 1000)), []):
        found = encoders.tokenizers.encode_batch_fast(
            [json.loads(line)["text"] for line in lines],
            add_special_tokens=False)
        parts += [np.asarray([start, *one.ids], np.uint16) for one in found]
    np.save(f"{folder}/direct.npy", np.concatenate(parts))

  return {"llm_jax": ours,
          "tiktoken": lambda: loop(encoders.tiktoken.encode_ordinary),
          "tokenizers": with_tokenizers}


def run(megabytes: float, vocab_size: int, repeats: int, workers: list[int],
        copies: int) -> list[dict[str, Any]]:
  """All rows."""
  plain, texts = documents(megabytes, False), documents(megabytes, True)
  size = sum(len(text.encode()) for text in texts) / 1e6
  fields = {"megabytes": size, "vocab_size": vocab_size, "repeats": repeats}
  rows = []
  for kind in ("bpe", "sentencepiece", "sentencepiece_bpe"):
    times = min(repeats, 3)
    rows.append(row(f"train {kind}", measure(
        training_sides(plain, vocab_size, kind), megabytes, times),
        **fields | {"repeats": times}))
  with tempfile.TemporaryDirectory() as folder:
    encoders = Encoders(plain, vocab_size, folder)
    encoders.check(texts)
    rows.append(row("encode bpe", measure(
        encoders.bpe_sides(texts), size, repeats), equal_ids=True, **fields))
    rows.append(row("encode sentencepiece", measure(
        encoders.sentencepiece_sides(texts), size, repeats), equal_ids=True,
        **fields))
    file = pathlib.Path(folder) / "corpus.jsonl"
    with file.open("w", encoding="utf-8") as stream:
      stream.writelines(json.dumps({"text": text}, ensure_ascii=False) + "\n"
                        for _ in range(copies) for text in texts)
    for count in workers:
      rows.append(row(f"corpus, {count} workers", measure(
          corpus_sides(encoders, str(file), folder, count), copies * size,
          repeats), **fields | {"megabytes": copies * size}))
  return rows


def main(argv: list[str]) -> None:
  """Runs the benchmark."""
  del argv
  logging.set_verbosity(logging.WARNING)  # rustbpe tells of every percent
  for record in run(_MEGABYTES.value, _VOCAB_SIZE.value, _REPEATS.value,
                    list(map(int, _WORKERS.value)), _COPIES.value):
    print(json.dumps(record), flush=True)
    if _APPEND.value:
      append_row(record, COLUMNS)


if __name__ == "__main__":
  app.run(main)
