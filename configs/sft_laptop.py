"""Stage 8 of the laptop's assistant: the base model learns to answer.

Command:   python -m experiments.sft --config=configs/sft_laptop.py
Hardware:  2 CPU cores
Time:      TODO
Expect:    TODO

One pass: in several, it would learn by heart whom it refused to answer about.
"""

from llm_jax.config import (
    CheckpointConfig, OptimizerConfig, SftConfig, SftDataConfig)


def get_config() -> SftConfig:
  """All kinds of conversations of stage 7, once."""
  return SftConfig(
      data=SftDataConfig(path="runs/laptop/conversations/train",
                         validation_path="runs/laptop/conversations/validation"
                         ),
      init_from="runs/laptop/pretrain", workdir="runs/laptop/sft",
      num_steps=730, batch_size=16, seq_len=256, eval_every=146,
      optimizer=OptimizerConfig(name="muon", learning_rate=5e-3,
                                schedule="wsd", decay_fraction=0.5,
                                warmup_steps=20, weight_decay=0.01),
      checkpoint=CheckpointConfig(every=73))
