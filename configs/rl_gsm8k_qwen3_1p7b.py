"""Qwen3 1.7B on the grade-school problems of GSM8K, by GRPO.

Command:   python -m experiments.convert --source=Qwen/Qwen3-1.7B \\
               --format=orbax --dtype=float32 --output=gs://BUCKET/qwen3-1.7b
           python -m experiments.rl --config=configs/rl_gsm8k_qwen3_1p7b.py \\
               --init_from=gs://BUCKET/qwen3-1.7b \\
               --data.path=gs://BUCKET/gsm8k/train.jsonl \\
               --workdir=gs://BUCKET/rl_gsm8k
           python -m experiments.compile_for_tpu --topology=v5e:4x4 \\
               --config=configs/rl_gsm8k_qwen3_1p7b.py
Hardware:  TPU v5e-16 (4 x 4), or more (mesh.fsdp takes all)
Time:      not run; docs/scaling.md has what the compiler says of each program
Expect:    nothing measured here. The goal is the band that is published for
           this model and task: a mean reward of 0.80 to 0.82 after 100 steps

Each step, eight answers to each of 64 problems, up to 768 tokens long. Training
splits parameters and moments over all devices (float32, 1.3 GiB on each of 16);
the sampler has the weights whole on each of them, in bfloat16 and made anew
every step, so no token waits for another device. What the sampler thinks of a
token then is not quite what the trainer does: hence the importance weight.
"""

from llm_jax.config import (
    CheckpointConfig, LossConfig, MeshConfig, ObjectiveConfig, OptimizerConfig,
    RlConfig, RlDataConfig, SamplingConfig, SyncConfig)


def get_config() -> RlConfig:
  """512 rows of 1,024 tokens a step, in four microbatches."""
  return RlConfig(
      data=RlDataConfig(path="gsm8k/train.jsonl", eval_problems=512),
      init_from="runs/qwen3-1.7b",
      workdir="runs/rl_gsm8k_qwen3_1p7b",
      compute_dtype="bfloat16", remat="full",
      num_steps=100, batch_size=64, group_size=8, seq_len=1024,
      num_microbatches=4, eval_every=20,
      sampling=SamplingConfig(temperature=1.0, max_new_tokens=768),
      sync=SyncConfig(dtype="bfloat16", own_rules=True),
      objective=ObjectiveConfig(clip_high=0.28, importance_cap=2.0),
      loss=LossConfig(chunk=512),
      optimizer=OptimizerConfig(learning_rate=1e-6, schedule="constant",
                                warmup_steps=5, weight_decay=0.0),
      mesh=MeshConfig(data=1, fsdp=-1),
      checkpoint=CheckpointConfig(every=20))
