"""Settings of self-play: a board game, its teacher, imitation, improvement."""

from __future__ import annotations

import dataclasses
import math

from llm_jax.config_model import ModelConfig
from llm_jax.config_parts import (
    CheckpointConfig, LoggingConfig, OptimizerConfig, require, setting)
from llm_jax.config_training import TrainRunConfig


@dataclasses.dataclass(frozen=True)
class ConnectFourConfig:
  """Stones fall to the bottom of a column; so many in a line win."""
  rows: int = setting(6, "height of the board")
  columns: int = setting(7, "width of the board (W)")
  connect: int = setting(4, "stones in a line that win")
  opening_plies: int = setting(4, "first moves of a match, drawn at random; "
                               "games that are trained on have 0 to so many")

  @property
  def cells(self) -> int:
    """Places on the board, and moves of the longest game (T)."""
    return self.rows * self.columns

  def validate(self) -> None:
    """Raises `ConfigError` for a board on which nothing can be decided."""
    require(2 <= self.connect <= max(self.rows, self.columns),
            f"game.connect is {self.connect}; it is at least 2, and a line of "
            f"so many must fit on {self.rows} x {self.columns} cells.")
    require(min(self.rows, self.columns) > 0, f"game.rows={self.rows} and "
            f"game.columns={self.columns} must be positive.")
    most = min(2 * self.connect - 2, self.rows)
    require(0 <= self.opening_plies <= most, "game.opening_plies is "
            f"{self.opening_plies}; give 0 to {most}, so that no opening is "
            "won already and no column is full.")


@dataclasses.dataclass(frozen=True)
class TeacherConfig:
  """A search that sees wins and losses some plies ahead, and nothing else."""
  depth: int = setting(2, "plies it looks ahead; among moves that look alike "
                       "it draws at random")
  random_share: float = setting(0.2, "share of its moves that are drawn at "
                                "random from all legal ones")

  @property
  def name(self) -> str:
    """As in tables: "depth 2, 20% random"."""
    noise = f", {self.random_share:.0%} random" if self.random_share else ""
    return f"depth {self.depth}{noise}"

  def validate(self) -> None:
    """Raises `ConfigError` for a search that is none."""
    require(1 <= self.depth <= 8, f"teacher.depth is {self.depth}; give 1 to "
            "8 plies (each takes as many times the work as there are columns).")
    require(0 <= self.random_share <= 1, "teacher.random_share is "
            f"{self.random_share}; it is a share from 0 to 1.")


@dataclasses.dataclass(frozen=True)
class ImitationConfig(TrainRunConfig):
  """Stage 1; batch_size counts games. seq_len, seed, workdir and init_from
  are those of the whole experiment."""
  num_steps: int = setting(800, "optimiser steps")
  batch_size: int = setting(256, "games of the teacher in a step, never the "
                            "same twice")
  eval_every: int = setting(100, "steps between matches with the teacher")
  value_coef: float = setting(0.5, "weight of predicting the result")
  optimizer: OptimizerConfig = setting(
      OptimizerConfig(name="muon", learning_rate=5e-3, schedule="wsd",
                      final_learning_rate=0.02, weight_decay=0.01),
      "optimiser")
  checkpoint: CheckpointConfig = setting(CheckpointConfig(every=100), "saving")
  logging: LoggingConfig = setting(LoggingConfig(every=10), "metrics")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    super().validate()
    require(self.value_coef >= 0, f"imitation.value_coef is {self.value_coef};"
            " it cannot be negative.")
    _leave_alone("imitation", self)


@dataclasses.dataclass(frozen=True)
class ImprovementConfig(TrainRunConfig):
  """Stage 2; batch_size counts games, played anew for each step."""
  num_steps: int = setting(1000, "batches of games")
  batch_size: int = setting(512, "games that are played for a step")
  eval_every: int = setting(100, "steps between matches with the teacher")
  updates: int = setting(2, "optimiser steps on a batch, each on its own part")
  epochs: int = setting(1, "times that a batch is gone through")
  value_coef: float = setting(0.5, "weight of predicting the result")
  entropy_coef: float = setting(0.01, "weight of the entropy of moves")
  clip_low: float = setting(0.2, "ratio bound below: 1 - clip_low")
  clip_high: float = setting(0.2, "ratio bound above: 1 + clip_high")
  gae_lambda: float = setting(0.95, "1: advantages are result - value; below, "
                              "later values stand for the result, too")
  normalize_std: bool = setting(True, "divide advantages by their std")
  pool_share: float = setting(0.25, "share of the games against an earlier "
                              "self")
  pool_size: int = setting(10, "earlier selves that are drawn from, the newest")
  pool_every: int = setting(50, "steps between selves that are kept")
  optimizer: OptimizerConfig = setting(
      OptimizerConfig(name="muon", learning_rate=2e-3, schedule="linear",
                      warmup_steps=10, weight_decay=0.0), "optimiser")
  checkpoint: CheckpointConfig = setting(CheckpointConfig(every=50), "saving")
  logging: LoggingConfig = setting(LoggingConfig(every=5), "metrics")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    super().validate()
    for name in ("value_coef", "entropy_coef", "clip_low", "clip_high"):
      value = getattr(self, name)
      require(0 <= value < math.inf, f"improvement.{name} is {value}; it "
              "cannot be negative.")
    for name in ("gae_lambda", "pool_share"):
      value = getattr(self, name)
      require(0 <= value <= 1, f"improvement.{name} is {value}; it is a share "
              "from 0 to 1.")
    for name in ("updates", "epochs", "pool_size", "pool_every"):
      value = getattr(self, name)
      require(value > 0, f"improvement.{name} is {value}; it must be positive.")
    require(self.batch_size % (self.updates * self.num_microbatches) == 0,
            f"improvement.batch_size={self.batch_size} games cannot be dealt "
            f"out evenly to improvement.updates={self.updates} of "
            f"num_microbatches={self.num_microbatches} each.")
    _leave_alone("improvement", self)

  @property
  def pool_pairs(self) -> int:
    """Games of a batch with the earlier self as second, and so many as first.
    """
    return round(self.pool_share * self.batch_size / 2)


def _leave_alone(name: str, stage: TrainRunConfig) -> None:
  """Raises `ConfigError` where a stage has what the experiment decides."""
  default = TrainRunConfig()
  for field in ("seed", "seq_len", "init_from", "workdir"):
    require(getattr(stage, field) == getattr(default, field),
            f"{name}.{field} is set, but the experiment decides it (by --seed, "
            "--game and --workdir); leave it as it is.")


@dataclasses.dataclass(frozen=True)
class MatchConfig:
  """Matches: each random opening is played twice, with colours exchanged."""
  pairs: int = setting(256, "openings of a match during training")
  final_pairs: int = setting(1000, "openings of a match at the end")
  bootstraps: int = setting(2000, "resamples of pairs for 95% intervals")
  rivals: tuple[int, ...] = setting((2, 4), "depths of searches without random "
                                    "moves that are also met at the end")

  def validate(self) -> None:
    """Raises `ConfigError` for matches without an interval."""
    for name in ("pairs", "final_pairs"):
      require(getattr(self, name) >= 2, f"match.{name} is "
              f"{getattr(self, name)}; an interval needs at least 2.")
    require(self.bootstraps >= 20, f"match.bootstraps is {self.bootstraps}; a "
            "95% interval needs at least 20.")
    require(all(1 <= depth <= 8 for depth in self.rivals), "match.rivals is "
            f"{self.rivals}; give depths from 1 to 8.")


@dataclasses.dataclass(frozen=True)
class TreeSearchConfig:
  """The trained model with a tree search (Gumbel MuZero's, by mctx)."""
  simulations: int = setting(0, "positions that are looked at for each move; "
                             "0: no search")
  considered: int = setting(7, "moves that are considered at the root")
  pairs: int = setting(100, "openings of its match")

  def validate(self) -> None:
    """Raises `ConfigError` for a search that cannot be."""
    require(self.simulations >= 0, f"search.simulations is "
            f"{self.simulations}; it cannot be negative (0 is none).")
    require(self.considered > 0 and self.pairs >= 2, "search.considered="
            f"{self.considered} must be positive and search.pairs={self.pairs} "
            "at least 2.")


@dataclasses.dataclass(frozen=True)
class SelfplayConfig:
  """experiments/selfplay.py"""
  workdir: str = setting("runs/selfplay", "directory of both stages and of "
                         "selfplay.json and selfplay.svg")
  output: str = setting("", "also write the figure and its data to this path "
                        "with .svg and .json, such as docs/selfplay")
  seed: int = setting(0, "parameters, games, matches")
  game: ConnectFourConfig = setting(ConnectFourConfig(), "the board")
  teacher: TeacherConfig = setting(TeacherConfig(), "who is imitated")
  model: ModelConfig = setting(
      ModelConfig(embed_dim=128, num_layers=4, num_heads=4, num_kv_heads=4,
                  head_dim=32, mlp_dim=384, max_seq_len=64, position="none",
                  qk_norm="head", tie_embeddings=False), "the player")
  imitation: ImitationConfig = setting(ImitationConfig(), "stage 1")
  improvement: ImprovementConfig = setting(ImprovementConfig(), "stage 2")
  match: MatchConfig = setting(MatchConfig(), "how strength is measured")
  search: TreeSearchConfig = setting(TreeSearchConfig(), "at the end")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    for part in (self.game, self.teacher, self.imitation, self.improvement,
                 self.match, self.search):
      part.validate()
    require(bool(self.workdir), "workdir is empty; give a directory.")
    require(self.game.cells <= self.model.max_seq_len, "model.max_seq_len="
            f"{self.model.max_seq_len} is less than the {self.game.cells} "
            "moves of the longest game; raise it.")
    require(not self.output.endswith((".svg", ".json")),
            f"output={self.output} names one of two files; give it without "
            "its ending.")

  def stage(self, name: str) -> TrainRunConfig:
    """`imitation` or `improvement` with what the experiment decides."""
    own = {"imitation": "", "improvement": f"{self.workdir}/imitation"}
    return dataclasses.replace(
        getattr(self, name), seed=self.seed, seq_len=self.game.cells,
        workdir=f"{self.workdir}/{name}", init_from=own[name])


@dataclasses.dataclass(frozen=True)
class ViewSelfplayConfig:
  """experiments/view_selfplay.py"""
  workdirs: tuple[str, ...] = setting((), "finished runs of "
                                      "experiments.selfplay, each with its own "
                                      "seed and the same settings")
  output: str = setting("selfplay", "the figure and its data are this path "
                        "with .svg and .json")

  def validate(self) -> None:
    """Raises `ConfigError` where there is nothing to draw, or no place."""
    require(bool(self.workdirs), "workdirs is empty; name runs of "
            "experiments.selfplay, such as "
            "--workdirs=runs/selfplay,runs/selfplay_1.")
    require(bool(self.output) and not self.output.endswith((".svg", ".json")),
            f"output={self.output!r} stands for two files; give a path "
            "without its ending.")
