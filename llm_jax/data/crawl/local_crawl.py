"""Breadth first through the sites of a server on this machine, into a WARC.

A site is a host and port that the crawl was started with, and it is never left.
Its robots.txt is asked first and obeyed; between two requests to it lies the
longer of two delays, ours and its own. Every request is recorded with its
answer, as crawlers of the web do it, each a gzip member of its own that is
written at once: a crawl that was killed leaves whole records.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import http.client
import os
import pathlib
import time
import urllib.parse
import uuid
from collections.abc import Callable
from typing import BinaryIO

from llm_jax.config import ConfigError, CrawlLocalConfig, require
from llm_jax.data.crawl import fetch, warc_writer

_BYTES_PER_MB = 1 << 20


@dataclasses.dataclass
class Counts:
  """What a crawl came to."""
  pages: int = 0
  bytes: int = 0
  redirects: int = 0
  truncated: int = 0
  disallowed: int = 0
  other_hosts: int = 0
  failed: int = 0
  left_in_queue: int = 0


def crawl(config: CrawlLocalConfig,
          progress: Callable[[Counts, int], None] = lambda counts, queue: None,
          sleep: Callable[[float], None] = time.sleep) -> Counts:
  """Fetches pages until none is left, or there are enough.

  Args:
    config: where to begin, and all limits.
    progress: told the counts and the length of the queue after each page.
    sleep: waits between requests.

  Raises:
    ConfigError: an address that is not one of this machine, an output that is
      there already, or a server that does not answer.
  """
  starts = [_start(url) for url in config.start]
  sites = {urllib.parse.urlsplit(url).netloc: _Site(url, config, sleep)
           for url in starts}
  output = pathlib.Path(config.output)
  require(not output.exists(), f"output={output} is there already; delete it, "
          "or give another.")
  output.parent.mkdir(parents=True, exist_ok=True)
  counts, queue = Counts(), collections.deque(dict.fromkeys(starts))
  seen = set(queue)
  failure = ""
  with open(output, "wb", buffering=0) as stream:
    writer = _Writer(stream, str(output).endswith(".gz"))
    writer.info(config)
    for site in sites.values():
      site.ask_rules(writer)
    while queue and counts.pages < config.max_pages:
      url = queue.popleft()
      site = sites[urllib.parse.urlsplit(url).netloc]
      if not site.robots.allows(url):
        counts.disallowed += 1
        continue
      try:
        response = site.fetch(url)
      except (OSError, http.client.HTTPException) as error:
        failure = f"{url}: {type(error).__name__}: {error}"
        counts.failed += 1
        continue
      writer.exchange(url, response)
      counts.bytes += len(response.body)
      counts.truncated += bool(response.truncated)
      if 300 <= response.status < 400:
        # Asked for next, ahead of what was found before.
        counts.redirects += 1
        location = response.headers.get("Location")
        found = [fetch.absolute(url, location)] if location else []
        queue_end = queue.appendleft
      else:
        counts.pages += 1
        found = fetch.links(url, response) if response.is_html else []
        queue_end = queue.append
      for link in found:
        if link and link not in seen:
          seen.add(link)
          if urllib.parse.urlsplit(link).netloc in sites and (
              link.startswith("http:")):
            queue_end(link)
          else:
            counts.other_hosts += 1
      progress(counts, len(queue))
  counts.left_in_queue = len(queue)
  if not counts.bytes and failure:
    raise ConfigError(f"no page could be fetched ({failure}); is the server "
                      "running, and at this address?")
  return counts


def _start(url: str) -> str:
  """The address in its plain form, or a sentence on what is wrong with it."""
  plain = fetch.absolute(url, url)
  require(plain.startswith("http://"), f"start has {url!r}; give addresses of "
          "this machine in full, such as http://localhost:8000/ (https is not "
          "spoken).")
  return plain


class _Site:
  """A host and port: its address, its rules, and when it was last asked."""

  def __init__(self, url: str, config: CrawlLocalConfig,
               sleep: Callable[[float], None]):
    parts = urllib.parse.urlsplit(url)
    self._address = fetch.local_address(parts.hostname, parts.port or 80)
    self._root = f"http://{parts.netloc}"
    self._config, self._sleep = config, sleep
    self._delay, self._free_at = config.delay_s, 0.0
    self.robots = fetch.Robots(None, config.user_agent)

  def ask_rules(self, writer: _Writer) -> None:
    """Reads robots.txt; a redirect of it is followed once."""
    url = f"{self._root}/robots.txt"
    try:
      response = self.fetch(url)
      writer.exchange(url, response)
      location = response.headers.get("Location", "")
      moved = fetch.absolute(url, location) if location else ""
      if 300 <= response.status < 400 and moved.startswith(self._root + "/"):
        response = self.fetch(moved)
        writer.exchange(moved, response)
    except (OSError, http.client.HTTPException) as error:
      raise ConfigError(f"{url} cannot be fetched ({error}), so what the site "
                        "allows is not known; is the server running, and at "
                        "this address?") from error
    self.robots = fetch.Robots(response, self._config.user_agent)
    self._delay = max(self._delay, self.robots.delay_s)
    self._free_at = time.monotonic() + self._delay

  def fetch(self, url: str) -> fetch.Response:
    """Waits for its turn, then asks."""
    wait = self._free_at - time.monotonic()
    if wait > 0:
      self._sleep(wait)
    try:
      return fetch.fetch(
          url, self._address, user_agent=self._config.user_agent,
          timeout_s=self._config.timeout_s,
          max_bytes=int(self._config.max_page_mb * _BYTES_PER_MB))
    finally:
      self._free_at = time.monotonic() + self._delay


class _Writer:
  """Writes whole records, one after the other."""

  def __init__(self, stream: BinaryIO, compress: bool):
    self._stream, self._compress = stream, compress

  def info(self, config: CrawlLocalConfig) -> None:
    """The record that a file begins with."""
    self._write(warc_writer.info_record(
        uuid.uuid4().urn, _now(), **{"robots": "obey",
                                     "http-header-user-agent":
                                     config.user_agent}))

  def exchange(self, url: str, response: fetch.Response) -> None:
    """A request and its answer."""
    date, answer = _now(), uuid.uuid4().urn
    more = {"WARC-Truncated": response.truncated} if response.truncated else {}
    if response.headers.get("Content-Type"):
      more["WARC-Identified-Payload-Type"] = (
          response.headers.get_content_type())
    self._write(
        warc_writer.http_record(
            uuid.uuid4().urn, date, url, response.request, b"", request=True,
            more={"WARC-Concurrent-To": f"<{answer}>"}),
        warc_writer.http_record(answer, date, url, response.head,
                                response.body, more=more))

  def _write(self, *records: bytes) -> None:
    data = b"".join(map(warc_writer.compressed, records)
                    if self._compress else records)
    # Not buffered, so what is written stays when the process is killed.
    while data:
      data = data[os.write(self._stream.fileno(), data):]


def _now() -> str:
  return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
