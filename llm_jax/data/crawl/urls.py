"""Addresses that are not worth reading: block lists and words.

datatrove's URL filter and the lists that it carries (4.6 million hosts, of the
blacklists of the University of Toulouse, and FineWeb's words), made fit for
many processes: the lists are kept as sorted 64-bit hashes in a file that all
processes map, where Python's sets take four seconds and 0.8 GB in each. Two of
4.6 million hosts share a hash with probability 1e-6.
"""

from __future__ import annotations

import functools
import os
import pathlib
import re
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from importlib import metadata
from urllib.parse import urlsplit

import datatrove
import numpy as np
import xxhash
from datatrove.data import Document
from datatrove.pipeline.filters import URLFilter
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.filters.url_filter import get_list
from tldextract import TLDExtract

from llm_jax.config import ConfigError, require
from llm_jax.config_crawl import UrlConfig

_ASSETS = pathlib.Path(datatrove.__file__).parent / "assets"
_LISTS = "url_filterblacklistsv0_3_0.tar.gz"
_WORD_FILES = ("banned_words", "banned_subwords", "soft_banned_words")
_HOST = re.compile(r"[\w*-]+(\.[\w-]+)+")


def url_filter(config: UrlConfig) -> BaseFilter:
  """The stage.

  Raises:
    ConfigError: the user's list does not exist, or has a line that is neither
      a host nor an address; or the packaged lists cannot be kept anywhere.
  """
  hosts, addresses = read_blocklist(config.blocklist)
  if config.packaged_lists:
    packaged_hashes()  # made once, here and not by all processes at a time
  return _UrlFilter(config, hosts, addresses)


def read_blocklist(path: str) -> tuple[set[str], set[str]]:
  """The hosts and addresses of a file: one on a line, # begins a comment.

  Raises:
    ConfigError: as `url_filter`.
  """
  hosts, addresses = set(), set()
  if not path:
    return hosts, addresses
  require(os.path.isfile(path), f"curate.url.blocklist={path} does not exist; "
          "give a file of hosts.")
  with open(path, encoding="utf-8", errors="replace") as lines:
    for number, line in enumerate(lines, start=1):
      entry = line.partition("#")[0].strip()
      if not entry:
        continue
      if "/" in entry.partition("://")[2].rstrip("/") or (
          "://" not in entry and "/" in entry.rstrip("/")):
        addresses.add(_bare_address(entry))
        continue
      host = host_of(entry if "://" in entry else f"http://{entry}")
      if not _HOST.fullmatch(host):
        raise ConfigError(f"{path}, line {number}: {entry!r} is neither a host "
                          "nor an address; write example.com or "
                          "example.com/a/page.")
      hosts.add(host.removeprefix("www."))
  return hosts, addresses


def host_of(url: str) -> str:
  """The host of an address: lower case, ASCII (IDNA), without a port; "" if
  it has none."""
  try:
    host = urlsplit(url).hostname or ""
    return host.rstrip(".").encode("idna").decode("ascii")
  except ValueError:  # brackets that do not close, labels that are too long
    return ""


def domains(host: str) -> Iterator[str]:
  """a.b.example.com, b.example.com, example.com: not the last label alone."""
  labels = host.split(".")
  for start in range(len(labels) - 1):
    yield ".".join(labels[start:])


class _UrlFilter(URLFilter):
  """datatrove's filter; also with subdomains at any depth.

  Removes with the reasons `domain`, `subdomain`, `url`, `hard_blacklisted`,
  `soft_blacklisted`, `blacklisted_subword`. Documents without an address pass.
  """

  def __init__(self, config: UrlConfig, hosts: set[str], addresses: set[str]):
    super().__init__(soft_word_threshold=config.soft_words,
                     use_integrated_lists=config.packaged_lists)
    # The list of public suffixes that the package carries; no download.
    self.tldextractor = TLDExtract(suffix_list_urls=(), cache_dir=None)
    self._hosts, self._addresses = hosts, addresses

  def download_data(self) -> None:
    """Opens the packaged lists; datatrove calls it before each document."""
    if self._downloaded:
      return
    if self.use_integrated_lists:
      hosts, addresses = packaged_hashes()
      self.block_listed_domains = HashedSet(hosts)
      self.block_listed_url = HashedSet(addresses)
      for name in _WORD_FILES:
        setattr(self, name, get_list(_ASSETS, f"{name}.txt", set()))
      for number, word in enumerate(sorted(self.banned_subwords)):
        self.banned_subwords_automaton.add_word(word, number)
      self.banned_subwords_automaton.make_automaton()
    self._downloaded = True

  def filter(self, document: Document) -> bool | tuple[bool, str]:
    """Whether its address is fit to be read."""
    url = str(document.metadata.get("url") or "")
    host = host_of(url)
    if not host:
      return True
    self.download_data()
    bare = host.removeprefix("www.")
    for domain in domains(bare):
      if domain in self._hosts or domain in self.block_listed_domains:
        return False, "domain" if domain == bare else "subdomain"
    address = _bare_address(url)
    if address in self._addresses or address in self.block_listed_url:
      return False, "url"
    return super().filter(document)


class HashedSet:
  """Texts by their hashes: `text in HashedSet(hashes)`."""

  def __init__(self, hashes: np.ndarray):
    """Takes sorted hashes, uint64 [n]."""
    self._hashes = hashes

  def __contains__(self, text: object) -> bool:
    wanted = np.uint64(xxhash.xxh64_intdigest(str(text).encode()))
    place = int(np.searchsorted(self._hashes, wanted))
    return place < len(self._hashes) and bool(self._hashes[place] == wanted)

  def __len__(self) -> int:
    return len(self._hashes)


def packaged_hashes() -> tuple[np.ndarray, np.ndarray]:
  """Sorted hashes of datatrove's hosts and addresses, mapped from a file.

  It is made once (some seconds), in the user's cache directory; processes that
  want it at the same time each write their own and one of these remains.
  """
  return tuple(_map_list(name) for name in ("domains", "urls"))


@functools.cache
def _map_list(name: str) -> np.ndarray:
  archive = _ASSETS / _LISTS
  # Another version of the package may carry other lists by the same name.
  stamp = xxhash.xxh64_hexdigest(
      f"{metadata.version('datatrove')} {archive.stat().st_size}")
  file = cache_directory() / f"blocked_{name}_{stamp}.npy"
  if not file.exists():
    with tarfile.open(archive) as lists, lists.extractfile(name) as lines:
      _save(file, _hashes(line.strip() for line in lines))
  return np.load(file, mmap_mode="r")


def _hashes(lines: Iterable[bytes]) -> np.ndarray:
  return np.unique(np.fromiter(
      (xxhash.xxh64_intdigest(line) for line in lines
       if line and not line.startswith(b"#")), np.uint64))


def _save(file: pathlib.Path, hashes: np.ndarray) -> None:
  """Writes an array so that it is there as a whole or not at all.

  Raises:
    ConfigError: the directory cannot be written to.
  """
  try:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as part:
      np.save(part, hashes)
    os.replace(part.name, file)
  except OSError as error:
    raise ConfigError(
        f"the lists of curate.url.packaged_lists cannot be kept in "
        f"{file.parent} ({error}); set XDG_CACHE_HOME to a directory that can "
        "be written to.") from error


def cache_directory() -> pathlib.Path:
  """`llm_jax` in the user's cache directory."""
  root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
  return pathlib.Path(root) / "llm_jax"


def _bare_address(url: str) -> str:
  """An address as the lists write it: without scheme, www. and last slash."""
  return url.partition("://")[2].removeprefix("www.").rstrip("/") or (
      url.removeprefix("www.").rstrip("/"))
