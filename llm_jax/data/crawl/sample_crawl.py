"""A crawl whose every page is known: what is on it, and what should become of
it.

`make` writes WARC files and beside them a truth file. Each page is made of the
seed and its number alone, so a crawl is the same bytes wherever it is made.
"""

from __future__ import annotations

import datetime
import gzip
import html
import json
import os
import pathlib
import random
from collections.abc import Callable
from typing import Any

from llm_jax.config import MakeSampleCrawlConfig
from llm_jax.data.crawl import (
    sample_articles, sample_clutter, sample_pages, sample_pii, warc_writer)
from llm_jax.data.crawl.sample_articles import Lead
from llm_jax.data.crawl.sample_plan import Page, Planner, record_id

_START = datetime.datetime(2026, 1, 5, 6, 0, 0)


def make(config: MakeSampleCrawlConfig,
         progress: Callable[[int, int], None] = lambda done, total: None
         ) -> dict[str, Any]:
  """Writes the crawl.

  Args:
    config: what is made, and where.
    progress: told the number of pages written and of all pages.

  Returns:
    Counts: pages by kind, bytes, English introductions used and held out.

  Raises:
    ConfigError: the corpus is not installed.
  """
  output = pathlib.Path(config.output)
  output.mkdir(parents=True, exist_ok=True)
  # First of all: what is held out is known before there is any page.
  held_out = sample_articles.held_out(config.seed, config.validation_fraction)
  _write_atomically(output / "validation.jsonl", "".join(
      json.dumps({"text": text}, ensure_ascii=False) + "\n"
      for text in held_out).encode())
  planner = Planner(config, held_out)
  files = list(planner.plan())
  renderer = _Renderer(config.seed, planner)
  for stale in output.glob("**/crawl-*.warc.gz"):
    stale.unlink()
  done, size = 0, 0
  kinds: dict[str, int] = {}
  truth_path = output / "truth.jsonl.gz.part"
  with open(truth_path, "wb") as raw, gzip.GzipFile(
      filename="", fileobj=raw, mode="wb", mtime=0) as truth:
    for path, pages in files:
      for page in pages:
        kinds[page.kind] = kinds.get(page.kind, 0) + 1
      info = warc_writer.info_record(
          record_id(config.seed, path), _date(0), isPartOf="sample crawl",
          description="Introductions of Wikipedia's articles (CC BY-SA 4.0)")
      size += _write_file(output / path, info, pages, renderer, truth,
                          lambda extra, done=done: progress(done + extra,
                                                            config.pages))
      done += len(pages)
  os.replace(truth_path, output / "truth.jsonl.gz")
  _write_atomically(output / "NOTICE", _NOTICE.encode())
  return {"pages": done, "bytes": size, "files": len(files),
          "kinds": dict(sorted(kinds.items())),
          "english_articles": planner.leads_used("en"),
          "english_articles_in_all": len(planner.leads.get("en", ())),
          "held_out": len(held_out)}


def _write_file(target: pathlib.Path, info: bytes, pages: list[Page],
                renderer: _Renderer, truth: gzip.GzipFile,
                progress: Callable[[int], None]) -> int:
  """Writes one WARC file and the truth of its pages; returns its size."""
  target.parent.mkdir(parents=True, exist_ok=True)
  part = target.with_name(target.name + ".part")
  with open(part, "wb") as stream:
    stream.write(warc_writer.compressed(info))
    for number, page in enumerate(pages, start=1):
      stream.write(renderer.record(page))
      truth.write(json.dumps(_truth(page), ensure_ascii=False).encode() + b"\n")
      if number % 500 == 0 or number == len(pages):
        progress(number)
    size = stream.tell()
  os.replace(part, target)
  return size


def _truth(page: Page) -> dict[str, Any]:
  """The line of the truth file."""
  return {
      "id": f"<{page.record_id}>", "url": page.url, "file": page.path,
      "kind": page.kind, "detail": page.detail, "layout": page.layout,
      "language": page.language, "title": page.title,
      "articles": [lead.key for lead in page.leads],
      "text": page.text, "pii": list(page.pii),
      "duplicate_of": f"<{page.source.record_id}>" if page.source else None,
      "jaccard": page.jaccard, "expected": _expected(page),
      "fault": page.fault, "charset_fault": page.charset_fault,
      "boilerplate": list(page.boilerplate)}


def _expected(page: Page) -> str:
  """What should become of a page, where all its languages are kept: kept |
  read | url | language | copies | quality | any."""
  if page.fault in ("corrupt", "short"):
    return "read"
  if page.kind in ("near_duplicate", "exact_duplicate", "dump_copy"):
    return "copies"
  if page.kind in ("spam_listed", "spam_subdomain", "spam_unlisted_words"):
    return "url"
  if page.kind.startswith("spam") or page.kind == "truncated":
    return "any"
  return {"foreign": "language", "boilerplate": "quality",
          "noise": "quality"}.get(page.kind, "kept")


class _Renderer:
  """Makes the record of a page."""

  def __init__(self, seed: int, planner: Planner):
    self._seed, self._leads = seed, planner.leads
    self._words = next(iter(planner.vocabulary.values()))
    self._chain = sample_clutter.chain(
        [lead.text for lead in next(iter(planner.leads.values()))[:1_000]])

  def record(self, page: Page) -> bytes:
    """The page as a gzip member, with the faults it is to have."""
    rng = page.rng(self._seed, "html")
    charset = {"windows_1252_undeclared": "", "utf8_undeclared": "",
               "utf8_as_latin1": ""}.get(page.charset_fault, "utf-8")
    text = self._html(page, rng, charset)
    encoding = ("cp1252" if page.charset_fault.startswith("windows")
                else "utf-8")
    # What windows-1252 has no letter for is written as a reference.
    payload = text.encode(encoding, "xmlcharrefreplace")
    more = {"WARC-IP-Address": sample_pii.ip(rng)}
    if page.kind == "truncated":
      payload = payload[:int(len(payload) * rng.uniform(0.55, 0.85))]
      more["WARC-Truncated"] = "length"
    if rng.random() < 0.9:
      more["WARC-Identified-Payload-Type"] = "text/html"
    declared = {"utf8_as_latin1": "; charset=iso-8859-1"}.get(
        page.charset_fault, f"; charset={charset}" if charset
        and rng.random() < 0.8 else "")
    head = "\r\n".join((
        "HTTP/1.1 200 OK", f"Server: {rng.choice(('nginx', 'Apache'))}",
        f"Content-Type: text/html{declared}",
        f"Content-Length: {len(payload)}", "Connection: close"))
    record = warc_writer.http_record(
        page.record_id, _date(page.number), page.url, head, payload, more=more)
    if page.fault == "short":
      # Its header announces more than there is.
      return warc_writer.compressed(record[:len(record) * 2 // 3])
    member = warc_writer.compressed(record)
    if page.fault == "corrupt":
      middle = len(member) // 2
      member = member[:middle] + bytes(
          byte ^ 0x5A for byte in member[middle:middle + 40]
      ) + member[middle + 40:]
    return member

  def _html(self, page: Page, rng: random.Random, charset: str) -> str:
    if page.kind in ("boilerplate", "noise"):
      if page.kind == "boilerplate":
        titles = [html.escape(lead.title) for lead in self._some(rng, "en", 24)]
        body = sample_clutter.boilerplate(rng, page.detail, titles)
      else:
        lines = sample_clutter.noise(rng, page.detail, self._words,
                                     self._chain)
        tag = rng.choice(("p", "p", "div"))
        body = "<main>" + "\n".join(f"<{tag}>{html.escape(line)}</{tag}>"
                                    for line in lines) + "</main>"
      return sample_pages.frame(rng, page.language, page.host, page.title,
                                body, charset)
    language = page.language if page.language in self._leads else "en"
    teasers = [lead.text[:rng.randrange(60, 90)] + "…"
               for lead in self._some(rng, language, rng.randrange(3, 8))]
    # A site looks alike on all of its pages.
    page.layout, = random.Random(page.host).choices(
        list(sample_pages.LAYOUTS), list(sample_pages.LAYOUTS.values()))
    text = sample_pages.render(rng, page.layout, page.language, page.host,
                               page.title, list(page.sections), teasers,
                               charset)
    said = sample_pages.STRINGS.get(page.language, sample_pages.STRINGS["en"])
    page.boilerplate = tuple(
        line for line in (said.cookies, said.footer, *said.share[:2],
                          said.subscribe, *teasers[:2])
        if line in text or html.escape(line) in text)
    return text

  def _some(self, rng: random.Random, language: str, number: int
            ) -> list[Lead]:
    leads = self._leads.get(language) or next(iter(self._leads.values()))
    return rng.sample(leads, number)


def _date(number: int) -> str:
  """When a page was fetched: two in three seconds."""
  moment = _START + datetime.timedelta(seconds=int(number * 1.5))
  return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _write_atomically(path: pathlib.Path, content: bytes) -> None:
  part = path.with_name(path.name + ".part")
  part.write_bytes(content)
  os.replace(part, path)


_NOTICE = """\
The articles on these pages are introductions of Wikipedia articles, by
Wikipedia's authors, under CC BY-SA 4.0 (https://creativecommons.org/licenses/
by-sa/4.0/); some were changed on purpose (near copies, planted data). Hosts,
people, numbers and everything around the articles are made up, but for hosts
drawn from a public block list, which have nothing to do with the pages here.
"""
