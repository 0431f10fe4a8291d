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
  updates_per_rollout: int = setting(1, "times that a rollout batch is gone "
                                     "through")
  minibatches: int = setting(1, "parts of a rollout batch, whole groups of "
                             "samples, with an optimiser step for each")
  mask_truncated: bool = setting(False, "samples that a length limit cut off "
                                 "are compared with, and not trained on")
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
    compares = self.objective.compares_groups
    in_groups = compares or self.shuffle_rewards == "group"
    require(self.group_size >= 1 + in_groups, "group_size is "
            f"{self.group_size}; a group needs two samples to compare.")
    for name in ("max_turns", "updates_per_rollout", "minibatches",
                 "eval_samples"):
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
    self._validate_updates()
    require(not self.refill_rounds or compares
            and not (self.objective.needs_reference
                     and self.objective.kl_in == "reward"),
            "refill_rounds takes other problems in place of those whose samples"
            " all have the same reward, which have no gradient only where a "
            "sample is compared with its group and the reward is all of it; "
            "choose objective.advantages=group or rloo and no KL in the reward,"
            " or leave it 0.")

  def _validate_updates(self) -> None:
    """Of how often, and in what parts, a rollout batch is trained on."""
    rows, parts = self.batch_size * self.group_size, self.minibatches
    require(self.batch_size % parts == 0, f"batch_size={self.batch_size} "
            f"prompts cannot be dealt out evenly to minibatches={parts}.")
    require(rows // parts % self.num_microbatches == 0,
            f"the {rows // parts} rows of a minibatch are not divisible by "
            f"num_microbatches={self.num_microbatches}.")
    require(self.objective.kind != "reinforce" or self.steps_per_rollout == 1
            and (not self.ahead or self.objective.importance_cap > 0),
            "objective.kind=reinforce has no ratio, so it holds for the policy "
            "that sampled alone; leave updates_per_rollout and minibatches 1, "
            "with ahead set objective.importance_cap, or choose another kind.")
    require(not self.objective.needs_critic or self.policy_steps > 0,
            "objective.critic.warmup_steps="
            f"{self.objective.critic.warmup_steps} leaves none of num_steps="
            f"{self.num_steps} to the policy; lower it.")

  @property
  def steps_per_rollout(self) -> int:
    """Optimiser steps in a step of the run."""
    return self.updates_per_rollout * self.minibatches

  @property
  def policy_steps(self) -> int:
    """Optimiser steps of the policy, which a critic's warm-up precedes."""
    held = (self.objective.critic.warmup_steps
            if self.objective.needs_critic else 0)
    return (self.num_steps - held) * self.steps_per_rollout
