"""GPT-2's smallest model, with its own parts, on 10 billion tokens.

Command:   python -m experiments.tokenize_corpus --data.path=PATH \\
               --tokenizer=gpt2 --output=runs/web
           python -m experiments.pretrain --config=configs/gpt2_124m.py
Hardware:  one GPU of 80 GB, as it is; more with --mesh.data=-1, which they
           share, and a lower --num_microbatches
Time:      not run here. llm.c trains this model on as many tokens in 90 minutes
           on 8 A100 (its discussion 481, May 2024)
Expect:    not measured here. There, on FineWeb: loss 3.29 on held-out text and
           29.9% on HellaSwag, as GPT-2's own weights have it

Learned positions, 1,024 of them, 50,257 tokens, biases and a tied head: Radford
et al. 2019. Learning rate, warm-up, decay and the batch of half a million
tokens are llm.c's, after Brown et al. 2020 (arXiv:2005.14165, table 2.1).
"""

import dataclasses

from llm_jax.config import (
    CheckpointConfig, LossConfig, MeshConfig, OptimizerConfig, PretrainConfig,
    PretrainDataConfig)
from llm_jax.model.presets import GPT2_124M


def get_config() -> PretrainConfig:
  """124,439,808 parameters, 524,288 tokens a step."""
  return PretrainConfig(
      data=PretrainDataConfig(path="runs/web"),
      model=dataclasses.replace(GPT2_124M, compute_dtype="bfloat16"),
      workdir="runs/gpt2_124m",
      num_steps=19_073, batch_size=512, seq_len=1024, num_microbatches=16,
      eval_every=500, eval_batches=20,
      loss=LossConfig(chunk=256),
      optimizer=OptimizerConfig(learning_rate=6e-4, warmup_steps=700,
                                final_learning_rate=0.0),
      mesh=MeshConfig(data=-1),
      checkpoint=CheckpointConfig(every=1000))
