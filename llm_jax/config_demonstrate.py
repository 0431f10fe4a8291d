"""Settings of `experiments/demonstrate.py`."""

from __future__ import annotations

import dataclasses
import math

from llm_jax.config_parts import require, setting
from llm_jax.config_tasks import RlDataConfig, split_weight

STYLES = ("steps", "some", "checked", "glance", "at_once")


@dataclasses.dataclass(frozen=True)
class DemonstrateConfig:
  """experiments/demonstrate.py"""
  data: RlDataConfig = setting(RlDataConfig(), "problems of sums, "
                               "gym:chain_sum or gym:letter_counting; "
                               "training's alone")
  styles: tuple[str, ...] = setting(
      ("steps:1", "at_once:1"), "STYLE:WEIGHT, how often each of "
      + ", ".join(STYLES) + " is written (llm_jax/rl/demonstrations.py)")
  slips: float = setting(0.0, "share of those with steps in which one step "
                         "goes wrong, and the answer with it; what is checked "
                         "has none")
  think: bool = setting(True, "thoughts stand in <think> tags; else before the "
                        "answer as they are")
  untagged: float = setting(0.0, "share of the thoughts that are in words "
                            "rather than in tags")
  count: int = setting(10_000, "demonstrations; 0: none")
  output: str = setting("runs/demonstrations", "directory for "
                        "conversations.jsonl and manifest.json")
  seed: int = setting(0, "problems, styles and slips")

  @property
  def shares(self) -> dict[str, float]:
    """The share of each style, by name; they add up to 1."""
    weights = dict(map(split_weight, self.styles))
    total = sum(weights.values())
    return {style: weight / total for style, weight in weights.items()}

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    self.data.validate()
    weights = dict(map(split_weight, self.styles))
    require(bool(weights), "styles is empty; name one, such as steps:1.")
    require(len(weights) == len(self.styles), "styles has a style twice; name "
            "each once, with the sum of its weights.")
    for style, weight in weights.items():
      require(style in STYLES, f"styles has {style!r}; choose of "
              f"{', '.join(STYLES)}, each with :WEIGHT.")
      require(0 < weight < math.inf, f"styles gives {style} the weight "
              f"{weight:g}; a weight must be positive.")
    for name in ("slips", "untagged"):
      require(0 <= getattr(self, name) <= 1, f"{name} is "
              f"{getattr(self, name)}; it is a share, 0 to 1.")
    require(self.think or not self.untagged, "untagged is a share of thoughts "
            "in tags, and think is off; leave it at 0.")
    require(self.count >= 0, f"count is {self.count}; it cannot be negative.")
    require(self.seed >= 0, f"seed is {self.seed}; it cannot be negative.")
    require(bool(self.output), "output is empty; give a directory.")
