"""Settings of the sweep of sizes and tokens (`experiments/scaling_laws.py`)."""

from __future__ import annotations

import dataclasses
import math

from llm_jax.config_model import ModelConfig
from llm_jax.config_parts import OptimizerConfig, require, setting
from llm_jax.config_training import PretrainConfig


@dataclasses.dataclass(frozen=True)
class ScalingLawsConfig:
  """experiments/scaling_laws.py"""
  workdir: str = setting("runs/scaling_laws", "directory of all runs")
  recipe: PretrainConfig = setting(
      # Depth, widths, heads, steps, learning rate, seed are each run's own.
      PretrainConfig(sample_tokens=0), "data, batch, schedule, kinds of parts")
  depths: tuple[int, ...] = setting((4, 6, 8, 10, 12), "layers of each size")
  widths: tuple[int, ...] = setting((), "embed_dim of each size; empty: "
                                    "aspect × depth")
  aspect: int = setting(64, "embed_dim / depth where widths are not given, "
                        "rounded up to whole heads of recipe.model.head_dim")
  mlp_ratio: float = setting(3.0, "mlp_dim / embed_dim")
  budgets: tuple[float, ...] = setting(
      (), "operations of a training run (FLOPs); each size is trained at each "
      "of them: isoFLOP curves")
  tokens: tuple[int, ...] = setting((), "instead: tokens of a training run; "
                                    "each size is trained on each of them")
  batch_sizes: tuple[int, ...] = setting(
      (), "rows of a batch at each budget (or number of tokens); empty: "
      "recipe.batch_size at all")
  base_dim: int = setting(128, "embed_dim at which the recipe's learning rate "
                          "and init_std hold")
  lr_exponent: float = setting(0.5, "learning rate is recipe's × "
                               "(base_dim / embed_dim)^lr_exponent")
  max_epochs: float = setting(4.0, "sizes that would read their data more "
                              "often are left out, and said so; 0: no limit")
  min_steps: int = setting(50, "sizes that would take fewer steps are left "
                           "out, and said so")
  seeds: tuple[int, ...] = setting((0,), "each size and budget is trained with "
                                   "each of them")
  bootstraps: int = setting(1000, "resamples of the runs that intervals are "
                            "taken from")
  output: str = setting("", "also write the figure and its data to this path "
                        "with .svg and .json, such as docs/scaling_laws")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    self.recipe.validate()
    for name in ("depths", "widths", "budgets", "tokens", "batch_sizes",
                 "seeds"):
      values = getattr(self, name)
      require(all(0 <= v if name == "seeds" else 0 < v < math.inf
                  for v in values),
              f"{name} is {values}; give positive numbers.")
    require(bool(self.depths), "depths is empty; give the layers of each size.")
    require(bool(self.seeds), "seeds is empty; give at least one.")
    require(not self.widths or len(self.widths) == len(self.depths),
            f"widths has {len(self.widths)} entries and depths "
            f"{len(self.depths)}; give one embed_dim for each depth, or none.")
    require(bool(self.budgets) != bool(self.tokens),
            "budgets and tokens are two ways to say how long runs are; give "
            "one of them: --budgets=1e17,3e17,1e18 for isoFLOP curves, or "
            "--tokens.")
    amounts = self.budgets or self.tokens
    require(len(set(amounts)) == len(amounts), "budgets or tokens has a number "
            "twice; give each once (seeds repeats runs).")
    require(not self.batch_sizes or len(self.batch_sizes) == len(amounts),
            f"batch_sizes has {len(self.batch_sizes)} entries for "
            f"{len(amounts)} budgets; give one for each, or none.")
    for name in ("aspect", "mlp_ratio", "base_dim", "min_steps"):
      require(getattr(self, name) > 0,
              f"{name} is {getattr(self, name)}; it must be positive.")
    require(self.max_epochs >= 0, f"max_epochs is {self.max_epochs}; it cannot "
            "be negative (0 is no limit).")
    require(self.bootstraps >= 20, f"bootstraps is {self.bootstraps}; a 95% "
            "interval needs at least 20.")
    require(not self.recipe.init_from, "recipe.init_from is set; the runs of a "
            "scaling law start from scratch.")
    sizes = [(self.model(i).num_layers, self.model(i).embed_dim)
             for i in range(len(self.depths))]
    require(len(set(sizes)) == len(sizes), "two sizes have the same depth and "
            "embed_dim; leave one out.")
    require(not self.output.endswith((".svg", ".json")),
            f"output={self.output} names one of two files; give it without "
            "its ending.")

  def model(self, size: int) -> ModelConfig:
    """The model of one of the sizes, its vocabulary not filled in.

    Query and key/value heads keep the recipe's ratio; σ of the initial weights
    is the recipe's × √(base_dim / embed_dim), so that activations begin alike.

    Raises:
      ConfigError: the width is not a whole number of heads.
    """
    recipe = self.recipe.model
    head, depth = recipe.head_dim, self.depths[size]
    width = (self.widths[size] if self.widths else
             head * math.ceil(self.aspect * depth / head))
    groups = max(1, recipe.num_heads // recipe.num_kv_heads)
    require(width % head == 0, f"widths has {width}, which is not a multiple "
            f"of recipe.model.head_dim={head}; heads are whole.")
    heads = width // head
    require(heads % groups == 0, f"embed_dim={width} has {heads} heads, which "
            f"the recipe's {groups} query heads to a key/value head do not "
            "divide; choose other widths, or recipe.model.num_kv_heads.")
    return dataclasses.replace(
        recipe, num_layers=depth, embed_dim=width, num_heads=heads,
        num_kv_heads=heads // groups, mlp_dim=round(self.mlp_ratio * width),
        init_std=recipe.init_std * (self.base_dim / width) ** 0.5)

  def optimizer(self, width: int) -> OptimizerConfig:
    """The recipe's optimiser with the learning rate of a width."""
    optimizer = self.recipe.optimizer
    rate = (optimizer.learning_rate
            * (self.base_dim / width) ** self.lr_exponent)
    return dataclasses.replace(optimizer, learning_rate=rate)
