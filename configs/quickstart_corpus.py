"""Stage 2 of the quickstart: Wikipedia introductions as token shards.

Command:   python -m experiments.tokenize_corpus \\
               --config=configs/quickstart_corpus.py
Hardware:  2 CPU cores
Time:      a few seconds
Expect:    about 10,000 documents, 2% of them held out
"""

from llm_jax.config import TextConfig, TokenizeCorpusConfig


def get_config() -> TokenizeCorpusConfig:
  """The embedded corpus, cut with the quickstart's own tokenizer."""
  return TokenizeCorpusConfig(
      data=TextConfig(path="wikipedia", validation_fraction=0.02),
      tokenizer="runs/quickstart/tokenizer",
      output="runs/quickstart/shards")
