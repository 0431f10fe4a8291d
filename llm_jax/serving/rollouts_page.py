"""A run of reinforcement learning as a page: curves, rewards, and its samples.

Curves say that answers became longer; samples show why ("wait, let me check").
They are sorted and searched in the browser, by `rollouts_page.js`, which puts
every text of a model into the page as text: nothing of it is markup.
"""

from __future__ import annotations

import html
import json
import pathlib
import re
from collections.abc import Iterator, Sequence

import numpy as np

from llm_jax.serving.charts import Series, line_chart
from llm_jax.serving.elements import (
    chart_grid, safe_text, section, whole_page)
from llm_jax.serving.rl_run import RlRun

_FOLDER = pathlib.Path(__file__).parent
_MOST_SAMPLES = 4000  # of training on the page; of more, evenly chosen ones
_CHARACTERS = 6000  # of a text
_PASS = re.compile(r"eval_pass_at_\d+")  # without those of its interval
_BINS, _COLUMNS = 9, 24  # of the histogram: rewards, and steps

# title, (legend, metric) of each line, whether a share, unit
_CHARTS = (
    ("Solved", (("training problems", "correct"),
                ("held out", "eval_accuracy")), True, ""),
    ("Reward", (("", "reward"),), False, ""),
    ("Length of a completion", (("training", "completion_tokens"),
                                ("held out", "eval_completion_tokens")),
     False, "tokens"),
    ("Entropy of the sampler", (("", "entropy"),), False, "nats a token"),
    ("KL to the first model", (("", "kl_ref"),), False, "nats a token"),
    ("KL of the step's policies", (("", "approx_kl"),), False, "nats a token"),
    ("Problems whose samples are all alike in reward",
     (("", "zero_variance"),), True, ""),
    ("Cut off at the limit", (("training", "truncated"),
                              ("held out", "eval_truncated")), True, ""),
    ("Clipped tokens", (("", "clip_fraction"),), True, ""),
    ("Gradient norm", (("", "grad_norm"),), False, ""),
    ("Time of a step", (("rollout", "seconds_rollout"),
                        ("reward", "seconds_reward"),
                        ("train", "seconds_train")), False, "seconds"),
)


def render_rl(run: RlRun) -> str:
  """The page of a run, whole or still going on.

  Args:
    run: of `rl_run.load_run`.

  Returns:
    A whole HTML document that needs nothing but itself.
  """
  parts = [_head(run), section(1, "What happened", _curves(run))]
  if run.rewards:
    parts.append(section(2, "How rewards were spread", histogram(run.rewards)))
  parts.append(section(3, "What it said", _browser(run)))
  return whole_page(f"llm_jax: {run.name}", parts)


def _head(run: RlRun) -> str:
  last = run.metrics[-1]["step"] if run.metrics else 0
  config = run.config
  accuracy = run.curve("eval_accuracy")
  told = ""
  if len(accuracy) > 1:
    told = (f" Held-out problems solved: {100 * accuracy[0][1]:.1f}% at step "
            f"{accuracy[0][0]}, {100 * accuracy[-1][1]:.1f}% at step "
            f"{accuracy[-1][0]}.")
  told = (f"Step {last} of {config.get('num_steps', '?')}, "
          f"{config.get('batch_size', '?')} problems with "
          f"{config.get('group_size', '?')} samples each, from "
          f"{config.get('init_from', '')}.{told}")
  return (f"<header><h1>{safe_text(run.name)}</h1>"
          f'<p class="lead">{safe_text(told)}</p></header>')


def _curves(run: RlRun) -> str:
  best = [name for record in run.evaluations for name in record
          if _PASS.fullmatch(name)]
  charts = []
  for title, lines, percent, unit in _CHARTS:
    if title == "Solved":
      lines += tuple((name.removeprefix("eval_").replace("_", " "), name)
                     for name in sorted(set(best)))
    series = [Series(legend, run.curve(name)) for legend, name in lines]
    if any(each.points for each in series):
      charts.append(line_chart(title, [s for s in series if s.points],
                               percent=percent, y_label=unit))
  return chart_grid(*charts)


def histogram(rewards: Sequence[dict]) -> str:
  """Rewards by step, as a table of shades: each column is a stretch of steps,
  each row a bin of rewards, darker where more samples fall."""
  values = np.concatenate([np.asarray(record["rewards"], float)
                           for record in rewards])
  values = values[np.isfinite(values)]
  if not values.size:
    return '<p class="note">No rewards.</p>'
  low, high = float(values.min()), float(values.max())
  edges = np.linspace(low, high, _BINS + 1) if high > low else np.array(
      [low - 0.5, low + 0.5])
  stretches = [list(part) for part in np.array_split(
      np.arange(len(rewards)), min(_COLUMNS, len(rewards)))]
  shares = np.array([_shares(
      [rewards[i]["rewards"] for i in part], edges) for part in stretches])
  rows = []
  for place in reversed(range(len(edges) - 1)):
    cells = "".join(
        '<td style="background:color-mix(in srgb,var(--s1) '
        f'{100 * share:.0f}%,transparent)" '
        f'title="{html.escape(_told(share, part, rewards))}"></td>'
        for share, part in zip(shares[:, place], stretches))
    rows.append(f"<tr><th>{edges[place]:.3g} to {edges[place + 1]:.3g}</th>"
                f"{cells}</tr>")
  first, last = rewards[0]["step"], rewards[-1]["step"]
  return (f'<table class="heat">{"".join(rows)}</table><p class="note">Steps '
          f"{first} to {last} from left to right; the darker, the larger the "
          "share of the samples with such a reward.</p>")


def _shares(rewards: Sequence[Sequence[float]], edges: np.ndarray
            ) -> np.ndarray:
  found = np.concatenate([np.asarray(each, float) for each in rewards])
  counts, _ = np.histogram(found[np.isfinite(found)], edges)
  return counts / max(1, counts.sum())


def _told(share: float, part: Sequence[int], rewards: Sequence[dict]) -> str:
  return (f"{100 * share:.1f}% in steps {rewards[part[0]]['step']} to "
          f"{rewards[part[-1]]['step']}")


def _browser(run: RlRun) -> str:
  data = json.dumps({"samples": list(_samples(run))}, ensure_ascii=False,
                    separators=(",", ":"))
  script = (_FOLDER / "rollouts_page.js").read_text(encoding="utf-8")
  markup = (_FOLDER / "rollouts_page.html").read_text(encoding="utf-8")
  # What could end the element, or begin a comment, is escaped.
  return (f'{markup}<script type="application/json" id="samples">'
          f'{data.replace("<", chr(92) + "u003c")}</script>'
          f"<script>{script}</script>")


def _samples(run: RlRun) -> Iterator[dict]:
  """Samples of training and answers of evaluations, in one form."""
  kept = run.rollouts
  if len(kept) > _MOST_SAMPLES:
    places = np.linspace(0, len(kept) - 1, _MOST_SAMPLES).astype(int)
    kept = [kept[i] for i in places]
  for record in kept:
    yield {"step": record["step"], "set": "training",
           "prompt": _cut(record.get("prompt", "")),
           "text": _cut(_conversation(record)),
           "reward": record.get("reward"), "correct": record.get("correct"),
           "tokens": record.get("tokens"), "parts": record.get("parts") or {},
           "stopped": bool(record.get("stopped"))}
  for record in run.held_out:
    yield {"step": record["step"], "set": "held out",
           "prompt": _cut(record.get("prompt", "")),
           "text": _cut(record.get("text", "")),
           "answer": _cut(str(record.get("answer", ""))),
           "reward": None, "correct": record.get("correct"), "tokens": None,
           "parts": {}, "stopped": True}


def _conversation(record: dict) -> str:
  """A sample's text; of several turns all of them."""
  if not record.get("messages"):
    return record.get("text", "")
  return "\n".join(
      f"[{message['role']}] {message.get('content', '')}" + "".join(
          f"\n  call: {json.dumps(call.get('function', call))}"
          for call in message.get("tool_calls", ()))
      for message in record["messages"])


def _cut(text: str) -> str:
  return text if len(text) <= _CHARACTERS else text[:_CHARACTERS] + " …"
