"""Settings of the experiments between the web and clean text.

The stages themselves are in `config_crawl.py`.
"""

from __future__ import annotations

import dataclasses

from llm_jax.config_crawl import StagesConfig, require_positive
from llm_jax.config_parts import require, require_choice, setting


@dataclasses.dataclass(frozen=True)
class InputConfig:
  """Where pages come from, and what is too large to be one."""
  paths: tuple[str, ...] = setting(
      ("runs/crawl",), "files, directories or globs of .warc.gz, .warc, "
      ".wet.gz, .jsonl, .jsonl.gz, .jsonl.zst or .parquet; each is a dump of "
      "its own")
  text_column: str = setting("text", "field of the text in records")
  html: bool = setting(False, "records hold HTML, to be extracted")
  max_record_mb: float = setting(16.0, "a larger record is skipped, counted "
                                 "and named by its offset")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    require(bool(self.paths) and all(self.paths), "input.paths is empty; give "
            "the files, directories or globs of a crawl.")
    require_positive("input", max_record_mb=self.max_record_mb)


@dataclasses.dataclass(frozen=True)
class ExecutorConfig:
  """Where the tasks run; the stages are the same."""
  kind: str = setting("local", "local | slurm | ray")
  tasks: int = setting(0, "parts of the work, each redone as a whole if it was "
                       "killed; 0: one for each input file, at most 1,000")
  workers: int = setting(0, "tasks at once; 0: local: one for each core")
  partition: str = setting("", "slurm: partition")
  time: str = setting("24:00:00", "slurm: time limit of a task")
  cpus_per_task: int = setting(1, "slurm and ray: cores of a task")
  memory_per_cpu_gb: int = setting(2, "slurm and ray: memory of a core")
  setup: str = setting("", "slurm: shell line before a task, such as "
                       "'source .venv/bin/activate'")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    require_choice("executor.kind", self.kind, ("local", "slurm", "ray"))
    for name in ("tasks", "workers"):
      require(getattr(self, name) >= 0, f"executor.{name} is "
              f"{getattr(self, name)}; it cannot be negative.")
    require_positive("executor", cpus_per_task=self.cpus_per_task,
                      memory_per_cpu_gb=self.memory_per_cpu_gb)
    require(self.kind != "slurm" or bool(self.partition), "executor.kind=slurm "
            "wants --executor.partition=NAME.")


@dataclasses.dataclass(frozen=True)
class CurateConfig:
  """experiments/curate.py"""
  input: InputConfig = setting(InputConfig(), "the crawl")
  curate: StagesConfig = setting(StagesConfig(), "stages")
  executor: ExecutorConfig = setting(ExecutorConfig(), "where it runs")
  workdir: str = setting("runs/curate", "directory of this run: documents/, "
                         "funnel.html, and what the stages hand on")
  format: str = setting("jsonl.gz", "jsonl.gz | parquet: of the documents")
  removed: str = setting("examples", "examples | ids | text: what is kept of "
                         "removed documents, in removed/")
  examples: int = setting(4, "removed documents shown for each reason")
  dry_run: bool = setting(False, "print what would run (slurm: the job "
                          "scripts) and exit")
  seed: int = setting(0, "hash functions, and which examples are shown")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    for part in (self.input, self.curate, self.executor):
      part.validate()
    require(bool(self.workdir), "workdir is empty; give a directory.")
    require_choice("format", self.format, ("jsonl.gz", "parquet"))
    require_choice("removed", self.removed, ("examples", "ids", "text"))


@dataclasses.dataclass(frozen=True)
class MakeSampleCrawlConfig:
  """experiments/make_sample_crawl.py"""
  output: str = setting("runs/crawl", "directory of the WARC files, of "
                        "truth.jsonl.gz and of validation.jsonl")
  pages: int = setting(20_000, "pages, the planted ones among them")
  files: int = setting(4, "WARC files of each dump")
  dumps: int = setting(1, "crawls of different times, each in a directory "
                       "dump-00, ... of its own if there are several, with "
                       "copies across them")
  languages: tuple[str, ...] = setting(("en", "fr", "es"), "of the articles")
  english_share: float = setting(0.7, "of the article pages")
  validation_fraction: float = setting(0.02, "English articles that are held "
                                       "out before any page is made")
  seed: int = setting(0, "everything that is drawn")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    require(bool(self.output), "output is empty; give a directory.")
    for name in ("files", "dumps"):
      require(getattr(self, name) > 0,
              f"{name} is {getattr(self, name)}; it must be positive.")
    require(self.pages >= 100, f"pages is {self.pages}; give at least 100, so "
            "that each kind of page is among them.")
    require(bool(self.languages) and set(self.languages) <= {"en", "fr", "es"},
            f"languages is {self.languages}; choose of en, fr, es.")
    for name in ("english_share", "validation_fraction"):
      require(0 <= getattr(self, name) <= 1, f"{name} is "
              f"{getattr(self, name)}; it is a share between 0 and 1.")


@dataclasses.dataclass(frozen=True)
class ScoreCrawlConfig:
  """experiments/score_crawl.py"""
  truth: str = setting("runs/sample/crawl/truth.jsonl.gz", "truth file of "
                       "make_sample_crawl")
  workdir: str = setting("runs/sample/curate", "workdir of curate, run with "
                         "--removed=ids")
  output: str = setting("", "JSON file of all numbers; empty: score.json in "
                        "the workdir")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    require(bool(self.truth), "truth is empty; give the truth.jsonl.gz of a "
            "sample crawl.")
    require(bool(self.workdir), "workdir is empty; give that of curate.")


@dataclasses.dataclass(frozen=True)
class CrawlLocalConfig:
  """experiments/crawl_local.py"""
  start: tuple[str, ...] = setting((), "addresses to begin with, of this "
                                   "machine: http://localhost:8000/")
  output: str = setting("runs/local/crawl.warc.gz", "WARC file")
  max_pages: int = setting(1000, "pages at most")
  delay_s: float = setting(0.1, "seconds between two requests of a host, or "
                           "what its robots.txt asks for, if that is longer")
  timeout_s: float = setting(10.0, "seconds of one request at most")
  max_page_mb: float = setting(5.0, "a page is cut there and marked truncated")
  user_agent: str = setting("llm_jax-crawler", "name that robots.txt is asked "
                            "about")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    require(bool(self.start), "start is empty; give an address, such as "
            "--start=http://localhost:8000/.")
    require(self.output.endswith((".warc", ".warc.gz")), f"output is "
            f"{self.output}; it must end in .warc.gz or .warc.")
    for name in ("max_pages", "timeout_s", "max_page_mb"):
      require(getattr(self, name) > 0,
              f"{name} is {getattr(self, name)}; it must be positive.")
    require(self.delay_s >= 0, f"delay_s is {self.delay_s}; it cannot be "
            "negative.")
    require(bool(self.user_agent.strip()), "user_agent is empty; say who "
            "crawls.")


@dataclasses.dataclass(frozen=True)
class TrainQualityClassifierConfig:
  """experiments/train_quality_classifier.py"""
  data: str = setting("", "file, directory or glob of labelled documents "
                      "(.jsonl, .parquet): `text` and `label`, 0 to 1")
  output: str = setting("runs/quality_classifier", "directory of the model")
  text_column: str = setting("text", "field of the text")
  label_column: str = setting("label", "field of the label")
  ngrams: int = setting(2, "words of the longest n-gram")
  buckets: int = setting(65_536, "rows of the table that n-grams are hashed to")
  embed_dim: int = setting(16, "numbers of a row")
  epochs: int = setting(40, "passes over the documents")
  batch_size: int = setting(64, "documents of a step")
  learning_rate: float = setting(0.05, "Adam's")
  validation_fraction: float = setting(0.2, "held out to measure it")
  seed: int = setting(0, "initial values, order, and what is held out")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    require(bool(self.data), "data is empty; give labelled documents: "
            "--data=FILE.jsonl with `text` and `label`.")
    for name in ("ngrams", "buckets", "embed_dim", "epochs", "batch_size",
                 "learning_rate"):
      require(getattr(self, name) > 0,
              f"{name} is {getattr(self, name)}; it must be positive.")
    require(0 < self.validation_fraction < 1, "validation_fraction is "
            f"{self.validation_fraction}; it is a share between 0 and 1.")
