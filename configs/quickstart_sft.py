"""Stage 4 of the quickstart: the base model becomes an assistant.

Command:   python -m experiments.sft --config=configs/quickstart_sft.py
Hardware:  2 CPU cores

Most demonstrations of the sums state the answer at once, as people do; the
model imitates that, and cannot add in one step what they add in their heads.
"""

from llm_jax.config import (
    CheckpointConfig, OptimizerConfig, SftConfig, SftDataConfig,
    SyntheticChatConfig)


def get_config() -> SftConfig:
  """Four kinds of conversations, until the loss on sums stops falling."""
  return SftConfig(
      data=SftDataConfig(synthetic=SyntheticChatConfig(
          identity=400, articles=3000, counting=3000, sums=16000,
          sum_steps_share=0.35)),
      init_from="runs/quickstart/pretrain",
      workdir="runs/quickstart/sft",
      num_steps=240, batch_size=32, seq_len=256, eval_every=20,
      plateau_metric="sums",
      optimizer=OptimizerConfig(learning_rate=2e-3, schedule="constant",
                                warmup_steps=10, weight_decay=0.01),
      checkpoint=CheckpointConfig(every=40))
