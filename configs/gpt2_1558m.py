"""GPT-2 as it was announced: 48 layers, 1.5 billion parameters.

Command:   python -m experiments.tokenize_corpus --data.path=PATH \\
               --tokenizer=gpt2 --output=runs/web
           python -m experiments.pretrain --config=configs/gpt2_1558m.py
Hardware:  8 GPUs of 80 GB
Time:      not run here. llm.c takes 24 hours on 8 H100 (its discussion 677,
           July 2024)
Expect:    not measured here. There, on FineWeb-Edu: as good on HellaSwag as
           GPT-2's own weights

Learned positions, 1,024 of them, and 50,257 tokens (Radford et al. 2019). The
32,000 steps of a million tokens, and the learning rate that falls to nothing,
are llm.c's. Parameters, moments and gradients are split over the devices.
"""

import dataclasses

from llm_jax.config import (
    CheckpointConfig, LossConfig, MeshConfig, OptimizerConfig, PretrainConfig,
    PretrainDataConfig)
from llm_jax.model.presets import GPT2_1558M


def get_config() -> PretrainConfig:
  """1,557,611,200 parameters, 1,048,576 tokens a step."""
  return PretrainConfig(
      data=PretrainDataConfig(path="runs/web"),
      model=dataclasses.replace(GPT2_1558M, compute_dtype="bfloat16",
                                remat="full"),
      workdir="runs/gpt2_1558m",
      num_steps=32_000, batch_size=1024, seq_len=1024, num_microbatches=8,
      eval_every=500, eval_batches=20,
      loss=LossConfig(chunk=256),
      optimizer=OptimizerConfig(learning_rate=6e-4, warmup_steps=700,
                                final_learning_rate=0.0),
      mesh=MeshConfig(data=1, fsdp=-1),
      checkpoint=CheckpointConfig(every=500))
