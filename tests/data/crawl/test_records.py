"""Records of WARC files: as warcio reads them, and what damage costs."""

import gzip
import io
import random
import zlib

import pytest
from warc_files import html, numbered, warc
from warcio.archiveiterator import ArchiveIterator

from llm_jax.data.crawl import records
from llm_jax.data.crawl.streams import Window

LIMIT = 1 << 20


class Reports(list):
  """What was reported."""

  def __call__(self, reason, offset, detail):
    self.append((reason, offset))


def read(data, limit=LIMIT):
  """(the records, what was reported)."""
  reports = Reports()
  window = Window(io.BytesIO(data), "" if data[:5] == b"WARC/" else "gzip")
  return list(records.read_records(window, limit, reports)), reports


def pages(data, limit=LIMIT):
  """(page, offset) of each, and what was reported."""
  found, reports = read(data, limit)
  parsed = [(records.page(record, limit, reports), record.offset)
            for record in found]
  return [(page, at) for page, at in parsed if page], reports


def by_warcio(data):
  """(url, id, date, offset, payload) as warcio has them."""
  iterator = ArchiveIterator(io.BytesIO(data))
  found = []
  for record in iterator:
    if record.rec_type not in ("response", "conversion"):
      continue
    head = record.rec_headers
    payload = record.content_stream().read().decode()
    found.append((head["WARC-Target-URI"], head["WARC-Record-ID"],
                  head["WARC-Date"], iterator.get_record_offset(), payload))
  return found


def ours(data):
  found, reports = pages(data)
  assert not reports
  return [(page.url, page.id, page.date, offset, page.text)
          for page, offset in found]


@pytest.mark.parametrize("compressed", [True, False])
def test_equals_warcio(compressed):
  data = b"".join([
      warc([("http://example.org/robots", "x" * 500)], gzip=compressed,
           kind="metadata")[0],
      numbered(20, gzip=compressed)[0],
      warc([("http://example.org/request", "")], gzip=compressed,
           kind="resource")[0],
      numbered(3, gzip=compressed)[0],
      warc([(f"http://example.org/text{i}", f"Ünïcode {i}\r\n\r\nWARC/1.0 is "
             "a format.\r\n") for i in range(5)], gzip=compressed,
           kind="conversion")[0]])
  assert len(ours(data)) == 28
  assert ours(data) == by_warcio(data)


def chunked(data):
  pieces = [data[i:i + 100] for i in range(0, len(data), 100)] + [b""]
  return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


@pytest.mark.parametrize("name, value, encode", [
    ("Transfer-Encoding", "chunked", chunked),
    ("Content-Encoding", "gzip", gzip.compress),
    ("Content-Encoding", "deflate", zlib.compress)])
def test_encodings_of_http_equal_warcio(name, value, encode):
  text = html("Ünïcode " * 100)
  data, _ = warc([("http://example.org/", encode(text.encode()))],
                 headers=[("Content-Type", "text/html"), (name, value)])
  assert ours(data) == by_warcio(data)
  assert ours(data)[0][-1] == text
  # Crawlers that decode, but store the header as it was.
  data, _ = warc([("http://example.org/", text)],
                 headers=[("Content-Type", "text/html"), (name, value)])
  assert ours(data)[0][-1] == text


@pytest.mark.parametrize("settings, kept", [
    ({}, True),
    ({"status": "404 Not Found"}, False),
    ({"status": "301 Moved"}, False),
    ({"kind": "resource"}, False),
    ({"headers": [("Content-Type", "Text/HTML;charset=latin1")]}, True),
    ({"headers": [("content-type", "application/xhtml+xml")]}, True),
    ({"headers": [("Content-Type", "image/png")]}, False),
    ({"headers": [("Content-Type", "application/pdf")]}, False),
    ({"headers": [("X-Powered-By", "hope")]}, True),  # looks like HTML
    # What the crawler has found counts more than what the server says.
    ({"headers": [("Content-Type", "text/html")], "warc_headers": {
        "WARC-Identified-Payload-Type": "application/pdf"}}, False),
    ({"headers": [("Content-Type", "application/octet-stream")],
      "warc_headers": {"WARC-Identified-Payload-Type": "text/html"}}, True)])
def test_which_records_are_pages(settings, kept):
  found, reports = pages(warc([("http://a/", html("x"))], **settings)[0])
  assert bool(found) == kept and not reports


def test_kinds_of_text():
  found, _ = pages(warc([("http://a/", "Just words.")],
                        headers=[("Content-Type", "text/plain")])[0])
  assert found[0][0].content_type == "text/plain"
  assert pages(warc([("http://a/", b"\x89PNG\r\n\x1a\n\0\0\0")],
                    headers=[("Server", "x")])[0])[0] == []


def test_records_in_one_gzip_member():
  data, _ = numbered(50, gzip=False)
  found, reports = pages(gzip.compress(data))
  assert len(found) == 50 and not reports
  assert {offset for _, offset in found} == {0}
  assert len({record.position for record in read(gzip.compress(data))[0]}) == 50


@pytest.mark.parametrize("seed", [*range(40), 421, 731, 1252, 1675, 2732])
def test_a_damaged_member_costs_no_other(seed):
  rng = random.Random(seed)
  data, offsets = numbered(12)
  place = rng.randrange(len(data))
  damaged = bytearray(data)
  for i in range(place, min(place + rng.choice([1, 2, 40]), len(data))):
    damaged[i] ^= rng.randrange(1, 256)
  last = min(i, len(data) - 1)
  bounds = list(zip(offsets, offsets[1:] + [len(data)]))
  hit = {start for start, end in bounds if start <= last and place < end}
  found, reports = pages(bytes(damaged))
  kept = [offset for _, offset in found]
  assert set(offsets) - hit <= set(kept) <= set(offsets)
  assert kept == sorted(kept)
  # What is missing was reported with its offset, once for a stretch of damage.
  # (A gzip header has bytes in which damage is none: its time, its system.)
  places = {offset for _, offset in reports}
  assert places <= hit and (places or kept == offsets)
  assert {reason for reason, _ in reports} <= {
      "corrupt_gzip", "bad_length", "truncated"}


def test_damage_and_health_in_turn():
  data, offsets = numbered(30)
  damaged = bytearray(data)
  for offset in offsets[::3]:
    damaged[offset + 200] ^= 0xff
  found, reports = pages(bytes(damaged))
  assert [offset for _, offset in found] == [
      offset for i, offset in enumerate(offsets) if i % 3]
  assert reports == [("corrupt_gzip", offset) for offset in offsets[::3]]


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("share", [0.001, 0.02, 0.1, 0.5, 0.9, 0.99, 1.0])
def test_a_file_that_ends_early(compressed, share):
  data, offsets = numbered(6, gzip=compressed)
  end = offsets[-1] + max(int((len(data) - offsets[-1]) * share), 1)
  found, reports = pages(data[:end])
  whole = share == 1.0 or (not compressed and share == 0.99)
  if whole and not reports:
    assert len(found) == 6
  else:
    assert [offset for _, offset in found] == offsets[:-1]
    assert reports == [("truncated", offsets[-1])]


def test_every_cut_of_a_record_is_noticed():
  data, offsets = numbered(2)
  for end in range(offsets[1] + 1, len(data), 7):
    found, reports = pages(data[:end])
    assert len(found) == 1 and reports == [("truncated", offsets[1])], end


@pytest.mark.parametrize("compressed", [True, False])
def test_a_record_that_is_too_large(compressed):
  data, offsets = warc([("http://a/", html("a")),
                        ("http://b/", html("b" * 3_000_000)),
                        ("http://c/", html("c"))], gzip=compressed)
  found, reports = pages(data)
  assert [page.url for page, _ in found] == ["http://a/", "http://c/"]
  assert reports == [("too_large", offsets[1])]
  assert len(pages(data, limit=4_000_000)[0]) == 3


def test_a_bomb_in_http():
  data, offsets = warc([("http://a/", gzip.compress(b"a" * 50_000_000)),
                        ("http://b/", gzip.compress(html("b").encode()))],
                       headers=[("Content-Type", "text/html"),
                                ("Content-Encoding", "gzip")])
  found, reports = pages(data)
  assert [page.url for page, _ in found] == ["http://b/"]
  assert reports == [("too_large", offsets[0])]


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("lie", [10, 100_000, 10**15])
def test_a_length_that_lies(compressed, lie):
  pieces, offsets = [], []
  for i in range(5):
    record = numbered(1, gzip=False)[0]
    if i == 2:
      head, _, body = record.partition(b"\r\n\r\n")
      lines = [b"Content-Length: %d" % lie if line.startswith(
          b"Content-Length") else line for line in head.split(b"\r\n")]
      record = b"\r\n".join(lines) + b"\r\n\r\n" + body
    offsets.append(sum(map(len, pieces)))
    pieces.append(gzip.compress(record) if compressed else record)
  found, reports = pages(b"".join(pieces))
  assert [offset for _, offset in found] == offsets[:2] + offsets[3:]
  assert {offset for _, offset in reports} == {offsets[2]}
  assert {reason for reason, _ in reports} <= {"bad_length", "truncated",
                                               "too_large"}


@pytest.mark.parametrize("compressed", [True, False])
def test_noise_between_records(compressed):
  first, second = numbered(2, gzip=compressed)[0], numbered(
      3, gzip=compressed)[0]
  noise = random.Random(0).randbytes(5000)
  if not compressed:
    noise += b"\r\n\r\n"
  found, reports = pages(first + noise + second)
  assert len(found) == 5
  assert [reason for reason, _ in reports] == [
      "corrupt_gzip" if compressed else "bad_header"]
  assert reports[0][1] == len(first)


@pytest.mark.parametrize("data", [
    b"", b"\r\n\r\n", b"\x1f\x8b", b"\x1f\x8b\x08" * 1000, b"WARC/1.0\r\n",
    b"WARC/1.0\r\n\r\n" * 100, b"<html>" * 1000, bytes(100_000),
    gzip.compress(b"WARC/1.0\r\n" + b"a: b\r\n" * 100_000),
    gzip.compress(b"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: -5\r\n"
                  b"\r\n\r\n\r\n")], ids=lambda data: f"{len(data)}_bytes")
def test_what_is_no_crawl_gives_no_page(data):
  assert pages(data)[0] == []


@pytest.mark.parametrize("block", [
    b"", b"\r\n\r\n", b"HTTP/1.1\r\n\r\nx", b"<html>no HTTP</html>",
    b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\nx"])
def test_a_response_that_is_no_http(block):
  record = (b"WARC/1.0\r\nWARC-Type: response\r\n"
            b"Content-Type: application/http; msgtype=response\r\n"
            b"Content-Length: %d\r\n\r\n%s\r\n\r\n" % (len(block), block))
  found, reports = pages(record + numbered(1, gzip=False)[0])
  assert len(found) == 1
  assert reports == [("bad_http", 0)]


def test_a_page_that_the_crawler_cut_is_kept():
  data, _ = warc([("http://a/", html("a"))],
                 warc_headers={"WARC-Truncated": "length"})
  found, reports = pages(data)
  assert found[0][0].cut and not reports
  assert not pages(numbered(1)[0])[0][0][0].cut
