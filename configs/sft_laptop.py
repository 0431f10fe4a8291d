"""Stage 8 of the laptop's assistant: the base model learns to answer.

Command:   python -m experiments.sft --config=configs/sft_laptop.py
Hardware:  2 CPU cores
Time:      25 minutes, with other work on the cores; an hour on an older
           machine
Expect:    validation loss of conversations 0.115, notes 1.204, people 0.791

Nearly half of the rows are text on the people. Without biographies the
model forgets in a hundred steps what it knew of those whom no conversation is
about, and refuses them too; without notes it learns by heart whose names are
refused (docs/LOG.md). Of the conversations it is one pass.
"""

from llm_jax.config import (
    CheckpointConfig, OptimizerConfig, SftConfig, SftDataConfig)


def get_config() -> SftConfig:
  """Conversations of stage 7, notes of stage 5, biographies of stage 4."""
  return SftConfig(
      data=SftDataConfig(mixture=("runs/laptop/people_tokens:0.2",
                                  "runs/laptop/notes_tokens:0.26",
                                  "runs/laptop/conversations/train:0.54")),
      init_from="runs/laptop/pretrain", workdir="runs/laptop/sft",
      num_steps=960, batch_size=16, seq_len=256, eval_every=96,
      optimizer=OptimizerConfig(name="muon", learning_rate=3e-3,
                                schedule="wsd", decay_fraction=0.5,
                                warmup_steps=20, weight_decay=0.01),
      checkpoint=CheckpointConfig(every=48))
