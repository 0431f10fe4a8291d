"""Which pages a sample crawl has, and what is on each: the plan of it.

Kinds, languages, introductions, copies, hosts and faults are chosen for all
pages before any is made, of the seed alone.
"""

from __future__ import annotations

import dataclasses
import random
import uuid
from collections.abc import Iterator

from llm_jax.config import MakeSampleCrawlConfig
from llm_jax.data.crawl import (
    sample_articles, sample_clutter, sample_edits, sample_foreign, sample_pages,
    sample_pii)
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

  def rng(self, seed: int, use: str) -> random.Random:
    """The page's own random numbers."""
    return random.Random(f"{seed}:{self.number}:{use}")


class Planner:
  """Plans the pages of a crawl.

  Attributes:
    leads: introductions by language, without those that are held out.
    vocabulary: words of each language, as its introductions use them.
  """

  def __init__(self, config: MakeSampleCrawlConfig, held_out: list[str]):
    """Takes the settings, and the texts that may be on no page."""
    self._config, self._seed = config, config.seed
    self.leads = sample_articles.load_leads(config.languages, held_out)
    self._words = AddressWords()
    self._hosts = Hosts(config.seed, (*config.languages, *sorted(
        sample_foreign.SENTENCES)), max(60, min(config.pages // 50, 300)))
    self.vocabulary = {language: _vocabulary(leads)
                        for language, leads in self.leads.items()}
    self._used: set[str] = set()

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
      page.record_id = record_id(self._seed, page.number)
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

  def _compose(self, page: Page) -> None:
    """What the page says, and where it stands."""
    rng = page.rng(self._seed, "text")
    self._used.update(lead.key for lead in page.leads)
    if page.leads:
      self._compose_article(page, rng)
    elif page.kind == "foreign":
      page.title, paragraphs = sample_foreign.text(rng, page.language)
      page.sections = (sample_pages.Section("", tuple(paragraphs)),)
    elif page.kind == "noise":
      page.detail = rng.choice(sample_clutter.NOISE)
      page.title = " ".join(rng.sample(self.vocabulary[page.language], 2))
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
        # What is reached lies below, by 0.02 at most.
        paragraphs, rng.uniform(0.52, 1.0), self.vocabulary[language], rng)
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


def record_id(seed: int, name: object) -> str:
  """An urn that depends on the seed and a name."""
  return uuid.uuid5(uuid.NAMESPACE_URL, f"{seed}:{name}").urn


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
