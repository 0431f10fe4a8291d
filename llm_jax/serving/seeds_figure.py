"""Curves of several seeds as bands: the mean, and the least and the most.

Three seeds have no honest interval of 95%, so the band is all of them: from the
lowest to the highest at each step. Drawn by Matplotlib (the extra `plots`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath
import numpy as np

from llm_jax.serving.svg_figures import pyplot, save_svg

Curve = Sequence[Sequence[float]]  # (step, value)
_COLOURS = ("#2a6fbb", "#e07b39", "#2f855a", "#7c55a6", "#b83263", "#5f6b7a")


def band(curves: Sequence[Curve]) -> dict[str, list[float]]:
  """The steps that all curves have, with mean, least and most.

  Args:
    curves: (step, value) points of each seed.
  """
  tables = [dict((int(step), float(value)) for step, value in curve)
            for curve in curves]
  steps = sorted(set.intersection(*map(set, tables))) if tables else []
  values_SN = np.array([[table[step] for step in steps] for table in tables])
  if not steps:
    return {"step": [], "mean": [], "least": [], "most": []}
  return {"step": steps, "mean": values_SN.mean(0).tolist(),
          "least": values_SN.min(0).tolist(),
          "most": values_SN.max(0).tolist()}


def draw_seeds(path: epath.PathLike, panels: Mapping[str, Mapping[str, Any]],
               levels: Mapping[str, float] | None = None) -> None:
  """Writes the figure as SVG.

  Args:
    path: of the file.
    panels: title -> group of runs -> `band`.
    levels: name -> value, drawn as dashed lines in the first panel.
  """
  plt = pyplot()
  figure, axes = plt.subplots(1, len(panels), figsize=(4.4 * len(panels), 3.3),
                              layout="constrained", squeeze=False)
  for axis, (title, groups) in zip(axes[0], panels.items()):
    for colour, (name, drawn) in zip(_COLOURS, groups.items()):
      axis.fill_between(drawn["step"], drawn["least"], drawn["most"],
                        color=colour, alpha=0.2, linewidth=0)
      axis.plot(drawn["step"], drawn["mean"], color=colour, linewidth=1.4,
                label=name)
    axis.set(xlabel="step", title=title)
  for name, value in (levels or {}).items():
    axes[0][0].axhline(value, color="#888888", linewidth=1, linestyle="--")
    axes[0][0].annotate(name, (1, value), fontsize=8, ha="right", va="bottom",
                        xycoords=("axes fraction", "data"), color="#555555")
  axes[0][0].legend(frameon=False, fontsize=8)
  save_svg(figure, path)
