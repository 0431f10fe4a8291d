"""Accuracy against tokens before the answer, as a page: think.json -> HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llm_jax.data.manners import FILLER
from llm_jax.metric_writers import format_count
from llm_jax.serving.charts import Series, line_chart, number
from llm_jax.serving.elements import (
    bar_rows, chart_grid, safe_text, section, whole_page)

Report = Mapping[str, Any]


def render_think(report: Report) -> str:
  """The page.

  Args:
    report: what `experiments/think.py` writes to think.json.

  Returns:
    A whole HTML document; what models wrote is escaped.
  """
  best = report["rows"][-1]
  head = (f"""<header><h1>Models need tokens to think</h1>
<p class="lead">One model, trained in {len(report['rows'])} manners on the same
problems for {report['steps']:,} steps each
({format_count(best['training_tokens'])} tokens). What differs is what it writes
before it commits itself to an answer.</p></header>""")
  return whole_page("llm_jax: models need tokens to think", (
      head,
      section(1, "Accuracy against tokens before the answer",
              accuracy_chart(report) + accuracy_table(report["rows"])),
      section(2, "More terms, more to think", _by_terms(report)),
      section(3, "One problem, in each manner", _examples(
          report["examples"])),
      "<footer>The same numbers, for programs, are in <code>think.json</code> "
      "beside this page.</footer>"))


def accuracy_chart(report: Report) -> str:
  """Accuracy on held-out problems over the mean tokens before the answer."""
  rows = report["rows"]
  thought = sorted((row["tokens_before"], row["accuracy"]) for row in rows
                   if row["manner"] != FILLER)
  series = [Series("running remainders", thought)]
  series += [Series("filler", [(row["tokens_before"], row["accuracy"])])
             for row in rows if row["manner"] == FILLER]
  return chart_grid(
      line_chart("Held-out problems solved", series, percent=True,
                 x_label="tokens before the answer"),
      "<p>A model does the same amount of work for each token. What it cannot "
      "work out within one, it has to write down in between; an answer that "
      "is asked for at once is a guess. The filler is as long as the longest "
      "thought, and says nothing.</p>")


def accuracy_table(rows: Sequence[Mapping[str, Any]]) -> str:
  """Each manner with its interval, as bars."""
  return bar_rows([(
      f"{row['manner']} ({row['tokens_before']:.1f} tokens before)",
      row["accuracy"], f"{number(row['accuracy'], True)} "
      f"[{100 * row['accuracy_low']:.1f}, {100 * row['accuracy_high']:.1f}]")
                   for row in rows], most=1.0)


def _by_terms(report: Report) -> str:
  lines: dict[str, list[tuple[float, float]]] = {}
  for row in report["by_terms"]:
    lines.setdefault(row["manner"], []).append((row["terms"], row["accuracy"]))
  return chart_grid(line_chart(
      "Held-out problems solved", [Series(*line) for line in lines.items()],
      percent=True, x_label="terms of the sum")) + "".join(
          f"<p>{safe_text(found['manner'])} against "
          f"{safe_text(found['against'])}, the same problems: "
          f"<b>{100 * found['difference']:+.1f} points</b>, 95% interval "
          f"{100 * found['difference_low']:+.1f} to "
          f"{100 * found['difference_high']:+.1f}.</p>"
          for found in report["differences"])


def _examples(examples: Sequence[Mapping[str, Any]]) -> str:
  def side(example):
    mark = ('<span class="good">✓ right</span>' if example["right"] else
            '<span class="bad">✗ wrong</span>')
    return (f'<div><span class="label">{safe_text(example["manner"])} · {mark}'
            f'</span><p class="text mono">{safe_text(example["text"])}</p>'
            "</div>")
  first = examples[0]
  return (f'<div class="said"><p class="ask">{safe_text(first["prompt"])} '
          f'<span class="note">answer: {safe_text(first["answer"])}</span></p>'
          f'<div class="columns">{"".join(map(side, examples))}</div></div>')
