"""HTML -> the text of its article, without losing pages to a time limit.

trafilatura (Barbaresi 2021, ACL demo) with FineWeb's settings, or resiliparse's
main-content extraction, in a child process that is killed if need be.

An extractor that gives a page one second, its own start included, loses page
after page once it had to be restarted on a busy machine. Here a page that takes
longer than `timeout_s` is only counted as slow: it is given to a fresh child
with a limit of its own, `retry_timeout_s`, at once and not at the task's end.
So documents keep their order, however fast the machine is, and two runs write
the same bytes, as long as they agree on what cannot be read in a minute.

For the same reason each page has its own table of repeated segments.
trafilatura's own remembers earlier pages, so that what a page keeps would hang
on what the child has read before it.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Iterator

from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from llm_jax.config_crawl import ExtractConfig
from llm_jax.data.crawl import sandbox

_AHEAD = 4  # pages that a child has waiting
_PAGES_OF_A_CHILD = 5000
_SEGMENTS = 4096
_BYTES_PER_MB = 1 << 20
_REASONS = {sandbox.MEMORY: "memory", sandbox.ERROR: "error"}


def extractor(name: str) -> Callable[[str], str]:
  """The function of `curate.extract.extractor`, its packages imported."""
  if name == "resiliparse":
    import resiliparse.extract.html2text  # noqa: F401
    return resiliparse_text
  import trafilatura  # noqa: F401
  return trafilatura_text


def trafilatura_text(html: str) -> str:
  """The article by trafilatura, with FineWeb's settings; "" if none."""
  from trafilatura import extract
  from trafilatura.deduplication import LRUCache
  return extract(html, favor_precision=True, include_comments=False,
                 deduplicate=LRUCache(_SEGMENTS)) or ""


def resiliparse_text(html: str) -> str:
  """The main content by resiliparse; "" if none."""
  from resiliparse.extract.html2text import extract_plain_text
  return extract_plain_text(html, main_content=True, preserve_formatting=True,
                            alt_texts=False, links=False, comments=False)


class Extract(PipelineStep):
  """Replaces the HTML of documents by the text of their article.

  Removes documents, with the reasons `empty`, `timeout` (not even
  `retry_timeout_s` was enough), `memory` and `error`. Counts `slow` pages (they
  took longer than `timeout_s`) and `restarts` of the child. Documents whose
  `content_type` is text/plain pass unchanged.
  """

  type, name = "llm_jax", "extract"

  def __init__(self, config: ExtractConfig):
    """Takes the stage's settings."""
    super().__init__()
    self._config = config
    self.exclusion_writer = None

  def run(self, data: Iterator[Document], rank: int = 0,
          world_size: int = 1) -> Iterator[Document]:
    """The documents with text in them, in their order."""
    del world_size
    worker = _Worker(self._config, self.stat_update)
    waiting: collections.deque[tuple[Document, bool]] = collections.deque()
    try:
      for document in data:
        is_html = document.metadata.pop("content_type",
                                        "text/html") != "text/plain"
        if is_html:
          worker.put(document.text)
        waiting.append((document, is_html))
        if len(waiting) > _AHEAD:
          yield from self._finish(*waiting.popleft(), worker, rank)
      while waiting:
        yield from self._finish(*waiting.popleft(), worker, rank)
    finally:
      worker.close()

  def _finish(self, document: Document, is_html: bool, worker: _Worker,
              rank: int) -> Iterator[Document]:
    reason = ""
    if is_html:
      reason, text = worker.get()
      if not reason:
        document.text = text
        reason = "" if text.strip() else "empty"
    if not reason:
      self.update_doc_stats(document)
      yield document
      return
    document.metadata["filter_reason"] = reason
    if self.exclusion_writer is not None:
      self.exclusion_writer.write(document, rank)


class _Worker:
  """Texts in, (reason, text) out, in order, whatever happens to the child."""

  def __init__(self, config: ExtractConfig, count: Callable[[str], None]):
    self._config, self._count = config, count
    self._texts: collections.deque[str] = collections.deque()
    self._child: sandbox.Sandbox | None = None
    self._pages, self._began = 0, 0.0

  def put(self, text: str) -> None:
    """One more text."""
    if self._child is None:
      self._start()
    if not self._texts:
      self._began = time.monotonic()
    self._texts.append(text)
    self._child.send(text)

  def get(self) -> tuple[str, str]:
    """The reason why the next text failed or "", and its result."""
    config = self._config
    try:
      answer = self._child.receive(self._began + config.timeout_s)
    except sandbox.Died:
      answer = (sandbox.MEMORY, "")
    text = self._texts.popleft()
    self._began = time.monotonic()
    if answer is None:
      self._count("slow")
    if answer is None or answer[0] == sandbox.MEMORY:
      answer = self._again(text, answer)
    elif self._pages >= _PAGES_OF_A_CHILD:
      self._start()
    if answer is None:
      return "timeout", ""
    kind, result = answer
    self._pages += 1
    return _REASONS.get(kind, ""), result

  def _again(self, text: str, answer: tuple[bytes, str] | None
             ) -> tuple[bytes, str] | None:
    """Tries a text in a child of its own, which has nothing behind it."""
    self.close()
    self._count("restarts")
    seconds = self._config.retry_timeout_s
    if seconds:
      child = self._fork()
      try:
        child.send(text)
        answer = child.receive(time.monotonic() + seconds)
      except sandbox.Died:
        answer = (sandbox.MEMORY, "")
      finally:
        child.close()
    self._start()
    return answer

  def _start(self) -> None:
    """A new child, which is given what the old one has not answered."""
    self.close()
    self._child, self._pages = self._fork(), 0
    for text in self._texts:
      self._child.send(text)
    self._began = time.monotonic()

  def _fork(self) -> sandbox.Sandbox:
    config = self._config
    return sandbox.Sandbox(extractor(config.extractor),
                           config.memory_mb * _BYTES_PER_MB,
                           max(config.timeout_s, config.retry_timeout_s))

  def close(self) -> None:
    """Ends the child."""
    if self._child is not None:
      self._child.close()
      self._child = None
