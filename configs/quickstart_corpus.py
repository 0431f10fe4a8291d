"""Stage 4 of the quickstart: the cleaned pages as token shards.

Command:   python -m experiments.tokenize_corpus \\
               --config=configs/quickstart_corpus.py
Hardware:  2 CPU cores
Time:      a few seconds
Expect:    about 4,800 documents, and the 180 that are held out
"""

from llm_jax.config import TextConfig, TokenizeCorpusConfig


def get_config() -> TokenizeCorpusConfig:
  """What is left of the crawl, cut with the quickstart's own tokenizer."""
  return TokenizeCorpusConfig(
      data=TextConfig(
          path="runs/quickstart/curate/documents",
          validation_path="runs/quickstart/crawl/validation.jsonl"),
      tokenizer="runs/quickstart/tokenizer",
      output="runs/quickstart/shards")
