"""Llama 3 8B becomes an assistant, in Llama 3's own form of conversations.

Command:   python -m experiments.convert --source=FOLDER_OF_LLAMA_3_8B \\
               --format=orbax --dtype=float32 --output=gs://BUCKET/llama3_base
           python -m experiments.sft --config=configs/sft_llama3_8b.py \\
               --init_from=gs://BUCKET/llama3_base \\
               --data.path=gs://BUCKET/chats --workdir=gs://BUCKET/llama3_sft
Hardware:  TPU v5e-64 or v5p-32, or more (mesh.fsdp takes all)
Time:      not run
Expect:    nothing measured here

All parameters are trained; --lora.rank=16 --optimizer.learning_rate=2e-4 trains
an adapter instead. The learning rate is that of Llama 3's own finetuning
(Grattafiori et al. 2024, arXiv:2407.21783, section 4.1.3). A conversation that
is longer than a row ends after its last answer that fits; rows with a fault
stop the run before it begins. Raise --num_steps to what the console calls one
or two passes over the data.
"""

from llm_jax.config import (
    CheckpointConfig, LossConfig, MeshConfig, OptimizerConfig, SftConfig,
    SftDataConfig)


def get_config() -> SftConfig:
  """Rows of 4,096 tokens, 0.26 M tokens a step, split over all devices."""
  return SftConfig(
      data=SftDataConfig(path="chats", template="llama3", overlong="trim",
                         validation_fraction=0.01),
      init_from="runs/llama3_base",
      workdir="runs/sft_llama3_8b",
      compute_dtype="bfloat16", remat="full",
      num_steps=4000, batch_size=64, seq_len=4096, eval_every=500,
      eval_batches=16,
      loss=LossConfig(vocab_parts=16),
      optimizer=OptimizerConfig(learning_rate=1e-5, warmup_steps=100,
                                final_learning_rate=0.1, weight_decay=0.0),
      mesh=MeshConfig(data=1, fsdp=-1),
      checkpoint=CheckpointConfig(every=500))
