"""Stage 6 of the laptop's assistant: a base model of 9.3 M parameters.

Command:   python -m experiments.pretrain --config=configs/laptop_pretrain.py
Hardware:  2 CPU cores
Time:      half an hour at 3,000 to 4,000 tokens a second (EPYC of 2024); an
           hour and a half at 1,100 on an older machine
Expect:    0.274 bits per byte of held-out text on people, 1.84 of Wikipedia
"""

from llm_jax.config import (
    CheckpointConfig, ModelConfig, OptimizerConfig, PretrainConfig,
    PretrainDataConfig)


def get_config() -> PretrainConfig:
  """One pass over the people, half of one over Wikipedia."""
  return PretrainConfig(
      data=PretrainDataConfig(mixture=(
          "runs/laptop/people_tokens:0.85",
          "runs/laptop/wikipedia_tokens:0.15")),
      model=ModelConfig(embed_dim=320, num_layers=6, num_heads=5,
                        num_kv_heads=5, head_dim=64, mlp_dim=960,
                        max_seq_len=512, qk_norm="head", init_std=0.05,
                        scan_layers=False),
      workdir="runs/laptop/pretrain",
      num_steps=1408, batch_size=16, seq_len=256, eval_every=256,
      eval_batches=8,
      optimizer=OptimizerConfig(name="muon", learning_rate=1e-2,
                                schedule="wsd", decay_fraction=0.4,
                                warmup_steps=40),
      checkpoint=CheckpointConfig(every=64),
      sample_prompts=("", "Johann Rutherford works as",
                      "Question: In what year was Benoit Meitner born?\n"
                      "Answer:"))
