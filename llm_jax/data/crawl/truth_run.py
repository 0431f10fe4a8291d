"""What a run of `experiments/curate.py` left behind, beside the truth.

Every page is where it stopped, its *fate*: the stage that removed it, "kept",
or "lost" where nothing speaks of it any more, as of a broken record.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow.parquet as pq

from llm_jax.config import ConfigError

ORDER = ("lost", "read", "url", "extract", "language", "gopher_repetition",
         "gopher_quality", "c4", "fineweb", "classifier", "exact", "minhash",
         "lines", "decontaminate", "pii", "kept")
_REACHED = {stage: frozenset(ORDER[i:]) for i, stage in enumerate(ORDER)}


@dataclasses.dataclass
class Run:
  """What is known of a run: the truth, and what became of each page."""
  truth: dict[str, dict[str, Any]]
  documents: dict[str, dict[str, Any]]
  removed: dict[str, tuple[str, str]]  # id -> stage, reason
  languages: dict[str, str]  # id -> as detected, where it got so far
  compared: dict[str, str]  # id -> text that came to deduplication, of copies
  wanted: frozenset[str]  # languages to keep; empty: all
  bands: tuple[int, int]  # buckets, hashes
  scope: str  # of deduplication: dump or all

  def fate(self, page: dict[str, Any]) -> str:
    """Where a page stopped."""
    if page["id"] in self.documents:
      return "kept"
    return self.removed.get(page["id"], ("lost", ""))[0]

  def reached(self, page: dict[str, Any], stage: str) -> bool:
    """Whether a page came as far as a stage."""
    return self.fate(page) in _REACHED[stage]

  def is_wanted(self, page: dict[str, Any]) -> bool:
    """Whether its language is one of those that are kept."""
    return not self.wanted or page["language"] in self.wanted


def load(truth_path: str, curate_workdir: str) -> Run:
  """Reads the truth and what a run left behind.

  Args:
    truth_path: truth.jsonl.gz of `make_sample_crawl`.
    curate_workdir: workdir of the run, made with `--removed=ids` or `text`.

  Raises:
    ConfigError: a file is missing, or the run kept no list of what it removed.
  """
  workdir = pathlib.Path(curate_workdir)
  config_path = workdir / "config.json"
  if not config_path.exists():
    raise ConfigError(f"{config_path} does not exist; give the workdir of "
                      "experiments.curate.")
  config = json.loads(config_path.read_text(encoding="utf-8"))
  if config["removed"] == "examples":
    raise ConfigError(f"{workdir} has no list of what was removed; run "
                      "experiments.curate with --removed=ids.")
  truth = {page["id"]: page for page in _records([truth_path])}
  removed = {record["id"]: (record["stage"], record["reason"])
             for record in _records(_files(workdir / "removed"))}
  documents = {record["id"]: record for record in _records(
      _files(workdir / "documents"))}
  copied = {name for page in truth.values() if page["duplicate_of"]
            for name in (page["id"], page["duplicate_of"])}
  languages, compared = {}, {}
  for record in _records(_files(workdir / "filtered")):
    languages[record["id"]] = record["language"]
    if record["id"] in copied:
      compared[record["id"]] = record["text"]
  curate = config["curate"]
  return Run(truth, documents, removed, languages, compared,
             frozenset(item.partition(":")[0] for item in curate["languages"]),
             (curate["dedup"]["buckets"], curate["dedup"]["hashes"]),
             curate["dedup"]["scope"])


def _files(folder: pathlib.Path) -> list[str]:
  return sorted(map(str, folder.glob("**/*.jsonl.gz"))) + sorted(
      map(str, folder.glob("**/*.parquet")))


def _records(paths: Iterable[str]) -> Iterator[dict[str, Any]]:
  for path in paths:
    if path.endswith(".parquet"):
      yield from pq.read_table(path, columns=["id", "text", "language"]
                               ).to_pylist()
      continue
    try:
      with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
          yield json.loads(line)
    except OSError as error:
      raise ConfigError(f"{path} cannot be read: {error}.") from error
