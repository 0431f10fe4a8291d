"""Settings of training runs: what all stages share, and pretraining's."""

from __future__ import annotations

import dataclasses
import math

from llm_jax.config_model import ModelConfig
from llm_jax.config_parts import (
    CheckpointConfig, DistributedConfig, LoggingConfig, LossConfig, MeshConfig,
    OptimizerConfig, require, setting)


@dataclasses.dataclass(frozen=True)
class PretrainDataConfig:
  """Token windows."""
  path: str = setting("runs/shards", "token shards of tokenize_corpus, or raw "
                      "text, which is tokenised into the workdir first")
  tokenizer: str = setting("", "tokenizer, where path is raw text")
  text_column: str = setting("text", "where path is raw text")
  errors: str = setting("strict", "strict | replace, where path is raw text")
  validation_fraction: float = setting(0.02, "where path is raw text")
  validation_path: str = setting("", "where path is raw text: a file whose "
                                 "documents are held out instead")
  mixture: tuple[str, ...] = setting((), "instead of path: several token "
                                     "shards as PATH:WEIGHT, the weights being "
                                     "their shares of the tokens")

  def sources(self) -> tuple[tuple[str, float], ...]:
    """(path, share) of each part of the mixture; the shares add up to 1.

    Raises:
      ConfigError: an entry that is not PATH:WEIGHT, or a path named twice.
    """
    found = []
    for entry in self.mixture:
      path, _, weight = entry.rpartition(":")
      try:
        found.append((path, float(weight)))
      except ValueError:
        found.append(("", 0.0))
      require(bool(found[-1][0]) and 0 < found[-1][1] < math.inf,
              f"data.mixture has {entry!r}; each entry is PATH:WEIGHT, a "
              "directory of token shards and a positive number, such as "
              "runs/web:0.7.")
    paths = [path for path, _ in found]
    require(len(set(paths)) == len(paths), "data.mixture names a path twice; "
            "name each once.")
    total = sum(weight for _, weight in found)
    return tuple((path, weight / total) for path, weight in found)


@dataclasses.dataclass(frozen=True)
class TrainRunConfig:
  """What every training stage has; the roots below extend it."""
  workdir: str = setting("runs/run", "directory of this run")
  init_from: str = setting("", "start from these parameters, fresh optimiser")
  seed: int = setting(0, "parameters, data order, sampling")
  num_steps: int = setting(1000, "optimiser steps")
  batch_size: int = setting(32, "rows of the global batch")
  seq_len: int = setting(256, "tokens of a row (T)")
  num_microbatches: int = setting(1, "gradient accumulation; exact")
  eval_every: int = setting(200, "steps between validations; 0: at the end")
  eval_batches: int = setting(0, "validation batches; 0: all of them")
  loss: LossConfig = setting(LossConfig(), "next-token loss")
  optimizer: OptimizerConfig = setting(OptimizerConfig(), "optimiser")
  mesh: MeshConfig = setting(MeshConfig(), "devices")
  distributed: DistributedConfig = setting(DistributedConfig(), "processes")
  logging: LoggingConfig = setting(LoggingConfig(), "metrics")
  checkpoint: CheckpointConfig = setting(CheckpointConfig(), "saving")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    for part in (self.loss, self.optimizer, self.mesh, self.distributed,
                 self.logging, self.checkpoint):
      part.validate()
    for name in ("num_steps", "batch_size", "seq_len", "num_microbatches"):
      require(getattr(self, name) > 0,
              f"{name} is {getattr(self, name)}; it must be positive.")
    for name in ("seed", "eval_every", "eval_batches"):
      require(getattr(self, name) >= 0,
              f"{name} is {getattr(self, name)}; it cannot be negative.")
    require(self.batch_size % self.num_microbatches == 0,
            f"batch_size={self.batch_size} is not divisible by "
            f"num_microbatches={self.num_microbatches}.")
    require(bool(self.workdir), "workdir is empty; give a directory.")


@dataclasses.dataclass(frozen=True)
class PretrainConfig(TrainRunConfig):
  """experiments/pretrain.py"""
  data: PretrainDataConfig = setting(PretrainDataConfig(), "token windows")
  model: ModelConfig = setting(ModelConfig(), "what is trained")
  workdir: str = setting("runs/pretrain", "directory of this run")
  sample_prompts: tuple[str, ...] = setting(
      ("", "The capital of France is"), "continued at each validation")
  sample_tokens: int = setting(48, "length of those samples; 0: none")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    super().validate()
    self.data.sources()
