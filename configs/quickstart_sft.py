"""Stage 6 of the quickstart: the base model becomes an assistant.

Command:   python -m experiments.sft --config=configs/quickstart_sft.py
Hardware:  2 CPU cores
Time:      two to three minutes
Expect:    the loss on sums falls from 6.9 to 0.07, where it stays

More than half of the demonstrations of the sums state the answer at once, as
people do; the model imitates that, and cannot do in one pass what they do in
their heads (`llm_jax/data/sums.py`).
"""

from llm_jax.config import (
    CheckpointConfig, OptimizerConfig, SftConfig, SftDataConfig,
    SyntheticChatConfig)


def get_config() -> SftConfig:
  """Mostly sums, until the loss on them stops falling."""
  return SftConfig(
      data=SftDataConfig(synthetic=SyntheticChatConfig(
          identity=400, articles=300, counting=500, sums=14000,
          sum_steps_share=0.45, sum_min_terms=8, sum_max_terms=10,
          validation=128)),
      init_from="runs/quickstart/pretrain",
      workdir="runs/quickstart/sft",
      num_steps=640, batch_size=8, seq_len=256, eval_every=40,
      plateau_metric="sums", plateau_patience=3, plateau_min_delta=0.05,
      optimizer=OptimizerConfig(name="muon", learning_rate=5e-3,
                                schedule="constant", warmup_steps=10,
                                weight_decay=0.01),
      checkpoint=CheckpointConfig(every=40))
