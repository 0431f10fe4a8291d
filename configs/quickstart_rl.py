"""Stage 7 of the quickstart: the assistant finds out what works for itself.

Command:   python -m experiments.rl --config=configs/quickstart_rl.py
Hardware:  2 CPU cores
Time:      one to two minutes
Expect:    held-out problems solved: from about 71% to above 95%
"""

from llm_jax.config import (
    CheckpointConfig, LoggingConfig, OptimizerConfig, RlConfig, RlDataConfig,
    SamplingConfig)


def get_config() -> RlConfig:
  """Group-relative policy gradient on sums of 8 to 10 terms, modulo two."""
  return RlConfig(
      init_from="runs/quickstart/sft",
      workdir="runs/quickstart/rl",
      num_steps=24, batch_size=32, group_size=8, seq_len=72, eval_every=12,
      sampling=SamplingConfig(temperature=1.0, max_new_tokens=32),
      data=RlDataConfig(min_terms=8, max_terms=10),
      optimizer=OptimizerConfig(learning_rate=5e-4, schedule="constant",
                                warmup_steps=2, weight_decay=0.0),
      logging=LoggingConfig(every=1),
      checkpoint=CheckpointConfig(every=4))
