"""Stage 3 of the laptop's assistant: a vocabulary of 4,096 byte-level tokens.

Command:   python -m experiments.train_tokenizer \\
               --config=configs/laptop_tokenizer.py
Hardware:  2 CPU cores
Time:      half a minute
Expect:    4.0 bytes per token on held-out text
"""

from llm_jax.config import TextConfig, TokenizerConfig, TrainTokenizerConfig


def get_config() -> TrainTokenizerConfig:
  """Of both texts; each digit is a token of its own."""
  return TrainTokenizerConfig(
      data=TextConfig(path="runs/laptop/*/documents.jsonl"),
      tokenizer=TokenizerConfig(vocab_size=4096, max_digits=1),
      output="runs/laptop/tokenizer")
