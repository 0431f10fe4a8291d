"""Files and pages that were made to harm whoever reads them."""

import struct
import zlib

from warc_files import html, warc

GIB = 1 << 30


def pages():
  """(name, bytes of a page): each is one that a parser may choke on."""
  yield "tables", html("<table><tr><td>" * 10_000 + "x"
                       + "</td></tr></table>" * 10_000)
  yield "open_tables", html("<table><tr><td>" * 10_000)
  yield "divs", html("<div>" * 100_000 + "x" + "</div>" * 100_000)
  yield "lists", html("<ul><li>" * 20_000)
  yield "entities", ('<!DOCTYPE html [<!ENTITY a "aaaaaaaaaa">' + "".join(
      f'<!ENTITY {chr(98 + i)} "{("&" + chr(97 + i) + ";") * 10}">'
      for i in range(12)) + "]>" + html("&m;"))
  yield "numbers", html("&#x41;" * 1_000_000)
  yield "line", html("word " * 2_000_000)
  yield "attribute", html('<img src="data:' + "A" * 10_000_000 + '">')
  yield "zeros", html("a\0b" * 1000)
  yield "surrogates", html("a b").encode().replace(b"a b", b"a\xed\xa0\x80b")
  yield "comments", html("<!--" * 100_000)
  yield "scripts", html("<script>" * 100_000)
  yield "brackets", html("<" * 1_000_000)
  yield "paragraphs", html("<p>x</p>" * 20_000)
  yield "binary", b"<html><body>" + bytes(range(256)) * 4000


def bomb(head: bytes, size: int) -> bytes:
  """A gzip member: `head`, and so many zeros, without ever having them."""
  deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
  data = deflate.compress(head) + deflate.flush(zlib.Z_FULL_FLUSH)
  deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
  million = (deflate.compress(bytes(1 << 20))
             + deflate.flush(zlib.Z_FULL_FLUSH))
  # A wrong check sum: whoever has come so far has read it all.
  return (b"\x1f\x8b\x08" + bytes(7) + data + million * (size >> 20)
          + b"\x03\x00" + struct.pack("<II", 0, size & 0xffffffff))


def record_head(length: int) -> bytes:
  """The headers of a page that tells so many bytes."""
  http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>"
  return (b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:x:bomb>\r\n"
          b"WARC-Target-URI: http://bomb/\r\n"
          b"Content-Type: application/http; msgtype=response\r\n"
          b"Content-Length: %d\r\n\r\n" % length) + http


def crawl(bomb_bytes: int) -> tuple[bytes, dict[str, int]]:
  """A WARC file of all that, good pages in between, and where each begins."""
  parts, offsets = [], {}

  def add(name, data):
    offsets[name] = sum(map(len, parts))
    parts.append(data)

  def good(name):
    add(f"good-{name}", warc([(f"http://good/{name}",
                               html(f"Behind {name}."))])[0])

  for name, page in pages():
    add(name, warc([(f"http://hostile/{name}", page)])[0])
    good(name)
  add("line_of_50_mb", warc([("http://hostile/long", html(
      "word " * 10_000_000))])[0])
  good("line_of_50_mb")
  add("bomb", bomb(record_head(bomb_bytes), bomb_bytes))
  good("bomb")
  add("bomb_that_lies", bomb(record_head(1000), bomb_bytes))
  good("bomb_that_lies")
  add("bomb_without_header", bomb(b"GET / HTTP/1.1\r\n\r\n", bomb_bytes))
  good("bomb_without_header")
  broken = bytearray(warc([("http://hostile/broken", html("x " * 5000))])[0])
  broken[len(broken) // 2] ^= 0xff
  add("broken", bytes(broken))
  good("broken")
  add("cut", warc([("http://hostile/cut", html("x " * 5000))])[0][:300])
  return b"".join(parts), offsets
