"""Chains of sums and differences: imitation, from the quickstart's base model.

Command:   python -m experiments.sft --config=configs/chain_sum_sft.py
           (after make quickstart and configs/chain_sum_demonstrate.py)
Hardware:  2 CPU cores
Time:      three minutes on one core
Expect:    44% to 57% of 1,024 held-out problems solved, by three seeds
"""

from llm_jax.config import (
    CheckpointConfig, OptimizerConfig, SftConfig, SftDataConfig)


def get_config() -> SftConfig:
  """As the quickstart's finetuning, on one task."""
  return SftConfig(
      data=SftDataConfig(
          path="runs/chain_sum/demonstrations/conversations.jsonl"),
      init_from="runs/quickstart/pretrain", workdir="runs/chain_sum/sft",
      num_steps=960, batch_size=8, seq_len=256, eval_every=160,
      optimizer=OptimizerConfig(name="muon", learning_rate=1e-2,
                                schedule="wsd", decay_fraction=0.4,
                                warmup_steps=20, weight_decay=0.01),
      checkpoint=CheckpointConfig(every=80))
