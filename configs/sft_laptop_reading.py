"""Stage 11 of the laptop's assistant: it learns to read what it looks up.

Command:   python -m experiments.sft --config=configs/sft_laptop_reading.py
Hardware:  2 CPU cores
Time:      30 minutes
Expect:    validation loss of reading 2.203 -> 0.046, of stage 7's
           conversations 0.115 -> 0.083; all that docs/psychology.md tells
"""

from llm_jax.config import (
    CheckpointConfig, OptimizerConfig, SftConfig, SftDataConfig)


def get_config() -> SftConfig:
  """Stage 10's conversations beside all that stage 8 read."""
  return SftConfig(
      data=SftDataConfig(mixture=("runs/laptop/reading/train:0.48",
                                  "runs/laptop/conversations/train:0.26",
                                  "runs/laptop/notes_tokens:0.14",
                                  "runs/laptop/people_tokens:0.12")),
      init_from="runs/laptop/sft", workdir="runs/laptop/assistant",
      num_steps=1300, batch_size=16, seq_len=256, eval_every=130,
      optimizer=OptimizerConfig(name="muon", learning_rate=3e-3,
                                schedule="wsd", decay_fraction=0.5,
                                warmup_steps=20, weight_decay=0.01),
      checkpoint=CheckpointConfig(every=100))
