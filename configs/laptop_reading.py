"""Stage 10 of the laptop's assistant: looking up and reading, over and over.

Command:   python -m experiments.make_conversations \\
               --config=configs/laptop_reading.py
Hardware:  2 CPU cores
Time:      some 10 s
Expect:    20,000 conversations with searches, 8,000 with letters to count
"""

from llm_jax.config import (
    MakeConversationsConfig, SyntheticChatConfig, ToolsConfig)


def get_config() -> MakeConversationsConfig:
  """Stage 9's people, and more words than stage 7 has."""
  return MakeConversationsConfig(
      synthetic=SyntheticChatConfig(
          identity=0, articles=0, sums=0, counting=8000, reading=20000,
          people="runs/laptop/readers", validation=128),
      tools=ToolsConfig(names=("python", "search"),
                        corpus="runs/laptop/readers/search.jsonl"),
      tokenizer="runs/laptop/tokenizer", seq_len=256,
      output="runs/laptop/reading", seed=1)
