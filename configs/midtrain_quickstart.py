"""Mid-training: the quickstart's base model reads on, with conversations.

Command:   python -m experiments.sft --config=configs/midtrain_quickstart.py
Hardware:  2 CPU cores
Time:      not measured; 200 steps as those of quickstart_pretrain's 256
Expect:    nothing measured here

Between pretraining and finetuning: two thirds of the rows are windows of the
corpus, of which every token is learnt, a third are conversations, of which the
assistant's are. So the model learns the form of a conversation and forgets
less of its text; finetuning follows with
--init_from=runs/quickstart/midtrain. It needs stages 1 to 5 of the quickstart.
"""

from llm_jax.config import (
    CheckpointConfig, OptimizerConfig, SftConfig, SftDataConfig,
    SyntheticChatConfig)


def get_config() -> SftConfig:
  """Two rows of text for each row of conversations."""
  return SftConfig(
      data=SftDataConfig(
          mixture=("runs/quickstart/shards:2", "synthetic:1"),
          synthetic=SyntheticChatConfig(
              identity=400, articles=2000, counting=500, sums=4000,
              sum_min_terms=8, sum_max_terms=10, validation=128)),
      init_from="runs/quickstart/pretrain",
      workdir="runs/quickstart/midtrain",
      num_steps=200, batch_size=16, seq_len=256, eval_every=100,
      optimizer=OptimizerConfig(name="muon", learning_rate=5e-3,
                                schedule="wsd", warmup_steps=10,
                                weight_decay=0.01),
      checkpoint=CheckpointConfig(every=50))
