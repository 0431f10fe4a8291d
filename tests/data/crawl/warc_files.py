"""WARC files for tests, written with warcio, which does not read them."""

import io
import uuid

import pytest

pytest.importorskip("warcio", reason="the reference extra writes these files")

from warcio.statusandheaders import StatusAndHeaders  # noqa: E402
from warcio.warcwriter import WARCWriter  # noqa: E402

PARAGRAPH = ("The lighthouse was built of granite in four years, and its "
             "keeper climbed the stairs twice each night to trim the lamp. ")


def html(body: str) -> str:
  """A page that an extractor takes for an article."""
  return (f"<html><head><title>A page</title></head><body><article>"
          f"<p>{PARAGRAPH}</p><p>{body}</p></article></body></html>")


def warc(pages, *, gzip=True, kind="response", status="200 OK", headers=None,
         warc_headers=None):
  """(bytes of a WARC file, where its records begin).

  Args:
    pages: (url, payload) of each record.
    gzip: a member for each record.
    kind: of the records.
    status: of HTTP.
    headers: of HTTP.
    warc_headers: of the records.
  """
  file, offsets = io.BytesIO(), []
  writer = WARCWriter(file, gzip=gzip)
  for url, payload in pages:
    offsets.append(file.tell())
    if isinstance(payload, str):
      payload = payload.encode()
    http = None
    if kind == "response":
      http = StatusAndHeaders(status, headers or [
          ("Content-Type", "text/html; charset=utf-8")], protocol="HTTP/1.1")
    writer.write_record(writer.create_warc_record(
        url, kind, payload=io.BytesIO(payload), http_headers=http,
        # warcio would draw an id, and look at the clock.
        warc_headers_dict={
            "WARC-Record-ID":
                f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, url)}>",
            "WARC-Date": "2024-02-29T12:00:00Z"} | (warc_headers or {}),
        warc_content_type="text/plain" if kind == "conversion" else None))
  return file.getvalue(), offsets


def numbered(count: int, **settings):
  """A WARC file of pages that differ."""
  return warc([(f"http://example.org/{i}", html(
      " ".join(str((i + 7) * k * k % 99991) for k in range(200))))
      for i in range(count)], **settings)
