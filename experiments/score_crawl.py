"""What the stages of curate did to a crawl whose truth is known.

  python -m experiments.make_sample_crawl --config=configs/sample_crawl.py
  python -m experiments.curate --config=configs/curate_sample.py
  python -m experiments.score_crawl

Prints, stage by stage, what was found of what had been planted and how much of
what was found is right, beside the numbers that are promised.
"""

from __future__ import annotations

from typing import Any

from llm_jax import config_flags
from llm_jax.config import ScoreCrawlConfig

# (what, path in the scores, least or greatest value promised).
PROMISED = (
    ("language: precision", ("language", "precision"), ">=", 0.98),
    ("language: recall", ("language", "recall"), ">=", 0.98),
    ("spam hosts: precision", ("spam", "precision"), ">=", 1.0),
    ("near copies: recall at 0.85 and more", ("near_duplicates", "recall"),
     ">=", 0.95),
    ("near copies: precision", ("near_duplicates", "precision"), ">=", 0.98),
    ("personal data: recall", ("pii", "recall"), ">=", 0.98),
    ("personal data: false replacements in 1,000 clean documents",
     ("pii", "false_per_1000"), "<=", 1.0),
    ("pages of boilerplate: removed", ("clutter", "boilerplate_pages_removed"),
     ">=", 0.95),
    ("articles without what was around them",
     ("clutter", "articles_free_of_boilerplate"), ">=", 0.95),
    ("characters of articles: kept", ("articles", "characters_survive"), ">=",
     0.97),
    ("articles: kept", ("articles", "survive"), ">=", 0.95))


def run(config: ScoreCrawlConfig) -> dict[str, Any]:
  """Scores a run, prints the table, writes all numbers as JSON.

  Returns:
    The numbers, as `truth.score`.

  Raises:
    ConfigError: a file is missing, or curate kept no list of what it removed.
  """
  import json
  import pathlib
  from llm_jax.data.crawl import truth
  config.validate()
  scores = truth.score(config.truth, config.workdir)
  print(table(scores), flush=True)
  output = pathlib.Path(config.output or
                        pathlib.Path(config.workdir) / "score.json")
  output.write_text(json.dumps(scores, indent=1), encoding="utf-8")
  print(f"all numbers: {output}", flush=True)
  return scores


def broken_promises(scores: dict[str, Any]) -> list[str]:
  """The promised numbers that were not reached, as sentences."""
  broken = []
  for what, (part, name), sign, bound in PROMISED:
    value = scores[part][name]
    if not (value is not None
            and (value >= bound if sign == ">=" else value <= bound)):
      broken.append(f"{what} is {_number(value)}, not {sign} {bound:g}")
  return broken


def table(scores: dict[str, Any]) -> str:
  """All that is worth reading, for the terminal."""
  lines = [f"{scores['pages']:,} pages", "", "promised"]
  broken = broken_promises(scores)
  for what, (part, name), sign, bound in PROMISED:
    missed = any(line.startswith(f"{what} is") for line in broken)
    lines.append(f"  {what:<58} {_number(scores[part][name]):>8}  {sign} "
                 f"{bound:g}{'  NOT REACHED' if missed else ''}")
  lines += ["", "language, recall", _row(
      scores["language"]["recall_by_language"]),
      "spam hosts, recall of the addresses' stage",
      _row(scores["spam"]["recall"]), "spam hosts, removed by any stage",
      _row(scores["spam"]["removed_by_any_stage"])]
  near, exact = scores["near_duplicates"], scores["exact_duplicates"]
  lines += ["", f"near copies: {near['pairs']} pairs, {near['near_pairs']} of "
            "0.85 and more; theory is 1-(1-s^hashes)^buckets",
            "of the articles' similarity, and of that of the documents that "
            "were compared",
            "  similarity   pairs  recall  theory  of documents"]
  lines += [f"  {b['from']:.2f} to {b['from'] + 0.05:.2f} {b['pairs']:6d} "
            f"{_number(b['recall']):>7} {_number(b['theory']):>7} "
            f"{_number(b['theory_extracted']):>7}"
            for b in near["bins"]]
  lines += [f"copies elsewhere: {exact['pairs']} pairs, recall "
            f"{_number(exact['recall'])}, by the exact stage alone "
            f"{_number(exact['recall_of_exact_stage'])}", "",
            f"personal data, recall ({scores['pii']['planted']} planted)",
            _row(scores["pii"]["recall_by_class"]), "removed pages of",
            _row(scores["clutter"]["boilerplate_by_detail"]),
            _row(scores["clutter"]["noise_by_detail"]),
            "articles without what was around them, by kind of site",
            _row(scores["clutter"]["free_by_layout"]),
            f"charsets put right ({scores['charsets']['pages']} pages)",
            _row(scores["charsets"]["by_fault"]), "articles lost at",
            "  " + (", ".join(f"{stage} {number}" for stage, number in
                              scores["articles"]["lost_at"].items()) or
                    "no stage") + f" (of {scores['articles']['pages']:,})",
            "", "where pages stopped"]
  lines += [f"  {kind:<22} " + "  ".join(f"{stage} {number}" for stage, number
                                         in fates.items())
            for kind, fates in scores["fates"].items()]
  return "\n".join(lines)


def _row(values: dict[str, float | None]) -> str:
  return "  " + ", ".join(f"{name} {_number(value)}"
                          for name, value in values.items())


def _number(value: float | None) -> str:
  return "-" if value is None else f"{value:.4g}"


if __name__ == "__main__":
  config_flags.launch(ScoreCrawlConfig, run)
