"""Records of WARC files: one gzip member each, as Common Crawl has them."""

from __future__ import annotations

import gzip
import hashlib
import io

from fastwarc.warc import WarcRecord, WarcRecordType

SOFTWARE = "llm_jax"


def info_record(record_id: str, date: str, **fields: str) -> bytes:
  """What a file begins with: who wrote it, and what for.

  Args:
    record_id: urn, such as "urn:uuid:...".
    date: when, as 2026-01-31T00:00:00Z.
    **fields: further lines.

  Returns:
    The record, not compressed.
  """
  lines = {"software": SOFTWARE, "format": "WARC File Format 1.1", **fields}
  content = "".join(f"{name}: {text}\r\n" for name, text in lines.items())
  return _record(WarcRecordType.warcinfo, record_id, date,
                 {"Content-Type": "application/warc-fields"}, content.encode())


def http_record(record_id: str, date: str, url: str, head: str, payload: bytes,
                *, request: bool = False, more: dict[str, str] | None = None,
                ) -> bytes:
  """A response, or the request that it answers, as a WARC record.

  Args:
    record_id: urn, such as "urn:uuid:...".
    date: when, as 2026-01-31T00:00:00Z.
    url: the address asked for.
    head: status or request line and headers, as they were sent, without the
      empty line after them.
    payload: the body.
    request: it is the request.
    more: WARC headers besides the usual ones.

  Returns:
    The record, not compressed; `compressed` makes a member of it.
  """
  kind = WarcRecordType.request if request else WarcRecordType.response
  content_type = "request" if request else "response"
  headers = {"WARC-Target-URI": url, **(more or {}), "Content-Type":
             f"application/http; msgtype={content_type}"}
  return _record(kind, record_id, date, headers,
                 head.encode("utf-8") + b"\r\n\r\n" + payload,
                 hashlib.sha1(payload).digest())


def compressed(record: bytes) -> bytes:
  """A gzip member; equal records give equal bytes."""
  return gzip.compress(record, compresslevel=6, mtime=0)


def _record(kind: WarcRecordType, record_id: str, date: str,
            headers: dict[str, str], content: bytes,
            payload_digest: bytes | None = None) -> bytes:
  record = WarcRecord()
  record.init_headers(kind, record_urn=record_id.removeprefix("urn:").encode())
  record.headers["WARC-Date"] = date
  for name, value in headers.items():
    record.headers[name] = value
  record.set_bytes_content(content)
  stream = io.BytesIO()
  record.write(stream, checksum_data=True, payload_digest=payload_digest)
  return stream.getvalue()
