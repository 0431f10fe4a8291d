"""Stage 1 of the quickstart: a small crawl of web pages, with known truth.

Command:   python -m experiments.make_sample_crawl \\
               --config=configs/quickstart_crawl.py
Hardware:  2 CPU cores
Time:      half a minute
Expect:    8,000 pages in four WARC files: English Wikipedia introductions
           among navigation, adverts, copies, spam and noise

The articles that are held out are fixed before a page is made, and are on none
of them, so bits per byte can be compared whatever is done to the pages.
"""

from llm_jax.config import MakeSampleCrawlConfig


def get_config() -> MakeSampleCrawlConfig:
  """Nearly all English introductions are on some page."""
  return MakeSampleCrawlConfig(output="runs/quickstart/crawl", pages=8_000,
                               files=4, english_share=0.9)
