"""A run as one page to look at: report.json -> report.html.

The page follows the story of how a language model is made: pages of the web
become text, text becomes tokens, a base model learns to continue text,
finetuning makes an assistant of it by imitation, reinforcement learning lets it
find out what works. Each stage says what was done, shows what there is to see,
and gives its numbers.

It needs nothing but itself: no script, no font, no network. Everything that a
model wrote is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from llm_jax.metric_writers import format_count
from llm_jax.serving.charts import Level, Series, line_chart, number
from llm_jax.serving.elements import (
    bar_rows, chart_grid, duration, safe_text, section, whole_page)
from llm_jax.serving.funnel_page import funnel_section

Report = Mapping[str, Any]

_STAGES = {  # report["seconds"] -> what the page calls it
    "setup": "Setting up (once)", "crawl": "Crawl", "curate": "Cleaning",
    "tokenizer": "Tokenizer", "corpus": "Corpus",
    "pretrain": "Pretraining", "sft": "Finetuning",
    "sft_continued": "Finetuning, continued", "rl": "Reinforcement learning",
    "report": "This report", "total": "Total, set-up apart"}
_HIDDEN_VERSIONS = ("command", "devices.list", "platform")


def render_report(report: Report, *, conversation: str = "") -> str:
  """The page.

  Args:
    report: what `experiments/quickstart.py` writes to report.json.
    conversation: HTML of a `TokenView` that shows a loss mask; trusted, as it
      escapes its own text. Empty: left out.

  Returns:
    A whole HTML document.
  """
  sections = (
      _head(report), _crawl(report), _tokenizer(report), _pretraining(report),
      _finetuning(report, conversation), _reinforcement(report),
      _side_by_side(report), _costs(report))
  return whole_page("llm_jax: one run", (
      *sections, "<footer>Everything above was measured in this run. The same "
      "numbers, for programs, are in <code>report.json</code> beside this "
      "page.</footer>"))


# --- the stages ---------------------------------------------------------------


def _head(report: Report) -> str:
  pretrain, rl = report["pretrain"], report["rl"]
  facts = (
      ("Tokenizer", f"{report['tokenizer']['bytes_per_token']:.2f}",
       "bytes of held-out text per token"),
      ("Pretraining", _arrow(pretrain["val_bits_per_byte_start"],
                             pretrain["val_bits_per_byte_end"], ".2f"),
       "bits per byte of held-out text"),
      ("Finetuning", _arrow(report["sft"]["val_loss_start"],
                            report["sft"]["val_loss_end"], ".2f"),
       "loss on held-out conversations"),
      ("Reinforcement learning",
       _arrow(rl["accuracy_before"], rl["accuracy_after"], ".1%"),
       "of held-out problems solved"))
  boxes = "".join(f"<div><dt>{name}</dt><dd>{value}<small>{unit}</small></dd>"
                  "</div>" for name, value, unit in facts)
  return (f"""<header><h1>From raw text to a model you can talk to</h1>
<p class="lead">One run of the quickstart:
{format_count(pretrain['parameters'])} parameters,
{format_count(pretrain['tokens'])} tokens of text read,
{duration(report['seconds']['total'])} of work. One model in three stages,
each of which starts where the one before it ended.</p></header>
<dl class="facts">{boxes}</dl>""")


def _crawl(report: Report) -> str:
  return section(1, "The web becomes text", f"""
<p>A crawl is pages as they are: menus, adverts, the same text ten times,
machines talking to machines. What can be learnt from is sifted out, stage by
stage, as it was for FineWeb. This crawl was made for the purpose, of
encyclopedia articles dressed as web pages among such things; articles that are
held out for the measures below are on none of its pages.</p>
{funnel_section(report['funnel'])}
<p class="note">More of it, with examples of what each stage removed and why, is
in <code>curate/funnel.html</code> beside this page.</p>""")


def _tokenizer(report: Report) -> str:
  tokenizer = report["tokenizer"]
  return section(2, "Text becomes tokens", f"""
<p>A model reads numbers. The tokenizer begins with the 256 bytes and merges
the most frequent pair of neighbours into a new token, again and again, until
the vocabulary has {tokenizer['vocab_size']:,} entries. On text that it was not
learnt from, a token then stands for
<b>{tokenizer['bytes_per_token']:.2f} bytes</b>.</p>""")


def _pretraining(report: Report) -> str:
  pretrain = report["pretrain"]
  end = pretrain["val_bits_per_byte_end"]
  others = {"gzip -9": pretrain["gzip_bits_per_byte"],
            "xz -9": pretrain["xz_bits_per_byte"]}
  compared = " and ".join(f"<code>{name}</code> needs {value:.2f}"
                          for name, value in others.items())
  charts = chart_grid(
      line_chart("Held-out text",
                 [Series("", pretrain["val_curve"])],
                 y_label="bits per byte",
                 levels=[Level(*item) for item in others.items()]),
      line_chart("Training loss", [Series("", pretrain["curve"])],
                 y_label="nats per token"))
  return section(3, "Pretraining: the next token, over and over", f"""
<p>The base model sees a window of text and is asked, at every place, for the
token that comes next. Nothing else is taught, and nothing is labelled by hand.
To predict well is to compress well, so the measure is bits per byte on text
that was held out: {pretrain['val_bits_per_byte_start']:.2f} before training,
<b>{end:.2f}</b> after it. On the same text {compared}; lower is
better.</p>{charts}
<h3>Noise becomes English</h3>
<p>The same prompts, continued by the model as it was at each evaluation. What
to look at: first there are no words, then words, then phrases that hold
together for a moment. It has no idea of an answer yet; it only continues
documents.</p>{_training_samples(report['training_samples'])}""")


def _training_samples(samples: Sequence[Mapping[str, Any]]) -> str:
  """A column for each prompt, the steps one below the other."""
  columns: dict[str, list[str]] = {}
  for sample in samples:
    prompt = sample["prompt"]
    columns.setdefault(prompt, []).append(
        f'<div class="step"><span class="label">step {sample["step"]:,}</span>'
        f'<p class="text" dir="auto"><span class="prompt">{safe_text(prompt)}'
        f"</span>{safe_text(sample['text'])}</p></div>")
  boxes = "".join(
      f'<div><span class="label">Prompt</span><b>'
      f'{safe_text(prompt) or "(nothing: a new document)"}</b>{"".join(steps)}'
      "</div>" for prompt, steps in columns.items())
  return f'<div class="texts">{boxes}</div>'


def _finetuning(report: Report, conversation: str) -> str:
  sft = report["sft"]
  shown = f"""
<h3>What the loss looks at</h3>
<p class="note"><span class="key" style="background:#b6ecb6"></span>trained
&ensp;<span class="key" style="background:#e4e4e4"></span>read only. Each
coloured piece is one token; the mouse tells its number.</p>
<div class="conversation">{conversation}</div>""" if conversation else ""
  ended = (f"It stopped at step {sft['steps']:,}, when the validation loss "
           "that it watches had stopped falling." if sft["plateau"] else
           f"It ended at its limit of {sft['steps']:,} steps, before "
           "a plateau was seen.")
  charts = chart_grid(
      line_chart("Validation loss, by kind",
                 [Series(*item) for item in sft["val_curves"].items()],
                 y_label="nats per trained token", from_zero=True),
      line_chart("Training loss", [Series("", sft["curve"])],
                 y_label="nats per trained token", from_zero=True))
  return section(4, "Finetuning: imitation makes an assistant", f"""
<p>Training goes on with the same loss on conversations, with one difference:
only what the assistant says counts, and the token with which it stops. So it
learns when to speak, in what manner, and when to be silent. Loss on held-out
conversations went from {sft['val_loss_start']:.2f} to
<b>{sft['val_loss_end']:.2f}</b>. {ended}</p>{shown}{charts}""")


def _reinforcement(report: Report) -> str:
  rl = report["rl"]
  problems = f"{rl['eval_problems']:,}"
  charts = chart_grid(
      line_chart("Held-out problems solved", [Series("", rl["eval_curve"])],
                 percent=True, levels=[Level("imitation, continued",
                                             rl["accuracy_sft_continued"])]),
      line_chart("Mean reward of training samples",
                 [Series("", rl["reward_curve"])], percent=True),
      line_chart("Length of an answer", [Series("", rl["length_curve"])],
                 y_label="tokens", from_zero=True),
      "<p>What to look at: whether answers grow longer as rewards rise. Nobody "
      "asks for longer answers; but where writing the steps down is what makes "
      "an answer right, length follows from the reward.</p>")
  bars = bar_rows([
      ("Finetuned", rl["accuracy_before"], number(rl["accuracy_before"], True)),
      ("Finetuned, continued", rl["accuracy_sft_continued"],
       number(rl["accuracy_sft_continued"], True)),
      ("Reinforcement learning", rl["accuracy_after"],
       number(rl["accuracy_after"], True))], most=1.0)
  return section(5, "Reinforcement learning: finding out what works", f"""
<p>Now nobody shows the answer. The model tries each problem several times, a
rule checks the results, and the tries that did better than their siblings
become more likely. Only an answer in the agreed form that ends by itself
counts. On {problems} problems that were never trained on, the share solved
went from {rl['accuracy_before']:.1%} to <b>{rl['accuracy_after']:.1%}</b>:
a gain of {100 * rl['gain']:.1f} points, 95% interval
{100 * rl['gain_low']:.1f} to {100 * rl['gain_high']:.1f}, same problems and
same sampler.</p>
<h3>Is the gain reinforcement learning's own?</h3>{bars}
<p>{_control(report)}</p>{charts}
<h3>Some of those problems, before and after</h3>
{_examples(report['rl_examples'])}""")


def _control(report: Report) -> str:
  """What the compute-matched control says, whichever way it came out."""
  rl, control = report["rl"], report["sft_continued"]
  ratio = control["flops"] / rl["flops"] if rl["flops"] else math.nan
  lead = rl["accuracy_after"] - control["accuracy"]
  text = (f"The control: imitation, continued from the same finetuned model "
          f"for {control['steps']:,} steps, which took "
          f"{format_count(control['flops'])} floating-point operations "
          f"({ratio:.2f} times those of reinforcement learning). It solves "
          f"{control['accuracy']:.1%}. ")
  if rl["gain_low"] <= 0:
    return text + ("The gain of reinforcement learning itself cannot be told "
                   "from none here: its interval reaches zero.")
  if lead <= 0:
    return text + ("That is no worse than reinforcement learning: in this run "
                   "the gain is not its own, but that of more training.")
  return text + (f"Reinforcement learning is {100 * lead:.1f} points above it: "
                 "that part came from trying and checking, not from more "
                 "training.")


def _examples(examples: Sequence[Mapping[str, Any]]) -> str:
  def side(name, text, correct):
    mark = ('<span class="good">✓ right</span>' if correct else
            '<span class="bad">✗ wrong</span>')
    return (f'<div><span class="label">{name} · {mark}</span>'
            f'<p class="text mono" dir="auto">{safe_text(text)}</p></div>')
  return "".join(
      f'<div class="said"><p class="ask">{safe_text(e["prompt"])} '
      f'<span class="note">answer: {safe_text(str(e["answer"]))}</span></p>'
      '<div class="columns">'
      + side("Before", e["before"], e["correct_before"])
      + side("After", e["after"], e["correct_after"]) + "</div></div>"
      for e in examples)


def _side_by_side(report: Report) -> str:
  names = {"base": "Base model", "sft": "Finetuned",
           "rl": "After reinforcement learning"}
  boxes = "".join(
      f'<div class="said"><p class="ask">{safe_text(sample["prompt"])}</p>'
      '<div class="columns">' + "".join(
          f'<div><span class="label">{told}</span><p class="text" dir="auto">'
          f"{safe_text(sample[name])}</p></div>"
          for name, told in names.items())
      + "</div></div>" for sample in report["samples"])
  return section(6, "The same questions, three models", f"""
<p>The base model continues your sentence, because that is all it knows. The
finetuned one answers. What it says of the world is the guess of a very small
model and often wrong; look at the manner, and at when it stops.</p>{boxes}""")


def _costs(report: Report) -> str:
  seconds = {name: value for name, value in report["seconds"].items()
             if name != "total"}
  known = [name for name in _STAGES if name in seconds]
  order = known + [name for name in seconds if name not in _STAGES]
  bars = bar_rows([(_STAGES.get(name, name), seconds[name],
                    duration(seconds[name])) for name in order],
                  most=max(seconds.values()))
  rows = "".join(
      f'<tr><td class="mono">{safe_text(name)}</td><td>'
      f"{' × '.join(f'{size:,}' for size in shape)}</td>"
      f'<td class="n">{count:,}</td></tr>'
      for name, shape, count in report["parameter_table"])
  total = sum(count for _, _, count in report["parameter_table"])
  versions = "".join(
      f'<tr><td class="mono">{safe_text(name)}</td>'
      f"<td>{safe_text(value)}</td></tr>"
      for name, value in _flat(report["versions"]))
  return section(7, "What it took", f"""{bars}
<p class="note">{_STAGES['total']}:
{duration(report['seconds']['total'])}.</p>
<details open><summary>Parameters</summary><div class="scroll"><table>
<thead><tr><th>Tensor</th><th>Shape</th><th class="n">Numbers</th></tr></thead>
<tbody>{rows}</tbody>
<tfoot><tr><td>Total</td><td></td><td class="n">{total:,}</td></tr></tfoot>
</table></div></details>
<details><summary>Versions and devices</summary><div class="scroll"><table>
<tbody>{versions}</tbody></table></div></details>""")


# --- pieces -------------------------------------------------------------------


def _arrow(before: float, after: float, form: str) -> str:
  return f"{before:{form}} → {after:{form}}"


def _flat(values: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
  """{"a": {"b": 1}} -> [("a.b", "1")], without what tells a reader nothing."""
  rows = []
  for name, value in values.items():
    if before + name in _HIDDEN_VERSIONS:
      continue
    if isinstance(value, Mapping):
      rows += _flat(value, f"{before}{name}.")
    else:
      rows.append((before + name, str(value)))
  return rows
