"""Addresses of the sample crawl: harmless hosts, and four kinds of spam.

Listed hosts are drawn from the block list that datatrove packages, and sub-
domains of them are made. A look-alike is a listed host with one letter
changed, which no list has; an unlisted spam host is made up, with words that
give it away in its address or without any. No harmless address is on the list,
and none has a word that FineWeb's URL filter blocks: five of the ten thousand
titles do (a bird called the great tit), and such pages are given a number.
"""

from __future__ import annotations

import os
import random
import re
import tarfile
import unicodedata
from collections.abc import Collection, Iterator

from datatrove.utils._import_utils import ASSETS_PATH

from llm_jax.data.crawl.urls import domains

_LISTS = "url_filterblacklistsv0_3_0.tar.gz"
_PLAIN_HOST = re.compile(r"[a-z0-9]{4,}(-[a-z0-9]+)*\.(com|net|org|info|biz)")
_FIRST = ("north", "open", "daily", "green", "silver", "river", "little",
          "modern", "old", "blue", "central", "public", "amber", "harbour",
          "maple", "stone", "quiet", "global", "prime", "cedar", "summit",
          "valley", "lantern", "copper", "meadow", "paper", "orchard", "coast")
_SECOND = ("gazette", "journal", "archive", "review", "notes", "library",
           "courier", "atlas", "reader", "forum", "herald", "museum", "lore",
           "observer", "almanac", "digest", "chronicle", "encyclopedia",
           "shelf", "letters", "compass", "bulletin", "market", "topics",
           "weekly", "house", "guide", "tribune", "register", "society")
_ENDINGS = {"en": ("com", "org", "net", "co.uk", "info", "us"),
            "fr": ("fr", "com", "org", "be"), "es": ("es", "com", "com.mx",
                                                     "com.ar"),
            "ca": ("cat",), "de": ("de", "at"), "it": ("it",),
            "ja": ("jp",), "nl": ("nl",), "pl": ("pl",),
            "pt": ("pt", "com.br"), "ru": ("ru",), "sv": ("se",),
            "zh": ("cn",)}
_SPAM_WORDS = ("xxx", "porn", "viagra", "hentai", "bdsm")
_SPAM_PLAIN = ("megadeal", "fastprofit", "cheapwatch", "pillstore", "winbig",
               "easyloan", "luckyspin", "replica", "cryptogain", "slimtea",
               "casino", "webcam")


def normal_words(text: str) -> list[str]:
  """Letters and digits of a text in ASCII and small, word by word."""
  plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
  return [word for word in re.split(r"[^a-z0-9]+", plain.lower()) if word]


class AddressWords:
  """The words that FineWeb's URL filter blocks addresses for."""

  def __init__(self):
    """Reads datatrove's three lists."""
    self._words, self._parts, self._soft = (
        {"".join(normal_words(line)) for line in _lines(name)}
        for name in ("banned_words.txt", "banned_subwords.txt",
                     "soft_banned_words.txt"))

  def blocked(self, url: str) -> bool:
    """Whether its words alone block an address."""
    words = set(re.split(r"[^a-zA-Z0-9]+", url))
    together = "".join(normal_words(url))
    return (bool(words & self._words) or len(words & self._soft) > 1
            or any(part in together for part in self._parts))


def _lines(name: str) -> list[str]:
  with open(os.path.join(ASSETS_PATH, name), encoding="utf-8") as stream:
    return [line for line in stream if line.strip() and line[0] != "#"]


def _blocks() -> Iterator[bytes]:
  """The packaged list of hosts, whole lines, a few megabytes at a time."""
  with tarfile.open(os.path.join(ASSETS_PATH, _LISTS), "r:gz") as archive:
    stream = archive.extractfile("domains")
    while block := stream.read(4 << 20):
      yield block + stream.readline()


class Hosts:
  """Harmless and spam hosts, made once for a crawl.

  Attributes:
    clean: harmless hosts by language.
    spam: spam hosts by class: listed, subdomain, look_alike, unlisted_words,
      unlisted.
    look_alike_of: the listed host that each look-alike was made of.
  """

  def __init__(self, seed: int, languages: Collection[str], number: int):
    """Draws the hosts.

    Args:
      seed: decides all of them.
      languages: of the harmless ones.
      number: of harmless hosts for each language, and of each spam class.
    """
    rng = random.Random(f"{seed}:hosts")
    words = AddressWords()
    clean = {language: self._made_up(rng, language, number)
             for language in languages}
    listed = self._sample(rng, 3 * number, words)
    look_alikes = [self._changed(rng, host) for host in listed]
    unlisted = [f"{rng.choice(_SPAM_PLAIN)}-"
                f"{rng.choice(_FIRST)}{rng.randrange(1, 999)}"
                f".{rng.choice(('com', 'info', 'biz', 'online'))}"
                for _ in range(number)]
    wanted = {domain.encode() for hosts in (look_alikes, unlisted,
                                            *clean.values())
              for host in hosts for domain in domains(host)}
    listed_too = {host.decode() for block in _blocks()
                  for host in wanted.intersection(block.split(b"\n"))}

    def harmless(host: str) -> bool:
      """Neither the lists nor the words know it; nor what it is part of."""
      return (listed_too.isdisjoint(domains(host))
              and not words.blocked(f"https://{host}/"))
    self.clean = {language: list(filter(harmless, hosts))
                  for language, hosts in clean.items()}
    alike = [(host, of) for host, of in zip(look_alikes, listed)
             if harmless(host)][:number]
    self.look_alike_of = [of for _, of in alike]
    self.spam = {
        "listed": listed[:number],
        "subdomain": [f"{rng.choice(('www2', 'm', 'blog', 'shop', 'cdn7'))}."
                      f"{host}" for host in listed[number:2 * number]],
        "look_alike": [host for host, _ in alike],
        "unlisted_words": [
            f"{rng.choice(_FIRST)}-{rng.choice(_SPAM_WORDS)}-"
            f"{rng.randrange(1, 999)}.com" for _ in range(number)],
        "unlisted": list(filter(harmless, unlisted))}

  @staticmethod
  def _made_up(rng: random.Random, language: str, number: int) -> list[str]:
    hosts = set()
    while len(hosts) < number:
      first, second = rng.choice(_FIRST), rng.choice(_SECOND)
      joint = rng.choice(("-", "", "-the-"))
      prefix = rng.choice(("www.", "", "", "blog.", "forum.", f"{language}."))
      hosts.add(f"{prefix}{first}{joint}{second}{rng.choice(('', '24', 's'))}."
                f"{rng.choice(_ENDINGS.get(language, ('com',)))}")
    return sorted(hosts)

  @staticmethod
  def _sample(rng: random.Random, number: int, words: AddressWords
              ) -> list[str]:
    """Listed hosts whose words are harmless: only the list can know them."""
    found: list[str] = []
    for block in _blocks():
      # Of all parts of the list; one in sixteen is as plain as is wanted.
      for _ in range(number):
        start = block.find(b"\n", rng.randrange(len(block))) + 1
        host = block[start:block.find(b"\n", start)].decode("ascii", "replace")
        if (_PLAIN_HOST.fullmatch(host)
            and not words.blocked(f"https://{host}/")):
          found.append(host)
    rng.shuffle(found)
    return found[:number]

  @staticmethod
  def _changed(rng: random.Random, host: str) -> str:
    """The host with one letter of its name changed."""
    name, dot, ending = host.rpartition(".")
    places = [i for i, letter in enumerate(name) if letter.isalpha()]
    if not places:
      return f"x{host}"
    place = rng.choice(places)
    other = rng.choice([c for c in "abcdefghijklmnoprstuvwyz"
                        if c != name[place]])
    return name[:place] + other + name[place + 1:] + dot + ending


def address(rng: random.Random, host: str, title: str,
            words: AddressWords) -> str:
  """An address for a page of a title; never one that its words block."""
  number = rng.randrange(1_000, 999_999)
  slug = "-".join(normal_words(title)[:6]) or str(number)
  scheme = rng.choice(("https", "https", "https", "http"))
  url = f"{scheme}://{host}/" + rng.choice((
      f"{rng.randrange(2009, 2025)}/{rng.randrange(1, 13):02d}/{slug}-"
      f"{number % 1000}/",
      f"articles/{slug}-{number}.html", f"wiki/{slug}_{number % 1000}",
      f"topic/{number}/{slug}", f"index.php?id={number}",
      f"p/{number}/{slug}?ref=home"))
  if words.blocked(url):
    url = f"{scheme}://{host}/index.php?id={number}"
  return url
