"""Pages of a local server: limits, robots.txt, hosts that are refused."""

import contextlib
import dataclasses
import http.server
import threading
import time

import pytest
from warcio.archiveiterator import ArchiveIterator

from llm_jax.config import ConfigError, CrawlLocalConfig
from llm_jax.data.crawl import fetch, local_crawl

pytest.importorskip("warcio")

PAGES = {
    "/": '<a href="/a.html">a</a> <a href="b.html#part">b</a> '
         '<a href="/private/x.html">x</a> <a href="http://example.com/">far</a>'
         '<a href="/moved">moved</a> <a href="/large">large</a>'
         '<a href="/slow">slow</a> <a href="/data.json">data</a>'
         '<a href="mailto:a@b.c">mail</a> <a href="/missing">missing</a>'
         '<a href="/hidden.html" rel="nofollow">n</a> <a href="http://[">?</a>',
    "/a.html": '<a href="/">home</a> <a href="/b.html?q=1&amp;r=2">query</a>',
    "/b.html": '<base href="/deep/"><a href="c.html">c</a>',
    "/b.html?q=1&r=2": "<p>é asked</p>",
    "/deep/c.html": '<a href="/a.html">a</a> <a href="/été.html">summer</a>',
    "/%C3%A9t%C3%A9.html": "<p>summer</p>",
    "/private/x.html": "<p>secret</p>", "/hidden.html": "<p>hidden</p>"}
ROBOTS = "User-agent: *\nDisallow: /private/\nCrawl-delay: 2\n"


class Handler(http.server.BaseHTTPRequestHandler):
  protocol_version = "HTTP/1.1"

  def log_message(self, *_):
    pass

  def do_GET(self):
    self.server.asked.append(self.path)
    self.server.agents.add(self.headers["User-Agent"])
    if self.path == "/robots.txt":
      self.answer(self.server.robots_status, "text/plain",
                  self.server.robots.encode())
    elif self.path == "/moved":
      self.answer(302, "text/html", b"", Location="/again")
    elif self.path == "/again":
      self.answer(302, "text/html", b"", Location="/moved")
    elif self.path == "/large":
      self.answer(200, "text/html", b"<p>" + b"x" * 300_000)
    elif self.path == "/data.json":
      self.answer(200, "application/json", b'{"a": "<a href=/never>"}')
    elif self.path == "/slow":
      self.send_response(200)
      self.send_header("Content-Type", "text/html")
      self.send_header("Transfer-Encoding", "chunked")
      self.end_headers()
      with contextlib.suppress(OSError):
        while not self.server.ended.wait(0.02):
          self.wfile.write(b"3\r\nab \r\n")
    elif self.path in PAGES:
      self.answer(200, "text/html; charset=utf-8", PAGES[self.path].encode())
    else:
      self.answer(404, "text/html", b"<p>no such page</p>")

  def answer(self, status, kind, body, **headers):
    self.send_response(status)
    self.send_header("Content-Type", kind)
    self.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
      self.send_header(name, value)
    self.end_headers()
    with contextlib.suppress(OSError):
      self.wfile.write(body)


@pytest.fixture
def server():
  instance = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
  instance.daemon_threads = True
  instance.robots, instance.robots_status = ROBOTS, 200
  instance.asked, instance.agents = [], set()
  instance.ended = threading.Event()
  thread = threading.Thread(target=instance.serve_forever, args=(0.02,),
                            daemon=True)
  thread.start()
  yield instance
  instance.ended.set()
  instance.shutdown()
  instance.server_close()


def settings(server, tmp_path, **changes):
  values = {"start": (f"http://127.0.0.1:{server.server_port}/",),
            "output": str(tmp_path / "out" / "crawl.warc.gz"), "delay_s": 0.0,
            "timeout_s": 0.3, "max_page_mb": 0.1} | changes
  return CrawlLocalConfig(**values)


def records(path):
  with open(path, "rb") as stream:
    return [(record.rec_type, record.rec_headers, record.http_headers,
             record.content_stream().read())
            for record in ArchiveIterator(stream, check_digests="raise")]


def test_a_site_is_fetched_breadth_first_into_a_warc(server, tmp_path):
  waits = []
  config = settings(server, tmp_path)
  counts = local_crawl.crawl(config, sleep=waits.append)
  root = config.start[0][:-1]
  assert server.asked == [
      "/robots.txt", "/", "/a.html", "/b.html", "/moved", "/again", "/large",
      "/slow", "/data.json", "/missing", "/b.html?q=1&r=2", "/deep/c.html",
      "/%C3%A9t%C3%A9.html"]
  # The redirect goes in a circle, and is asked for once.
  assert (counts.pages, counts.redirects, counts.disallowed,
          counts.truncated, counts.failed) == (10, 2, 1, 2, 0)
  assert counts.other_hosts == 1  # example.com
  assert server.agents == {"llm_jax-crawler"}
  # robots.txt asks for two seconds between requests.
  assert len(waits) == 12 and all(1 < wait <= 2 for wait in waits)

  found = records(config.output)
  assert [kind for kind, *_ in found] == ["warcinfo"] + [
      "request", "response"] * 13
  responses = {headers["WARC-Target-URI"]: (headers, http, body)
               for kind, headers, http, body in found if kind == "response"}
  assert responses[f"{root}/a.html"][2] == PAGES["/a.html"].encode()
  assert responses[f"{root}/b.html?q=1&r=2"][2] == "<p>é asked</p>".encode()
  headers, http_headers, body = responses[f"{root}/large"]
  assert headers["WARC-Truncated"] == "length"
  assert len(body) == 0.1 * 2**20 // 1
  headers, http_headers, body = responses[f"{root}/slow"]
  assert headers["WARC-Truncated"] == "time" and body.startswith(b"ab ab ")
  # The body is recorded without the chunks it came in.
  assert http_headers.get_header("Transfer-Encoding") is None
  requests = [headers["WARC-Concurrent-To"] for kind, headers, *_ in found
              if kind == "request"]
  assert requests == [headers["WARC-Record-ID"]
                      for kind, headers, *_ in found if kind == "response"]


def test_pages_are_as_many_as_asked_for(server, tmp_path):
  counts = local_crawl.crawl(settings(server, tmp_path, max_pages=2),
                             sleep=lambda seconds: None)
  assert counts.pages == 2 and counts.left_in_queue == 8
  assert server.asked == ["/robots.txt", "/", "/a.html"]


@pytest.mark.parametrize("status", [401, 403, 503])
def test_rules_that_cannot_be_read_forbid_everything(server, tmp_path, status):
  server.robots_status = status
  counts = local_crawl.crawl(settings(server, tmp_path))
  assert counts.pages == 0 and counts.disallowed == 1
  assert server.asked == ["/robots.txt"]


def test_no_rules_allow_everything(server, tmp_path):
  server.robots_status = 404
  local_crawl.crawl(settings(server, tmp_path, max_pages=5))
  assert "/private/x.html" in server.asked


def test_what_a_killed_crawl_wrote_is_whole(server, tmp_path):
  config = settings(server, tmp_path)

  def killed(counts, queued):
    # As at a kill: nothing is flushed or closed.
    assert len(records(config.output)) == 3 + 2 * (
        counts.pages + counts.redirects)
  local_crawl.crawl(dataclasses.replace(config, max_pages=4),
                    progress=killed, sleep=lambda seconds: None)


def test_an_uncompressed_file(server, tmp_path):
  config = settings(server, tmp_path, output=str(tmp_path / "crawl.warc"),
                    max_pages=1)
  local_crawl.crawl(config, sleep=lambda seconds: None)
  assert (tmp_path / "crawl.warc").read_bytes().startswith(b"WARC/1.1")
  assert len(records(config.output)) == 5


@pytest.mark.parametrize("url, sentence", [
    ("http://8.8.8.8/", "only from this machine"),
    ("http://[::ffff:8.8.8.8]/", "only from this machine"),
    ("http://169.254.169.254/", "only from this machine"),
    ("http://0.0.0.0/", "only from this machine"),
    ("https://localhost/", "https is not spoken"),
    ("file:///etc/passwd", "in full"), ("localhost:8000", "in full"),
    ("http://no-such-host.invalid/", "cannot be found")])
def test_other_addresses_are_refused(tmp_path, url, sentence):
  config = CrawlLocalConfig(start=(url,), output=str(tmp_path / "c.warc.gz"))
  with pytest.raises(ConfigError, match=sentence):
    local_crawl.crawl(config)
  assert not (tmp_path / "c.warc.gz").exists()


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "192.168.0.7",
                                     "::1", "localhost"])
def test_private_addresses_are_not(address):
  assert fetch.local_address(address, 80)


def test_an_output_that_is_there_is_left_alone(server, tmp_path):
  (tmp_path / "c.warc.gz").write_bytes(b"mine")
  with pytest.raises(ConfigError, match="there already"):
    local_crawl.crawl(settings(server, tmp_path,
                               output=str(tmp_path / "c.warc.gz")))
  assert (tmp_path / "c.warc.gz").read_bytes() == b"mine"


def test_a_server_that_is_not_there(tmp_path):
  config = CrawlLocalConfig(start=("http://127.0.0.1:9/",),
                            output=str(tmp_path / "c.warc.gz"))
  with pytest.raises(ConfigError, match="is the server running"):
    local_crawl.crawl(config)


def test_a_request_takes_no_longer_than_its_limit(server):
  start = time.monotonic()
  response = fetch.fetch(f"http://127.0.0.1:{server.server_port}/slow",
                         "127.0.0.1", user_agent="x", timeout_s=0.3,
                         max_bytes=1000)
  # The server sends something all the time, and would never end.
  assert response.truncated == "time" and time.monotonic() - start < 30
