"""WARC files -> pages, whatever the files have been through.

`read_records` frames records itself, where damage, lies about lengths and bombs
have to be noticed and got over; what is inside a whole record is read with
FastWARC. Formats: WARC 1.1 (ISO 28500:2017), and Common Crawl's use of it; a
WET file is a WARC file of `conversion` records.
"""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Callable, Iterator

from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType
from resiliparse.parse.encoding import detect_mime

from llm_jax.data.crawl.charsets import decode
from llm_jax.data.crawl.streams import Damaged, Window

# What is to be counted: (reason, place in the file, detail).
Report = Callable[[str, int, str], None]

HTML, PLAIN = "text/html", "text/plain"
_TYPES = {"text/html": HTML, "application/xhtml+xml": HTML, "text/plain": PLAIN}
_WANTED = (b"response", b"conversion")
_MAX_HEADER = 1 << 16
_BLANK = b"\r\n\r\n"
_NEXT = _BLANK + b"WARC/"
_LENGTH = re.compile(rb"^content-length:[ \t]*(\d{1,18})\s*$",
                     re.IGNORECASE | re.MULTILINE)
_TYPE = re.compile(rb"^warc-type:[ \t]*(\w+)\s*$", re.IGNORECASE | re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class RawRecord:
  """A record of a page, whole: its bytes, and where it is in the file."""
  offset: int
  position: int  # in the decompressed gzip member, if that has several
  data: bytes


@dataclasses.dataclass(frozen=True)
class Page:
  """What a record says and holds."""
  id: str
  url: str
  date: str
  text: str
  content_type: str
  cut: bool  # by the crawler, which says so: it was longer than it wanted


def read_records(window: Window, limit: int,
                 report: Report) -> Iterator[RawRecord]:
  """The records of a file that may be pages: `response` and `conversion`.

  Args:
    window: the file.
    limit: bytes; a larger record is passed over.
    report: called for whatever is passed over because of a fault:
      corrupt_gzip, truncated, bad_header, bad_length, too_large.
  """
  more = window.next_member()
  while more:
    try:
      yield from _in_member(window, limit, report)
      if not window.cut:
        more = window.next_member()
        continue
      if not window.position and not window.buffer:
        report("truncated", window.member, "the file ends in a gzip header")
      # The file ended; or damage hid the member's end, and those behind it
      # were taken for a part of it.
      more = window.find_member(b"WARC/")
    except Damaged as error:
      report("corrupt_gzip", window.member, str(error))
      more = window.find_member(b"WARC/")


def _in_member(window: Window, limit: int,
               report: Report) -> Iterator[RawRecord]:
  while _skip_blank(window):
    offset, position = window.member, window.position
    if not window.compressed:
      offset, position = position, 0
    head = window.find(_BLANK, within=_MAX_HEADER)
    header = bytes(window.buffer[:max(head, 0)])
    length, kind = _LENGTH.search(header), _TYPE.search(header)
    if head < 0 and len(window.buffer) <= _MAX_HEADER and (
        window.cut or not window.compressed):
      report("truncated", offset, "the file ends in a record's header")
      return
    if not (header.startswith(b"WARC/") and length and kind):
      report("bad_header", offset, "no WARC header with type and length")
      window.skip_to(_NEXT, 1)
      continue
    size = head + len(_BLANK) + int(length.group(1))
    if kind.group(1).lower() not in _WANTED or size > limit:
      if kind.group(1).lower() in _WANTED:
        report("too_large", offset, f"{size} bytes")
      if not window.skip(size):
        report("truncated", offset, f"shorter than the {size} bytes it tells")
        if window.compressed:
          return
        window.rewind(offset + head)
        window.skip_to(_NEXT)
      continue
    if not window.need(size):
      report("truncated", offset, f"{len(window.buffer)} of {size} bytes")
      # What was taken for its end may be another record.
      window.skip_to(_NEXT, head)
      continue
    if not _ends_well(window, size):
      if window.cut:
        report("truncated", offset, "the file ends behind it")
      else:
        report("bad_length", offset, "it does not end where it tells")
      window.skip_to(_NEXT, head)
      continue
    data = bytes(window.buffer[:size])
    window.drop(size)
    yield RawRecord(offset, position, data)


def _skip_blank(window: Window) -> bool:
  """Passes over line ends; False at the member's end."""
  while window.need(1):
    front = window.buffer[:len(_BLANK)]
    text = front.lstrip(b"\r\n")
    window.drop(len(front) - len(text))
    if text:
      return True
  return False


def _ends_well(window: Window, size: int) -> bool:
  """Whether a record of `size` bytes is followed by what ends one."""
  if not window.need(size + len(_NEXT)) and window.cut:
    return False
  after = window.buffer[size:size + len(_NEXT)]
  rest = after.lstrip(b"\r\n")
  return after.startswith(_BLANK) or not rest or rest.startswith(b"WARC/")


def page(record: RawRecord, limit: int, report: Report) -> Page | None:
  """The page in a record; None if it is none (an image, a redirect, ...).

  Args:
    record: as `read_records` yields it.
    limit: bytes; a page that is larger when decoded (`Content-Encoding: gzip`
      can hold a bomb) is passed over.
    report: called for too_large and bad_http.
  """
  try:
    warc, data = _content(record.data, limit)
  except (OSError, ValueError, StopIteration) as error:
    report("bad_http", record.offset, str(error))
    return None
  if len(data) > limit:
    report("too_large", record.offset, f"decodes to over {limit} bytes")
    return None
  charset = None
  kind = warc.headers.get("WARC-Identified-Payload-Type")
  if warc.record_type != WarcRecordType.conversion and warc.is_http:
    if warc.http_headers.status_code is None:
      report("bad_http", record.offset, "no status line")
      return None
    if warc.http_headers.status_code != 200:
      return None
    charset = warc.http_charset
    kind = kind or warc.http_content_type
  else:
    kind = kind or warc.headers.get("Content-Type")
  kind = _TYPES.get(_bare(kind) if kind else detect_mime(data))
  if kind is None or not data.strip():
    return None
  return Page(id=warc.record_id or "",
              url=(warc.headers.get("WARC-Target-URI") or "").strip("<> "),
              date=warc.headers.get("WARC-Date") or "",
              text=decode(data, charset), content_type=kind,
              cut=bool(warc.headers.get("WARC-Truncated")))


def _content(data: bytes, limit: int) -> tuple[WarcRecord, bytes]:
  """The parsed record and its payload, at most one byte more than `limit`."""
  try:
    record = next(iter(ArchiveIterator(io.BytesIO(data), auto_decode="all")))
    return record, record.reader.read(limit + 1)
  except OSError:
    # Crawlers that store what they decoded leave the headers as they were.
    record = next(iter(ArchiveIterator(io.BytesIO(data), auto_decode="none")))
    payload = record.reader.read(limit + 1)
    if payload.startswith(b"\x1f\x8b"):
      raise
    return record, payload


def _bare(content_type: str) -> str:
  """"text/html" of "Text/HTML; charset=utf-8"."""
  return content_type.partition(";")[0].strip().lower()
