"""A file's bytes from its front, decompressed, with damage told and got over.

A crawl's file is many gzip members behind each other, as a rule one for each
record. `Window` goes through them one by one and never holds more than was
asked for, however much a member expands to. A member that does not decompress
ends in `Damaged`; the next one is found by searching the file for a member that
begins as expected, so that what comes behind the damage is not lost.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import BinaryIO

_GZIP_MAGIC = b"\x1f\x8b\x08"
_RAW_BYTES = 1 << 16
_FILL_BYTES = 1 << 20
_SCAN_BYTES = 1 << 20
_PROBE_BYTES = 1 << 12


class Damaged(Exception):
  """The rest of a member cannot be read."""


class Window:
  """The bytes of a file's current member that were not yet passed.

  Attributes:
    buffer: those that are in memory. Whoever takes some calls `drop`.
    member: where in the file the member begins.
    position: where in the (decompressed) member the buffer begins.
    cut: the file ended before the member did.
  """

  def __init__(self, raw: BinaryIO, compression: str = ""):
    """Takes a binary stream that can seek, and "gzip", "zstd" or ""."""
    self.buffer = bytearray()
    self.member, self.position, self.cut = 0, 0, False
    self._raw = raw
    self._source: _Gzip | _Stream | None = None
    self._compression = compression

  @property
  def compressed(self) -> bool:
    """Whether places in the file and in its text are different things."""
    return bool(self._compression)

  def next_member(self) -> bool:
    """Goes to the next member, and says whether there is one."""
    place, left = 0, b""
    if self._source is not None:
      while self.fill():  # what is left of this one
        self.drop(len(self.buffer))
      place, left = self._source.end, self._source.left
    left = left or self._raw.read(_RAW_BYTES)
    if not left:
      return False
    self._open(place, left)
    return True

  def find_member(self, prefix: bytes) -> bool:
    """After damage: goes to the next gzip member whose text has this beginning.

    Only for gzip; other files are one member, and the rest of it is lost.
    """
    if self._compression != "gzip":
      return False
    place = _find_gzip(self._raw, self.member + 1, prefix)
    if place < 0:
      return False
    self._raw.seek(place)
    self._open(place, b"")
    return True

  def rewind(self, place: int) -> None:
    """Goes back, or on, to a place in a file that is not compressed."""
    self._raw.seek(place)
    self.buffer.clear()
    self.position = place

  def _open(self, place: int, left: bytes) -> None:
    """Begins a member, of which `left` was already read."""
    self.buffer.clear()
    self.member, self.position, self.cut = place, 0, False
    if self._compression == "gzip":
      self._source = _Gzip(self._raw, place, left)
    else:
      self._raw.seek(place)
      self._source = _Stream(self._raw, self._compression)

  def fill(self) -> bool:
    """Decompresses a block more; False at the member's end.

    Raises:
      Damaged: it does not decompress.
    """
    block = self._source.read(_FILL_BYTES)
    self.buffer += block
    self.cut = self._source.cut
    return bool(block)

  def need(self, size: int) -> bool:
    """Fills until the buffer has `size` bytes, and says whether it has."""
    while len(self.buffer) < size:
      if not self.fill():
        return False
    return True

  def drop(self, size: int) -> None:
    """Passes over bytes of the buffer."""
    del self.buffer[:size]
    self.position += size

  def skip(self, size: int) -> bool:
    """Passes over bytes that need not be in memory at once."""
    while size > len(self.buffer):
      size -= len(self.buffer)
      self.drop(len(self.buffer))
      if not self.fill():
        return False
    self.drop(size)
    return True

  def find(self, text: bytes, start: int = 0, within: int = 0) -> int:
    """Where `text` is in the buffer, filled as far as need be.

    Args:
      text: what to look for.
      start: place in the buffer to begin at.
      within: give up behind so many bytes.

    Returns:
      The place in the buffer, or -1: not within so many, or the member ended.
    """
    while True:
      place = self.buffer.find(text, start)
      if place >= 0 or len(self.buffer) > within:
        return place
      start = max(len(self.buffer) - len(text) + 1, start)
      if not self.fill():
        return -1

  def skip_to(self, text: bytes, start: int = 0) -> bool:
    """Passes over all that stands before `text`, if there is any behind
    `start`; else over everything."""
    place = self.buffer.find(text, start)
    while place < 0:
      self.drop(max(len(self.buffer) - len(text) + 1, 0))
      if not self.fill():
        self.drop(len(self.buffer))
        return False
      place = self.buffer.find(text)
    self.drop(place)
    return True


class _Gzip:
  """One gzip member, in blocks of bounded size.

  Attributes:
    end: where it ends, as far as it was read.
    left: bytes that were read and not used; at its end, what is behind it.
    cut: the file ended before it did.
  """

  def __init__(self, raw: BinaryIO, place: int, left: bytes):
    self._raw, self._zlib = raw, zlib.decompressobj(31)
    self.end, self.left, self.cut = place, left, False

  def read(self, size: int) -> bytes:
    """At most `size` bytes more; none at the end."""
    while not self._zlib.eof:
      given = self.left or self._raw.read(_RAW_BYTES)
      if not given:
        self.cut = True
        return b""
      try:
        block = self._zlib.decompress(given, size)
      except zlib.error as error:
        raise Damaged(str(error)) from error
      self.left = (self._zlib.unused_data if self._zlib.eof
                   else self._zlib.unconsumed_tail)
      self.end += len(given) - len(self.left)
      if block:
        return block
    return b""


class _Stream:
  """A file that is not gzip: all of it is one member."""

  left, cut = b"", False

  def __init__(self, raw: BinaryIO, compression: str):
    self._read: Callable[[int], bytes] = raw.read
    if compression:
      import pyarrow as pa  # takes a fifth of a second to import
      self._read = pa.CompressedInputStream(
          pa.PythonFile(raw, mode="r"), compression).read
    self._raw = raw

  @property
  def end(self) -> int:
    """Where the member ends: with the file."""
    self._raw.seek(0, 2)
    return self._raw.tell()

  def read(self, size: int) -> bytes:
    """At most `size` bytes more; none at the end."""
    try:
      return self._read(size)
    except (OSError, ValueError) as error:
      raise Damaged(str(error)) from error


def _find_gzip(raw: BinaryIO, start: int, prefix: bytes) -> int:
  """Where the next gzip member begins whose text begins with `prefix`; -1 for
  nowhere."""
  raw.seek(start)
  held = b""
  while True:
    block = raw.read(_SCAN_BYTES)
    if not block:
      return -1
    held += block
    place = held.find(_GZIP_MAGIC)
    while place >= 0:
      after = start + len(held)
      if _begins_with(raw, start + place, prefix):
        return start + place
      raw.seek(after)
      place = held.find(_GZIP_MAGIC, place + 1)
    kept = min(len(held), len(_GZIP_MAGIC) - 1)
    start += len(held) - kept
    held = held[len(held) - kept:]


def _begins_with(raw: BinaryIO, place: int, prefix: bytes) -> bool:
  raw.seek(place)
  try:
    text = zlib.decompressobj(31).decompress(raw.read(_PROBE_BYTES),
                                             len(prefix))
  except zlib.error:
    return False
  return text == prefix
