"""Settings of what a model may call (`llm_jax/inference/tools.py`)."""

from __future__ import annotations

import dataclasses

from llm_jax.config_parts import require, require_choice, setting

TOOLS = ("python", "calculator", "search")
SANDBOXES = ("monty", "process")


@dataclasses.dataclass(frozen=True)
class ProgramLimits:
  """What one program that a model wrote may take."""
  seconds: float = setting(5.0, "time at most; the sandbox's start not counted")
  memory_mb: int = setting(256, "memory at most, the interpreter's own not "
                           "counted")
  output_characters: int = setting(2000, "characters that it may print")
  recursion: int = setting(500, "calls within calls at most")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    for name in ("seconds", "memory_mb", "output_characters"):
      require(getattr(self, name) > 0, f"tools.limits.{name} is "
              f"{getattr(self, name)}; it must be positive.")
    require(10 <= self.recursion <= 5000, f"tools.limits.recursion is "
            f"{self.recursion}; choose 10 to 5000.")


@dataclasses.dataclass(frozen=True)
class ToolsConfig:
  """Which tools a model may call, and what a call may take."""
  names: tuple[str, ...] = setting((), "of " + ", ".join(TOOLS) + "; empty: "
                                   "none")
  sandbox: str = setting("monty", "monty | process: where Python runs")
  allow_partial_sandbox: bool = setting(
      False, "process: run even where this machine cannot keep a program from "
      "files, the network or other processes")
  limits: ProgramLimits = setting(ProgramLimits(), "of a Python program")
  max_calls: int = setting(8, "calls for one answer at most")
  result_characters: int = setting(1000, "characters of a result that the "
                                   "model reads at most")
  corpus: str = setting("wikipedia", "what search looks in: 'wikipedia', or a "
                        ".txt, .jsonl or .parquet file, a directory or a glob")
  title_column: str = setting("title", "of .jsonl and .parquet: the field of "
                              "the title; absent: a text's first words")
  text_column: str = setting("text", "of .jsonl and .parquet: the field of the "
                             "text")
  hits: int = setting(3, "lines that a search gives")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    for name in self.names:
      require_choice("tools.names", name, TOOLS)
    require(len(set(self.names)) == len(self.names), "tools.names names one "
            "tool twice; name each once.")
    require_choice("tools.sandbox", self.sandbox, SANDBOXES)
    self.limits.validate()
    for name in ("max_calls", "result_characters", "hits"):
      require(getattr(self, name) > 0,
              f"tools.{name} is {getattr(self, name)}; it must be positive.")
    require(bool(self.corpus), "tools.corpus is empty; give 'wikipedia' or a "
            "path.")
