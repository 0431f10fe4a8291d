"""Settings of the recipe of DeepSeek-R1 (`experiments/r1.py`)."""

from __future__ import annotations

import dataclasses

from llm_jax.config_conversations import SftDataConfig
from llm_jax.config_demonstrate import DemonstrateConfig
from llm_jax.config_model import ModelConfig
from llm_jax.config_parts import require, setting
from llm_jax.config_rejection import RejectionSampleConfig
from llm_jax.config_rl import RlConfig
from llm_jax.config_sft import SftConfig
from llm_jax.config_tasks import RlDataConfig


@dataclasses.dataclass(frozen=True)
class R1Config:
  """experiments/r1.py"""
  workdir: str = setting("runs/r1", "directory of all stages, r1.json and "
                         "r1.html")
  init_from: str = setting("", "base checkpoint that both finetunings start "
                           "from; empty: one that is trained first")
  model: ModelConfig = setting(ModelConfig(), "that base model")
  vocab_size: int = setting(288, "of its tokenizer, learnt from the "
                            "demonstrations")
  worked: DemonstrateConfig = setting(DemonstrateConfig(), "what it has read")
  base: SftConfig = setting(SftConfig(), "stage 0: its training")
  problems: RlDataConfig = setting(RlDataConfig(), "what is asked, in all "
                                   "stages")
  demonstrate: DemonstrateConfig = setting(DemonstrateConfig(), "the cold "
                                           "start's conversations")
  sft: SftConfig = setting(SftConfig(), "stage 1: the cold start")
  rl: RlConfig = setting(RlConfig(), "stage 2: rewards")
  rejection: RejectionSampleConfig = setting(
      # Batches that reinforcement learning does not come to.
      RejectionSampleConfig(first_batch=1_000_000), "stage 3: the right ones "
      "of its answers")
  sft_again: SftConfig = setting(SftConfig(), "stage 4: the base model again, "
                                 "finetuned on those")
  rl_again: RlConfig = setting(RlConfig(), "stage 5: rewards again")
  control: bool = setting(True, "stage 2 once more, with its rewards given to "
                          "samples by lot")
  seed: int = setting(0, "of every stage")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    self.problems.validate()
    require(bool(self.workdir), "workdir is empty; give a directory.")
    require(self.vocab_size > 0, f"vocab_size is {self.vocab_size}; it must be "
            "positive.")
    # A mistake should not be read off a field that is ignored.
    for name, default in (("worked", RlDataConfig()),
                          ("base", SftDataConfig()),
                          ("demonstrate", RlDataConfig()),
                          ("sft", SftDataConfig()), ("rl", RlDataConfig()),
                          ("rejection", RlDataConfig()),
                          ("sft_again", SftDataConfig()),
                          ("rl_again", RlDataConfig())):
      require(getattr(self, name).data == default, f"{name}.data is set; all "
              "stages are of the problems that --problems.* names.")
    require(not self.rl.shuffle_rewards and not self.rl_again.shuffle_rewards,
            "shuffle_rewards is set; the control has it by itself.")
