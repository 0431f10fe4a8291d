"""The mind of a model as a page to look at: results of the suite -> HTML.

Each section shows its numbers, before and after where there is a baseline, with
intervals, and what the model said, word by word, with its calls of tools. The
page needs nothing but itself; all that a model wrote is escaped.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

from llm_jax.serving.charts import Series, line_chart
from llm_jax.serving.elements import (
    bar_rows, chart_grid, safe_text, section, whole_page)

Results = Mapping[str, Any]

# Rates that a section is about; of the others "correct" alone.
_RATES = {"hallucination": ("correct", "hallucination", "refused"),
          "search": ("correct", "refused")}
_CALIBRATED = "hallucination"  # the section that the calibration belongs to
_MARKS = {"correct": ("good", "✓ right"), "wrong": ("bad", "✗ wrong"),
          "refused": ("", "– refused")}


def render_psychology(results: Results) -> str:
  """The page.

  Args:
    results: what `--suite=psychology` finds: `model`, `baseline`, `promises`,
      `sections`, `sections_before` (None: no baseline), `comparison`,
      `calibration`, `calibration_before` (None: not measured).

  Returns:
    A whole HTML document.
  """
  parts = [_head(results)]
  parts += [section(i, each["title"], _section(each, results))
            for i, each in enumerate(results["sections"], start=1)]
  return whole_page("llm_jax: the mind of a model", (
      *parts, "<footer>Brackets are 95% intervals: Wilson's for shares, "
      "those of paired differences between two models or two ways of asking "
      "the same questions. The same numbers, for programs, are in the JSON "
      "file beside this page.</footer>"))


# --- the head -----------------------------------------------------------------


def _head(results: Results) -> str:
  against = (f", beside <b>{safe_text(results['baseline'])}</b>"
             if results["baseline"] else "")
  rows = "".join(_promise(record) for record in results["promises"])
  return f"""<header><h1>The mind of a model</h1>
<p class="lead"><b>{safe_text(results['model'])}</b>{against}: what it says of
itself, of what it knows and of what it cannot know, and how far it comes by
itself and with tools.</p></header>
<div class="scroll"><table><thead><tr><th>What was to be shown</th>
<th class="n">Bound</th><th class="n">Found</th><th>95%</th><th></th></tr>
</thead><tbody>{rows}</tbody></table></div>"""


def _promise(record: Mapping[str, Any]) -> str:
  sign = "≥" if record["least"] else "&lt;"
  cells = [html.escape(record["promise"]),
           f"{sign} {100 * record['bound']:g}%"]
  if record["value"] is None:
    cells += ["", "", "not measured"]
  else:
    mark = ('<span class="good">✓ reached</span>' if record["reached"] else
            '<span class="bad">✗ not reached</span>')
    cells += [_percent(record["value"]), _interval(record, ""), mark]
  kinds = ("", "n", "n", "", "")
  return "<tr>" + "".join(
      f'<td class="{kind}">{cell}</td>' if kind else f"<td>{cell}</td>"
      for cell, kind in zip(cells, kinds)) + "</tr>"


# --- a section ----------------------------------------------------------------


def _section(found: Mapping[str, Any], results: Results) -> str:
  before = {row["condition"]: row
            for each in results["sections_before"] or ()
            if each["name"] == found["name"] for row in each["rows"]}
  parts = [f"<p>{html.escape(found['told'])}</p>"]
  rates = _RATES.get(found["name"], ("correct",))
  cells = []
  for rate in rates:
    rows = []
    for row in found["rows"]:
      old = before.get(row["condition"])
      if old is not None:
        rows.append(_bar(f"{row['condition']} · before", old, rate))
      rows.append(_bar(row["condition"] + (" · after" if old else ""), row,
                       rate))
    title = f"<h3>{_RATE_NAMES[rate]}</h3>" if len(rates) > 1 else ""
    cells.append(f"<div>{title}{bar_rows(rows, most=1.0)}</div>")
  parts += cells
  parts += [
      f"<p>{html.escape(each['of'])} against {html.escape(each['against'])}, "
      f"the same questions: {_points(each)}.</p>"
      for each in found["contrasts"]]
  changes = [each for each in results["comparison"]
             if each["section"] == found["name"] and each["rate"] in rates]
  if changes:
    parts.append(_changes(changes))
  if found["left_out"]:
    parts.append(f'<p class="note">Not asked: '
                 f"{html.escape(', '.join(found['left_out']))}.</p>")
  if found["name"] == _CALIBRATED:
    parts.append(_calibration(results))
  return "".join(parts) + _transcripts(found["rows"], before)


_RATE_NAMES = {"correct": "Right", "hallucination": "Hallucinated",
               "refused": "Refused"}


def _bar(name: str, row: Mapping[str, Any], rate: str
         ) -> tuple[str, float, str]:
  return (name, row[rate], f"{_percent(row[rate])} {_interval(row, rate)} of "
          f"{row['items']:,}")


def _changes(changes: Sequence[Mapping[str, Any]]) -> str:
  rows = "".join(
      f"<tr><td>{html.escape(each['condition'])}</td>"
      f"<td>{_RATE_NAMES[each['rate']].lower()}</td>"
      f'<td class="n">{_percent(each["before"])}</td>'
      f'<td class="n">{_percent(each["after"])}</td>'
      f"<td>{_points(each)}</td></tr>" for each in changes)
  return ('<details><summary>Before and after, paired</summary>'
          '<div class="scroll"><table><thead><tr><th>Asked</th><th></th>'
          '<th class="n">Before</th><th class="n">After</th>'
          f"<th>Difference</th></tr></thead><tbody>{rows}</tbody></table></div>"
          "</details>")


def _calibration(results: Results) -> str:
  """Agreement among answers against accuracy, before and after."""
  series, told = [], []
  for name, found in (("before", results["calibration_before"]),
                      ("after" if results["baseline"] else "measured",
                       results["calibration"])):
    if found and found["points"]:
      series.append(Series(name, [(100 * point["agreement"],
                                   point["accuracy"])
                                  for point in found["points"]]))
      told.append(f"{name}: expected calibration error "
                  f"<b>{found['expected_calibration_error']:.3f}</b> over "
                  f"{found['facts']:,} facts about which something was "
                  "claimed")
  if not series:
    return ""
  series.append(Series("as sure as right", [(0, 0.0), (100, 1.0)]))
  return "<h3>Does it know what it knows?</h3>" + chart_grid(
      line_chart("Right, by how many of several answers agree", series,
                 percent=True, x_label="% of the answers that agree"),
      "<p>Asked several times, a model repeats what it knows and makes up "
      "something else each time where it does not. So agreement tells how sure "
      f"it is. {'; '.join(told)}.</p>")


def _transcripts(rows: Sequence[Mapping[str, Any]],
                 before: Mapping[str, Mapping[str, Any]]) -> str:
  """A few cases of each condition: the question, and who said what."""
  boxes = []
  for row in rows:
    old = {each["question"]: each for each in before.get(
        row["condition"], {}).get("transcripts", ())}
    for each in row["transcripts"]:
      sides = [("after" if old else "said", each)]
      if each["question"] in old:
        sides.insert(0, ("before", old[each["question"]]))
      truth = each["truth"] or "there is none"
      boxes.append(
          f'<div class="said"><p class="ask">{safe_text(each["question"])} '
          f'<span class="note">{html.escape(row["condition"])}; truth: '
          f'{safe_text(truth[:120])}</span></p><div class="columns">'
          + "".join(_side(*side) for side in sides) + "</div></div>")
  return ("<details><summary>What it said</summary>"
          f"{''.join(boxes)}</details>")


def _side(name: str, transcript: Mapping[str, Any]) -> str:
  kind, mark = _MARKS[transcript["verdict"]]
  lines = []
  for message in transcript["messages"]:
    text = message.get("content") or ""
    if message["role"] == "tool":
      lines.append(("label", f"the tool: {text}"))
      continue
    if text:
      opening = transcript["opening"] if not lines else ""
      lines.append(("text", opening + text))
    for call in message.get("tool_calls") or ():
      function = call["function"]
      arguments = function["arguments"]
      if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
      lines.append(("label", f"calls {function['name']} {arguments}"))
  said = "".join(f'<p class="{style}" dir="auto">{safe_text(text)}</p>'
                 for style, text in lines) or '<p class="note">(nothing)</p>'
  return (f'<div><span class="label">{name} · <span class="{kind}">{mark}'
          f"</span></span>{said}</div>")


def _percent(value: float) -> str:
  return f"{100 * value:.1f}%"


def _interval(row: Mapping[str, Any], rate: str) -> str:
  low, high = ((row["low"], row["high"]) if not rate else
               (row[f"{rate}_low"], row[f"{rate}_high"]))
  return f"[{100 * low:.1f}, {100 * high:.1f}]"


def _points(found: Mapping[str, Any]) -> str:
  return (f"<b>{100 * found['difference']:+.1f} points</b> "
          f"[{100 * found['difference_low']:+.1f}, "
          f"{100 * found['difference_high']:+.1f}]")
