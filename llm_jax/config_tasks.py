"""Settings of tasks: problems whose answers can be checked, and rewards."""

from __future__ import annotations

import dataclasses
import math
import re

from llm_jax.config_parts import require, require_choice, setting
from llm_jax.config_tools import SANDBOXES, ProgramLimits

VERIFIERS = ("auto", "integer", "exact", "numeric", "math", "choice", "code")
# Rewards that have a name; all others are FILE.py:FUNCTION.
REWARDS = ("correct", "return", "stated", "think_format", "length", "overlong",
           "repetition")


# Not float()'s: "my_rewards.py:nan" is a function.
_WEIGHT = re.compile(
    r"(.*):([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)", re.ASCII)


def split_weight(entry: str) -> tuple[str, float]:
  """"name:0.5" as ("name", 0.5); without a number behind a colon, 1."""
  match = _WEIGHT.fullmatch(entry)
  return (match[1], float(match[2])) if match else (entry, 1.0)


@dataclasses.dataclass(frozen=True)
class CurriculumConfig:
  """Which difficulty comes when (`llm_jax/rl/curriculum.py`)."""
  kind: str = setting("none", "none | staged: harder every stage_steps batches "
                      "| adaptive: harder when recent samples were right")
  levels: tuple[str, ...] = setting(
      (), "gym: each level's settings, easiest first, such as 'max_terms=2'; "
      "several with blanks between; empty: the family's own levels")
  column: str = setting("", "files: a field with a number that is the "
                        "difficulty, cut into num_levels of equal size")
  num_levels: int = setting(4, "files: levels that `column` is cut into")
  stage_steps: int = setting(50, "staged: batches of problems of a level")
  raise_at: float = setting(0.8, "adaptive: share of right samples from which "
                            "the level rises")
  lower_at: float = setting(0.2, "adaptive: share below which it falls")
  window: int = setting(256, "adaptive: samples of the level before it is "
                        "decided")
  review: float = setting(0.1, "share of the problems that come from easier "
                          "levels, so that these are not unlearned")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    require_choice("curriculum.kind", self.kind, ("none", "staged", "adaptive"))
    for name in ("num_levels", "stage_steps", "window"):
      require(getattr(self, name) >= 1, f"curriculum.{name} is "
              f"{getattr(self, name)}; it must be at least 1.")
    require(0 <= self.review < 1, f"curriculum.review is {self.review}; it is "
            "a share, 0 to below 1.")
    require(0 <= self.lower_at < self.raise_at <= 1, "curriculum.lower_at and "
            f"curriculum.raise_at are {self.lower_at} and {self.raise_at}; "
            "they are shares, the first below the second.")


@dataclasses.dataclass(frozen=True)
class RlDataConfig:
  """Problems with verifiable answers."""
  path: str = setting("sums", "'sums'; 'gym:FAMILY' of reasoning-gym; "
                      "'game:NAME'; or a .jsonl or .parquet file of problems")
  mixture: tuple[str, ...] = setting(
      (), "several such with their weights, 'gym:chain_sum:2,sums:1'; takes "
      "the place of path")
  errors: str = setting("strict", "strict | replace: bytes that are not UTF-8")
  eval_problems: int = setting(1024, "held-out problems")
  eval_path: str = setting("", "files: held-out problems, where they are files "
                           "of their own; empty: some of path")
  min_terms: int = setting(4, "sums: fewest terms")
  max_terms: int = setting(6, "sums: most terms")
  system: str = setting("", "system message of every problem that has none")
  verifier: str = setting("auto", "files: " + " | ".join(VERIFIERS) + "; auto: "
                          "by the fields of the first record")
  tolerance: float = setting(1e-6, "numeric: how far off an answer may be, "
                             "absolute or as a share of the right one")
  gym_settings: tuple[str, ...] = setting(
      (), "gym: the family's settings, such as 'min_terms=3,max_terms=4'; in a "
      "mixture 'chain_sum.min_terms=3' is of that family only")
  game_level: int = setting(0, "game: difficulty, from 0")
  verify_seconds: float = setting(10.0, "gym, math: checking one answer takes "
                                  "at most; longer is a fault")
  sandbox: str = setting("process", "code: process | monty, where it is tested")
  allow_partial_sandbox: bool = setting(
      False, "code: run even where this machine cannot keep a program from "
      "files, the network or other processes")
  limits: ProgramLimits = setting(
      ProgramLimits(output_characters=20_000), "code: of a program with its "
      "tests")
  workers: int = setting(2, "gym, math: processes that check answers")
  curriculum: CurriculumConfig = setting(CurriculumConfig(), "difficulty")

  @property
  def weighted(self) -> tuple[tuple[str, float], ...]:
    """(path, weight) of each part: those of the mixture, or `path` alone."""
    return (tuple(map(split_weight, self.mixture)) if self.mixture
            else ((self.path, 1.0),))

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    for path, weight in self.weighted:
      require(bool(path), "data.path is empty; give 'sums', 'gym:FAMILY', "
              "'game:NAME' or a file.")
      require(0 < weight < math.inf, f"data.mixture gives {path} the weight "
              f"{weight:g}; a weight must be positive.")
    paths = [path for path, _ in self.weighted]
    require(len(set(paths)) == len(paths), "data.mixture names a path twice; "
            "name each once, with the sum of its weights.")
    require(self.eval_problems >= 1, f"data.eval_problems is "
            f"{self.eval_problems}; at least one must be held out.")
    require_choice("data.verifier", self.verifier, VERIFIERS)
    require_choice("data.sandbox", self.sandbox, SANDBOXES)
    require(0 <= self.tolerance < 1, f"data.tolerance is {self.tolerance}; "
            "choose 0 to below 1.")
    require(self.verify_seconds > 0, "data.verify_seconds is "
            f"{self.verify_seconds:g}; it must be positive.")
    require(self.workers >= 1, f"data.workers is {self.workers}; at least one "
            "is needed.")
    self.limits.validate()
    self.curriculum.validate()


@dataclasses.dataclass(frozen=True)
class RewardsConfig:
  """What completions are rewarded for (`llm_jax/rl/rewards/`)."""
  names: tuple[str, ...] = setting(
      ("correct:1",), "NAME:WEIGHT of " + ", ".join(REWARDS) + ", or "
      "FILE.py:FUNCTION:WEIGHT")
  on_error: str = setting("stop", "stop | zero | skip: where a reward fails, "
                          "end the run, count it as 0, or leave the sample out")
  timeout_s: float = setting(10.0, "one call of a function of one's own takes "
                             "at most")
  workers: int = setting(2, "processes of each such function, and checks at "
                         "once")
  memory_mb: int = setting(4096, "memory of such a process at most; 0: no "
                           "limit")
  length_tokens: int = setting(1024, "length: tokens from which it is 1")
  overlong_tokens: int = setting(0, "overlong: L_max, tokens from which it is "
                                 "-1")
  overlong_buffer: int = setting(0, "overlong: L_cache, tokens below L_max "
                                 "over which it falls from 0")
  repetition_words: int = setting(4, "repetition: words in a row that count as "
                                  "said before")

  @property
  def weights(self) -> dict[str, float]:
    """The weight of each reward, by name."""
    return dict(map(split_weight, self.names))

  @property
  def functions(self) -> tuple[str, ...]:
    """Those that are functions of the user's own, "FILE.py:FUNCTION"."""
    return tuple(name for name in self.weights if name not in REWARDS)

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    require(bool(self.names), "rewards.names is empty; name one, such as "
            "'correct:1'.")
    require(len(self.weights) == len(self.names), "rewards.names has a reward "
            "twice; name each once, with the sum of its weights.")
    for name, weight in self.weights.items():
      file, colon, function = name.rpartition(":")
      require(name in REWARDS or bool(colon and function.isidentifier()
                                      and file.endswith(".py")),
              f"rewards.names has {name!r}; choose of {', '.join(REWARDS)}, or "
              "give FILE.py:FUNCTION, each with :WEIGHT.")
      require(math.isfinite(weight), f"rewards.names gives {name} the weight "
              f"{weight}; it must be a finite number.")
    require_choice("rewards.on_error", self.on_error, ("stop", "zero", "skip"))
    require(self.timeout_s > 0, f"rewards.timeout_s is {self.timeout_s:g}; it "
            "must be positive.")
    for name in ("workers", "length_tokens", "repetition_words"):
      require(getattr(self, name) >= 1, f"rewards.{name} is "
              f"{getattr(self, name)}; it must be at least 1.")
    require(self.memory_mb >= 0, f"rewards.memory_mb is {self.memory_mb}; 0 is "
            "no limit.")
    require("overlong" not in self.weights
            or 0 < self.overlong_buffer <= self.overlong_tokens,
            f"rewards.overlong_tokens and rewards.overlong_buffer are "
            f"{self.overlong_tokens} and {self.overlong_buffer}; the reward "
            "'overlong' needs both, the second up to the first: L_max is "
            "usually sampling.max_new_tokens.")
