"""Models need tokens to think: five manners of answering, trained alike.

Command:   python -m experiments.think --config=configs/think.py
Hardware:  2 CPU cores
Time:      12 minutes of processor time (26 minutes on cores that other work
           shared)
Expect:    each step first solves all of 1,000 held-out problems; the answer
           first, filler and every 2nd or 4th step about half, which is chance
"""

from llm_jax.config import (
    CheckpointConfig, ModelConfig, OptimizerConfig, SftConfig, ThinkConfig)


def get_config() -> ThinkConfig:
  """From an untrained model, so that only the manner of the data differs."""
  return ThinkConfig(
      model=ModelConfig(embed_dim=128, num_layers=4, num_heads=4,
                        num_kv_heads=4, head_dim=32, mlp_dim=384,
                        max_seq_len=256, qk_norm="head", init_std=0.08,
                        scan_layers=False),
      recipe=SftConfig(
          num_steps=300, batch_size=8, seq_len=256, eval_every=100,
          optimizer=OptimizerConfig(name="muon", learning_rate=1e-2,
                                    schedule="wsd", decay_fraction=0.4,
                                    warmup_steps=20, weight_decay=0.01),
          checkpoint=CheckpointConfig(every=150)))
