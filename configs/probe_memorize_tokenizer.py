"""The vocabulary of the model that memorises.

Command:   python -m experiments.train_tokenizer \\
               --config=configs/probe_memorize_tokenizer.py
Hardware:  any
Time:      a few seconds
Expect:    a vocabulary of 1,024 tokens
"""

from llm_jax.config import TextConfig, TokenizerConfig, TrainTokenizerConfig


def get_config() -> TrainTokenizerConfig:
  """1,024 tokens of English, learnt from all introductions."""
  return TrainTokenizerConfig(
      data=TextConfig(path="wikipedia"),
      tokenizer=TokenizerConfig(vocab_size=1024, max_digits=1),
      output="runs/memorize/tokenizer")
