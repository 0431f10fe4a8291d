"""A modern small model with one dial, its depth; all else follows from it.

Command:   python -m experiments.pretrain --config=configs/speedrun_d12.py
           python -m experiments.pretrain \\
               --config=configs/speedrun_d12.py:depth=20
Hardware:  one GPU of 80 GB for depth 12; 8 of them for depth 20
Time:      not run
Expect:    not measured; these are others' rules, put together

What the dial sets, for depth L:
  width      64 L, heads of 128 channels (nanochat, Karpathy 2025)
  tokens     20 for each parameter of the layers, 12 L width² (Hoffmann et al.
             2022, arXiv:2203.15556)
  batch      2^19 tokens at depth 12, and as tokens^0.383 (Bergsma et al. 2025,
             arXiv:2505.13738), to the nearest power of two
  rate       0.1 / √width: Muon's updates here have elements of 0.2 x the rate,
             so that each is an orthogonal matrix times 0.02, which is the rate
             of nanochat and of modded-nanogpt (Jordan et al. 2024); and as the
             root of the batch
  decay      1 / (0.22 x rate x steps): the weights are an average over the last
             22% of the run, best at 20 tokens a parameter (Bergsma et al. 2025)

The parts are those of modded-nanogpt and nanochat: rotary positions, normalised
queries and keys, ReLU² (So et al. 2021, arXiv:2109.08668), a head of its own
with capped logits, and a rate that falls linearly to nothing in the last 40% of
the steps. Muon is for the matrices of the layers; embeddings, head and scales
are left to AdamW, at the same rate.
"""

import math

from llm_jax.config import (
    CheckpointConfig, ConfigError, LossConfig, MeshConfig, ModelConfig,
    OptimizerConfig, PretrainConfig, PretrainDataConfig)

_SEQ_LEN = 2048


def get_config(depth: int = 12) -> PretrainConfig:
  """`depth` layers: even, since heads have 128 channels."""
  if depth < 2 or depth % 2:
    raise ConfigError(f"depth is {depth}; choose an even number of layers")
  width = 64 * depth
  tokens = 20 * 12 * depth * width**2
  growth = (depth / 12) ** 3  # of the tokens, since depth 12
  batch = 2 ** round(19 + 0.383 * math.log2(growth))
  steps = round(tokens / batch)
  rate = 0.1 / math.sqrt(width) * math.sqrt(batch / 2**19)
  return PretrainConfig(
      data=PretrainDataConfig(path="runs/web"),
      model=ModelConfig(
          embed_dim=width, num_layers=depth, num_heads=width // 128,
          num_kv_heads=width // 128, head_dim=128, mlp_dim=4 * width,
          max_seq_len=_SEQ_LEN, qk_norm="head", mlp="relu2",
          tie_embeddings=False, logit_softcap=15.0, compute_dtype="bfloat16",
          remat="attention"),
      workdir=f"runs/speedrun_d{depth}",
      num_steps=steps, batch_size=max(1, batch // _SEQ_LEN), seq_len=_SEQ_LEN,
      num_microbatches=max(1, batch // _SEQ_LEN // 32),
      eval_every=250, eval_batches=20,
      loss=LossConfig(chunk=256),
      optimizer=OptimizerConfig(
          name="muon", learning_rate=rate, schedule="wsd", decay_fraction=0.4,
          final_learning_rate=0.0, warmup_steps=40,
          weight_decay=1 / (0.22 * rate * steps)),
      mesh=MeshConfig(data=1, fsdp=-1),
      checkpoint=CheckpointConfig(every=1000))
