"""The recipe of DeepSeek-R1 as a page: r1.json and its runs -> HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llm_jax.rl.demonstrations import CHECKING
from llm_jax.serving.charts import Series, line_chart, number
from llm_jax.serving.elements import (
    bar_rows, chart_grid, safe_text, section, whole_page)
from llm_jax.serving.rl_run import RlRun
from llm_jax.serving.rollouts_page import histogram

Report = Mapping[str, Any]

NAMES = {"rl": "rewarded", "rl_again": "rewarded again",
         "control": "control: rewards by lot"}
# title, metric, whether a share, unit
_CHARTS = (
    ("Held-out problems solved", "eval_accuracy", True, ""),
    ("Training problems solved", "correct", True, ""),
    ("Length of an answer", "completion_tokens", False, "tokens"),
    ("Reward", "reward", False, ""),
    ("Entropy of the sampler", "entropy", False, "nats a token"),
    ("KL to the model it began as", "kl_ref", False, "nats a token"),
    ("Problems whose samples are all alike in reward", "zero_variance", True,
     ""),
    ("Cut off at the limit", "truncated", True, ""),
)


def render_r1(report: Report, runs: Mapping[str, RlRun]) -> str:
  """The page.

  Args:
    report: what `experiments/r1.py` writes to r1.json.
    runs: those with rewards, by the names of `NAMES`.

  Returns:
    A whole HTML document; what models wrote is escaped.
  """
  return whole_page("llm_jax: the recipe of DeepSeek-R1", (
      _head(report),
      section(1, "What each stage came to", _stages(report)),
      section(2, "While it was rewarded", _curves(runs) + _changes(report)),
      section(3, "How rewards were spread", "".join(
          f"<h3>{safe_text(NAMES[name])}</h3>{histogram(run.rewards)}"
          for name, run in runs.items() if run.rewards)),
      section(4, "The same problems, stage by stage",
              _examples(report["examples"]) + _links(runs)),
      "<footer>The same numbers, for programs, are in <code>r1.json</code> "
      "beside this page.</footer>"))


def _head(report: Report) -> str:
  first, *_, last = [row for row in report["stages"]
                     if not row["stage"].startswith("control")]
  told = (f"Finetuned on {report['demonstrations']['demonstrations']:,} "
          "demonstrations, of which "
          f"{number(report['demonstrations']['right'], True)} are right, a "
          f"model solved {number(first['accuracy'], True)} of "
          f"{first['problems']:,.0f} held-out problems in "
          f"{first['tokens']:.1f} tokens each. At the end it solved "
          f"{number(last['accuracy'], True)} in {last['tokens']:.1f} tokens. "
          f"It was rewarded for {', '.join(report['rewards'])}, and for length "
          "not at all.")
  return ("<header><h1>The recipe of DeepSeek-R1</h1>"
          f'<p class="lead">{safe_text(told)}</p></header>')


def _stages(report: Report) -> str:
  rows, kept = report["stages"], report["kept"]
  longest = max(row["tokens"] for row in rows)
  return ("<h3>Held-out problems solved, with 95% intervals</h3>" + bar_rows([(
      row["stage"], row["accuracy"],
      f"{number(row['accuracy'], True)} [{100 * row['accuracy_low']:.1f}, "
      f"{100 * row['accuracy_high']:.1f}]") for row in rows], most=1.0)
          + "<h3>Tokens of an answer</h3>" + bar_rows([(
              row["stage"], row["tokens"], f"{row['tokens']:.1f}")
              for row in rows], most=longest)
          + f"<p>Between the two, {kept['kept']:,} of {kept['samples']:,} "
          "answers of the rewarded model were kept, to "
          f"{kept['problems_with_one']:,} of {kept['problems']:,} "
          "problems.</p>")


def _curves(runs: Mapping[str, RlRun]) -> str:
  charts = []
  for title, metric, percent, unit in _CHARTS:
    series = [Series(NAMES[name], run.curve(metric))
              for name, run in runs.items()]
    if any(each.points for each in series):
      charts.append(line_chart(title, [s for s in series if s.points],
                               percent=percent, y_label=unit))
  series = [Series(NAMES[name], checking_share(run))
            for name, run in runs.items()]
  charts.append(line_chart(f"Samples that say \N{LEFT DOUBLE QUOTATION MARK}"
                           f"{CHECKING}\N{RIGHT DOUBLE QUOTATION MARK}",
                           [s for s in series if s.points], percent=True))
  return chart_grid(*charts)


def checking_share(run: RlRun) -> list[tuple[float, float]]:
  """(step, share of its kept samples that check themselves)."""
  said: dict[float, list[bool]] = {}
  for record in run.rollouts:
    said.setdefault(record["step"], []).append(CHECKING in record["text"])
  return [(step, sum(each) / len(each)) for step, each in said.items()]


def _changes(report: Report) -> str:
  return "".join(
      f"<p>{safe_text(NAMES[name])}: accuracy "
      f"<b>{100 * found['accuracy']:+.1f} points</b> (95% interval "
      f"{100 * found['accuracy_low']:+.1f} to "
      f"{100 * found['accuracy_high']:+.1f}), length <b>{found['tokens']:+.1f} "
      f"tokens</b> ({found['tokens_low']:+.1f} to "
      f"{found['tokens_high']:+.1f}).</p>"
      for name, found in report["changes"].items())


def _examples(examples: Sequence[Mapping[str, Any]]) -> str:
  def column(said):
    mark = ('<span class="good">✓ right</span>' if said["right"] else
            '<span class="bad">✗ wrong</span>')
    return (f'<div><span class="label">{safe_text(said["stage"])} · {mark}'
            f'</span><p class="text mono">{safe_text(said["text"])}</p></div>')

  return "".join(
      f'<div class="said"><p class="ask">{safe_text(each["prompt"])} '
      f'<span class="note">answer: {safe_text(each["answer"])}</span></p>'
      f'<div class="columns">{"".join(map(column, each["said"]))}</div></div>'
      for each in examples)


def _links(runs: Mapping[str, RlRun]) -> str:
  links = ", ".join(f'<a href="{name}/rollouts.html">{safe_text(NAMES[name])}'
                    "</a>" for name in runs)
  return f"<p>All that was kept of what they said: {links}.</p>"
