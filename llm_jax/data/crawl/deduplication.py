"""Copies of documents and lines, found with datatrove's stages.

Exact copies: documents with the same text, whatever their case and spaces (Lee
et al. 2022, arXiv:2107.06499, on why). Near copies: MinHash with
locality-sensitive hashing (Broder 1997; Lee et al.; FineWeb, section 3.4). A
document is the set of its shingles of `ngrams` words; its signature is
`buckets` bands of `hashes` minima; two documents meet if a whole band agrees,
which they do with probability 1-(1-s^hashes)^buckets where s is their Jaccard
similarity. Documents that meet, directly or by others, are one cluster, of
which one stays. Lines: of equal lines of several documents one stays.

datatrove names a document by its file and its place in it. So whatever reads
the documents later must read them in the same order, and through the same
earlier filters: first exact copies, then near ones, then lines. No text is
written in between.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from datatrove.data import Document
from datatrove.io import get_datafolder
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.dedup import (
    MinhashBuildIndex, MinhashDedupBuckets, MinhashDedupCluster,
    MinhashDedupFilter, MinhashDedupSignature, SentenceDedupFilter,
    SentenceDedupSignature, SentenceFindDedups)
from datatrove.pipeline.dedup.exact_dedup import (
    ExactDedupConfig, ExactDedupFilter, ExactDedupSignature, ExactFindDedups)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.dedup.sentence_dedup import SentDedupConfig

from llm_jax.config import ConfigError
from llm_jax.config_crawl import DedupConfig
from llm_jax.data.crawl.phases import Phase
from llm_jax.data.crawl.words import word_tokenizer

_MAX_LINES = 1 << 16  # datatrove numbers a document's lines with 16 bits
_SHINGLES_AT_ONCE = 1 << 14  # 15 MB of hashes at 112 hashes for each
_INDEX_SETTINGS = "settings.json"


def plan(config: DedupConfig, reader: Callable[[], PipelineStep], folder: str,
         tasks: int, words: str = "unicode", seed: int = 0
         ) -> tuple[list[Phase], dict[str, PipelineStep]]:
  """What has to run to find copies, and the filters that then remove them.

  Args:
    config: which kinds, and how.
    reader: makes a step that reads the documents, task by task.
    folder: where signatures and lists of copies go.
    tasks: of the phases that read documents.
    words: how text is cut into words.
    seed: of the hash functions.

  Returns:
    (phases, filters by their stage's name, in order); a filter must see the
    documents as `reader` and the filters before it leave them.

  Raises:
    ConfigError: an index that was made with other settings.
  """
  phases: list[Phase] = []
  filters: dict[str, Callable[[], PipelineStep]] = {}

  def reading(*last: PipelineStep) -> tuple[PipelineStep, ...]:
    return (reader(), *(make() for make in filters.values()), *last)

  if config.exact:
    settings = ExactDedupConfig(content_getter=folded)
    phases += [
        Phase("exact-signatures", reading(ExactDedupSignature(
            f"{folder}/exact/signatures", settings)), tasks),
        Phase("exact-copies", (ExactFindDedups(
            f"{folder}/exact/signatures", f"{folder}/exact/copies",
            config=settings),), 1)]
    filters["exact"] = lambda: ExactDedupFilter(
        f"{folder}/exact/copies", config=settings)
  if config.minhash:
    phases += _minhash(config, reading, f"{folder}/minhash", tasks, words, seed)
    filters["minhash"] = lambda: MinhashDedupFilter(f"{folder}/minhash/remove")
  if config.lines:
    settings_of_lines = SentDedupConfig(
        n_sentences=1, split_sentences=False, only_dedup_in_index=False,
        min_doc_words=0, min_num_sentences=1, min_words_to_remove_span=0)
    tokenizer = word_tokenizer(words)
    phases += [
        Phase("line-signatures", reading(_LineSignature(
            config.min_line_words, f"{folder}/lines/signatures",
            config=settings_of_lines, language=tokenizer)), tasks),
        Phase("line-copies", (SentenceFindDedups(
            f"{folder}/lines/signatures", f"{folder}/lines/copies",
            config=settings_of_lines),), 1)]
    filters["lines"] = lambda: _LineFilter(
        f"{folder}/lines/copies", config=settings_of_lines, language=tokenizer)
  return phases, {name: make() for name, make in filters.items()}


def folded(document: Document) -> str:
  """The text that exact copies share: no case, one space for many."""
  return " ".join(document.text.casefold().split())


def meeting_probability(similarity: float, config: DedupConfig) -> float:
  """That two documents of a Jaccard similarity share a band (0 to 1)."""
  return 1 - (1 - similarity**config.hashes) ** config.buckets


def _minhash(config: DedupConfig,
             reading: Callable[..., tuple[PipelineStep, ...]], folder: str,
             tasks: int, words: str, seed: int) -> list[Phase]:
  settings = MinhashConfig(
      n_grams=config.ngrams, num_buckets=config.buckets,
      hashes_per_bucket=config.hashes, seed=seed + 1)
  compared = {"ngrams": config.ngrams, "buckets": config.buckets,
              "hashes": config.hashes, "seed": seed, "words": words}
  for name in ("index", "save_index"):
    _check_index(name, getattr(config, name), compared)
  signatures = f"{folder}/signatures"
  phases = [
      Phase("minhash-signatures", reading(_Signature(
          signatures, config=settings, language=word_tokenizer(words))), tasks),
      # One task for each band.
      Phase("minhash-pairs", (MinhashDedupBuckets(
          signatures, f"{folder}/pairs", config=settings,
          index_folder=config.index or None, only_dedup_in_index=False),),
            config.buckets),
      Phase("minhash-clusters", (MinhashDedupCluster(
          f"{folder}/pairs", f"{folder}/remove", config=settings),), 1)]
  if config.save_index:
    # Named by the run, so that several runs may share a directory.
    name = get_datafolder(folder).path.strip("/").replace("/", "_")
    phases.append(Phase("minhash-index", (_SaveIndex(
        compared, signatures, config.save_index, index_name=name,
        config=settings),), config.buckets))
  return phases


def _check_index(name: str, folder: str, compared: dict[str, Any]) -> None:
  """Signatures of other settings never agree, or cannot even be read."""
  if not folder or not get_datafolder(folder).isfile(_INDEX_SETTINGS):
    return
  with get_datafolder(folder).open(_INDEX_SETTINGS, "rb") as stream:
    theirs = json.load(stream)
  other = [f"{key}={theirs.get(key)} (here {value})"
           for key, value in compared.items() if theirs.get(key) != value]
  if other:
    raise ConfigError(
        f"curate.dedup.{name}={folder} was made with {', '.join(other)}, so "
        "nothing in it can be compared; take its settings, or another index.")


class _Signature(MinhashDedupSignature):
  """Takes the minima of a long document piece by piece: its memory is bounded,
  where datatrove's grows by some kilobytes for each word."""

  def get_signature(self, shingles: np.ndarray) -> list[list[int]]:
    """The signature, band by band."""
    parts = [super(_Signature, self).get_signature(
        shingles[start:start + _SHINGLES_AT_ONCE])
             for start in range(0, len(shingles), _SHINGLES_AT_ONCE)]
    return np.min(np.array(parts, np.uint64), axis=0).tolist()


class _SaveIndex(MinhashBuildIndex):
  """Also writes what the signatures were made with."""

  def __init__(self, compared: dict[str, Any], *arguments: Any,
               **settings: Any):
    super().__init__(*arguments, **settings)
    self._compared = compared

  def run(self, data: None = None, bucket: int = 0,
          world_size: int = 1) -> None:
    """Writes one band's signatures."""
    super().run(data, bucket, world_size)
    if bucket == 0:
      with self.output_folder.open(_INDEX_SETTINGS, "wb") as stream:
        stream.write(json.dumps(self._compared, indent=1).encode())


class _LineSignature(SentenceDedupSignature):
  """Signatures of the lines that have enough words to be told apart."""

  def __init__(self, min_words: int, *arguments: object, **settings: object):
    super().__init__(*arguments, **settings)
    self._min_words = min_words

  def get_hashes(self, doc: Document, doc_idx: int) -> list[tuple]:
    """(hash, document, line) of each line that may be a copy."""
    lines = doc.text.splitlines()
    return [entry for entry in super().get_hashes(doc, doc_idx)
            if entry[2] < _MAX_LINES
            and len(lines[entry[2]].split()) >= self._min_words]


class _LineFilter(SentenceDedupFilter):
  """Tells of documents that go, with their text as it was.

  datatrove's tells its writer of each document that lost a line, too, in a text
  with marks, and of those that go as it tells of the others.
  """

  def run(self, data: Iterator[Document], rank: int = 0,
          world_size: int = 1) -> Iterator[Document]:
    """The documents that have a line left, without the lines that go."""
    writer, self.exclusion_writer = self.exclusion_writer, None
    waiting: list[Document] = []

    def remembered() -> Iterator[Document]:
      for document in data:
        tell()  # the one before did not come out
        waiting.append(document)
        yield document

    def tell() -> None:
      for document in waiting:
        document.metadata["filter_reason"] = "no_line_left"
        if writer is not None:
          writer.write(document, rank)
      waiting.clear()

    for document in super().run(remembered(), rank, world_size):
      waiting.clear()
      yield document
    tell()
