"""Hosts of the sample crawl against datatrove's own URL filter."""

import random

import pytest
import tldextract
from datatrove.data import Document
from datatrove.pipeline.filters import URLFilter

from llm_jax.data.crawl import sample_hosts


def offline(url_filter):
  url_filter.tldextractor = tldextract.TLDExtract(suffix_list_urls=())
  return url_filter


@pytest.fixture(scope="module")
def hosts():
  return sample_hosts.Hosts(3, ("en", "fr", "de"), 40)


def test_the_words_are_those_of_datatroves_filter():
  def lines(name):
    return [line for line in sample_hosts._lines(name)]
  reference = offline(URLFilter(
      use_integrated_lists=False, banned_words=lines("banned_words.txt"),
      banned_subwords=lines("banned_subwords.txt"),
      soft_banned_words=lines("soft_banned_words.txt")))
  words = sample_hosts.AddressWords()
  some = [line.strip() for name in (
      "banned_words.txt", "banned_subwords.txt", "soft_banned_words.txt")
      for line in lines(name)][::7]
  urls = [f"https://www.{word}.com/a" for word in some]
  urls += [f"https://a.com/{a}/{b}-c" for a, b in zip(some, some[5:])]
  urls += [f"https://a.com/x{word}y" for word in some]
  urls += ["https://example.org/wiki/Great_tit", "https://example.org/essex"]
  blocked = [words.blocked(url) for url in urls]
  assert blocked == [reference.filter(Document("", "0", metadata={"url": url}))
                     is not True for url in urls]
  assert True in blocked and False in blocked


def test_look_alikes_are_one_letter_off(hosts):
  changed = dict(zip(hosts.spam["look_alike"], hosts.look_alike_of))
  assert len(changed) > 30
  for host, listed in changed.items():
    assert len(host) == len(listed)
    assert sum(a != b for a, b in zip(host, listed)) == 1


def test_there_are_as_many_as_asked_for():
  hosts = sample_hosts.Hosts(0, ("en",), 300)
  assert {kind: len(some) for kind, some in hosts.spam.items()} == {
      "listed": 300, "subdomain": 300, "look_alike": 300,
      "unlisted_words": 300, "unlisted": 300}
  assert 290 < len(hosts.clean["en"]) <= 300
  assert not {host.partition(".")[2] for host in hosts.spam["subdomain"]} & set(
      hosts.spam["listed"])


def test_addresses_are_never_blocked_by_their_words():
  words = sample_hosts.AddressWords()
  rng = random.Random(0)
  urls = [sample_hosts.address(rng, "bird-atlas.org", title, words)
          for title in ("Great tit (bird)", "Sexual intercourse", "Peanut",
                        "Été", "北京") for _ in range(30)]
  assert not any(map(words.blocked, urls))
  assert any("peanut" in url for url in urls)
  assert any("/ete" in url for url in urls)
  assert not any("sexual" in url for url in urls)


@pytest.mark.slow
def test_datatroves_filter_blocks_what_is_listed_and_nothing_else(
    hosts, tmp_path, monkeypatch):
  monkeypatch.setattr("datatrove.pipeline.filters.url_filter."
                      "cached_assets_path", lambda **_: str(tmp_path))
  reference = offline(URLFilter())

  def blocked(host):
    return reference.filter(Document(
        "", "0", metadata={"url": f"http://{host}/1.html"}))
  assert {blocked(host) for host in hosts.spam["listed"]} == {(False, "domain")}
  assert {blocked(host) for host in hosts.spam["subdomain"]} == {
      (False, "domain")}
  assert all(blocked(host) is not True
             for host in hosts.spam["unlisted_words"])
  hosts = sample_hosts.Hosts(0, ("en", "fr", "es", "ru", "de"), 300)
  harmless = [host for some in hosts.clean.values() for host in some]
  assert all(blocked(host) is True for host in (
      *hosts.spam["look_alike"], *hosts.spam["unlisted"], *harmless))
