"""A crawl whose every page is known: what is on it, and what should become of
it.

`make` writes WARC files and beside them a truth file. Each page is made of the
seed and its number alone, so a crawl is the same bytes wherever it is made.
"""

from __future__ import annotations

import dataclasses
import datetime
import gzip
import html
import json
import os
import pathlib
import random
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from llm_jax.config import MakeSampleCrawlConfig
from llm_jax.data.crawl import (
    sample_articles, sample_clutter, sample_edits, sample_foreign, sample_pages,
    sample_pii, warc_writer)
from llm_jax.data.crawl.sample_articles import Lead
from llm_jax.data.crawl.sample_hosts import AddressWords, Hosts, address

# Pages of each kind, of all; articles are the rest.
SHARES = {
    "personal": 0.05, "look_alike_numbers": 0.03, "near_duplicate": 0.07,
    "exact_duplicate": 0.03, "foreign": 0.06, "boilerplate": 0.08,
    "noise": 0.06, "truncated": 0.01,
    "spam_listed": 0.015, "spam_subdomain": 0.01, "spam_look_alike": 0.01,
    "spam_unlisted_words": 0.01, "spam_unlisted": 0.01}
CHARSET_FAULTS = ("windows_1252_as_utf8", "windows_1252_undeclared",
                  "utf8_undeclared", "utf8_as_latin1")
_CHARSET_SHARE = 0.1  # of French and Spanish articles
_BROKEN_PER_FILE = 2  # a corrupt member, and a record cut short
_START = datetime.datetime(2026, 1, 5, 6, 0, 0)


@dataclasses.dataclass
class Page:
  """One page: how it is made, and after that what is known of it."""
  number: int
  kind: str
  language: str = "en"
  leads: tuple[Lead, ...] = ()
  source: Page | None = None
  fault: str = ""
  charset_fault: str = ""
  host: str = ""
  url: str = ""
  record_id: str = ""
  path: str = ""
  detail: str = ""
  layout: str = ""
  title: str = ""
  sections: tuple[sample_pages.Section, ...] = ()
  pii: tuple[dict[str, str], ...] = ()
  jaccard: float | None = None
  boilerplate: tuple[str, ...] = ()

  @property
  def text(self) -> str:
    """What should survive: the paragraphs of the article."""
    return "\n".join(text for section in self.sections
                     for text in section.paragraphs)


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
  maker = _Maker(config, held_out)
  files = list(maker.plan())
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
      size += _write_file(output, path, pages, maker, truth,
                          lambda extra, done=done: progress(done + extra,
                                                            config.pages))
      done += len(pages)
  os.replace(truth_path, output / "truth.jsonl.gz")
  _write_atomically(output / "NOTICE", _NOTICE.encode())
  return {"pages": done, "bytes": size, "files": len(files),
          "kinds": dict(sorted(kinds.items())),
          "english_articles": maker.leads_used("en"),
          "english_articles_in_all": len(maker.leads.get("en", ())),
          "held_out": len(held_out)}


def _write_file(output: pathlib.Path, path: str, pages: list[Page],
                maker: _Maker, truth: gzip.GzipFile,
                progress: Callable[[int], None]) -> int:
  """Writes one WARC file and the truth of its pages; returns its size."""
  target = output / path
  target.parent.mkdir(parents=True, exist_ok=True)
  part = target.with_name(target.name + ".part")
  with open(part, "wb") as stream:
    stream.write(warc_writer.compressed(warc_writer.info_record(
        maker.record_id(f"info:{path}"), _date(0), isPartOf="sample crawl",
        description="Pages made of Wikipedia's introductions (CC BY-SA 4.0)")))
    for number, page in enumerate(pages, start=1):
      stream.write(maker.record(page))
      truth.write(json.dumps(_truth(page), ensure_ascii=False).encode() + b"\n")
      if number % 100 == 0 or number == len(pages):
        progress(number)
    size = stream.tell()
  os.replace(part, target)
  return size


def _truth(page: Page) -> dict[str, Any]:
  """The line of the truth file."""
  return {
      "id": f"<{page.record_id}>", "url": page.url, "file": page.path,
      "kind": page.kind, "detail": page.detail, "layout": page.layout,
      "language": page.language,
      "title": page.title, "articles": [lead.key for lead in page.leads],
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


class _Maker:
  """Plans the pages, then makes each."""

  def __init__(self, config: MakeSampleCrawlConfig, held_out: list[str]):
    self._config, self._seed = config, config.seed
    self.leads = sample_articles.load_leads(config.languages, held_out)
    self._words = AddressWords()
    self._hosts = Hosts(config.seed, (*config.languages, *sorted(
        sample_foreign.SENTENCES)), max(20, min(config.pages // 100, 300)))
    self._vocabulary = {language: _vocabulary(leads)
                        for language, leads in self.leads.items()}
    self._english = next(iter(self._vocabulary.values()))
    self._chain = sample_clutter.chain(
        [lead.text for lead in next(iter(self.leads.values()))[:1_000]])
    self._used: set[str] = set()

  def record_id(self, name: object) -> str:
    """An urn that depends on the seed and a name."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"{self._seed}:{name}").urn

  def leads_used(self, language: str) -> int:
    """Introductions that are on some page."""
    return sum(key.startswith(f"{language}:") for key in self._used)

  def plan(self) -> Iterator[tuple[str, list[Page]]]:
    """Files, each with its pages, before any is made."""
    config = self._config
    rng = random.Random(f"{self._seed}:plan")
    kinds = [kind for kind, share in SHARES.items()
             for _ in range(max(1, round(share * config.pages)))]
    broken = min(_BROKEN_PER_FILE * config.files * config.dumps,
                 config.pages // 50)
    kinds += ["article"] * (config.pages - len(kinds))
    rng.shuffle(kinds)
    pages = [Page(number, kind) for number, kind in enumerate(kinds)]
    self._choose_articles(pages, rng)
    articles = [page for page in pages if page.kind == "article"]
    for page, fault in zip(rng.sample(articles, broken),
                           ("corrupt", "short") * broken):
      page.fault = fault
    per_dump = -(-len(pages) // config.dumps)
    for dump in range(config.dumps):
      folder = f"dump-{dump:02d}/" if config.dumps > 1 else ""
      members = pages[dump * per_dump:(dump + 1) * per_dump]
      if dump:
        self._repeat_earlier(members, pages[:dump * per_dump], rng)
      per_file = -(-len(members) // config.files)
      for i in range(config.files):
        path = f"{folder}crawl-{i:05d}.warc.gz"
        chosen = members[i * per_file:(i + 1) * per_file]
        for page in chosen:
          page.path = path
          self._compose(page)
        yield path, chosen

  def _choose_articles(self, pages: list[Page], rng: random.Random) -> None:
    """Introductions for every page with an article, sources for copies."""
    config = self._config
    others = [code for code in config.languages if code != "en"]
    share = config.english_share if others else 1.0
    if "en" not in config.languages:
      share = 0.0
    supply = {code: sample_articles.pages_of(leads, self._seed)
              for code, leads in self.leads.items()}
    sources = []
    for page in pages:
      page.record_id = self.record_id(page.number)
      if page.kind in ("article", "personal", "look_alike_numbers",
                       "truncated"):
        english = page.kind == "look_alike_numbers" or rng.random() < share
        page.language = "en" if english and share else rng.choice(others)
        page.leads = next(supply[page.language])
        if page.kind == "article":
          sources.append(page)
      elif page.kind == "foreign":
        page.language = rng.choice(sorted(sample_foreign.SENTENCES))
    rng.shuffle(sources)
    for page in pages:
      if page.kind in ("near_duplicate", "exact_duplicate"):
        self._copy(page, sources.pop())

  def _copy(self, page: Page, source: Page) -> None:
    page.source, page.language, page.leads = (
        source, source.language, source.leads)

  def _repeat_earlier(self, pages: list[Page], earlier: list[Page],
                      rng: random.Random) -> None:
    """Some articles of a later dump are pages that an earlier one had."""
    articles = [page for page in earlier if page.kind == "article"]
    copied = {page.source.number for page in pages if page.source}
    mine = [page for page in pages
            if page.kind == "article" and page.number not in copied]
    for page in mine[:max(1, len(mine) // 10)]:
      page.kind = "dump_copy"
      self._copy(page, rng.choice(articles))

  def _rng(self, page: Page, use: str) -> random.Random:
    return random.Random(f"{self._seed}:{page.number}:{use}")

  def _compose(self, page: Page) -> None:
    """What the page says, and where it stands."""
    rng = self._rng(page, "text")
    self._used.update(lead.key for lead in page.leads)
    if page.leads:
      self._compose_article(page, rng)
    elif page.kind == "foreign":
      page.title, paragraphs = sample_foreign.text(rng, page.language)
      page.sections = (sample_pages.Section("", tuple(paragraphs)),)
    elif page.kind == "noise":
      page.detail = rng.choice(sample_clutter.NOISE)
      page.title = " ".join(rng.sample(self._english, 2))
    elif page.kind == "boilerplate":
      page.detail = rng.choice(sample_clutter.BOILERPLATE)
      page.title = page.detail
    else:
      page.title = "Best offers"
      page.sections = (sample_pages.Section("", tuple(
          sample_clutter.offers(rng))),)
    self._place(page, rng)

  def _compose_article(self, page: Page, rng: random.Random) -> None:
    page.title = _title(page.leads, page.language)
    # Of a single article the page's title is heading enough.
    sections = [sample_pages.Section(
        lead.title if len(page.leads) > 1 else "", tuple(lead.paragraphs))
                for lead in page.leads]
    if page.kind == "near_duplicate":
      page.jaccard, sections = self._edited(sections, page.language, rng)
    elif page.source:
      page.jaccard = 1.0
    if page.kind == "personal":
      found = []
      for _ in range(rng.randrange(1, 4)):
        sentence, item = sample_pii.planted(rng, page.language)
        found.append(item)
        _insert(sections, sentence, rng)
      page.pii = tuple(found)
    elif page.kind == "look_alike_numbers":
      for _ in range(rng.randrange(1, 4)):
        _insert(sections, sample_pii.look_alike(rng), rng)
    page.sections = tuple(sections)
    if (page.kind == "article" and page.language != "en"
        and rng.random() < _CHARSET_SHARE):
      page.charset_fault = rng.choice(CHARSET_FAULTS)

  def _edited(self, sections: list[sample_pages.Section], language: str,
              rng: random.Random
              ) -> tuple[float, list[sample_pages.Section]]:
    paragraphs = [text for s in sections for text in s.paragraphs]
    edited, reached = sample_edits.edit(
        paragraphs, rng.uniform(0.5, 1.0), self._vocabulary[language], rng)
    result = []
    for section in sections:
      number = len(section.paragraphs)
      result.append(sample_pages.Section(section.heading,
                                         tuple(edited[:number])))
      edited = edited[number:]
    return reached, result

  def _place(self, page: Page, rng: random.Random) -> None:
    """Its host and address."""
    if page.kind == "dump_copy":
      page.host, page.url = page.source.host, page.source.url
      return
    if page.kind.startswith("spam_"):
      page.host = rng.choice(self._hosts.spam[page.kind[len("spam_"):]])
      page.url = f"http://{page.host}/{rng.randrange(10**6)}.html"
      return
    page.host = rng.choice(self._hosts.clean[page.language])
    page.url = address(rng, page.host, page.title, self._words)

  def record(self, page: Page) -> bytes:
    """The page as a gzip member, with the faults it is to have."""
    rng = self._rng(page, "html")
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
        lines = sample_clutter.noise(rng, page.detail, self._english,
                                     self._chain)
        tag = rng.choice(("p", "p", "div"))
        body = "<main>" + "\n".join(f"<{tag}>{html.escape(line)}</{tag}>"
                                    for line in lines) + "</main>"
      return sample_pages.frame(rng, page.language, page.host, page.title,
                                body, charset)
    language = page.language if page.language in self.leads else "en"
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
    leads = self.leads.get(language) or next(iter(self.leads.values()))
    return rng.sample(leads, number)


def _vocabulary(leads: list[Lead]) -> list[str]:
  """Plain words of the first introductions, in their order."""
  return [word for lead in leads[:400] for word in lead.text.split()
          if word.isalpha() and word.islower() and len(word) > 2]


def _title(leads: tuple[Lead, ...], language: str) -> str:
  """Names the introductions of a page."""
  titles = [lead.title for lead in leads[:3]]
  joint = {"en": " and ", "fr": " et ", "es": " y "}[language]
  if len(titles) == 1:
    return titles[0]
  return ", ".join(titles[:-1]) + joint + titles[-1]


def _insert(sections: list[sample_pages.Section], sentence: str,
            rng: random.Random) -> None:
  """Puts a sentence at the end of a paragraph."""
  place = rng.randrange(len(sections))
  section = sections[place]
  paragraphs = list(section.paragraphs)
  which = rng.randrange(len(paragraphs))
  paragraphs[which] = f"{paragraphs[which]} {sentence}"
  sections[place] = sample_pages.Section(section.heading, tuple(paragraphs))


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
