"""Raw text -> documents, and the side of the split each is on.

A *document* is what a model may attend within: an article, a page, a chapter.
`.jsonl` and `.parquet` hold one per row. A `.txt` file of a directory is one
document. A `.txt` file that is the whole corpus, or that is longer than
`LONG_TEXT` characters, is a collection whose borders nobody marked: it is cut
at the first blank line after `PIECE_MIN` characters (at the latest at
`PIECE_MAX`: at a line end or a space if there is one), so that a part of it
can be held out for validation. The pieces put together are the file.

The split is by content, not by place: a document is held out if the hash of
its text and the seed falls below the fraction. So it keeps its side when files
are renamed, reordered or added to, and a duplicate is never on both sides. Or
the held-out documents are given, in files of their own, and whatever equals
one of them is not trained on.
"""

from __future__ import annotations

import codecs
import collections
import dataclasses
import hashlib
import io
import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

from llm_jax.config import ConfigError, TextConfig, require
from llm_jax.data import files as files_lib
from llm_jax.data import wikipedia
from llm_jax.tokenizer.protocol import without_surrogates

T = TypeVar("T")

PIECE_MIN = 4_096
PIECE_MAX = 16_384
LONG_TEXT = 1 << 20
SUFFIXES = files_lib.TEXT_SUFFIXES + files_lib.RECORD_SUFFIXES
# Items looked at before the first is given out, so that a small corpus holds
# out at least one; at a fraction of 1% a larger one misses with p < 1e-17.
LOOKAHEAD = 4_096


class Document(NamedTuple):  # which is made much quicker than a dataclass
  """A text, where it came from, and the share of the corpus read so far."""
  text: str
  source: str
  corpus_fraction: float = math.nan


def iter_documents(config: TextConfig) -> Iterator[Document]:
  """The documents that `config.path` names, in a fixed order; blank ones are
  left out. Streams: memory does not grow with the corpus.

  Raises:
    ConfigError: a missing file, a suffix that is not known, a missing field, a
      byte that is not UTF-8, or a corpus in which every document is blank.
  """
  if config.path == "wikipedia":
    yield from _wikipedia_documents()
    return
  files = files_lib.find_files(config.path, SUFFIXES)
  total = max(sum(file.num_bytes for file in files), 1)
  before = 0
  empty = True
  for file in files:
    if file.path.endswith(files_lib.TEXT_SUFFIXES):
      texts = _text_documents(file, config.errors, collection=len(files) == 1)
    else:
      texts = _record_documents(file, config)
    for text, source, fraction in texts:
      if text.strip():
        empty = False
        yield Document(text, source,
                       (before + fraction * file.num_bytes) / total)
    before += file.num_bytes
  require(not empty, f"{config.path} has no text: all of its {len(files)} "
          "file(s) are empty or blank.")


def corpus_fingerprint(config: TextConfig) -> str:
  """A digest of what `split_corpus(config)` would read, without reading it:
  file names, sizes and times of change; of 'wikipedia', the version."""
  paths = [path for path in (config.path, config.validation_path) if path]
  fields = (*map(_content_fingerprint, paths), config.text_column,
            config.errors)
  return hashlib.sha256("\0".join(fields).encode()).hexdigest()


def split_corpus(config: TextConfig, seed: int,
                 report: Callable[[str], None] = print
                 ) -> Iterator[tuple[str, Document]]:
  """Every document of a corpus with its side, "train" or "validation".

  With `validation_path` its documents come first and are the validation side;
  those of `path` follow, but for the ones whose text is among them. Without,
  the side is decided by `split_items`.

  Args:
    config: the corpus. Digests of the texts of `validation_path` are kept in
      memory, and nothing else.
    seed: decides who is held out, where that is by fraction.
    report: told how many documents were left out for being held out.

  Raises:
    ConfigError: as `iter_documents`, or one side would be empty by necessity.
  """
  if not config.validation_path:
    yield from split_documents(iter_documents(config), seed,
                               config.validation_fraction)
    return
  held_out = set()
  for document in iter_documents(dataclasses.replace(
      config, path=config.validation_path)):
    held_out.add(_text_digest(document.text))
    # Of what is to be read this is nothing yet.
    yield "validation", document._replace(corpus_fraction=0.0)
  left_out = 0
  for document in iter_documents(config):
    if _text_digest(document.text) in held_out:
      left_out += 1
    else:
      yield "train", document
  if left_out:
    report(f"{left_out:,} documents of {config.path} are in "
           f"{config.validation_path} too: left out of training")


def unit_hash(text: str, seed: int) -> float:
  """A number in [0, 1) that depends on `text` and `seed` alone, uniformly."""
  digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8,
                           salt=(seed % 2**64).to_bytes(8, "little"))
  return int.from_bytes(digest.digest(), "little") / 2.0**64


def split_of(text: str, seed: int, fraction: float) -> str:
  """"validation" for a share `fraction` of all texts, else "train"."""
  return "validation" if unit_hash(text, seed) < fraction else "train"


def split_items(items: Iterable[T], text_of: Callable[[T], str], seed: int,
                fraction: float) -> Iterator[tuple[str, T]]:
  """Pairs each item with its side: `split_of`, but never with an empty side.

  Where a corpus of fewer than `LOOKAHEAD` items leaves a side empty by chance,
  the item with the lowest hash is held out (or the one with the highest
  trained on).

  Raises `ConfigError` if there is one item only and it would have to be both.
  """
  items = iter(items)
  first = collections.deque()
  for item in items:
    first.append(item)
    if len(first) == LOOKAHEAD:
      break
  threshold = fraction
  if 0 < fraction and 0 < len(first) < LOOKAHEAD:
    hashes = sorted({unit_hash(text_of(item), seed) for item in first})
    require(len(hashes) > 1, "the corpus is a single document, so none can be "
            "held out; add documents, or train without validation with "
            "--data.validation_fraction=0.")
    # Between the lowest and the next; or between the last but one and the last.
    threshold = min(max(threshold, hashes[1] if hashes[0] >= fraction else 0.0),
                    hashes[-1])
  while first:
    item = first.popleft()
    yield split_of(text_of(item), seed, threshold), item
  for item in items:
    yield split_of(text_of(item), seed, threshold), item


def split_documents(documents: Iterable[Document], seed: int,
                    fraction: float) -> Iterator[tuple[str, Document]]:
  """`split_items` over the texts of documents."""
  return split_items(documents, lambda document: document.text, seed, fraction)


def cut_text(blocks: Iterable[str]) -> Iterator[str]:
  """Cuts streamed text at blank lines into pieces of `PIECE_MIN` to
  `PIECE_MAX` characters; joined, the pieces are the text."""
  buffer = ""
  for block in blocks:
    buffer += block
    start = 0
    # A piece is cut only when all of its longest extent is known.
    while len(buffer) - start > PIECE_MAX:
      end = _cut_point(buffer, start)
      yield buffer[start:end]
      start = end
    buffer = buffer[start:]
  start = 0
  while len(buffer) - start > PIECE_MIN:
    end = _cut_point(buffer, start)
    yield buffer[start:end]
    start = end
  if start < len(buffer):
    yield buffer[start:]


def _cut_point(text: str, start: int) -> int:
  """Where the piece that begins at `start` ends."""
  low, high = start + PIECE_MIN, min(start + PIECE_MAX, len(text))
  blank = text.find("\n\n", low, high)
  if blank >= 0:
    end = blank + 2
    while end < high and text[end] == "\n":
      end += 1
    return end
  if high == len(text):  # the rest fits in one piece
    return high
  for separator in ("\n", " "):
    found = text.rfind(separator, low, high)
    if found >= 0:
      return found + 1
  return high


def _content_fingerprint(path: str) -> str:
  if path == "wikipedia":
    return wikipedia.version()
  return files_lib.files_fingerprint(files_lib.find_files(path, SUFFIXES))


def _text_digest(text: str) -> bytes:
  """A digest of a text; blank space around it makes no other text of it."""
  return hashlib.blake2b(text.strip().encode("utf-8", "surrogatepass"),
                         digest_size=16).digest()


def _wikipedia_documents() -> Iterator[Document]:
  articles = wikipedia.load_articles()
  for number, article in enumerate(articles, start=1):
    yield Document(article.extract, f"wikipedia:{article.title}",
                   number / len(articles))


def _record_documents(file: files_lib.File, config: TextConfig
                      ) -> Iterator[tuple[str, str, float]]:
  column = config.text_column
  for record in files_lib.read_records(file, (column,), config.errors):
    text = record.fields[column]
    if text is None:
      continue
    if not isinstance(text, str):
      raise ConfigError(f"{record.source}: '{column}' is a "
                        f"{type(text).__name__}, not text; name the column of "
                        "the text with --data.text_column.")
    # JSON can escape half a character (\\ud83d), which no UTF-8 can hold.
    yield (without_surrogates(text), record.source,
           record.file_fraction)


def _text_documents(file: files_lib.File, errors: str, collection: bool
                    ) -> Iterator[tuple[str, str, float]]:
  stream, raw = files_lib.open_bytes(file)
  with raw, stream:
    blocks = _decode_blocks(stream, file.path, errors)
    head: list[str] = []
    length = 0
    while not collection and length <= LONG_TEXT:
      block = next(blocks, None)
      if block is None:
        yield "".join(head), file.path, 1.0
        return
      head.append(block)
      length += len(block)
    for piece in cut_text(block for part in (head, blocks) for block in part):
      yield piece, file.path, raw.tell() / max(file.num_bytes, 1)


def _decode_blocks(stream: io.BufferedIOBase, path: str,
                   errors: str) -> Iterator[str]:
  """Decodes a stream block by block; line ends become "\\n".

  Raises `ConfigError` with the offset of the first byte that is not UTF-8.
  """
  decoder = codecs.getincrementaldecoder("utf-8")(errors)
  newlines = io.IncrementalNewlineDecoder(None, translate=True)
  offset = 0
  while True:
    try:
      block = stream.read(files_lib.READ_BYTES)
    except files_lib.GZIP_ERRORS as error:
      raise files_lib.broken_gzip(path, error) from error
    pending = len(decoder.getstate()[0])
    try:
      text = decoder.decode(block, final=not block)
    except UnicodeDecodeError as error:
      raise files_lib.not_utf8(path, offset - pending + error.start) from error
    if offset == 0:
      text = text.removeprefix("\ufeff")  # Windows writes a byte order mark
    offset += len(block)
    text = newlines.decode(text, final=not block)
    if text:
      yield text
    if not block:
      return
