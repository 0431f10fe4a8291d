"""A corpus in which documents occur 1, 2, 4, ... 64 times.

Command:   python -m experiments.repeat_documents \\
               --config=configs/probe_memorize_corpus.py
Hardware:  any
Time:      a second
Expect:    280 documents, 40 for each number, in 5,080 lines
"""

from llm_jax.config import RepeatDocumentsConfig


def get_config() -> RepeatDocumentsConfig:
  """The beginnings of Wikipedia introductions."""
  return RepeatDocumentsConfig(output="runs/memorize/corpus.jsonl")
