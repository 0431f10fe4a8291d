"""Stage 5 of the quickstart: a base model of 1.4 M parameters.

Command:   python -m experiments.pretrain \\
               --config=configs/quickstart_pretrain.py
Hardware:  2 CPU cores
Time:      two minutes
Expect:    validation bits per byte fall from 3.50 to about 1.83
"""

from llm_jax.config import (
    CheckpointConfig, ModelConfig, OptimizerConfig, PretrainConfig,
    PretrainDataConfig)


def get_config() -> PretrainConfig:
  """About three quarters of one pass over the Wikipedia introductions."""
  return PretrainConfig(
      data=PretrainDataConfig(path="runs/quickstart/shards"),
      model=ModelConfig(embed_dim=128, num_layers=4, num_heads=4,
                        num_kv_heads=4, head_dim=32, mlp_dim=384,
                        max_seq_len=256, qk_norm="head", init_std=0.08,
                        scan_layers=False),
      workdir="runs/quickstart/pretrain",
      num_steps=256, batch_size=16, seq_len=256, eval_every=64,
      optimizer=OptimizerConfig(name="muon", learning_rate=1e-2,
                                schedule="wsd", decay_fraction=0.4,
                                warmup_steps=20),
      checkpoint=CheckpointConfig(every=40),
      sample_prompts=("", "The capital of France is", "Mathematics is"))
