"""Stage 3 of the quickstart: a vocabulary of 4,096 byte-level tokens.

Command:   python -m experiments.train_tokenizer \\
               --config=configs/quickstart_tokenizer.py
Hardware:  2 CPU cores
Time:      about 5 s
Expected:  3.6 bytes per token on held-out articles
"""

from llm_jax.config import TextConfig, TokenizerConfig, TrainTokenizerConfig


def get_config() -> TrainTokenizerConfig:
  """Returns the config; see the module's docstring."""
  return TrainTokenizerConfig(
      data=TextConfig(
          path="runs/quickstart/curate/documents",
          validation_path="runs/quickstart/crawl/validation.jsonl"),
      # A digit is a token, so that every number is spelt with the same ten,
      # each seen often; with three digits to a token a small model would have
      # to learn up to 1,110 numbers one by one. It costs 1% of compression.
      tokenizer=TokenizerConfig(vocab_size=4096, max_digits=1),
      output="runs/quickstart/tokenizer")
