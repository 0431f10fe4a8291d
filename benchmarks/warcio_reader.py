"""A plain reader of WARC files for datatrove, over warcio: the peer of ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.readers.base import BaseDiskReader
from warcio.archiveiterator import ArchiveIterator


class WarcioReader(BaseDiskReader):
  """HTML of responses; UTF-8, or whatever cchardet takes it for."""

  name = "warcio"

  def read_file(self, filepath: str) -> Iterator[Document]:
    """The pages of one file."""
    with self.data_folder.open(filepath, "rb") as stream:
      for number, record in enumerate(ArchiveIterator(stream)):
        data = _page(record)
        document = data and self.get_document_from_dict(data, filepath, number)
        if document:
          yield document


def _page(record: Any) -> dict[str, Any] | None:
  if record.rec_type != "response":
    return None
  kind = record.http_headers.get_header("Content-Type", "")
  if "html" not in kind or record.http_headers.get_statuscode() != "200":
    return None
  content = record.content_stream().read()
  try:
    text = content.decode("utf-8")
  except UnicodeDecodeError:
    import cchardet
    charset = cchardet.detect(content)["encoding"] or "utf-8"
    text = content.decode(charset, "replace")
  headers = record.rec_headers
  return {"text": text, "id": headers["WARC-Record-ID"],
          "url": headers["WARC-Target-URI"], "date": headers["WARC-Date"]}
