"""Settings of `experiments/rejection_sample.py`."""

from __future__ import annotations

import dataclasses

from llm_jax.config_parts import (
    SamplingConfig, require, require_choice, setting)
from llm_jax.config_tasks import RewardsConfig, RlDataConfig


@dataclasses.dataclass(frozen=True)
class RejectionSampleConfig:
  """experiments/rejection_sample.py"""
  checkpoint: str = setting("", "run directory, Hugging Face folder or "
                            "organisation/name, .gguf file, or a named model")
  data: RlDataConfig = setting(RlDataConfig(), "problems; training's alone")
  rewards: RewardsConfig = setting(RewardsConfig(), "by which answers are kept")
  sampling: SamplingConfig = setting(SamplingConfig(), "of the answers")
  first_batch: int = setting(0, "number of the first batch of problems, so "
                             "that a second call can take others")
  problems: int = setting(1024, "problems to answer")
  samples: int = setting(8, "answers to each")
  at_least: float = setting(1.0, "reward of an answer that is kept")
  per_problem: int = setting(4, "different answers to a problem that are kept "
                             "at most")
  prefer: str = setting("first", "first | shortest | best: which of them")
  batch_size: int = setting(32, "problems at once")
  seq_len: int = setting(0, "tokens of a conversation at most; 0: what the "
                         "model can read")
  workdir: str = setting("runs/rejection", "directory for samples.jsonl, "
                         "conversations.jsonl and manifest.json")
  seed: int = setting(0, "problems and answers")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    require(bool(self.checkpoint), "no model is named; give --checkpoint=RUN, "
            "such as runs/quickstart/rl.")
    for part in (self.data, self.rewards, self.sampling):
      part.validate()
    require(self.data.curriculum.kind == "none", "data.curriculum is for "
            "training; leave it out.")
    for name in ("problems", "samples", "per_problem", "batch_size"):
      require(getattr(self, name) > 0,
              f"{name} is {getattr(self, name)}; it must be positive.")
    require(self.problems % self.batch_size == 0, f"problems={self.problems} "
            f"are not whole batches of batch_size={self.batch_size}; change "
            "one of them.")
    for name in ("first_batch", "seq_len"):
      require(getattr(self, name) >= 0,
              f"{name} is {getattr(self, name)}; it cannot be negative.")
    require_choice("prefer", self.prefer, ("first", "shortest", "best"))
    require(bool(self.workdir), "workdir is empty; give a directory.")
