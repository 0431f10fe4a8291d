"""Line charts as inline SVG: no script, no font and no package.

    line_chart("Loss", [Series("train", [(1, 4.2), (20, 3.1)])])

Colours are CSS variables (`--s1` ... and those of the page), so one drawing
serves light and dark; the size is that of the column it stands in. Each point
tells its value when the mouse is over it.
"""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Sequence

# The drawing's own units; shown at about this size, so text keeps its own.
_WIDTH, _HEIGHT = 440, 236
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 14, 38
_MOST_POINTS = 400
_DOTS = 24  # points of a line that are few enough to be marked
NUM_COLOURS = 6


@dataclasses.dataclass(frozen=True)
class Series:
  """A line: its name and its (x, y) points, x rising."""
  name: str
  points: Sequence[Sequence[float]]


@dataclasses.dataclass(frozen=True)
class Level:
  """A horizontal line to compare with."""
  name: str
  value: float


def line_chart(title: str, series: Sequence[Series], *, x_label: str = "step",
               y_label: str = "", levels: Sequence[Level] = (),
               percent: bool = False, from_zero: bool = False) -> str:
  """A `<figure>` with title, chart and legend; text is escaped.

  Args:
    title: what is drawn.
    series: lines; points that are not finite are left out.
    x_label: what the horizontal axis counts.
    y_label: unit of the vertical axis.
    levels: values to compare with, as dashed lines.
    percent: y is a share, shown as such on an axis from 0 to 100%.
    from_zero: the vertical axis begins at zero.

  Returns:
    HTML. Where no point is finite, it says so in place of a chart.
  """
  series = [Series(s.name, _finite(s.points)) for s in series]
  series = [s for s in series if s.points]
  unit = f" <small>{html.escape(y_label)}</small>" if y_label else ""
  caption = f"<figcaption>{html.escape(title)}{unit}</figcaption>"
  if not series:
    return f'<figure class="chart">{caption}<p class="note">No values.</p>' \
           "</figure>"
  ys = [y for s in series for _, y in s.points] + [v.value for v in levels]
  xs = [x for s in series for x, _ in s.points]
  y_ticks = [0, 0.25, 0.5, 0.75, 1] if percent and max(ys) <= 1 else ticks(
      min(0.0, *ys) if from_zero else min(ys), max(ys))
  # Steps that begin near zero are counted from zero.
  x_low = 0 if 0 < min(xs) < 0.1 * max(xs) else min(xs)
  axes = _Axes(x_low, max(xs), y_ticks[0], y_ticks[-1])
  parts = [_grid(axes, y_ticks, percent, x_label)]
  parts += [f'<path class="level" d="M{_LEFT} {axes.y(level.value)}'
            f'H{_WIDTH - _RIGHT}"/>' for level in levels]
  parts += [_line(axes, s, i, percent) for i, s in enumerate(series)]
  # Names come last, so that no line hides them.
  parts += [_level_name(axes, level, percent) for level in levels]
  told = "; ".join(
      f"{s.name or title} from {number(s.points[0][1], percent)} to "
      f"{number(s.points[-1][1], percent)}" for s in series)
  svg = (f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
         f'aria-label="{html.escape(told)}">{"".join(parts)}</svg>')
  return f'<figure class="chart">{caption}{svg}{_legend(series, percent)}' \
         "</figure>"


def ticks(low: float, high: float, count: int = 4) -> list[float]:
  """About `count` steps of 1, 2 or 5 · 10^n that enclose [low, high]."""
  if high - low < 1e-9 * max(abs(high), abs(low), 1e-9):
    low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
  rough = (high - low) / count
  unit = 10.0 ** math.floor(math.log10(rough))
  step = unit * min((1, 2, 5, 10), key=lambda m: abs(m * unit - rough))
  first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
  return [i * step for i in range(first, last + 1)]


def number(value: float, percent: bool = False) -> str:
  """A value as a reader wants it: 0.4312 -> "43.1%"; 3.14159 -> "3.14"."""
  if not math.isfinite(value):
    return "not a number"
  if percent:
    return f"{100 * value:.1f}%"
  if value == int(value) and abs(value) < 1e15:
    return f"{value:,.0f}"
  return f"{value:,.1f}" if abs(value) >= 100 else f"{value:#.3g}"


@dataclasses.dataclass(frozen=True)
class _Axes:
  """From data to the drawing's units."""
  x_low: float
  x_high: float
  y_low: float
  y_high: float

  def x(self, value: float) -> float:
    share = (value - self.x_low) / ((self.x_high - self.x_low) or 1)
    return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)

  def y(self, value: float) -> float:
    share = (value - self.y_low) / ((self.y_high - self.y_low) or 1)
    return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)


def _finite(points: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
  """Finite points; of very many, the lowest and highest of each stretch."""
  kept = [(float(x), float(y)) for x, y in points
          if y is not None and math.isfinite(x) and math.isfinite(y)]
  if len(kept) <= _MOST_POINTS:
    return kept
  size = math.ceil(2 * len(kept) / _MOST_POINTS)
  thinned = {kept[0], kept[-1]}
  for start in range(0, len(kept), size):
    stretch = kept[start:start + size]
    thinned |= {min(stretch, key=lambda p: p[1]),
                max(stretch, key=lambda p: p[1])}
  return sorted(thinned)


def _short(value: float, values: Sequence[float], percent: bool) -> str:
  """A tick's label, with as many decimals as tell it from its neighbours."""
  if percent:
    return f"{100 * value:.0f}%"
  step = min(b - a for a, b in zip(values, values[1:]))
  if step >= 1000:
    return f"{value / 1000:,g}k"
  if step < 1e-6:
    return f"{value:.3g}"
  return f"{value:,.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"


def _grid(axes: _Axes, y_ticks: Sequence[float], percent: bool,
          x_label: str) -> str:
  parts = []
  for value in y_ticks:
    y = axes.y(value)
    parts.append(
        f'<path class="grid" d="M{_LEFT} {y}H{_WIDTH - _RIGHT}"/>'
        f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">'
        f"{_short(value, y_ticks, percent)}</text>")
  x_ticks = [v for v in ticks(axes.x_low, axes.x_high) if v == int(v)
             and axes.x_low <= v <= axes.x_high] or [axes.x_low]
  base = _HEIGHT - _BOTTOM
  for value in x_ticks:
    x = axes.x(value)
    told = (f"{value / 1000:,g}k" if value >= 1000 and value % 100 == 0
            else f"{value:,.0f}")
    parts.append(f'<path class="tick" d="M{x} {base}v4"/>'
                 f'<text x="{x}" y="{base + 16}" text-anchor="middle">{told}'
                 "</text>")
  parts.append(f'<text class="axis" x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 6}" '
               f'text-anchor="end">{html.escape(x_label)}</text>')
  return "".join(parts)


def _level_name(axes: _Axes, level: Level, percent: bool) -> str:
  y = axes.y(level.value)
  place = y - 5 if y - 5 > _TOP else y + 13
  return (f'<text class="level-name" x="{_WIDTH - _RIGHT}" y="{place:.1f}" '
          f'text-anchor="end">{html.escape(level.name)} '
          f"{number(level.value, percent)}</text>")


def _line(axes: _Axes, series: Series, index: int, percent: bool) -> str:
  colour = f"var(--s{index % NUM_COLOURS + 1})"
  places = [(axes.x(x), axes.y(y)) for x, y in series.points]
  path = "M" + "L".join(f"{x} {y}" for x, y in places)
  parts = [f'<path class="line" stroke="{colour}" d="{path}"/>']
  name = f"{series.name}: " if series.name else ""
  few = len(places) <= _DOTS
  for (x, y), (x_value, y_value) in zip(places, series.points):
    told = html.escape(f"{name}{number(y_value, percent)} at "
                       f"{number(x_value)}")
    if few:
      parts.append(f'<circle cx="{x}" cy="{y}" r="2.4" fill="{colour}"/>')
    parts.append(f'<circle class="hit" cx="{x}" cy="{y}" r="7" '
                 f'fill="{colour}"><title>{told}</title></circle>')
  return "".join(parts)


def _legend(series: Sequence[Series], percent: bool) -> str:
  """Names and last values; a single line needs no colour to be found."""
  items = []
  for index, s in enumerate(series):
    key = (f'<i style="background:var(--s{index % NUM_COLOURS + 1})"></i>'
           f"{html.escape(s.name)} ") if len(series) > 1 else "ends at "
    items.append(f"<span>{key}<b>{number(s.points[-1][1], percent)}</b></span>")
  return f'<p class="legend">{"".join(items)}</p>'
