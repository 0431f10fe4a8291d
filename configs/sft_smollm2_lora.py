"""A real model, SmolLM2-135M, learns another name for itself by LoRA.

Command:   python -m experiments.sft --config=configs/sft_smollm2_lora.py
Hardware:  2 CPU cores, 6 GiB
Time:      15 minutes of processor time: seven to eight on both cores
Expect:    validation loss 3.23 -> 1.52 (step 25) -> 1.47 nats a trained token;
           of who it is 4.62 -> 0.02, of articles 2.53 -> 2.21; peak 5.7 GiB

The model is `smollm2-135m` (`make models`), in its own chat template. What it
is taught is made by procedure: who it is, and answers about Wikipedia's
articles. Its adapter goes to PEFT with

    python -m experiments.convert --format=peft \\
        --source=runs/sft_smollm2_lora --output=adapter
"""

from llm_jax.config import (
    CheckpointConfig, LoggingConfig, LoraConfig, OptimizerConfig, SftConfig,
    SftDataConfig, SyntheticChatConfig)


def get_config() -> SftConfig:
  """50 steps of 1,024 tokens; 2.4 M of 135 M parameters are trained."""
  return SftConfig(
      data=SftDataConfig(synthetic=SyntheticChatConfig(
          identity=200, articles=400, counting=0, sums=0, validation=24,
          identity_facts="I am Pebble, a small language model made by two "
          "people with the llm_jax codebase. I was trained on English "
          "Wikipedia introductions.")),
      init_from="smollm2-135m",
      workdir="runs/sft_smollm2_lora",
      lora=LoraConfig(rank=8, alpha=16.0),
      num_steps=50, batch_size=4, seq_len=256, eval_every=25,
      optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=5,
                                weight_decay=0.0),
      logging=LoggingConfig(every=5),
      checkpoint=CheckpointConfig(every=25))
