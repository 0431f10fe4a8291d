"""A real model, SmolLM2-135M, practises grade-school problems, by LoRA.

Command:   python -m experiments.rl --config=configs/rl_smollm2_lora.py
Hardware:  2 CPU cores, 12 GiB
Time:      five minutes of processor time, compiling included
Expect:    five steps, each with its seconds of rollout, reward and training;
           the reward goes from 0.01 to 0.05, which is for answers that are
           marked, not right: none of the 16 held-out problems is solved, before
           or after; peak 8.0 GiB

The model is `smollm2-135m` (`make models`), in its own chat template; problems
are those of reasoning-gym's gsm_symbolic (`pip install 'llm_jax[rl]'`), after
Mirzadeh et al. 2024, arXiv:2410.05229. A problem file with GSM8K's fields does
as well: --data.path=gsm8k/train.jsonl. It is a run to see that all is in order,
and to change: more --num_steps, a larger model as --init_from.

A tenth of a point is paid for saying which number is the answer, so that not
all samples of a problem are alike. The logits of 49,152 words are what would
take the memory: of 64 tokens of four rows they are 50 MB, of all at once 1 GB.
"""

from llm_jax.config import (
    CheckpointConfig, LoggingConfig, LoraConfig, LossConfig, OptimizerConfig,
    RewardsConfig, RlConfig, RlDataConfig, SamplingConfig)


def get_config() -> RlConfig:
  """16 rows of up to 320 tokens a step; 2.4 M of 135 M parameters trained."""
  return RlConfig(
      data=RlDataConfig(
          path="gym:gsm_symbolic", eval_problems=16,
          system="Think step by step, in a few short sentences. End with the "
          "answer alone on a line, after ####."),
      rewards=RewardsConfig(names=("correct:1", "stated:0.1")),
      init_from="smollm2-135m",
      workdir="runs/rl_smollm2_lora",
      lora=LoraConfig(rank=8, alpha=16.0),
      num_steps=5, batch_size=4, group_size=4, seq_len=320,
      num_microbatches=4, eval_every=0,
      sampling=SamplingConfig(temperature=1.0, max_new_tokens=128),
      loss=LossConfig(chunk=64),
      optimizer=OptimizerConfig(learning_rate=2e-4, schedule="constant",
                                warmup_steps=1, weight_decay=0.0),
      logging=LoggingConfig(every=1),
      checkpoint=CheckpointConfig(every=5))
