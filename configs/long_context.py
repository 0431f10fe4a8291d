"""A base model learns to read eight times as far.

Command:   python -m experiments.pretrain --config=configs/speedrun_d12.py
           python -m experiments.pretrain --config=configs/long_context.py
           and with YaRN in place of a larger base (attention_factor is
           1 + 0.1 ln 8; Peng et al. 2023, arXiv:2309.00071):
           python -m experiments.pretrain --config=configs/long_context.py \\
               --workdir=runs/speedrun_d12_yarn \\
               --model.rope_scaling.kind=yarn \\
               --model.rope_scaling.attention_factor=1.2079
Hardware:  8 GPUs of 80 GB
Time:      not run
Expect:    not measured. In sources, 0.1% of the pretraining's tokens are enough
           for YaRN; a larger base wants more of them (Xiong et al. 2023,
           arXiv:2309.16039)

`ntk` raises the base of the rotary frequencies so that the slowest pair of
channels turns no further in 16,384 positions than it did in 2,048. Rotary
positions have no weights, so --init_from takes a model whose context was
another. Rows are split over mesh axis context, two devices to each.
"""

import dataclasses

from llm_jax.config import (
    MeshConfig, OptimizerConfig, PretrainConfig, RopeScaling)
from configs import speedrun_d12


def get_config(depth: int = 12) -> PretrainConfig:
  """0.1 billion tokens in rows of 16,384, at a tenth of the peak rate."""
  base = speedrun_d12.get_config(depth)
  return dataclasses.replace(
      base, init_from=base.workdir, workdir=f"{base.workdir}_long",
      num_steps=200, batch_size=32, seq_len=16_384, num_microbatches=2,
      eval_every=50,
      model=dataclasses.replace(
          base.model, max_seq_len=16_384, remat="full",
          rope_scaling=RopeScaling("ntk", factor=8.0, original_max_len=2048)),
      optimizer=OptimizerConfig(
          name="muon", learning_rate=base.optimizer.learning_rate / 10,
          schedule="linear", final_learning_rate=0.0, warmup_steps=20,
          weight_decay=base.optimizer.weight_decay),
      mesh=MeshConfig(data=1, fsdp=-1, context=2))
