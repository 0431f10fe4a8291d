"""Bytes of a page -> its text, whatever its header says.

What a server or a page declares is wrong often enough to matter: UTF-8 pages
that are declared Latin-1, and the reverse. Text that is valid UTF-8 with
characters of several bytes is UTF-8 (other charsets form such sequences about
never); a declared charset is believed only if every byte is valid in it; else
the bytes themselves are asked (resiliparse's detector). No page is given up.
"""

from __future__ import annotations

import codecs
import re

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

_META_BYTES = 4096
_META = re.compile(rb"<meta[^>]{0,400}?charset\s*=\s*[\"']?\s*([\w.:-]{2,40})",
                   re.IGNORECASE)
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"),
         (codecs.BOM_UTF16_BE, "utf-16-be"))
# Charsets whose text is also valid ASCII, by escapes or by zero bytes.
_LOOKS_LIKE_ASCII = ("iso-2022", "iso2022", "utf-16", "utf_16")
# UTF-8 with a few broken places is still UTF-8: so many good characters of
# several bytes for each broken one.
_GOOD_PER_BROKEN = 10


def decode(data: bytes, declared: str | None = None) -> str:
  """The text of a page.

  Args:
    data: its bytes.
    declared: the charset of the HTTP header, if there is one. That of a <meta>
      tag is looked up here.
  """
  for mark, charset in _BOMS:
    if data.startswith(mark):
      return data[len(mark):].decode(charset, "replace")
  candidates = [name for name in map(_known, (declared, _in_meta(data)))
                if name]
  for charset in candidates:
    if charset.startswith(_LOOKS_LIKE_ASCII) and (
        b"\0" in data or b"\x1b" in data):
      text = _strictly(data, charset)
      if text is not None:
        return text
  text = _strictly(data, "utf-8")
  if text is not None:
    return text
  if "utf-8" in candidates or not candidates:
    text = data.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    characters = len(text) - len(text.encode("ascii", "ignore")) - broken
    if characters >= _GOOD_PER_BROKEN * broken:
      return text
  for charset in (*candidates, _known(detect_encoding(data))):
    text = _strictly(data, charset)
    if text is not None:
      return text
  return data.decode("cp1252", "replace")


def _in_meta(data: bytes) -> str:
  match = _META.search(data, 0, _META_BYTES)
  return match.group(1).decode("ascii", "replace") if match else ""


def _known(name: str | None) -> str:
  """The charset as browsers read its name (Latin-1 is windows-1252), or ""
  for one that they do not know."""
  if not name:
    return ""
  return map_encoding_to_html5(name.strip().lower(), False) or ""


def _strictly(data: bytes, charset: str) -> str | None:
  """The text, or None if a byte has no meaning in the charset."""
  try:
    return data.decode(charset) if charset else None
  except (UnicodeError, LookupError):
    return None
