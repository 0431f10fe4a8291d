"""The figure of a sweep: isoFLOP curves, their minima, and L(N, D).

Drawn by Matplotlib, which the extra `plots` brings; nothing else wants it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from etils import epath
import numpy as np

from llm_jax.evals.scaling_fit import IsoflopFit, LossFit
from llm_jax.serving.svg_figures import pyplot, save_svg

_COLOURS = ("#2a6fbb", "#e07b39", "#3a9d5d", "#b0413e", "#7d5ba6", "#8a8d3b")


def draw_scaling_laws(path: epath.PathLike, runs: Sequence[dict[str, Any]],
                      isoflops: IsoflopFit | None, loss: LossFit | None
                      ) -> None:
  """Writes the figure as SVG.

  Args:
    path: of the file.
    runs: records of `experiments/scaling_laws.py`.
    isoflops: parabolas and power laws, where the runs were of budgets.
    loss: the fit to all runs, where there are enough.
  """
  plt = pyplot()
  panels = 1 + (isoflops is not None and isoflops.parameters is not None) + (
      loss is not None)
  figure, axes = plt.subplots(1, panels, figsize=(4.4 * panels, 3.6),
                              layout="constrained", squeeze=False)
  rest = list(axes[0])
  _draw_runs(rest.pop(0), runs, isoflops)
  if isoflops is not None and isoflops.parameters is not None:
    _draw_minima(rest.pop(0), isoflops)
  if loss is not None:
    _draw_fit(rest.pop(0), runs, loss)
  save_svg(figure, path)


def _draw_runs(axis, runs, isoflops):
  """Bits per byte over N, a colour for each budget, and the parabolas."""
  kind = "budget" if isoflops is not None else "tokens"
  amounts = sorted({run[kind] for run in runs})
  for amount, colour in zip(amounts, _COLOURS * len(amounts)):
    here = sorted((run["parameters"], run["bits_per_byte"]) for run in runs
                  if run[kind] == amount)
    unit = "FLOPs" if isoflops is not None else "tokens"
    axis.plot(*zip(*here), "o", color=colour, markersize=4,
              label=f"{amount:.3g} {unit}")
  axis.set(xscale="log", xlabel="parameters without embeddings, N",
           ylabel="bits per byte, held out",
           title="Runs of one budget" if isoflops else "Runs")
  for curve, colour in zip(isoflops.curves if isoflops else (),
                           _COLOURS * len(amounts)):
    x = np.linspace(np.log(curve.low), np.log(curve.high), 100)
    c0, c1, c2 = curve.coefficients
    axis.plot(np.exp(x), c0 + c1 * x + c2 * x * x, color=colour, linewidth=1)
    if curve.inside:
      axis.errorbar(
          [curve.parameters.value], [curve.loss.value],
          xerr=[[max(0.0, curve.parameters.value - curve.parameters.low)],
                [max(0.0, curve.parameters.high - curve.parameters.value)]],
          fmt="*", color=colour, markersize=10, capsize=3, markeredgecolor="k",
          markeredgewidth=0.5)
  axis.legend(frameon=False, fontsize=8)


def _draw_minima(axis, isoflops):
  """The best N and D of each budget, their power laws and 95% bands."""
  inside = [curve for curve in isoflops.curves if curve.inside]
  budgets = np.array([curve.budget for curve in inside])
  line = np.geomspace(budgets.min() / 1.5, budgets.max() * 1.5, 50)
  for name, law, colour in (("parameters", isoflops.parameters, _COLOURS[0]),
                            ("tokens", isoflops.tokens, _COLOURS[1])):
    found = [getattr(curve, name) for curve in inside]
    values = np.array([f.value for f in found])
    errors = np.array([[max(0.0, f.value - f.low) for f in found],
                       [max(0.0, f.high - f.value) for f in found]])
    fitted, low, high = law.band(line)
    axis.fill_between(line, low, high, color=colour, alpha=0.2, linewidth=0)
    axis.plot(line, fitted, color=colour, linewidth=1, label=(
        f"{name} ∝ C^{law.exponent.value:.2f} "
        f"({law.exponent.low:.2f} to {law.exponent.high:.2f})"))
    axis.errorbar(budgets, values, yerr=errors, fmt="o", color=colour,
                  markersize=4, capsize=3)
  axis.set(xscale="log", yscale="log", xlabel="FLOPs of a run, C",
           title="Minima: the best size and tokens")
  axis.legend(frameon=False, fontsize=8)


def _draw_fit(axis, runs, loss):
  """What L(N, D) says of each run, beside what it came to."""
  found = np.array([run["bits_per_byte"] for run in runs])
  said = loss.predict(np.array([float(run["parameters"]) for run in runs]),
                      np.array([float(run["tokens"]) for run in runs]))
  axis.plot(found, said, "o", color=_COLOURS[2], markersize=4)
  ends = [min(found.min(), said.min()), max(found.max(), said.max())]
  axis.plot(ends, ends, color="#888888", linewidth=1)
  axis.set(xlabel="bits per byte of a run", ylabel="of the fit",
           title=f"E + A/N^{loss.alpha.value:.2f} + B/D^{loss.beta.value:.2f}, "
                 f"off by {loss.error:.1%}")
