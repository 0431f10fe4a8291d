"""Hallucinated facts: a base model has no way of not knowing.

A text that says "... was born in the year" goes on with a year, whoever it is
about: that is what such texts do. Asked several times about people it has read
of, a model repeats itself; about people who never lived it invents something
else each time, no less fluently. So agreement between samples tells the two
apart where a single answer does not (Manakul et al. 2023, "SelfCheckGPT",
arXiv:2303.08896).
"""

from __future__ import annotations

import collections
import re
from typing import Any

from llm_jax.config_probes import HallucinationConfig
from llm_jax.evals.probe_texts import WELL_KNOWN, invented_names
from llm_jax.evals.probes import BaseModel, mean, share

PROMPT = "{name} was born in the year"


def year_in(text: str) -> str | None:
  """The first number of three or four digits; None: no year is given."""
  found = re.search(r"(?<!\d)\d{3,4}(?!\d)", text)
  return found.group() if found else None


def agreement(answers: list[str | None]) -> float:
  """Share of pairs of answers that are the same; None agrees with nothing."""
  n = len(answers)
  counts = collections.Counter(a for a in answers if a is not None)
  return sum(c * (c - 1) for c in counts.values()) / (n * (n - 1))


def probe_hallucination(model: BaseModel, config: HallucinationConfig
                        ) -> dict[str, Any]:
  """Asks several times when people were born who did, and did not, live.

  Returns:
    "rows": of well-known and of invented people the share of samples that give
    a year, the mean agreement of a person's samples, and of the well-known the
    share of people whose commonest answer is right (of invented ones nothing
    is); "examples": each person's answers.
  """
  rows, examples = [], []
  people = {"well-known": dict(list(WELL_KNOWN.items())[:config.names]),
            "invented": dict.fromkeys(invented_names(config.names, model.seed))}
  for group, years in people.items():
    drawn = model.continue_all(
        [model.encode(PROMPT.format(name=name)) for name in years],
        config.max_new_tokens, temperature=config.temperature,
        samples=config.samples)
    answers = [[year_in(each.text) for each in samples] for samples in drawn]
    common = [collections.Counter(a for a in given if a).most_common(1)
              for given in answers]
    right = [bool(top) and year is not None and top[0][0] == str(year)
             for top, year in zip(common, years.values())]
    rows.append({
        "people": group, "names": len(years), "samples": config.samples,
        # Of each person, as the samples about one are no independent draws.
        **mean("gives_a_year", [sum(a is not None for a in given) / len(given)
                                for given in answers]),
        **mean("agreement", [agreement(given) for given in answers]),
        **share("right", right)})
    examples += [{"people": group, "name": name, "year": year,
                  "answers": given, "text": samples[0].text.strip()}
                 for (name, year), given, samples in zip(
                     years.items(), answers, drawn)]
  return {"rows": rows, "examples": examples}
