"""Texts with a label between 0 and 1, as a user gives them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from llm_jax.config import ConfigError, require
from llm_jax.data.documents import split_items
from llm_jax.data.files import RECORD_SUFFIXES, find_files, read_records

POSITIVE = 0.5  # a label from here on counts as a yes


@dataclasses.dataclass(frozen=True)
class Labelled:
  """A text, how good it is, and where that is written."""
  text: str
  label: float
  source: str


def read_labelled(path: str, text_column: str,
                  label_column: str) -> list[Labelled]:
  """All labelled texts of `.jsonl`, `.jsonl.gz` or `.parquet` files.

  Raises:
    ConfigError: a file or a field that is missing, text that is none, a label
      that is no number from 0 to 1; or no text at all.
  """
  found = [
      _labelled(record.fields[text_column], record.fields[label_column],
                text_column, label_column, record.source)
      for file in find_files(path, RECORD_SUFFIXES)
      for record in read_records(file, (f"{text_column}+{label_column}",))]
  require(bool(found), f"{path} has no labelled texts: its files are empty.")
  return found


def split_labelled(examples: list[Labelled], seed: int, fraction: float
                   ) -> tuple[list[Labelled], list[Labelled]]:
  """(to learn from, held out), by content as documents are split.

  Raises:
    ConfigError: one side lacks good texts, or bad ones.
  """
  sides: dict[str, list[Labelled]] = {"train": [], "validation": []}
  for side, example in split_items(examples, lambda e: e.text, seed, fraction):
    sides[side].append(example)
  for side, chosen in sides.items():
    good = sum(example.label >= POSITIVE for example in chosen)
    whole = sum(example.label >= POSITIVE for example in examples)
    lacking = f"labels below {POSITIVE}" if good else (
        f"labels from {POSITIVE} up")
    require(0 < whole < len(examples), f"all {len(examples)} labels are on one "
            f"side: none of the {lacking} that a classifier needs to tell the "
            "others from; label some documents of the other kind.")
    require(0 < good < len(chosen), f"the {len(chosen)} {side} documents have "
            f"no {lacking}; label more documents, or choose another --seed or "
            "--validation_fraction.")
  return sides["train"], sides["validation"]


def _labelled(text: Any, label: Any, text_column: str, label_column: str,
              source: str) -> Labelled:
  require(isinstance(text, str) and bool(text.strip()), f"{source}: "
          f"`{text_column}` is {_shown(text)}; it must be a text.")
  if not isinstance(label, (int, float)) or not math.isfinite(label) or not (
      0 <= label <= 1):
    raise ConfigError(
        f"{source}: `{label_column}` is {_shown(label)}; it must be a number "
        "from 0 (bad) to 1 (good): divide grades by the best one.")
  return Labelled(text, float(label), source)


def _shown(value: Any) -> str:
  return "missing" if value is None else repr(value)[:40]
