"""Llama 3.1 405B at a context of 4,096.

Command:   python -m experiments.pretrain --config=configs/llama3_405b.py \\
               --data.path=gs://BUCKET/shards --workdir=gs://BUCKET/llama3_405b
           python -m experiments.compile_for_tpu \\
               --config=configs/llama3_405b.py --topology=v5p:8x16x16
Hardware:  TPU v5p-4096 (2,048 chips)
Time:      not run; docs/scaling.md has what the compiler says of a step
Expect:    nothing measured here; memory and collectives in docs/scaling.md

Learning rate and warm-up are those of Grattafiori et al. 2024
(arXiv:2407.21783, section 3.4.1). A step is 8.4 M tokens, one row of a batch
for each device of the fsdp axis and its tensor neighbours together.
"""

import dataclasses

from llm_jax.config import (
    CheckpointConfig, LossConfig, MeshConfig, OptimizerConfig, PretrainConfig,
    PretrainDataConfig)
from llm_jax.model.presets import PRESETS


def get_config() -> PretrainConfig:
  """405.9 billion parameters, split over all devices."""
  return PretrainConfig(
      data=PretrainDataConfig(path="runs/shards"),
      model=dataclasses.replace(
          PRESETS["llama-3.1-405b"], compute_dtype="bfloat16",
          remat="full"),
      num_steps=1_200_000, batch_size=2048, seq_len=4096,
      eval_every=2000, eval_batches=64,
      loss=LossConfig(vocab_parts=16),
      optimizer=OptimizerConfig(learning_rate=8e-5, warmup_steps=8000,
                                final_learning_rate=0.01),
      mesh=MeshConfig(data=1, fsdp=-1, tensor=1),
      checkpoint=CheckpointConfig(every=1000))
