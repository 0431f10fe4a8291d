"""The figure of self-play: Elo over games, of imitation and of what follows.

As in AlphaGo Zero's figure 3 (Silver et al. 2017): a curve that flattens at its
teacher, and one that does not. Drawn by Matplotlib, which the extra `plots`
brings.
"""

from __future__ import annotations

from typing import Any

from etils import epath
import numpy as np

_COLOURS = {"imitation": "#2a6fbb", "improvement": "#e07b39"}
_NAMES = {"imitation": "imitation of the teacher", "improvement": "self-play"}


def draw_selfplay(path: epath.PathLike, report: dict[str, Any]) -> None:
  """Writes the figure as SVG.

  Args:
    path: of the file.
    report: what `experiments/selfplay.py` writes to `selfplay.json`.
  """
  import matplotlib
  matplotlib.use("svg")
  # The same run gives the same bytes, and text stays text.
  matplotlib.rcParams.update({"svg.hashsalt": "llm_jax", "svg.fonttype": "none",
                              "font.size": 9, "axes.spines.top": False,
                              "axes.spines.right": False})
  import matplotlib.pyplot as plt
  figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained",
                              sharey=True)
  for axis, kind, title in (
      (axes[0], "elo", "playing the likeliest move"),
      (axes[1], "elo_sampled", "drawing moves from its distribution")):
    played = 0
    for name in ("imitation", "improvement"):
      stage = report[name]
      curve = {key: np.array([point[key] for point in stage["curve"]], float)
               for key in ("step", kind, f"{kind}_low", f"{kind}_high")}
      games = played + curve["step"] * stage["batch_size"]
      axis.fill_between(games / 1e3, curve[f"{kind}_low"],
                        curve[f"{kind}_high"], color=_COLOURS[name], alpha=0.2,
                        linewidth=0)
      axis.plot(games / 1e3, curve[kind], color=_COLOURS[name], marker="o",
                markersize=2.5, linewidth=1.2, label=_NAMES[name])
      played += stage["num_steps"] * stage["batch_size"]
    axis.axhline(0, color="#888888", linewidth=1, linestyle="--")
    axis.annotate(f"teacher ({report['teacher']})", (1, 0), fontsize=8,
                  xycoords=("axes fraction", "data"), ha="right", va="bottom",
                  color="#555555")
    for match in report["matches"]:
      if (match["opponent"] == report["teacher"]
          and match["player"].startswith("depth")):
        axis.axhline(match["elo"], color="#bbbbbb", linewidth=0.8,
                     linestyle=":")
        axis.annotate(match["player"], (1, match["elo"]), fontsize=8,
                      xycoords=("axes fraction", "data"), ha="right",
                      va="bottom", color="#777777")
    axis.set(xlabel="games trained on, thousands", title=title)
  axes[0].set_ylabel("Elo above the teacher (95% bands)")
  axes[0].legend(frameon=False, fontsize=8, loc="lower right")
  figure.savefig(str(path), metadata={"Date": None})
  plt.close(figure)
