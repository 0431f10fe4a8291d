"""What reinforcement learning did: curves, rewards, and what was said.

    python -m experiments.view_rollouts --workdirs=runs/quickstart/rl
    python -m experiments.view_rollouts --svg=curves.svg \\
        --workdirs=grpo=runs/s0,grpo=runs/s1,control=runs/c0,control=runs/c1

The first writes `rollouts.html` into the run's workdir: curves, how rewards
were spread, and a browser of samples by step, reward, length and words. It also
does so for a run that is going on. The second draws each group's mean and the
range of its seeds, with what it drew in `curves.json`.
"""

from __future__ import annotations

import json
from typing import Any

from llm_jax import config_flags
from llm_jax.config import ViewRolloutsConfig


def run(config: ViewRolloutsConfig) -> dict[str, Any]:
  """Writes the page, the figure, or both.

  Returns:
    The files: `html`, `svg` and `data`, where they were written.

  Raises:
    ConfigError: a directory that is no such run, or has not the metrics.
  """
  from llm_jax.config import require
  from llm_jax.paths import as_path
  from llm_jax.serving.rl_run import load_run
  from llm_jax.serving.rollouts_page import render_rl
  from llm_jax.serving.seeds_figure import band, draw_seeds
  from llm_jax.serving.svg_figures import require_matplotlib

  config.validate()
  if config.svg:
    require_matplotlib()
  groups = {name: [load_run(path) for path in paths]
            for name, paths in config.groups().items()}
  written = {}
  if config.svg:
    panels: dict[str, dict[str, Any]] = {}
    for metric in config.metrics:
      panels[metric.removeprefix("eval_").replace("_", " ")] = {
          name: band([each.curve(metric) for each in runs])
          for name, runs in groups.items()}
      for name, drawn in panels[metric.removeprefix("eval_").replace(
          "_", " ")].items():
        require(bool(drawn["step"]), f"the runs of {name} have no step in "
                f"common at which all have {metric}; name another in metrics.")
    levels, svg = config.level_values(), as_path(config.svg)
    svg.parent.mkdir(parents=True, exist_ok=True)
    draw_seeds(svg, panels, levels)
    data = svg.parent / f"{svg.name.removesuffix('.svg')}.json"
    data.write_text(json.dumps(
        {"runs": {name: [each.name for each in runs]
                  for name, runs in groups.items()},
         "panels": panels, "levels": levels}, indent=1))
    written |= {"svg": str(svg), "data": str(data)}
    print(f"view_rollouts: drew {svg}", flush=True)
  if config.html or not config.svg:
    (one,), = groups.values()
    output = as_path(config.html or f"{next(iter(config.groups().values()))[0]}"
                     "/rollouts.html")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(render_rl(one), encoding="utf-8")
    written["html"] = str(output)
    print(f"view_rollouts: open {output} in a browser", flush=True)
  return written


if __name__ == "__main__":
  config_flags.launch(ViewRolloutsConfig, run)
