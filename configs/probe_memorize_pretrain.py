"""A base model of a million parameters that reads some documents often.

Command:   python -m experiments.pretrain \\
               --config=configs/probe_memorize_pretrain.py
Hardware:  2 CPU cores
Time:      one to two minutes
Expect:    the loss falls below 1, while validation bits per byte, lowest near
           the first third, rise again to about 3.6: it learns by heart
"""

from llm_jax.config import (
    CheckpointConfig, ModelConfig, OptimizerConfig, PretrainConfig,
    PretrainDataConfig)


def get_config() -> PretrainConfig:
  """One pass over `probe_memorize_corpus.py`, so that repeats are counts."""
  return PretrainConfig(
      data=PretrainDataConfig(path="runs/memorize/corpus.jsonl",
                              tokenizer="runs/memorize/tokenizer",
                              validation_fraction=0.15),
      model=ModelConfig(embed_dim=128, num_layers=4, num_heads=4,
                        num_kv_heads=4, head_dim=32, mlp_dim=384,
                        max_seq_len=256, qk_norm="head", init_std=0.08,
                        scan_layers=False),
      workdir="runs/memorize/base",
      num_steps=320, batch_size=16, seq_len=128, eval_every=160,
      optimizer=OptimizerConfig(name="muon", learning_rate=1e-2,
                                schedule="wsd", decay_fraction=0.4,
                                warmup_steps=20),
      checkpoint=CheckpointConfig(every=160), sample_tokens=0)
