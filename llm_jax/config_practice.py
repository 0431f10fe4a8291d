"""Settings of `experiments/practice.py`."""

from __future__ import annotations

import dataclasses

from llm_jax.config_demonstrate import DemonstrateConfig
from llm_jax.config_parts import require, setting
from llm_jax.config_rl import RlConfig
from llm_jax.config_sft import SftConfig
from llm_jax.config_tasks import CurriculumConfig, RlDataConfig


@dataclasses.dataclass(frozen=True)
class PracticeConfig:
  """experiments/practice.py"""
  workdir: str = setting("runs/practice", "directory of all runs and of "
                         "practice.json")
  demonstrate: DemonstrateConfig = setting(
      DemonstrateConfig(), "what is imitated; count=0: sft.data as they are")
  sft: SftConfig = setting(SftConfig(), "imitation; workdir and seed are each "
                           "run's own")
  rl: RlConfig = setting(RlConfig(), "practice; init_from, workdir and seed "
                         "are each run's own")
  seeds: tuple[int, ...] = setting((0, 1, 2), "each a pair of runs and its "
                                   "control")
  figure: str = setting("", "SVG of the curves of all seeds, with a .json "
                        "beside it; empty: none")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    require(bool(self.workdir), "workdir is empty; give a directory.")
    self.demonstrate.validate()
    self.sft.validate()
    self.rl.validate()
    require(bool(self.seeds) and len(set(self.seeds)) == len(self.seeds)
            and min(self.seeds) >= 0, f"seeds is {self.seeds}; give different "
            "numbers from 0.")
    require(not self.figure or self.figure.endswith(".svg"), f"figure is "
            f"{self.figure}; it must end in .svg.")
    require(not self.demonstrate.count
            or _posed(self.demonstrate.data) == _posed(self.rl.data),
            "demonstrate.data and rl.data pose different problems; what is "
            "imitated must be what is practised.")


def _posed(data: RlDataConfig) -> RlDataConfig:
  """The same for all that pose the same problems."""
  return dataclasses.replace(data, eval_problems=1, workers=1,
                             curriculum=CurriculumConfig())
