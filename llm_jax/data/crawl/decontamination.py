"""Documents that hold a piece of an evaluation set are left out.

A model that has read the questions is not measured by them. A piece is `ngrams`
words in a row, 13 as in GPT-3's analysis (Brown et al. 2020, arXiv:2005.14165,
appendix C), compared without case, punctuation and accents, and with all
numbers alike. Texts that are shorter are looked for as a whole, if they have at
least `_SHORTEST` words: fewer stand everywhere.

The index is built once, of the files that the user names; the filter is
datatrove's, which finds the pieces of one length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from datatrove.data import Document
from datatrove.io import get_datafolder
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.decont.n_grams import (
    NGramsDecontConfig, NGramsDecontFilter)
from datatrove.utils.hashing import create_hash_func
from datatrove.utils.text import ngrams, simplify_text
from datatrove.utils.word_tokenizers import WordTokenizer

from llm_jax.config import ConfigError, TextConfig
from llm_jax.config_crawl import DecontaminateConfig
from llm_jax.data import files as files_lib
from llm_jax.data.crawl.phases import Phase
from llm_jax.data.documents import iter_documents

_SHORTEST = 8
_SUFFIX = ".index.hashes"


def plan(config: DecontaminateConfig, folder: str, words: WordTokenizer
         ) -> tuple[list[Phase], PipelineStep | None]:
  """What builds the index, and the filter; ([], None) where it is not wanted.

  Args:
    config: the sets, and how long a piece is.
    folder: where the index goes.
    words: how text is cut into words.

  Raises:
    ConfigError: a set that does not exist.
  """
  if not config.enabled or not config.against:
    return [], None
  for path in config.against:
    files_lib.find_files(
        path, files_lib.TEXT_SUFFIXES + files_lib.RECORD_SUFFIXES)
  index = _Index(config, folder, words)
  return ([Phase("decontamination-index", (index,), 1)],
          _Filter(folder, config=_settings(config.ngrams), language=words))


def evaluation_texts(config: DecontaminateConfig) -> Iterator[str]:
  """The texts of all sets: each of the columns that a record has.

  Raises:
    ConfigError: a file that cannot be read, or whose records have none of the
      columns.
  """
  for path in config.against:
    for file in files_lib.find_files(
        path, files_lib.TEXT_SUFFIXES + files_lib.RECORD_SUFFIXES):
      if file.path.endswith(files_lib.TEXT_SUFFIXES):
        for document in iter_documents(TextConfig(path=file.path)):
          yield document.text
        continue
      for record in files_lib.read_records(file, _present(file,
                                                          config.columns)):
        yield from (value for name, value in record.fields.items()
                    if name in config.columns and isinstance(value, str))


def _present(file: files_lib.File, columns: Sequence[str]) -> Sequence[str]:
  """Of a parquet file all of the columns that it has, as one group: of several
  groups only the first would be read."""
  if not file.path.endswith(".parquet"):
    return columns
  import pyarrow as pa  # takes a fifth of a second to import
  import pyarrow.parquet as pq
  fs, inner = files_lib.file_system(file.path)
  try:
    with fs.open(inner, "rb") as stream:
      names = pq.read_schema(stream).names
  except (pa.ArrowInvalid, OSError):  # told by whoever reads it
    return columns
  present = [name for name in columns if name in names]
  return ["+".join(present)] if present else columns


def pieces(text: str, length: int, words: WordTokenizer) -> list[str]:
  """Runs of `length` words of a normalised text; the whole of a shorter one,
  if it is long enough to mean something."""
  tokens = words.word_tokenize(
      simplify_text(text, _settings(length).norm_config))
  if _SHORTEST <= len(tokens) < length:
    return [" ".join(tokens)]
  return [" ".join(piece) for piece in ngrams(tokens, length)]


def _settings(length: int) -> NGramsDecontConfig:
  return NGramsDecontConfig(n_grams=length)


class _Index(PipelineStep):
  """Writes the hashes of all pieces, those of each length in a file."""

  type, name = "llm_jax", "decontamination index"

  def __init__(self, config: DecontaminateConfig, folder: str,
               words: WordTokenizer):
    super().__init__()
    self._config, self._folder, self._words = config, folder, words

  def run(self, data: None = None, rank: int = 0,
          world_size: int = 1) -> Iterator[Document]:
    """Reads the evaluation sets; hands no documents on."""
    del data, rank, world_size
    hash_of = create_hash_func(_settings(1).hash_config)
    found: dict[int, set[int]] = {}
    for text in evaluation_texts(self._config):
      for piece in pieces(text, self._config.ngrams, self._words):
        found.setdefault(piece.count(" ") + 1, set()).add(hash_of(piece))
    if not found:
      raise ConfigError(
          f"curate.decontaminate.against={','.join(self._config.against)} has "
          f"no text of {_SHORTEST} words or more in the columns "
          f"{', '.join(self._config.columns)}.")
    folder = get_datafolder(self._folder)
    for length, hashes in sorted(found.items()):
      with folder.open(f"{length}{_SUFFIX}", "wb") as stream:
        stream.write(np.sort(np.fromiter(hashes, np.uint64)).tobytes())
    yield from ()


class _Filter(NGramsDecontFilter):
  """datatrove's filter, which knows pieces of one length, for several.

  Removes with the reason `contaminated`.
  """

  def filter(self, document: Document) -> bool | tuple[bool, str]:
    """Whether no piece of an evaluation set is in the document."""
    if self._index_hashes is None:
      self.load_index_hashes()
      self._lengths = sorted({int(name) for name in
                              set(self._index_hashes.values())})
    tokens = self.tokenizer.word_tokenize(
        simplify_text(document.text, self.config.norm_config))
    return not self._has_piece(tokens) or (False, "contaminated")

  def _has_piece(self, tokens: Sequence[str]) -> bool:
    return any(self.hash_func(" ".join(piece)) in self._index_hashes
               for length in self._lengths
               for piece in ngrams(tokens, length))
