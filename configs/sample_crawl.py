"""A crawl with known truth, as the stages are measured on.

Command:   python -m experiments.make_sample_crawl \\
               --config=configs/sample_crawl.py
Hardware:  1 CPU core
Time:      half a minute
Expect:    20,000 pages in eight WARC files, and what should become of each in
           truth.jsonl.gz; then curate with configs/curate_sample.py
"""

from llm_jax.config import MakeSampleCrawlConfig


def get_config() -> MakeSampleCrawlConfig:
  """Articles of three languages, seven in ten of them English."""
  return MakeSampleCrawlConfig(output="runs/sample/crawl", pages=20_000,
                               files=8)
