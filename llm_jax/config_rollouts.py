"""Settings of `experiments/view_rollouts.py`."""

from __future__ import annotations

import dataclasses

from llm_jax.config_parts import require, setting


@dataclasses.dataclass(frozen=True)
class ViewRolloutsConfig:
  """experiments/view_rollouts.py"""
  workdirs: tuple[str, ...] = setting((), "runs of experiments.rl; for a "
                                      "figure GROUP=RUN, runs of a group being "
                                      "seeds of the same")
  html: str = setting("", "page of one run; empty: rollouts.html in its "
                      "workdir, where no figure is asked for")
  svg: str = setting("", "figure of the runs' curves, with a .json of what it "
                     "draws beside it")
  metrics: tuple[str, ...] = setting(
      ("eval_accuracy", "completion_tokens"), "what the figure draws, a panel "
      "each")
  levels: tuple[str, ...] = setting((), "NAME=VALUE, dashed lines in the "
                                    "figure's first panel")

  def groups(self) -> dict[str, list[str]]:
    """Name -> runs; a run without a group is its own."""
    found: dict[str, list[str]] = {}
    for entry in self.workdirs:
      name, equals, path = entry.partition("=")
      found.setdefault(name, []).append(path if equals else name)
    return found

  def level_values(self) -> dict[str, float]:
    """`levels` as name -> value; raises `ConfigError` for others."""
    found = {}
    for entry in self.levels:
      name, _, value = entry.partition("=")
      try:
        found[name] = float(value)
      except ValueError:
        require(False, f"levels has {entry!r}; an entry is NAME=VALUE, such as "
                "'more finetuning=0.61'.")
    return found

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    require(bool(self.workdirs), "workdirs is empty; name a run of "
            "experiments.rl, such as --workdirs=runs/quickstart/rl.")
    require(bool(self.svg) or len(self.workdirs) == 1, "a page is of one run, "
            f"and workdirs names {len(self.workdirs)}; name one, or ask for a "
            "figure of all with --svg=FILE.svg.")
    require(not self.html or len(self.workdirs) == 1, "html is of one run; "
            "name one in workdirs.")
    require(bool(self.metrics), "metrics is empty; name one, such as reward.")
    self.level_values()
