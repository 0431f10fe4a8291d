"""IsoFLOP curves of models of 3 thousand to 210 thousand parameters.

Command:   python -m experiments.train_tokenizer --tokenizer.vocab_size=512 \\
               --tokenizer.max_digits=1 --output=runs/laws/tokenizer
           python -m experiments.tokenize_corpus \\
               --tokenizer=runs/laws/tokenizer --output=runs/laws/shards
           python -m experiments.scaling_laws \\
               --config=configs/scaling_laws_cpu.py
Hardware:  2 CPU cores
Time:      half an hour to an hour
Expect:    minima between the sizes at all four budgets (docs/scaling_laws.md)

The corpus is the Wikipedia introductions, 2.4 M tokens of a vocabulary of 512;
a run reads it four times at most. The learning rate was tried at 27 and at 90
thousand parameters (0.01, 0.02 and 0.04) and is the same for all widths, as
Muon's updates are matched in size. Of batches of 1,024 and 2,048 tokens the
smaller gave the lower loss at the smallest budget.
"""

from llm_jax.config import (
    CheckpointConfig, LoggingConfig, ModelConfig, OptimizerConfig,
    PretrainConfig, PretrainDataConfig, ScalingLawsConfig)


def get_config() -> ScalingLawsConfig:
  """Seven sizes at four budgets, all trained with the quickstart's recipe."""
  return ScalingLawsConfig(
      workdir="runs/laws/sweep",
      recipe=PretrainConfig(
          data=PretrainDataConfig(path="runs/laws/shards"),
          model=ModelConfig(num_heads=1, num_kv_heads=1, head_dim=16,
                            max_seq_len=128, qk_norm="head", init_std=0.16,
                            scan_layers=False),
          batch_size=8, seq_len=128, eval_every=0, sample_tokens=0,
          optimizer=OptimizerConfig(
              name="muon", learning_rate=0.02, schedule="wsd",
              decay_fraction=0.4, warmup_steps=40, final_learning_rate=0.02),
          checkpoint=CheckpointConfig(every=2000),
          logging=LoggingConfig(every=100, tensorboard=False)),
      depths=(1, 1, 2, 2, 3, 3, 4),
      widths=(16, 32, 32, 48, 48, 64, 64),
      budgets=(1.5e11, 4.5e11, 1.35e12, 4e12),
      base_dim=32, lr_exponent=0.0)
