"""What became of a crawl, as a page to look at: funnel.json -> funnel.html.

How much each stage took away, why, and examples of it: a threshold that throws
good text away is seen at once by whoever reads what it threw away. The page
needs nothing but itself. All that comes from the crawl is escaped, and
addresses are text, not links.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

from llm_jax.metric_writers import format_count
from llm_jax.serving.elements import (
    bar_rows, chart_grid, duration, safe_text, section, whole_page)

Funnel = Mapping[str, Any]

# What each stage does, for someone who reads of it for the first time.
_TOLD = {
    "read": "the pages of the crawl, as they were fetched",
    "url": "addresses on block lists, or with words that no article has",
    "extract": "HTML becomes the text of its article",
    "language": "which language it is, and how sure that is",
    "gopher_repetition": "text that repeats itself (Gopher)",
    "gopher_quality": "text that is not prose (Gopher)",
    "c4": "lines that are no sentences, pages with placeholders (C4)",
    "fineweb": "lists, scraps and unfinished lines (FineWeb)",
    "classifier": "a learnt score of quality",
    "exact": "the same text again",
    "minhash": "nearly the same text again",
    "lines": "lines that other documents had before",
    "decontaminate": "text that evaluations ask about",
    "pii": "personal data, replaced by what kind it was",
    "write": "the documents"}
# Stages that count classes of personal data, and those that mend or give up.
_PII, _EXTRACT = "pii", "extract"
_REASONS_SHOWN = 40
_FAULTS_SHOWN = 200


def render_funnel(funnel: Funnel) -> str:
  """The page.

  Args:
    funnel: what `llm_jax.data.crawl.funnel.as_json` gives.

  Returns:
    A whole HTML document.
  """
  bodies = (
      ("The funnel", _bars(funnel) + _table(funnel)),
      ("Stage by stage", _stages(funnel)),
      ("Languages and lengths", _languages(funnel) + _lengths(funnel)),
      ("Personal data", _personal_data(funnel)),
      ("Faults of the input", _faults(funnel)),
      ("The run", _run(funnel)))
  sections = [section(i, title, body)
              for i, (title, body) in enumerate(bodies, start=1)]
  return whole_page("llm_jax: from the web to clean text", (
      _head(funnel), *sections, "<footer>The same numbers, for programs, are "
      "in <code>funnel.json</code> beside this page.</footer>"))


def funnel_section(funnel: Funnel) -> str:
  """The funnel in short, for a section of another page (`report.css`)."""
  first, last = funnel["stages"][0], funnel["stages"][-1]
  shown = {}
  for stage in funnel["stages"]:
    for example in stage["examples"]:
      if example["kind"] == "removed" and example["text"].strip():
        # An address is removed for what it is, not for its HTML.
        text = (example["url"].partition("://")[2]
                if stage["stage"] == "url" else example["text"])
        shown.setdefault(stage["stage"], (example["reason"], text))
  examples = "".join(
      f'<div><span class="label">{_name(stage)}: {_name(reason)}</span>'
      f'<p class="text sample" dir="auto">{safe_text(text[:300])}</p></div>'
      for stage, (reason, text) in shown.items())
  kind = " of HTML" if _find(funnel, _EXTRACT) else ""
  return f"""<p>Of {first['documents_out']:,} pages
({_megabytes(first['bytes_out'])} MB{kind}) {last['documents_out']:,} became
documents ({_megabytes(last['bytes_out'])} MB of text):
<b>{_share(last['documents_out'], first['documents_out'])}</b>.</p>
{_bars(funnel)}
<details><summary>The numbers</summary>{_table(funnel)}</details>
<details><summary>Something that each stage removed</summary>
<div class="texts">{examples}</div></details>"""


# --- the sections -------------------------------------------------------------


def _head(funnel: Funnel) -> str:
  first, last = funnel["stages"][0], funnel["stages"][-1]
  seconds = _all_seconds(funnel)
  rate = f"{first['documents_out'] / seconds:,.0f}" if seconds else "–"
  facts = (
      ("Pages read", f"{first['documents_out']:,}",
       f"{_megabytes(first['bytes_out'])} MB"),
      ("Documents kept", f"{last['documents_out']:,}",
       f"{_share(last['documents_out'], first['documents_out'])} of the pages"),
      ("Clean text", f"{_megabytes(last['bytes_out'])} MB",
       f"{_share(last['bytes_out'], first['bytes_out'])} of what was read"),
      ("Time of all tasks", duration(seconds), f"{rate} pages per second of "
       "one core"))
  boxes = "".join(f"<div><dt>{name}</dt><dd>{value}<small>{unit}</small></dd>"
                  "</div>" for name, value, unit in facts)
  return f"""<header><h1>From the web to clean text</h1>
<p class="lead">What became of each page, stage by stage: how much went, why,
and what it looked like.</p></header><dl class="facts">{boxes}</dl>"""


def _bars(funnel: Funnel) -> str:
  """Documents and bytes that are left after each stage."""
  stages = funnel["stages"]
  grids = []
  for title, field, form in (
      ("Documents left", "documents_out", "{:,}".format),
      ("Megabytes left", "bytes_out", _megabytes)):
    rows = [(stage["stage"], stage[field], form(stage[field]))
            for stage in stages]
    grids.append(f"<div><h3>{title}</h3>"
                 f"{bar_rows(rows, most=max(value for _, value, _ in rows))}"
                 "</div>")
  extracted = any(stage["stage"] == _EXTRACT for stage in stages)
  note = ('<p class="note">Until they are extracted, pages are HTML; their '
          "bytes are those of the HTML.</p>") if extracted else ""
  return chart_grid(*grids) + note


def _table(funnel: Funnel) -> str:
  pages = funnel["stages"][0]["documents_out"]
  rows = []
  for stage in funnel["stages"]:
    name, seconds = stage["stage"], funnel["seconds"].get(stage["stage"], 0)
    made = not stage["documents_in"] and stage["documents_out"]
    handled = stage["documents_in"] or stage["documents_out"]
    cells = (
        "" if made else f"{stage['documents_in']:,}",
        f"{stage['documents_out']:,}",
        "" if made else _share(stage["documents_out"], stage["documents_in"]),
        _share(stage["documents_out"], pages),
        "" if made else _megabytes(stage["bytes_in"]),
        _megabytes(stage["bytes_out"]), f"{seconds:,.1f}",
        format_count(handled / seconds) if seconds else "")
    rows.append(f'<tr><td class="mono">{_name(name)}</td>'
                + "".join(f'<td class="n">{cell}</td>' for cell in cells)
                + "</tr>")
  heads = "".join(f'<th class="n">{head}</th>' for head in (
      "in", "out", "kept", "of all", "MB in", "MB out", "seconds",
      "documents/s"))
  total = sum(funnel["seconds"].values())
  rest = _all_seconds(funnel) - total
  note = (f'<p class="note">and {rest:,.1f} seconds for reading and writing '
          "what the stages hand on, and for the search for copies</p>"
          if rest > 0 else "")
  return f"""<div class="scroll"><table><thead><tr><th>Stage</th>{heads}</tr>
</thead><tbody>{''.join(rows)}</tbody><tfoot><tr><td>All tasks</td>
{'<td></td>' * 6}<td class="n">{total:,.1f}</td><td></td></tr></tfoot></table>
</div>{note}"""


def _stages(funnel: Funnel) -> str:
  settings = funnel["run"].get("settings", {}).get("curate", {})
  return "".join(_stage(stage, settings) for stage in funnel["stages"])


def _stage(stage: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
  name = stage["stage"]
  gone = stage["documents_in"] - stage["documents_out"]
  told = (f"removed {gone:,} of {stage['documents_in']:,}"
          if stage["documents_in"] else f"{stage['documents_out']:,} documents")
  parts = []
  if stage["reasons"]:
    parts.append(_reasons(stage["reasons"], "Reason"))
  if stage["counts"]:
    parts.append("<p>It counted " + ", ".join(
        f"<b>{number:,}</b> {_name(what)}"
        for what, number in stage["counts"].items()) + ".</p>")
  own = settings.get(name) or (settings.get("dedup") if name in (
      "exact", "minhash", "lines") else None)
  if isinstance(own, Mapping):
    parts.append('<p class="note">Settings: ' + ", ".join(
        f"{_name(key)} <code>{safe_text(json.dumps(value))}</code>"
        for key, value in own.items()) + "</p>")
  parts += [_examples(stage["examples"])]
  return (f'<details><summary><span class="mono">{_name(name)}</span>: '
          f'{_TOLD.get(name, "")} <span class="note">({told})</span></summary>'
          f"<div>{''.join(parts) or '<p>Nothing went.</p>'}</div></details>")


def _reasons(reasons: Mapping[str, Sequence[int]], head: str) -> str:
  """A table of [documents, bytes], the commonest first."""
  whole = sum(documents for documents, _ in reasons.values())
  rows = "".join(
      f'<tr><td class="mono">{_name(reason)}</td>'
      f'<td class="n">{documents:,}</td>'
      f'<td class="n">{_share(documents, whole)}</td>'
      f'<td class="n">{_megabytes(size)}</td></tr>'
      for reason, (documents, size) in list(reasons.items())[:_REASONS_SHOWN])
  more = len(reasons) - _REASONS_SHOWN
  note = f'<p class="note">and {more:,} more</p>' if more > 0 else ""
  return (f'<div class="scroll"><table><thead><tr><th>{head}</th>'
          '<th class="n">documents</th><th class="n">share</th>'
          f'<th class="n">MB</th></tr></thead><tbody>{rows}</tbody></table>'
          f"</div>{note}")


def _examples(examples: Sequence[Mapping[str, Any]]) -> str:
  """What went, under the reason why."""
  groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
  for example in examples:
    groups.setdefault((example["kind"], example["reason"]), []).append(example)
  return "".join(
      f"<h3>{_name(reason) if kind == 'removed' else 'Changed'}</h3>"
      '<div class="texts">' + "".join(
          f'<div><span class="label">{safe_text(example["url"])}</span>'
          f'<p class="text sample" dir="auto">{safe_text(example["text"])}'
          "</p></div>"
          for example in group) + "</div>"
      for (kind, reason), group in groups.items())


def _languages(funnel: Funnel) -> str:
  kept = funnel["stages"][-1]["languages"]
  removed = _find(funnel, "language").get("languages_gone", {})
  columns = [(title, pairs) for title, pairs in (
      ("Kept to the end", kept), ("Removed for their language", removed))
      if pairs]
  if not columns:
    return "<p>No language was asked for.</p>"
  return '<div class="charts">' + "".join(
      f"<div><h3>{title}</h3>{_reasons(pairs, 'Language')}</div>"
      for title, pairs in columns) + "</div>"


def _lengths(funnel: Funnel) -> str:
  """A histogram: documents by their length, as text first is and at the end."""
  first = _find(funnel, _EXTRACT) or funnel["stages"][0]
  before, after = ({int(power): n for power, n in stage["lengths"].items()}
                   for stage in (first, funnel["stages"][-1]))
  powers = before.keys() | after.keys()
  if not powers:
    return ""
  most = max((*before.values(), *after.values()))
  rows = []
  for power in range(min(powers), max(powers) + 1):
    here, left = before.get(power, 0), after.get(power, 0)
    rows.append(
        f"<span>{2**power:,} to {2**(power + 1) - 1:,}</span>"
        f'<span class="track both"><i style="width:{100 * here / most:.1f}%">'
        f'</i><i style="width:{100 * left / most:.1f}%"></i></span>'
        f'<span class="value">{left:,} of {here:,}</span>')
  return f"""<h3>Documents by their number of characters</h3>
<p class="note">Light: after {_name(first["stage"])}; dark: kept to the end.
Filters for prose mostly take short texts (menus, notices, errors); where long
ones go, too, look at the examples.</p>
<div class="bars">{"".join(rows)}</div>"""


def _personal_data(funnel: Funnel) -> str:
  stage = _find(funnel, _PII)
  if not stage:
    return "<p>This stage was not run.</p>"
  rows = "".join(
      f'<tr><td class="mono">{_name(kind)}</td><td class="n">{number:,}</td>'
      "</tr>" for kind, number in stage["counts"].items())
  if not rows:
    return "<p>Nothing was found in the documents that were left.</p>"
  return ("<p>Replaced by a word that says what stood there; no page and no "
          'log has it.</p><div class="scroll"><table><thead><tr><th>Kind</th>'
          '<th class="n">replaced</th></tr></thead>'
          f"<tbody>{rows}</tbody></table></div>")


def _faults(funnel: Funnel) -> str:
  parts = []
  extract = _find(funnel, _EXTRACT)
  if extract:
    lost = {reason: extract["reasons"].get(reason, [0])[0]
            for reason in ("timeout", "memory", "error")}
    slow = extract["counts"].get("slow", 0)
    parts.append(
        f"<p>Extraction: <b>{slow:,}</b> pages were slow and tried again by "
        f"themselves; <b>{lost['timeout']:,}</b> were given up for time, "
        f"<b>{lost['memory']:,}</b> for memory and <b>{lost['error']:,}</b> "
        "for an error of the extractor.</p>")
  faults = funnel["faults"]
  if not faults:
    return "".join(parts) + "<p>No record of the input was broken.</p>"
  counts = funnel["stages"][0]["counts"]
  kinds = list(dict.fromkeys(fault["reason"] for fault in faults))
  known = ", ".join(f"<b>{counts[kind]:,}</b> {_name(kind)}" for kind in kinds
                    if kind in counts)
  if known:
    parts.append(f"<p>Counted: {known}. The first ones of each task, with "
                 "their place in the file:</p>")
  rows = "".join(
      f'<tr><td class="mono">{_name(fault["reason"])}</td>'
      f'<td class="mono">{safe_text(str(fault["file"]))}</td>'
      f'<td>{safe_text(str(fault.get("detail") or ""))}</td>'
      f'<td class="n">{_offset(fault["offset"])}</td></tr>'
      for fault in faults[:_FAULTS_SHOWN])
  parts.append(
      '<div class="scroll"><table><thead><tr><th>Fault</th><th>File</th>'
      '<th>Detail</th><th class="n">at</th></tr></thead>'
      f"<tbody>{rows}</tbody></table></div>")
  if len(faults) > _FAULTS_SHOWN:
    parts.append(f'<p class="note">The first {_FAULTS_SHOWN} of '
                 f"{len(faults):,} that are listed in funnel.json.</p>")
  return "".join(parts)


def _run(funnel: Funnel) -> str:
  run, phases = funnel["run"], funnel.get("phase_seconds", {})
  times = "" if not phases else (
      "<h3>Seconds of all tasks, by phase</h3>" + bar_rows(
          [(name, seconds, f"{seconds:,.1f}")
           for name, seconds in phases.items()], most=max(phases.values())))
  if not run:
    return times + "<p>Nothing is known of its settings.</p>"
  rows = "".join(
      f'<tr><td class="mono">{_name(name)}</td><td>{safe_text(value)}</td></tr>'
      for name, value in _flat(run))
  return (f"{times}<details><summary>Settings and versions</summary>"
          f'<div class="scroll"><table><tbody>{rows}</tbody></table></div>'
          "</details>")


# --- pieces -------------------------------------------------------------------


def _find(funnel: Funnel, name: str) -> Mapping[str, Any]:
  """The stage of that name; {} if it was not run."""
  return next((stage for stage in funnel["stages"] if stage["stage"] == name),
              {})


def _all_seconds(funnel: Funnel) -> float:
  """Of all tasks: of their phases, where that is known."""
  return sum(funnel.get("phase_seconds", {}).values()) or sum(
      funnel["seconds"].values())


def _name(word: str) -> str:
  return safe_text(str(word))


def _share(part: int, whole: int) -> str:
  return f"{part / whole:.1%}" if whole else ""


def _megabytes(size: int) -> str:
  return f"{size / 1e6:,.1f}" if size >= 1e6 else f"{size / 1e6:.2f}"


def _offset(value: Any) -> str:
  return f"{value:,}" if isinstance(value, int) else html.escape(str(value))


def _flat(values: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
  """{"a": {"b": 1}} -> [("a.b", "1")]."""
  rows = []
  for name, value in values.items():
    if isinstance(value, Mapping):
      rows += _flat(value, f"{before}{name}.")
    else:
      rows.append((before + name, value if isinstance(value, str)
                   else json.dumps(value, ensure_ascii=False)))
  return rows
