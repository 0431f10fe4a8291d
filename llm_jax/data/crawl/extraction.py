"""HTML -> the text of its article, without losing pages to a time limit.

trafilatura (Barbaresi 2021, ACL demo) with FineWeb's settings, or resiliparse's
main-content extraction, in a child process that is killed if need be.

An extractor that gives a page one second, its own start included, loses page
after page once it had to be restarted on a busy machine. Here a page that takes
longer than `timeout_s` is counted as slow and put aside: its child goes on with
it alone, for `retry_timeout_s`, while a new one takes the pages behind it. They
are held back until it is done, so documents keep their order however fast the
machine is, and two runs write the same bytes, as long as they agree on what
cannot be read in a minute. (Put-aside pages at the end of the task would move
from run to run, and deduplication keeps the first of two copies.)

For the same reason each page has its own table of repeated segments.
trafilatura's own remembers earlier pages, so that what a page keeps would hang
on what the child has read before it.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from llm_jax.config_crawl import ExtractConfig
from llm_jax.data.crawl import sandbox

_AHEAD = 4  # pages that a child has waiting
_HELD = 64  # pages that may wait for one that was put aside,
_HELD_CHARACTERS = 1 << 25  # and their characters
_PAGES_OF_A_CHILD = 5000
_SEGMENTS = 4096
_BYTES_PER_MB = 1 << 20
_REASONS = {sandbox.OK: "", sandbox.MEMORY: "memory", sandbox.ERROR: "error"}


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
  options = _trafilatura_options()
  options.dedup.clear()
  return extract(html, options=options) or ""


@functools.cache
def _trafilatura_options() -> Any:
  """Made once: parsing them takes some percents of a page's time."""
  from trafilatura.deduplication import LRUCache
  from trafilatura.settings import Extractor
  return Extractor(precision=True, comments=False, dedup=LRUCache(_SEGMENTS))


def resiliparse_text(html: str) -> str:
  """The main content by resiliparse; "" if none."""
  from resiliparse.extract.html2text import extract_plain_text
  return extract_plain_text(html, main_content=True, preserve_formatting=True,
                            alt_texts=False, links=False, comments=False)


class Extract(PipelineStep):
  """Replaces the HTML of documents by the text of their article.

  Removes documents, with the reasons `empty`, `timeout` (not even
  `retry_timeout_s` was enough), `memory` and `error`. Counts `slow` pages (they
  took longer than `timeout_s`) and `restarts` (new children, as pages were put
  aside). Documents whose `content_type` is text/plain pass unchanged.
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
    line = _Line(self._config, self.stat_update)
    try:
      for document in data:
        line.put(document)
        yield from self._kept(line.finished(), rank)
      yield from self._kept(line.finished(wait=True), rank)
    finally:
      line.close()

  def _kept(self, jobs: Iterator[_Job], rank: int) -> Iterator[Document]:
    for job in jobs:
      document, reason = job.document, job.reason
      if not reason:
        document.text = job.text
        self.update_doc_stats(document)
        yield document
        continue
      document.metadata["filter_reason"] = reason
      if self.exclusion_writer is not None:
        self.exclusion_writer.write(document, rank)


@dataclasses.dataclass(eq=False)
class _Job:
  """A document on its way; `reason` is None until it is done, "" if it has
  its text."""
  document: Document
  size: int
  text: str = ""
  reason: str | None = None

  def finish(self, reason: str, text: str) -> None:
    """Notes how it went."""
    self.text = text
    self.reason = reason or ("" if text.strip() else "empty")


@dataclasses.dataclass
class _Aside:
  """A page that was put aside, its child, until when it may go on, and whether
  the child has read other pages before."""
  job: _Job
  child: sandbox.Sandbox
  deadline: float
  used: bool = True


class _Line:
  """Documents in, documents done out, in order, whatever befalls a child."""

  def __init__(self, config: ExtractConfig, count: Callable[[str], None]):
    self._config, self._count = config, count
    self._jobs: collections.deque[_Job] = collections.deque()
    self._sent: collections.deque[_Job] = collections.deque()
    self._child: sandbox.Sandbox | None = None
    self._aside: _Aside | None = None
    self._pages, self._began, self._characters = 0, 0.0, 0

  def put(self, document: Document) -> None:
    """One more document."""
    job = _Job(document, size=len(document.text))
    self._jobs.append(job)
    self._characters += job.size
    if document.metadata.pop("content_type", "text/html") == "text/plain":
      job.finish("", document.text)
      return
    if self._child is None:
      self._start()
    if not self._sent:
      self._began = time.monotonic()
    self._sent.append(job)
    self._child.send(document.text)

  def finished(self, wait: bool = False) -> Iterator[_Job]:
    """Documents that are done and have none before them that is not.

    Args:
      wait: for all.
    """
    while self._sent and (wait or len(self._sent) > _AHEAD
                          or self._characters > _HELD_CHARACTERS):
      self._receive()
    if self._aside:
      self._look_aside(wait or len(self._jobs) > _HELD
                       or self._characters > _HELD_CHARACTERS)
    while self._jobs and self._jobs[0].reason is not None:
      job = self._jobs.popleft()
      self._characters -= job.size
      yield job

  def _receive(self) -> None:
    """Takes the child's next answer, or puts its page aside."""
    failure = ""
    try:
      answer = self._child.receive(self._began + self._config.timeout_s)
    except sandbox.Died:
      answer, failure = None, "error"
    job = self._sent.popleft()
    self._began = time.monotonic()
    self._pages += 1
    if answer is None and not failure:
      self._count("slow")
    elif not failure and answer[0] == sandbox.MEMORY:
      failure = "memory"
    elif not failure:
      job.finish(_REASONS[answer[0]], answer[1])
      if self._pages >= _PAGES_OF_A_CHILD:
        self._start()
      return
    self._put_aside(job, failure)

  def _put_aside(self, job: _Job, failure: str) -> None:
    """Lets a child go on with this page alone, and another with the rest."""
    if self._aside:  # one at a time
      self._look_aside(wait=True)
    self._aside = _Aside(job, self._child, self._patience())
    self._child = None
    self._count("restarts")
    if failure:
      self._fail(failure)
    self._start()

  def _look_aside(self, wait: bool) -> None:
    """Takes the answer for the page that was put aside, if there is one."""
    while self._aside:
      aside = self._aside
      try:
        answer = aside.child.receive(aside.deadline if wait else 0.0)
      except sandbox.Died:
        self._fail("error")
        continue
      if answer is None and time.monotonic() < aside.deadline:
        return
      if answer is not None and answer[0] == sandbox.MEMORY:
        self._fail("memory")
        continue
      if answer is None:
        aside.job.finish("timeout", "")
      else:
        aside.job.finish(_REASONS[answer[0]], answer[1])
      aside.child.close()
      self._aside = None

  def _fail(self, reason: str) -> None:
    """The page put aside has failed; in a child that is not full of what
    earlier pages left, it may do better."""
    aside = self._aside
    aside.child.close()
    if aside.used and self._config.retry_timeout_s:
      aside.child, aside.used = self._fork(), False
      aside.child.send(aside.job.document.text)
      aside.deadline = self._patience()
    else:
      aside.job.finish(reason, "")
      self._aside = None

  def _patience(self) -> float:
    return time.monotonic() + self._config.retry_timeout_s

  def _start(self) -> None:
    """A new child, which is given what the old one has not answered."""
    if self._child is not None:
      self._child.close()
    self._child, self._pages = self._fork(), 0
    for job in self._sent:
      self._child.send(job.document.text)
    self._began = time.monotonic()

  def _fork(self) -> sandbox.Sandbox:
    config = self._config
    return sandbox.Sandbox(extractor(config.extractor),
                           config.memory_mb * _BYTES_PER_MB,
                           config.timeout_s + config.retry_timeout_s)

  def close(self) -> None:
    """Ends the children."""
    for child in (self._child, self._aside and self._aside.child):
      if child is not None:
        child.close()
    self._child = self._aside = None
