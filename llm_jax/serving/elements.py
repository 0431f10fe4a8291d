"""What the pages of a run are made of: HTML strings, styled by report.css."""

from __future__ import annotations

import html
import importlib.resources
from collections.abc import Sequence

from llm_jax.metric_writers import format_seconds
from llm_jax.tokenizer.view import visible


def whole_page(title: str, parts: Sequence[str]) -> str:
  """A document that needs nothing but itself: no script, font or network."""
  css = (importlib.resources.files(__package__) / "report.css").read_text(
      encoding="utf-8")
  return ('<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
          '<meta name="viewport" content="width=device-width,initial-scale=1">'
          f"<title>{html.escape(title)}</title>"
          f"<style>\n{css}</style></head>\n<body><main>\n"
          + "\n".join(parts) + "\n</main></body></html>\n")


def section(place: int, title: str, body: str) -> str:
  """A numbered section of a page."""
  return (f"<section><h2><small>{place}</small>{html.escape(title)}</h2>{body}"
          "</section>")


def chart_grid(*cells: str) -> str:
  """Charts (or text) side by side."""
  return f'<div class="charts">{"".join(cells)}</div>'


def bar_rows(rows: Sequence[tuple[str, float, str]], most: float) -> str:
  """(name, value, value as text) as bars, of which `most` fills the track."""
  return '<div class="bars">' + "".join(
      f'<span>{safe_text(name)}</span><span class="track"><i style="width:'
      f'{100 * min(max(value / most if most else 0, 0), 1):.1f}%"></i></span>'
      f'<span class="value">{html.escape(told)}</span>'
      for name, value, told in rows) + "</div>"


def safe_text(text: str) -> str:
  """Anyone's text, escaped; control characters spelt, line ends kept."""
  lines = text.replace("\xa0", " ").split("\n")
  return "\n".join(html.escape(visible(line.encode("utf-8", "surrogatepass")))
                   for line in lines)


def duration(seconds: float) -> str:
  """9.25 -> "9.2s", 80 -> "1m20s"."""
  return f"{seconds:.1f}s" if seconds < 10 else format_seconds(seconds)
