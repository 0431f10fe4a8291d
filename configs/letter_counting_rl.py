"""Counting letters: practice, from what imitation came to.

Command:   python -m experiments.rl --config=configs/letter_counting_rl.py
           (after configs/letter_counting_sft.py)
Hardware:  2 CPU cores
Time:      five minutes on one core
Expect:    94.0% to 94.7% of 1,024 held-out problems solved, by three seeds,
           beside 62% to 65% after as much more imitation
           (configs/practice_letter_counting.py)
"""

from configs.letter_counting_demonstrate import PROBLEMS
from llm_jax.config import (
    CheckpointConfig, LoggingConfig, OptimizerConfig, RlConfig, SamplingConfig)


def get_config() -> RlConfig:
  """As the quickstart's reinforcement learning, on one task."""
  return RlConfig(
      data=PROBLEMS, init_from="runs/letter_counting/sft",
      workdir="runs/letter_counting/rl",
      num_steps=40, batch_size=32, group_size=8, seq_len=176, eval_every=10,
      sampling=SamplingConfig(temperature=1.0, max_new_tokens=104),
      optimizer=OptimizerConfig(learning_rate=5e-4, schedule="constant",
                                warmup_steps=2, weight_decay=0.0),
      logging=LoggingConfig(every=1), checkpoint=CheckpointConfig(every=10))
