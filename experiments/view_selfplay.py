"""Self-play over several seeds: one figure with their band, and all matches.

    python -m experiments.selfplay --seed=1 --workdir=runs/selfplay_1
    python -m experiments.view_selfplay --output=selfplay \\
        --workdirs=runs/selfplay,runs/selfplay_1

Writes `selfplay.svg`, in which lines are means and bands go from the lowest
seed to the highest, and `selfplay.json` with the report of each seed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from llm_jax import config_flags
from llm_jax.config import ViewSelfplayConfig, require

# What runs of the same recipe may differ in; a search only adds matches.
_OWN = ("seed", "workdir", "output", "search")


def load_seeds(workdirs: Sequence[str]) -> list[dict[str, Any]]:
  """The `selfplay.json` of each run with its `seed`.

  Raises:
    ConfigError: a run that is not finished, or two that are not seeds of one
      recipe.
  """
  from llm_jax.paths import as_path
  found, settings = [], {}
  for name in workdirs:
    path = as_path(name)
    require((path / "selfplay.json").exists(), f"{name} has no selfplay.json; "
            "name the workdir of a finished run of experiments.selfplay, and "
            "start that once more if it was stopped.")
    config, report = (json.loads((path / file).read_text(encoding="utf-8"))
                      for file in ("config.json", "selfplay.json"))
    own = {key: config.pop(key, None) for key in _OWN}
    differing = sorted(key for key in config.keys() | settings.keys()
                       if config.get(key) != settings.get(key))
    require(not found or not differing, f"{name} and {workdirs[0]} were run "
            f"with other settings of {', '.join(differing)}; a band is of runs "
            "that differ in their seed alone.")
    require(own["seed"] not in [each["seed"] for each in found], f"{name} has "
            f"seed {own['seed']}, as an earlier one of workdirs has; name each "
            "once.")
    settings = config
    found.append({"seed": own["seed"], **report})
  return found


def tell(reports: Sequence[dict[str, Any]]) -> None:
  """Prints each match that all have played, with the Elo of every seed."""
  meetings = [{(m["player"], m["opponent"]): m for m in report["matches"]}
              for report in reports]
  for pair in meetings[0]:
    if not all(pair in each for each in meetings):
      continue
    played = [each[pair] for each in meetings]
    elo = ", ".join(f"{m['elo']:+.0f} [{m['low']:+.0f}, {m['high']:+.0f}]"
                    for m in played)
    print(f"view_selfplay: {pair[0]} against {pair[1]}: {elo}", flush=True)


def run(config: ViewSelfplayConfig) -> list[dict[str, Any]]:
  """Writes the figure and its data; returns the reports that it is of.

  Raises:
    ConfigError: see `load_seeds`.
  """
  from llm_jax.paths import as_path
  from llm_jax.run_record import write_json
  from llm_jax.serving.selfplay_figure import draw_selfplay
  from llm_jax.serving.svg_figures import require_matplotlib
  config.validate()
  require_matplotlib()
  reports = load_seeds(config.workdirs)
  output = as_path(config.output)
  output.parent.mkdir(parents=True, exist_ok=True)
  write_json(output.parent / f"{output.name}.json", {"seeds": reports})
  draw_selfplay(output.parent / f"{output.name}.svg", reports)
  tell(reports)
  return reports


if __name__ == "__main__":
  config_flags.launch(ViewSelfplayConfig, run)
