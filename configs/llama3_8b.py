"""Llama 3 8B, trained as its paper has it, at a context of 4,096.

Command:   python -m experiments.pretrain --config=configs/llama3_8b.py \\
               --data.path=gs://BUCKET/shards --workdir=gs://BUCKET/llama3_8b
           python -m experiments.compile_for_tpu \\
               --config=configs/llama3_8b.py --topology=v5e:8x8
Hardware:  TPU v5e-64 or v5p-128, or more (mesh.fsdp takes all)
Time:      not run; docs/scaling.md has what the compiler says of a step
Expect:    nothing measured here; memory and collectives in docs/scaling.md

Learning rate, warm-up and cosine to a hundredth are those of Grattafiori et al.
2024 (arXiv:2407.21783, section 3.4.1). A step is 0.52 M tokens; the paper's
batches grow to 4 M and more: raise --batch_size with the slice. The data must
have been cut with Llama 3's own vocabulary (docs/tokenizers.md).
"""

import dataclasses

from llm_jax.config import (
    CheckpointConfig, LossConfig, MeshConfig, OptimizerConfig, PretrainConfig,
    PretrainDataConfig)
from llm_jax.model.presets import PRESETS


def get_config() -> PretrainConfig:
  """8.0 billion parameters, split over all devices."""
  return PretrainConfig(
      data=PretrainDataConfig(path="runs/shards"),
      model=dataclasses.replace(
          PRESETS["llama-3-8b"], compute_dtype="bfloat16",
          remat="full"),
      num_steps=480_000, batch_size=128, seq_len=4096,
      eval_every=2000, eval_batches=64,
      loss=LossConfig(vocab_parts=16),
      optimizer=OptimizerConfig(learning_rate=3e-4, warmup_steps=2000,
                                final_learning_rate=0.01),
      mesh=MeshConfig(data=1, fsdp=-1),
      checkpoint=CheckpointConfig(every=1000))
