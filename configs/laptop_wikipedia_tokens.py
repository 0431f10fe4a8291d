"""Stage 5 of the laptop's assistant: Wikipedia's introductions as token shards.

Command:   python -m experiments.tokenize_corpus \\
               --config=configs/laptop_wikipedia_tokens.py
Hardware:  2 CPU cores
Time:      some 10 s
Expect:    1.5 M tokens
"""

from llm_jax.config import TextConfig, TokenizeCorpusConfig


def get_config() -> TokenizeCorpusConfig:
  """The embedded corpus, in stage 3's vocabulary."""
  return TokenizeCorpusConfig(
      data=TextConfig(path="wikipedia"), tokenizer="runs/laptop/tokenizer",
      output="runs/laptop/wikipedia_tokens")
