"""Counting letters: imitation, from the quickstart's base model.

Command:   python -m experiments.sft --config=configs/letter_counting_sft.py
           (after make quickstart and configs/letter_counting_demonstrate.py)
Hardware:  2 CPU cores
Time:      nine minutes on one core
Expect:    63% to 68% of 1,024 held-out problems solved, by three seeds: 97% of
           those that are spelt, 42% of those that are answered at once
"""

from llm_jax.config import (
    CheckpointConfig, OptimizerConfig, SftConfig, SftDataConfig)


def get_config() -> SftConfig:
  """As the quickstart's finetuning, on one task."""
  return SftConfig(
      data=SftDataConfig(
          path="runs/letter_counting/demonstrations/conversations.jsonl"),
      init_from="runs/quickstart/pretrain", workdir="runs/letter_counting/sft",
      num_steps=3200, batch_size=8, seq_len=256, eval_every=400,
      optimizer=OptimizerConfig(name="muon", learning_rate=1e-2,
                                schedule="wsd", decay_fraction=0.4,
                                warmup_steps=20, weight_decay=0.01),
      checkpoint=CheckpointConfig(every=200))
