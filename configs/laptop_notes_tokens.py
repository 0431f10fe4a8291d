"""Stage 5 of the laptop's assistant: the notes on people as token shards.

Command:   python -m experiments.tokenize_corpus \\
               --config=configs/laptop_notes_tokens.py
Hardware:  2 CPU cores
Time:      some seconds
Expect:    0.9 M tokens
"""

from llm_jax.config import TextConfig, TokenizeCorpusConfig


def get_config() -> TokenizeCorpusConfig:
  """Whom stage 1 tells of and whom not, in stage 3's vocabulary."""
  return TokenizeCorpusConfig(
      data=TextConfig(path="runs/laptop/people/notes.jsonl",
                      validation_fraction=0.01),
      tokenizer="runs/laptop/tokenizer", output="runs/laptop/notes_tokens")
