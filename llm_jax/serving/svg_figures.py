"""Matplotlib as all figures use it: SVG, and the same bytes for the same data.

The extra `plots` brings it; nothing but figures wants it.
"""

from __future__ import annotations

import importlib.util
from typing import Any

from etils import epath

from llm_jax.config import require


def require_matplotlib() -> None:
  """Raises `ConfigError` where Matplotlib is not installed."""
  require(importlib.util.find_spec("matplotlib") is not None, "the figure is "
          "drawn by Matplotlib, which is not installed; run "
          "pip install -e '.[plots]'.")


def pyplot() -> Any:
  """`matplotlib.pyplot`, set up."""
  import matplotlib
  matplotlib.use("svg")
  # The same runs give the same bytes, and text stays text.
  matplotlib.rcParams.update({"svg.hashsalt": "llm_jax", "svg.fonttype": "none",
                              "font.size": 9, "axes.spines.top": False,
                              "axes.spines.right": False})
  import matplotlib.pyplot as plt
  return plt


def save_svg(figure: Any, path: epath.PathLike) -> None:
  """Writes a figure of `pyplot`, without the date, and forgets it."""
  figure.savefig(str(path), metadata={"Date": None})
  pyplot().close(figure)
