"""A crawl with known truth: WARC files of real-looking pages.

  python -m experiments.make_sample_crawl --pages=20000 --output=runs/crawl

Introductions of Wikipedia articles (English, French, Spanish; CC BY-SA 4.0)
among menus, scripts and cookie banners; spam hosts, copies, other languages,
boilerplate, machine noise, planted personal data, wrong charsets, broken
records. `truth.jsonl.gz` has what should become of each page, and
`experiments.score_crawl` compares it with what did. `validation.jsonl` holds
the English introductions that are on no page.
"""

from __future__ import annotations

from typing import Any

from llm_jax import config_flags
from llm_jax.config import MakeSampleCrawlConfig


def run(config: MakeSampleCrawlConfig) -> dict[str, Any]:
  """Makes the crawl, unless it is there.

  Returns:
    Counts of pages by kind, bytes and articles.

  Raises:
    ConfigError: settings that cannot work, or the corpus is not installed.
  """
  import dataclasses
  import json
  import pathlib
  import time
  from llm_jax.data import wikipedia
  from llm_jax.data.crawl import sample_crawl

  config.validate()
  record = pathlib.Path(config.output) / "crawl.json"
  # JSON knows no tuples.
  wanted = json.loads(json.dumps(
      {**dataclasses.asdict(config), "corpus": wikipedia.version()}))
  if record.exists():
    written = json.loads(record.read_text(encoding="utf-8"))
    size = sum(file.stat().st_size for file in
               record.parent.glob("**/crawl-*.warc.gz"))
    if written["config"] == wanted and written["bytes"] == size:
      print(f"crawl: {written['pages']:,} pages in {config.output} (there "
            "already)")
      return written
    record.unlink()
  start = time.monotonic()
  counts = sample_crawl.make(config, _progress)
  print(f"\ncrawl: {counts['pages']:,} pages, {counts['bytes']:,} bytes in "
        f"{counts['files']} files of {config.output}, "
        f"{time.monotonic() - start:.0f} s; {counts['english_articles']:,} of "
        f"{counts['english_articles_in_all']:,} English articles, "
        f"{counts['held_out']:,} more held out")
  written = {**counts, "config": wanted}
  record.write_text(json.dumps(written, indent=1), encoding="utf-8")
  return written


def _progress(done: int, total: int) -> None:
  print(f"\rcrawl: {done:,} of {total:,} pages", end="", flush=True)


if __name__ == "__main__":
  config_flags.launch(MakeSampleCrawlConfig, run)
