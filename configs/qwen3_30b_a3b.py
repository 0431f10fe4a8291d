"""Qwen3 30B-A3B: a mixture of 128 experts of which a token visits 8.

Command:   python -m experiments.pretrain --config=configs/qwen3_30b_a3b.py \\
               --data.path=gs://BUCKET/shards --workdir=gs://BUCKET/qwen3_30b_a3b
           python -m experiments.compile_for_tpu \\
               --config=configs/qwen3_30b_a3b.py --topology=v5p:4x4x4
Hardware:  TPU v5p-128 (64 chips)
Time:      not run; docs/scaling.md has what the compiler says of a step
Expect:    nothing measured here; memory and collectives in docs/scaling.md

The experts are split over 8 devices, to which tokens travel (all-to-all), and
everything over the 8 of the fsdp axis. Rows are kept for one and a half times
an even load; what comes beyond is dropped, and `dropped_share` tells. Learning
rate and load-balancing weight are not Qwen's, whose report (arXiv:2505.09388)
gives none.
"""

import dataclasses

from llm_jax.config import (
    CheckpointConfig, LossConfig, MeshConfig, OptimizerConfig, PretrainConfig,
    PretrainDataConfig)
from llm_jax.model.presets import PRESETS


def get_config() -> PretrainConfig:
  """30.5 billion parameters, 3.3 of them at work for a token."""
  qwen = PRESETS["qwen3-30b-a3b"]
  return PretrainConfig(
      data=PretrainDataConfig(path="runs/shards"),
      model=dataclasses.replace(
          qwen, compute_dtype="bfloat16", remat="full",
          moe=dataclasses.replace(qwen.moe, dispatch="all_to_all",
                                  capacity_factor=1.5, balance_coef=1e-3)),
      num_steps=480_000, batch_size=128, seq_len=4096,
      eval_every=2000, eval_batches=64,
      loss=LossConfig(vocab_parts=16),
      optimizer=OptimizerConfig(learning_rate=3e-4, warmup_steps=2000,
                                final_learning_rate=0.01),
      mesh=MeshConfig(data=1, fsdp=-1, expert=8),
      checkpoint=CheckpointConfig(every=1000))
