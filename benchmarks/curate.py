"""Pages to filtered text: our first phase against a plain datatrove pipeline.

    python -m benchmarks.curate --workers=1
    python -m benchmarks.curate --workers=2

Both read the same sample crawl (its damaged records left out), extract with
trafilatura and FineWeb's settings, and run the Gopher, C4 and FineWeb filters
with the same word splitter. Ours is the recipe's first phase as
`experiments/curate.py` runs it, its books of the funnel and its bounds of time
and memory included. datatrove's is made of its own steps, with a reader over
`warcio` (its own wants libmagic and stops at the first broken record), and is
run thrice: with an extractor that waits a minute for a page, and does without a
table of segments of earlier pages, so that it loses none, as far as it can
(this is what the ratio is taken against); with its defaults, one second and
that table; and with its default words, spaCy's. The stages of
addresses and languages are left out on both sides: datatrove's want a network.

Each run is a process of its own, the sides in turn, the median of `--repeats`.
A rate counts the pages that were kept, in a second of the whole run, workers
started and packages imported; the ratio of processor time, which is known for
one worker, is disturbed less by a busy machine. On two cores, whatever the
machine has: with one worker ours extracts on one, and reads and filters on the
other, which datatrove's does in turn. `--slow_pages=8` puts pages among the
others that take an extractor seconds, to see what is lost. Prints one JSON line
and appends a row to `benchmarks/RESULTS.md`; a ratio above 1 says ours is
faster. Needs the extra `reference`.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from typing import Any

from absl import app
from absl import flags

from benchmarks.results import append_row, surroundings

_CRAWL = flags.DEFINE_string("crawl", "", "directory of a sample crawl; empty: "
                             "one is made")
_PAGES = flags.DEFINE_integer("pages", 4000, "pages of that crawl", 100)
_WORKERS = flags.DEFINE_integer("workers", 1, "tasks at once", 1)
_SLOW = flags.DEFINE_integer("slow_pages", 0, "pages among them that take an "
                            "extractor seconds", 0)
_REPEATS = flags.DEFINE_integer("repeats", 3, "runs of each side", 1)
_APPEND = flags.DEFINE_bool("append", True, "append to benchmarks/RESULTS.md")
_SIDE = flags.DEFINE_string("side", "", "run only this side, on --crawl as it "
                            "is (for the benchmark's own processes)")

CORES = 2
FILES = 4
SLOW_PARAGRAPHS = 50_000
PATIENT_S = 60.0
PACKAGES = ("datatrove", "trafilatura", "resiliparse", "fastwarc", "warcio",
            "spacy")
SIDES = ("llm_jax", "datatrove", "datatrove_1s", "datatrove_spacy",
         "llm_jax_resiliparse")
COLUMNS = ("date", "workers", "ratio", "ratio_cpu_time", "ratio_1s",
           "ratio_spacy", "resiliparse_gain", "llm_jax_kept_per_s",
           "datatrove_kept_per_s", "llm_jax_pages_per_s",
           "datatrove_pages_per_s", "pages", "slow_pages", "llm_jax_kept",
           "datatrove_kept", "lost_llm_jax", "lost_datatrove",
           "lost_datatrove_1s", "repeats", "load_average")


def make_crawl(folder: pathlib.Path, pages: int) -> pathlib.Path:
  """A sample crawl of so many pages."""
  from experiments import make_sample_crawl
  from llm_jax.config import MakeSampleCrawlConfig
  make_sample_crawl.run(MakeSampleCrawlConfig(
      output=str(folder), pages=pages, files=FILES))
  return folder


def whole_records(crawl: pathlib.Path, folder: pathlib.Path,
                  slow_pages: int) -> int:
  """Copies the records that are not damaged, slow ones at equal distances
  among them; returns how many pages."""
  from llm_jax.data.crawl.records import read_records
  from llm_jax.data.crawl.streams import Window
  folder.mkdir()
  records: dict[str, list[bytes]] = {}
  for path in sorted(crawl.glob("*.warc.gz")):
    with path.open("rb") as raw:
      records[path.name] = [record.data for record in read_records(
          Window(raw, "gzip"), 1 << 24, lambda *_: None)]
  files = list(records.values())
  for number in range(slow_pages):
    of_file = files[number % len(files)]
    of_file.insert(len(of_file) * (number + 1) // (slow_pages + 1),
                   slow_record(number))
  for name, of_file in records.items():
    (folder / name).write_bytes(b"".join(
        gzip.compress(data + b"\r\n\r\n", 6) for data in of_file))
  return sum(map(len, files))


def slow_record(number: int) -> bytes:
  """A page that costs trafilatura the square of its many paragraphs."""
  page = (b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
          b"<html><body><article>" + b"<p>One of many.</p>" * SLOW_PARAGRAPHS
          + b"</article></body></html>")
  return (f"WARC/1.0\r\nWARC-Type: response\r\n"
          f"WARC-Record-ID: <urn:uuid:{uuid.UUID(int=number)}>\r\n"
          f"WARC-Target-URI: http://slow.example/{number}\r\n"
          "WARC-Date: 2024-01-01T00:00:00Z\r\n"
          "Content-Type: application/http; msgtype=response\r\n"
          f"Content-Length: {len(page)}\r\n\r\n").encode() + page


def our_side(crawl: str, workdir: str, workers: int,
             extractor: str) -> dict[str, int]:
  """The recipe's first phase: pages kept, and lost by the extractor."""
  from llm_jax.config import CurateConfig
  from llm_jax.config_crawl import (
      DecontaminateConfig, DedupConfig, ExtractConfig, PiiConfig, StagesConfig,
      UrlConfig)
  from llm_jax.config_curate import ExecutorConfig, InputConfig
  from llm_jax.data.crawl import executors, recipe
  config = CurateConfig(
      input=InputConfig(paths=(crawl,)), workdir=workdir,
      curate=StagesConfig(
          url=UrlConfig(enabled=False), languages=(), language_threshold=0.0,
          extract=ExtractConfig(extractor=extractor),
          dedup=DedupConfig(exact=False, minhash=False),
          decontaminate=DecontaminateConfig(enabled=False),
          pii=PiiConfig(enabled=False)),
      executor=ExecutorConfig(workers=workers))
  phase = next(phase for phase in recipe.phases(config)
               if phase.name.startswith("filter-"))
  # Languages cannot be switched off, and datatrove's are left out, too.
  steps = tuple(step for step in phase.steps
                if getattr(step, "stage", "") != "language")
  executors.make_executor(type(phase)(phase.name, steps, phase.tasks),
                          config.executor, workdir).run()
  lost = 0
  for path in pathlib.Path(workdir).glob("tallies/*/*/*_extract.json"):
    reasons = json.loads(path.read_text())["reasons"]
    lost += sum(reasons.get(reason, [0])[0]
                for reason in ("timeout", "memory", "error"))
  return {"kept": count_lines(f"{workdir}/filtered"), "lost": lost}


def datatrove_side(crawl: str, workdir: str, workers: int, timeout_s: float,
                   words: str) -> dict[str, int]:
  """datatrove's own steps: pages kept, and lost by the extractor."""
  from datatrove.executor import LocalPipelineExecutor
  from datatrove.pipeline.extractors import Trafilatura
  from datatrove.pipeline.filters import (
      C4QualityFilter, FineWebQualityFilter, GopherQualityFilter,
      GopherRepetitionFilter)
  from datatrove.pipeline.writers import JsonlWriter

  from benchmarks.warcio_reader import WarcioReader
  from llm_jax.data.crawl.words import word_tokenizer
  language = word_tokenizer("unicode") if words == "unicode" else "en"
  executor = LocalPipelineExecutor(
      pipeline=[
          WarcioReader(crawl),
          Trafilatura(timeout=timeout_s, deduplicate=timeout_s < PATIENT_S),
          GopherRepetitionFilter(language=language),
          GopherQualityFilter(language=language),
          C4QualityFilter(filter_no_terminal_punct=False, language=language),
          FineWebQualityFilter(language=language),
          JsonlWriter(f"{workdir}/filtered")],
      tasks=FILES, workers=workers, logging_dir=f"{workdir}/logs")
  stats = executor.run()
  extracted = next(step for step in stats.stats if "Trafilatura" in step.name)
  lost = sum(int(extracted.stats[name].total)
             for name in ("timeout", "broken_process", "clean_error")
             if name in extracted.stats)
  return {"kept": count_lines(f"{workdir}/filtered"), "lost": lost}


def count_lines(folder: str) -> int:
  """Documents in a directory of .jsonl.gz files."""
  count = 0
  for path in pathlib.Path(folder).rglob("*.jsonl.gz"):
    with gzip.open(path) as lines:
      count += sum(1 for _ in lines)
  return count


def run_side(side: str, crawl: str, workers: int) -> dict[str, Any]:
  """One run of one side, in this process and those that it starts."""
  from loguru import logger
  logger.remove()
  with tempfile.TemporaryDirectory() as workdir:
    start = time.perf_counter()
    if side.startswith("llm_jax"):
      result = our_side(crawl, workdir, workers, "resiliparse" if
                        side.endswith("resiliparse") else "trafilatura")
    else:
      result = datatrove_side(
          crawl, workdir, workers, 1.0 if side.endswith("1s") else PATIENT_S,
          "spacy" if side.endswith("spacy") else "unicode")
    return result | {"seconds": time.perf_counter() - start}


def measure(crawl: str, workers: int, repeats: int) -> dict[str, dict]:
  """The run of median time of each side, the sides in turn."""
  runs: dict[str, list[dict]] = {side: [] for side in SIDES}
  for _ in range(repeats):
    for side in SIDES:
      before = _cpu_seconds()
      done = subprocess.run(
          [sys.executable, "-m", "benchmarks.curate", f"--side={side}",
           f"--crawl={crawl}", f"--workers={workers}"],
          capture_output=True, text=True, check=False)
      if done.returncode:
        raise RuntimeError(f"{side} failed:\n{done.stderr[-3000:]}")
      result = json.loads(done.stdout.splitlines()[-1])
      runs[side].append(result | {"cpu_seconds": _cpu_seconds() - before})
  return {side: {
      "seconds": statistics.median(run["seconds"] for run in results),
      "cpu_seconds": statistics.median(run["cpu_seconds"] for run in results),
      "kept": results[0]["kept"], "lost": max(run["lost"] for run in results)}
      for side, results in runs.items()}


def _cpu_seconds() -> float:
  """Processor time of all processes that this one has waited for."""
  used = resource.getrusage(resource.RUSAGE_CHILDREN)
  return used.ru_utime + used.ru_stime


def run(crawl: str, pages: int, slow_pages: int, workers: int,
        repeats: int) -> dict[str, Any]:
  """Measures all sides and returns the record.

  Raises:
    AssertionError: the sides do not keep about the same pages, so they do not
      do the same work.
  """
  with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder)
    source = pathlib.Path(crawl) if crawl else make_crawl(root / "crawl", pages)
    count = whole_records(source, root / "whole", slow_pages)
    sides = measure(str(root / "whole"), workers, repeats)
  kept_per_s = {side: result["kept"] / result["seconds"]
                for side, result in sides.items()}
  ours, theirs = sides["llm_jax"], sides["datatrove"]
  assert abs(ours["kept"] - theirs["kept"]) <= 0.03 * theirs["kept"] + 1, sides
  return {
      "benchmark": "curate", "workers": workers,
      "ratio": kept_per_s["llm_jax"] / kept_per_s["datatrove"],
      # Several workers are children of a server that is not waited for.
      "ratio_cpu_time": theirs["cpu_seconds"] / theirs["kept"] * ours["kept"]
                        / ours["cpu_seconds"] if workers == 1 else None,
      "ratio_1s": kept_per_s["llm_jax"] / kept_per_s["datatrove_1s"],
      "ratio_spacy": kept_per_s["llm_jax"] / kept_per_s["datatrove_spacy"],
      "resiliparse_gain": ours["seconds"]
                          / sides["llm_jax_resiliparse"]["seconds"],
      "llm_jax_kept_per_s": kept_per_s["llm_jax"],
      "datatrove_kept_per_s": kept_per_s["datatrove"],
      "llm_jax_pages_per_s": count / ours["seconds"],
      "datatrove_pages_per_s": count / theirs["seconds"],
      "pages": count, "slow_pages": slow_pages, "llm_jax_kept": ours["kept"],
      "datatrove_kept": theirs["kept"], "lost_llm_jax": ours["lost"],
      "lost_datatrove": theirs["lost"],
      "lost_datatrove_1s": sides["datatrove_1s"]["lost"],
      "sides": sides, "repeats": repeats,
  } | surroundings() | {"versions": {
      name: importlib.metadata.version(name) for name in PACKAGES}}


def main(argv: list[str]) -> None:
  """Runs the benchmark on two cores, whatever the machine has."""
  del argv
  if _SIDE.value:
    print(json.dumps(run_side(_SIDE.value, _CRAWL.value, _WORKERS.value)))
    return
  if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
  record = run(_CRAWL.value, _PAGES.value, _SLOW.value, _WORKERS.value,
               _REPEATS.value)
  print(json.dumps(record))
  if _APPEND.value:
    append_row(record, COLUMNS)


if __name__ == "__main__":
  app.run(main)
