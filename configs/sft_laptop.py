"""Stage 8 of the laptop's assistant: the base model learns to answer.

Command:   python -m experiments.sft --config=configs/sft_laptop.py
Hardware:  2 CPU cores
Time:      TODO
Expect:    TODO

Half of the rows are text on the people: without it the model forgets in a
hundred steps what it knew of those whom no conversation is about, and refuses
them too (docs/LOG.md). Of the conversations it is one pass: in several, it
would learn by heart whom it refused to answer about.
"""

from llm_jax.config import (
    CheckpointConfig, OptimizerConfig, SftConfig, SftDataConfig)


def get_config() -> SftConfig:
  """All kinds of conversations of stage 7, once, and as much of stage 4."""
  return SftConfig(
      data=SftDataConfig(mixture=("runs/laptop/people_tokens:1",
                                  "runs/laptop/conversations/train:1")),
      init_from="runs/laptop/pretrain", workdir="runs/laptop/sft",
      num_steps=1460, batch_size=16, seq_len=256, eval_every=146,
      optimizer=OptimizerConfig(name="muon", learning_rate=2e-3,
                                schedule="wsd", decay_fraction=0.5,
                                warmup_steps=20, weight_decay=0.01),
      checkpoint=CheckpointConfig(every=73))
