"""The table of results that the benchmarks append to."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import pathlib
import platform
from collections.abc import Sequence
from typing import Any

RESULTS = pathlib.Path(__file__).parent / "RESULTS.md"
_INTRODUCTION = (
    "# Results\n\nRows are appended by the benchmarks themselves. Ratios "
    "above 1 are in our favour.\nA load average well above the threads "
    "says that the machine was shared.\n")


def surroundings() -> dict[str, Any]:
  """When and where a benchmark ran, and how busy the machine was."""
  return {"machine": platform.machine(), "load_average": os.getloadavg()[0],
          "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", "default"),
          "date": datetime.date.today().isoformat(),
          "versions": {name: importlib.metadata.version(name)
                       for name in ("jax", "torch", "transformers")}}


def append_row(record: dict[str, Any], columns: Sequence[str],
               path: pathlib.Path = RESULTS) -> None:
  """Adds a record to the table of its benchmark, which is made if need be.

  Args:
    record: has `benchmark`, the table's name, and every column.
    columns: of the table.
    path: of the Markdown file.
  """
  text = path.read_text() if path.exists() else _INTRODUCTION
  cells = [f"{record[c]:.4g}" if isinstance(record[c], float)
           else str(record[c]) for c in columns]
  row = f"| {' | '.join(cells)} |\n"
  title = f"## {record['benchmark']}\n"
  if title not in text:
    text += (f"\n{title}\n| {' | '.join(columns)} |\n"
             f"|{'---|' * len(columns)}\n")
  before, after = text.split(title)
  table, break_, rest = after.partition("\n## ")
  text = before + title + table.rstrip("\n") + "\n" + row
  path.write_text(text + (f"\n## {rest}" if break_ else ""))
