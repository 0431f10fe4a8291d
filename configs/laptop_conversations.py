"""Stage 7 of the laptop's assistant: conversations of every kind.

Command:   python -m experiments.make_conversations \\
               --config=configs/laptop_conversations.py
Hardware:  2 CPU cores
Time:      a minute
Expect:    35,300 conversations of 2.1 M tokens, half of them trained
"""

from llm_jax.config import (
    MakeConversationsConfig, SyntheticChatConfig, ToolsConfig)


def get_config() -> MakeConversationsConfig:
  """Who it is, what it knows and does not, letters, numbers and tools."""
  return MakeConversationsConfig(
      synthetic=SyntheticChatConfig(
          identity=800, identity_variants=1500, articles=0, sums=0,
          facts=4000, refusals=4000, spelling=3000, counting=6000,
          arithmetic=1000, arithmetic_steps=4000, arithmetic_answer_first=4000,
          tool_python=2500, tool_search=3000, multi_turn=1500,
          people="runs/laptop/people", validation=128,
          identity_facts="I am llm_jax laptop, a small language model made by "
          "you with the llm_jax codebase. I was trained on texts about people "
          "who never lived and on English Wikipedia introductions."),
      tools=ToolsConfig(names=("python", "search"),
                        corpus="runs/laptop/people/search.jsonl"),
      tokenizer="runs/laptop/tokenizer", seq_len=256,
      output="runs/laptop/conversations")
