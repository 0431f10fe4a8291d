"""Block lists: packaged, mapped, and the user's own."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest
from datatrove.data import Document
from datatrove.pipeline.filters import URLFilter

from llm_jax.config import ConfigError
from llm_jax.config_crawl import UrlConfig
from llm_jax.data.crawl import urls

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def judge(step, *addresses) -> list:
  return [step.filter(Document("text", "1", metadata={"url": url}))
          for url in addresses]


def own(tmp_path: pathlib.Path, text: str, **settings):
  file = tmp_path / "list.txt"
  file.write_text(text)
  return urls.url_filter(UrlConfig(blocklist=str(file), packaged_lists=False,
                                   **settings))


@pytest.mark.parametrize("url, host", [
    ("HTTP://WWW.Example.COM:8080/a?b#c", "www.example.com"),
    ("https://bücher.example/", "xn--bcher-kva.example"),
    ("http://example.com./", "example.com"),
    ("http://[::1]:80/", "::1"), ("http://[bad", ""), ("", ""), ("no url", ""),
    ("http://" + "a" * 70 + ".example/", ""),
])
def test_hosts(url, host):
  assert urls.host_of(url) == host


def test_a_users_list(tmp_path):
  step = own(tmp_path, "# ours\nspam.example  # all of it\n\n"
             "https://www.mixed.example/bad/page\nWWW.Shop.example\n")
  assert judge(step, "http://spam.example/x", "https://www.spam.example:443/",
               "http://a.b.spam.example/", "http://notspam.example/",
               "http://mixed.example/bad/page/", "http://mixed.example/good",
               "http://shop.example/", "") == [
                   (False, "domain"), (False, "domain"), (False, "subdomain"),
                   True, (False, "url"), True, (False, "domain"), True]


@pytest.mark.parametrize("text, line", [
    ("good.example\nnot a host\n", 2), ("localhost\n", 1),
    ("#\n\n<html>\n", 3)])
def test_a_line_that_is_no_host(tmp_path, text, line):
  with pytest.raises(ConfigError, match=f"list.txt, line {line}: "):
    own(tmp_path, text)


def test_a_list_that_is_missing():
  with pytest.raises(ConfigError, match="no/list.txt does not exist"):
    urls.url_filter(UrlConfig(blocklist="/no/list.txt"))


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
  (tmp_path / "file").write_text("no directory")
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
  with pytest.raises(ConfigError, match="XDG_CACHE_HOME"):
    urls._save(urls.cache_directory() / "list.npy", np.array([], np.uint64))


def test_hashed_sets():
  names = [f"host{i}.example" for i in range(1000)]
  hashed = urls.HashedSet(urls._hashes(
      [b"# a comment", b"", *(name.encode() for name in names)] * 2))
  assert len(hashed) == 1000
  assert all(name in hashed for name in names)
  assert not any(f"other{i}.example" in hashed for i in range(1000))
  assert "x" not in urls.HashedSet(np.array([], np.uint64))


@pytest.fixture(scope="module")
def datatroves():
  """datatrove's own filter with its sets in memory, without its downloads."""
  import tarfile
  step = URLFilter(use_integrated_lists=False)
  with tarfile.open(urls._ASSETS / urls._LISTS) as archive:
    for name in ("domains", "urls"):
      lines = archive.extractfile(name).read().decode().splitlines()
      setattr(step, {"domains": "block_listed_domains",
                     "urls": "block_listed_url"}[name],
              {line.strip() for line in lines if line[:1] != "#"})
  for name in urls._WORD_FILES:
    setattr(step, name, urls.get_list(urls._ASSETS, f"{name}.txt", set()))
  for number, word in enumerate(step.banned_subwords):
    step.banned_subwords_automaton.add_word(word, number)
  step.banned_subwords_automaton.make_automaton()
  step.tldextractor = urls.TLDExtract(suffix_list_urls=(), cache_dir=None)
  return step


@pytest.mark.slow
def test_as_datatrove_judges(datatroves):
  """Whatever datatrove removes goes here too; beyond it, deeper subdomains."""
  rng = np.random.default_rng(0)
  listed = sorted(datatroves.block_listed_domains)
  listed = [listed[i] for i in rng.integers(len(listed), size=500)]
  addresses = [f"http://{host}/page" for host in listed]
  addresses += [f"http://news.{host}x/page/{i}" for i, host in
                enumerate(listed)]
  addresses += [f"http://site{i}.example.org/{word}-{i}" for i, word in
                enumerate(sorted(datatroves.banned_words)
                          + sorted(datatroves.soft_banned_words))]
  addresses += ["http://" + url for url in
                sorted(datatroves.block_listed_url)[:200]]
  ours = judge(urls.url_filter(UrlConfig()), *addresses)
  theirs = judge(datatroves, *addresses)
  assert sum(answer is True for answer in theirs) > 400
  for url, mine, his in zip(addresses, ours, theirs):
    if his is not True:
      assert mine is not True, url
    elif mine is not True:
      assert mine[1] in ("subdomain", "domain", "url"), (url, mine)


def test_words_of_the_address():
  step = urls.url_filter(UrlConfig())
  banned = sorted(urls.get_list(urls._ASSETS, "banned_words.txt", set()))[0]
  soft = sorted(urls.get_list(urls._ASSETS, "soft_banned_words.txt", set()))[:3]
  assert judge(step, f"http://a.example/{banned}/x",
               f"http://a.example/{soft[0]}-{soft[1]}",
               f"http://a.example/{soft[0]}",
               "http://a.example/history/rivers") == [
                   (False, "hard_blacklisted"), (False, "soft_blacklisted"),
                   True, True]
  assert judge(urls.url_filter(UrlConfig(soft_words=3)),
               f"http://a.example/{soft[0]}-{soft[1]}") == [True]


@pytest.mark.slow
def test_nothing_is_fetched_and_little_is_kept(tmp_path):
  """Two processes make the file of hashes at once; one remains."""
  code = """
import resource, socket
def refuse(*arguments):
  raise AssertionError("a connection was asked for")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
from datatrove.data import Document
from llm_jax.config_crawl import UrlConfig
from llm_jax.data.crawl.urls import packaged_hashes, url_filter
step = url_filter(UrlConfig())
hosts, addresses = packaged_hashes()
print(len(hosts), len(addresses),
      step.filter(Document("t", "1", metadata={"url": "http://a.example/"})))
"""
  environment = {"XDG_CACHE_HOME": str(tmp_path), "PATH": ""}
  processes = [subprocess.Popen(
      [sys.executable, "-c", code], env=environment, text=True,
      cwd=pathlib.Path(__file__).parents[3],
      stdout=subprocess.PIPE) for _ in range(2)]
  outputs = [process.communicate()[0].split() for process in processes]
  assert outputs[0] == outputs[1] and outputs[0][2] == "True"
  assert int(outputs[0][0]) > 4_000_000
  files = [file.name for file in (tmp_path / "llm_jax").iterdir()]
  assert len(files) == 2 and all(name.endswith(".npy") for name in files)
