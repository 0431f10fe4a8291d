"""From a server on this machine to clean text."""

import functools
import gzip
import http.server
import json
import threading

import pytest

from experiments import crawl_local, curate
from llm_jax.config import CrawlLocalConfig, CurateConfig
from llm_jax.config_crawl import StagesConfig, UrlConfig
from llm_jax.config_curate import ExecutorConfig, InputConfig
from llm_jax.data import wikipedia


@pytest.fixture
def site(tmp_path):
  """Python's own file server over six articles and a page of links."""
  folder = tmp_path / "site"
  folder.mkdir()
  texts = [a.extract for a in wikipedia.load_articles()
           if 900 < len(a.extract) and "{" not in a.extract][:6]
  for number, text in enumerate(texts):
    paragraphs = "".join(f"<p>{line}</p>" for line in text.split("\n"))
    (folder / f"{number}.html").write_text(
        f"<html><body><nav><a href='/'>Home</a></nav><article>{paragraphs}"
        f"<a href='{(number + 1) % 7}.html'>next</a></article></body></html>")
  (folder / "index.html").write_text(
      "<a href=0.html>first</a> <a href=5.html>last</a>")
  (folder / "robots.txt").write_text("User-agent: *\nDisallow: /5.html\n")
  handler = functools.partial(http.server.SimpleHTTPRequestHandler,
                              directory=str(folder))
  handler.func.log_message = lambda *_: None
  server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
  thread = threading.Thread(target=server.serve_forever, args=(0.02,),
                            daemon=True)
  thread.start()
  yield f"http://localhost:{server.server_port}/", texts
  server.shutdown()
  server.server_close()


@pytest.mark.slow
def test_from_http_to_text(site, tmp_path, capsys):
  start, texts = site
  output = str(tmp_path / "crawl.warc.gz")
  counts = crawl_local.run(CrawlLocalConfig((start,), output, delay_s=0.0))
  # The front page and five articles; the sixth is not for us.
  assert counts["pages"] == 6 and counts["disallowed"] == 1
  assert "6 pages" in capsys.readouterr().out
  curate.run(CurateConfig(
      input=InputConfig(paths=(output,)),
      curate=StagesConfig(url=UrlConfig(packaged_lists=False)),
      executor=ExecutorConfig(workers=1), workdir=str(tmp_path / "w")))
  found = {}
  for file in (tmp_path / "w" / "documents").rglob("*.jsonl.gz"):
    with gzip.open(file, "rt", encoding="utf-8") as lines:
      found |= {record["url"]: record["text"]
                for record in map(json.loads, lines)}
  assert set(found) <= {f"{start}{number}.html" for number in range(5)}
  assert len(found) >= 3
  for url, text in found.items():
    article = texts[int(url.removesuffix(".html")[-1])]
    assert article.split("\n")[0].strip() in text
