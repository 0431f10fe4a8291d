"""Llama 3 70B at a context of 4,096.

Command:   python -m experiments.pretrain --config=configs/llama3_70b.py \\
               --data.path=gs://BUCKET/shards --workdir=gs://BUCKET/llama3_70b
           python -m experiments.compile_for_tpu \\
               --config=configs/llama3_70b.py --topology=v5p:8x8x8
Hardware:  TPU v5p-1024 (512 chips)
Time:      not run; docs/scaling.md has what the compiler says of a step
Expect:    nothing measured here; memory and collectives in docs/scaling.md

Learning rate, warm-up and cosine to a hundredth are those of Grattafiori et al.
2024 (arXiv:2407.21783, section 3.4.1). A step is 4.2 M tokens.
"""

import dataclasses

from llm_jax.config import (
    CheckpointConfig, LossConfig, MeshConfig, OptimizerConfig, PretrainConfig,
    PretrainDataConfig)
from llm_jax.model.presets import PRESETS


def get_config() -> PretrainConfig:
  """70.6 billion parameters, split over all devices."""
  return PretrainConfig(
      data=PretrainDataConfig(path="runs/shards"),
      model=dataclasses.replace(
          PRESETS["llama-3-70b"], compute_dtype="bfloat16",
          remat="full"),
      num_steps=480_000, batch_size=1024, seq_len=4096,
      eval_every=2000, eval_batches=64,
      loss=LossConfig(vocab_parts=16),
      optimizer=OptimizerConfig(learning_rate=1.5e-4, warmup_steps=2000,
                                final_learning_rate=0.01),
      mesh=MeshConfig(data=1, fsdp=-1),
      checkpoint=CheckpointConfig(every=1000))
