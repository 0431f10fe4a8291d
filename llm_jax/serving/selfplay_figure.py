"""The figure of self-play: Elo over games, of imitation and of what follows.

As in AlphaGo Zero's figure 3 (Silver et al. 2017): a curve that flattens at its
teacher, and one that does not. Drawn by Matplotlib, which the extra `plots`
brings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from etils import epath
import numpy as np

from llm_jax.serving.seeds_figure import band
from llm_jax.serving.svg_figures import pyplot, save_svg

_COLOURS = {"imitation": "#2a6fbb", "improvement": "#e07b39"}
_NAMES = {"imitation": "imitation of the teacher", "improvement": "self-play"}


def curve_of(stages: Sequence[dict[str, Any]], kind: str) -> dict[str, Any]:
  """Elo of a stage over its steps: of one seed with its 95% interval, of
  several their mean with the lowest and the highest.

  Args:
    stages: the stage's part of each seed's report.
    kind: "elo" or "elo_sampled".

  Returns:
    `step`, `mean`, `least` and `most`, as `seeds_figure.band` has them.
  """
  curves = [stage["curve"] for stage in stages]
  if len(curves) > 1:
    return band([[(point["step"], point[kind]) for point in curve]
                 for curve in curves])
  return {name: [point[key] for point in curves[0]] for name, key in (
      ("step", "step"), ("mean", kind), ("least", f"{kind}_low"),
      ("most", f"{kind}_high"))}


def draw_selfplay(path: epath.PathLike,
                  reports: Sequence[dict[str, Any]]) -> None:
  """Writes the figure as SVG.

  Args:
    path: of the file.
    reports: what `experiments/selfplay.py` writes to `selfplay.json`, for one
      seed or for several seeds of the same settings.
  """
  plt = pyplot()
  first = reports[0]
  figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained",
                              sharey=True)
  for axis, kind, title in (
      (axes[0], "elo", "playing the likeliest move"),
      (axes[1], "elo_sampled", "drawing moves from its distribution")):
    played = 0
    for name in ("imitation", "improvement"):
      stage = first[name]
      curve = curve_of([report[name] for report in reports], kind)
      games = (played + np.array(curve["step"]) * stage["batch_size"]) / 1e3
      axis.fill_between(games, curve["least"], curve["most"],
                        color=_COLOURS[name], alpha=0.2, linewidth=0)
      axis.plot(games, curve["mean"], color=_COLOURS[name], marker="o",
                markersize=2.5, linewidth=1.2, label=_NAMES[name])
      played += stage["num_steps"] * stage["batch_size"]
    axis.axhline(0, color="#888888", linewidth=1, linestyle="--")
    axis.annotate(f"teacher ({first['teacher']})", (1, 0), fontsize=8,
                  xycoords=("axes fraction", "data"), ha="right", va="bottom",
                  color="#555555")
    rivals = [match["player"] for match in first["matches"]
              if match["player"].startswith("depth")]
    for rival in rivals:
      level = np.mean([match["elo"] for report in reports
                       for match in report["matches"]
                       if match["player"] == rival])
      axis.axhline(level, color="#bbbbbb", linewidth=0.8, linestyle=":")
      axis.annotate(rival, (1, level), fontsize=8, ha="right", va="bottom",
                    xycoords=("axes fraction", "data"), color="#777777")
    axis.set(xlabel="games trained on, thousands", title=title)
  axes[0].set_ylabel("Elo above the teacher (95% bands)" if len(reports) == 1
                     else f"Elo above the teacher ({len(reports)} seeds)")
  axes[0].legend(frameon=False, fontsize=8, loc="lower right")
  save_svg(figure, path)
