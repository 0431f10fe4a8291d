"""Settings of supervised finetuning."""

from __future__ import annotations

import dataclasses

from llm_jax.config_conversations import SftDataConfig
from llm_jax.config_parts import LoraConfig, require, require_choice, setting
from llm_jax.config_training import TrainRunConfig


@dataclasses.dataclass(frozen=True)
class SftConfig(TrainRunConfig):
  """experiments/sft.py"""
  data: SftDataConfig = setting(SftDataConfig(), "conversations")
  workdir: str = setting("runs/sft", "directory of this run")
  init_from: str = setting("runs/pretrain", "the base model: a run of ours, "
                           "or any other model, such as smollm2-135m, a "
                           "Hugging Face folder or a .gguf file")
  compute_dtype: str = setting("", "float32 | bfloat16 activations; empty: as "
                               "the base model has it")
  remat: str = setting("", "none | dots | attention | full | offload, as "
                       "pretrain's model.remat; empty: as the base model has "
                       "it")
  lora: LoraConfig = setting(LoraConfig(), "train an adapter, not the model")
  plateau_metric: str = setting("", "stop when this validation loss stops "
                                "falling, e.g. sums; empty: run all steps")
  plateau_patience: int = setting(2, "validations without improvement")
  plateau_min_delta: float = setting(0.005, "relative fall that counts")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    super().validate()
    self.data.validate()
    self.lora.validate()
    require_choice("compute_dtype", self.compute_dtype,
                   ("", "float32", "bfloat16"))
    require_choice("remat", self.remat, ("", "none", "dots", "attention",
                                         "full", "offload"))
    require(not self.lora.rank or self.optimizer.name == "adamw",
            f"optimizer.name={self.optimizer.name} orthogonalises whole "
            "matrices, which the factors of lora.rank="
            f"{self.lora.rank} are not; set --optimizer.name=adamw.")
