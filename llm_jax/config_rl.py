"""Settings of reinforcement learning with verifiable rewards."""

from __future__ import annotations

import dataclasses

from llm_jax.config_objectives import ObjectiveConfig
from llm_jax.config_parts import (
    LoraConfig, SamplingConfig, require, require_choice, setting)
from llm_jax.config_sync import SyncConfig
from llm_jax.config_tasks import RewardsConfig, RlDataConfig
from llm_jax.config_tools import ToolsConfig
from llm_jax.config_training import TrainRunConfig


@dataclasses.dataclass(frozen=True)
class RlConfig(TrainRunConfig):
  """experiments/rl.py; batch_size counts prompts (P)."""
  data: RlDataConfig = setting(RlDataConfig(), "problems")
  rewards: RewardsConfig = setting(RewardsConfig(), "of completions")
  workdir: str = setting("runs/rl", "directory of this run")
  init_from: str = setting("runs/sft", "the model that imitates")
  lora: LoraConfig = setting(LoraConfig(), "train an adapter, not the model")
  compute_dtype: str = setting("", "float32 | bfloat16 activations; empty: as "
                               "the first model has it")
  remat: str = setting("", "none | dots | attention | full | offload, as "
                       "pretrain's model.remat; empty: as the first model has "
                       "it")
  group_size: int = setting(8, "samples per prompt (G)")
  sampling: SamplingConfig = setting(SamplingConfig(), "of training samples "
                                     "and of the evaluation alike")
  sync: SyncConfig = setting(SyncConfig(), "weights that samples are drawn "
                             "with")
  tools: ToolsConfig = setting(ToolsConfig(), "that the model may call")
  max_turns: int = setting(16, "answers to an episode at most")
  refill_rounds: int = setting(0, "times that further problems are sampled in "
                               "place of those whose samples all have the same "
                               "reward (dynamic sampling); 0: these stay")
  ahead: bool = setting(False, "sample the next step's rollouts while this "
                        "step trains, from parameters one step older")
  shuffle_rewards: str = setting("", "control: give rewards to samples by lot, "
                                 "of the same prompt (group) or of the step "
                                 "(batch); empty: no")
  objective: ObjectiveConfig = setting(ObjectiveConfig(), "what is maximised")
  updates_per_rollout: int = setting(1, "optimiser steps on one rollout batch")
  eval_samples: int = setting(1, "answers to each held-out problem; above 1 "
                              "also pass@k")
  kept_rollouts: int = setting(16, "samples of a step that rollouts.jsonl "
                               "holds; 0: none")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    super().validate()
    self.data.validate()
    self.rewards.validate()
    require(not self.logging.examples, "logging.examples records rows of "
            "token windows and conversations, and RL reads none; leave it off.")
    self.lora.validate()
    require(not self.lora.rank or self.optimizer.name == "adamw",
            f"optimizer.name={self.optimizer.name} treats whole matrices, and "
            "an adapter has factors of them; use --optimizer.name=adamw.")
    self.tools.validate()
    self.sync.validate()
    self.sampling.validate()
    require(self.sampling.temperature > 0, "sampling.temperature is 0: greedy "
            "samples of a prompt are all alike, so no group has an advantage.")
    require(not self.sampling.narrowing, "sampling has "
            f"{', '.join(self.sampling.narrowing)}, but RL needs "
            "log-probabilities over the whole vocabulary under the model's own "
            "distribution; leave all but the temperature as they are.")
    require(self.group_size >= 2, f"group_size is {self.group_size}; a group "
            "needs two samples to compare.")
    for name in ("max_turns", "updates_per_rollout", "eval_samples"):
      require(getattr(self, name) > 0,
              f"{name} is {getattr(self, name)}; it must be positive.")
    for name in ("refill_rounds", "kept_rollouts"):
      require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}; it "
              "cannot be negative (0 is none).")
    require_choice("shuffle_rewards", self.shuffle_rewards,
                   ("", "group", "batch"))
    require_choice("compute_dtype", self.compute_dtype,
                   ("", "float32", "bfloat16"))
    require_choice("remat", self.remat, ("", "none", "dots", "attention",
                                         "full", "offload"))
    self.objective.validate()
