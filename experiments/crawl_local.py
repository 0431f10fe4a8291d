"""Pages of a server on this machine, fetched into a WARC file.

  python -m http.server 8000 --directory my_site &
  python -m experiments.crawl_local --start=http://localhost:8000/ \\
      --output=runs/local/crawl.warc.gz

Breadth first from the addresses given, on their hosts only, with robots.txt
obeyed and a delay between requests. Only this machine and its private network
are ever asked. The file is one that `experiments.curate` reads.
"""

from __future__ import annotations

from typing import Any

from llm_jax import config_flags
from llm_jax.config import CrawlLocalConfig


def run(config: CrawlLocalConfig) -> dict[str, Any]:
  """Crawls.

  Returns:
    Counts: pages, bytes, redirects, what was cut, disallowed, elsewhere, failed
    or left.

  Raises:
    ConfigError: an address that is not one of this machine, an output that is
      there already, or a server that does not answer.
  """
  import dataclasses
  from llm_jax.data.crawl import local_crawl

  config.validate()
  counts = local_crawl.crawl(config, _progress)
  print(f"\ncrawl: {counts.pages:,} pages, {counts.bytes:,} bytes in "
        f"{config.output}; {counts.redirects:,} redirects, "
        f"{counts.truncated:,} cut short, {counts.disallowed:,} not allowed by "
        f"robots.txt, {counts.other_hosts:,} links to other hosts, "
        f"{counts.failed:,} failed, {counts.left_in_queue:,} left")
  return dataclasses.asdict(counts)


def _progress(counts: Any, queued: int) -> None:
  print(f"\rcrawl: {counts.pages:,} pages, {queued:,} more known", end="",
        flush=True)


if __name__ == "__main__":
  config_flags.launch(CrawlLocalConfig, run)
