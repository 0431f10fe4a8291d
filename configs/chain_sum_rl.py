"""Chains of sums and differences: practice, from what imitation came to.

Command:   python -m experiments.rl --config=configs/chain_sum_rl.py
           (after configs/chain_sum_sft.py)
Hardware:  2 CPU cores
Time:      four minutes on one core
Expect:    90% to 94% of 1,024 held-out problems solved, by three seeds,
           beside 54% to 62% after as much more imitation
           (configs/practice_chain_sum.py)
"""

from configs.chain_sum_demonstrate import PROBLEMS
from llm_jax.config import (
    CheckpointConfig, LoggingConfig, OptimizerConfig, RlConfig, SamplingConfig)


def get_config() -> RlConfig:
  """As the quickstart's reinforcement learning, on one task."""
  return RlConfig(
      data=PROBLEMS, init_from="runs/chain_sum/sft",
      workdir="runs/chain_sum/rl",
      num_steps=40, batch_size=32, group_size=8, seq_len=96, eval_every=10,
      sampling=SamplingConfig(temperature=1.0, max_new_tokens=48),
      optimizer=OptimizerConfig(learning_rate=5e-4, schedule="constant",
                                warmup_steps=2, weight_decay=0.0),
      logging=LoggingConfig(every=1), checkpoint=CheckpointConfig(every=10))
