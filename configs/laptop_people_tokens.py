"""Stage 4 of the laptop's assistant: the texts on people as token shards.

Command:   python -m experiments.tokenize_corpus \\
               --config=configs/laptop_people_tokens.py
Hardware:  2 CPU cores
Time:      half a minute
Expect:    4.8 M tokens
"""

from llm_jax.config import TextConfig, TokenizeCorpusConfig


def get_config() -> TokenizeCorpusConfig:
  """What stage 1 wrote, in stage 3's vocabulary."""
  return TokenizeCorpusConfig(
      data=TextConfig(path="runs/laptop/people/documents.jsonl",
                      validation_fraction=0.01),
      tokenizer="runs/laptop/tokenizer", output="runs/laptop/people_tokens")
