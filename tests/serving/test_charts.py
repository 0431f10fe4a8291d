"""Charts: the points where they belong, and labels that can be read."""

import math
import re
from xml.etree import ElementTree

import pytest

from llm_jax.serving.charts import Level, Series, line_chart, number, ticks


def svg_of(figure):
  """The chart as an XML tree: it must be well formed."""
  return ElementTree.fromstring(re.search(r"<svg.*</svg>", figure).group())


def places(figure):
  """[(x, y)] of each line."""
  return [[tuple(map(float, p.split())) for p in
           path.get("d").removeprefix("M").split("L")]
          for path in svg_of(figure).iter("path")
          if path.get("class") == "line"]


def test_points_are_in_proportion_and_within_the_drawing():
  points = [(0, 2.0), (10, 4.0), (40, 2.5)]
  figure = line_chart("t", [Series("a", points)])
  (x0, y0), (x1, y1), (x2, y2) = places(figure)[0]
  assert (x1 - x0) / (x2 - x0) == pytest.approx(10 / 40, abs=2e-3)
  assert (y1 - y2) / (y1 - y0) == pytest.approx(1.5 / 2, abs=2e-3)
  assert y1 < y2 < y0  # y grows downwards in SVG
  _, _, width, height = map(float, svg_of(figure).get("viewBox").split())
  for x, y in places(figure)[0]:
    assert 0 <= x <= width and 0 <= y <= height


def test_each_point_tells_its_value():
  figure = line_chart("t", [Series("train", [(0, 2.5), (20, 1.25)]),
                            Series("val", [(0, 3.0)])])
  titles = [t.text for t in svg_of(figure).iter("title")]
  assert titles == ["train: 2.50 at 0", "train: 1.25 at 20", "val: 3 at 0"]
  assert "val <b>3</b>" in figure  # the legend


def test_the_axis_labels_agree_with_the_grid():
  figure = line_chart("t", [Series("a", [(0, 0.13), (9, 0.87)])])
  tree = svg_of(figure)
  rows = [float(re.match(r"M\S+ (\S+)H", p.get("d")).group(1))
          for p in tree.iter("path") if p.get("class") == "grid"]
  labels = [float(t.text) for t in tree.iter("text")
            if t.get("text-anchor") == "end" and t.get("class") is None]
  assert len(rows) == len(labels) >= 3
  assert min(labels) <= 0.13 and max(labels) >= 0.87
  (x0, y0), (x1, y1) = places(figure)[0]
  per_unit = (rows[-1] - rows[0]) / (labels[-1] - labels[0])
  assert y0 == pytest.approx(rows[0] + per_unit * (0.13 - labels[0]), abs=0.2)
  assert y1 == pytest.approx(rows[0] + per_unit * (0.87 - labels[0]), abs=0.2)


def test_shares_have_the_whole_axis_and_levels_their_place():
  figure = line_chart("t", [Series("", [(0, 0.5), (1, 0.75)])], percent=True,
                      levels=[Level("other", 0.5)])
  texts = [t.text for t in svg_of(figure).iter("text")]
  assert {"0%", "25%", "50%", "75%", "100%", "other 50.0%"} <= set(texts)
  level = next(p for p in svg_of(figure).iter("path")
               if p.get("class") == "level")
  assert f" {places(figure)[0][0][1]}H" in level.get("d")


@pytest.mark.parametrize("points", [
    [], [(0, math.nan)], [(1, math.inf)], [(0, None)]])
def test_no_values_is_said(points):
  figure = line_chart("t", [Series("a", points)])
  assert "No values." in figure and "<svg" not in figure


def test_what_is_not_finite_is_left_out():
  points = [(0, 1.0), (1, math.nan), (2, None), (3, 2.0)]
  assert len(places(line_chart("t", [Series("a", points)]))[0]) == 2
  assert "nan" not in line_chart("t", [Series("a", points)])


@pytest.mark.parametrize("value", [0.0, 5.0, -3.0, 1e-12, 1e9])
def test_one_point_and_flat_lines_can_be_drawn(value):
  for points in ([(3, value)], [(0, value), (1, value)]):
    drawn = places(line_chart("t", [Series("a", points)]))[0]
    assert all(math.isfinite(c) for place in drawn for c in place)


def test_very_many_points_keep_their_extremes():
  points = [(i, 1.0 + i % 7) for i in range(10_000)]
  points[6_543] = (6_543, 50.0)
  points[7_654] = (7_654, -50.0)
  figure = line_chart("t", [Series("a", points)])
  drawn = places(figure)[0]
  assert len(drawn) < 1_000
  told = [t.text for t in svg_of(figure).iter("title")]
  assert "a: 50 at 6,543" in told and "a: -50 at 7,654" in told
  assert [x for x, _ in drawn] == sorted(x for x, _ in drawn)


@pytest.mark.parametrize("low, high", [
    (0, 1), (2.2, 3.31), (0.001, 0.0093), (-5, 17), (1e6, 3.3e6), (4, 4)])
def test_ticks_enclose_and_are_round(low, high):
  found = ticks(low, high)
  assert 3 <= len(found) <= 9
  assert found[0] <= low and found[-1] >= high
  steps = {round(b - a, 9) for a, b in zip(found, found[1:])}
  assert len(steps) == 1
  assert f"{steps.pop():e}"[0] in "125"


def test_numbers():
  assert number(0.4312, True) == "43.1%"
  assert number(2.9) == "2.90" and number(1234567.0) == "1,234,567"
  assert number(312.25) == "312.2" and number(0.05) == "0.0500"
  assert number(math.nan) == "not a number"


def test_names_are_escaped():
  figure = line_chart("<a>", [Series("<b>", [(0, 1)]), Series("&", [(0, 2)])],
                      y_label="<c>", x_label="<d>", levels=[Level("<e>", 1)])
  for name in "abcde":
    assert f"<{name}>" not in figure.replace("<b>1</b>", "").replace(
        "<b>2</b>", "")
  assert "&lt;e&gt; 1" in figure


def test_steps_are_whole_numbers():
  for points in ([(1, 1.0), (2, 2.0)], [(7, 1.0)], [(0, 1.0), (12_000, 2.0)]):
    tree = svg_of(line_chart("t", [Series("a", points)]))
    labels = [t.text for t in tree.iter("text")
              if t.get("text-anchor") == "middle"]
    assert labels and all(re.fullmatch(r"\d+k?", label) for label in labels)
