"""Settings of the experiment on thinking in tokens (`experiments/think.py`)."""

from __future__ import annotations

import dataclasses

from llm_jax.config_parts import require, setting


@dataclasses.dataclass(frozen=True)
class ThinkTaskConfig:
  """Sums modulo two, and how their demonstrations are written."""
  min_terms: int = setting(8, "fewest terms")
  max_terms: int = setting(10, "most terms")
  train_problems: int = setting(20_000, "demonstrations; the same problems in "
                                "each manner")
  eval_problems: int = setting(1000, "held-out problems")
  strides: tuple[int, ...] = setting(
      (1, 2, 4), "manners that write a running remainder after every so many "
      "terms, then the answer; 1 is all steps first")
  filler: bool = setting(True, "a manner that writes zeros where all steps "
                         "would be: as many tokens, and nothing thought")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    for name in ("train_problems", "eval_problems"):
      require(getattr(self, name) > 1,
              f"task.{name} is {getattr(self, name)}; give at least 2.")
    require(1 in self.strides and min(self.strides) > 0, "task.strides is "
            f"{self.strides}; give positive numbers, 1 among them, which is "
            "all steps first.")
    require(len(set(self.strides)) == len(self.strides), "task.strides has a "
            "number twice; give each once.")
    require(max(self.strides) < self.min_terms, "task.strides has "
            f"{max(self.strides)}, which is not below task.min_terms="
            f"{self.min_terms}: nothing would be written before the answer.")
