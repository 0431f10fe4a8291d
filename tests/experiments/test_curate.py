"""From pages to documents: whole runs, killed ones, other executors."""

import dataclasses
import gzip
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from experiments import curate
from llm_jax.config import ConfigError, CurateConfig
from llm_jax.config_crawl import DecontaminateConfig, DedupConfig, StagesConfig
from llm_jax.config_curate import ExecutorConfig, InputConfig
from llm_jax.data import wikipedia

ROOT = pathlib.Path(__file__).parents[2]
# The leads are short: three sentences will do.
FLAGS = ("--curate.gopher_quality.min_words=20",
         "--curate.gopher_quality.min_alpha_words=0.6",
         "--curate.c4.min_sentences=1", "--removed=ids")


def page(text: str, url: str) -> str:
  return json.dumps({"text": text, "id": url, "url": url})


@pytest.fixture(scope="module")
def dumps(tmp_path_factory):
  """Two dumps of two files: articles, copies within and across, junk, PII."""
  folder = tmp_path_factory.mktemp("dumps")
  articles = [a.extract for a in wikipedia.load_articles()
              if len(a.extract) > 600][:80]
  for dump, first in (("a", 0), ("b", 30)):
    (folder / dump).mkdir()
    for number in range(2):
      mine = articles[first + 25 * number:first + 25 * number + 25]
      lines = [page(text, f"http://{dump}{number}.example/{i}")
               for i, text in enumerate(mine[:-1])]
      lines.append(page(mine[0], f"http://copy{number}.example/{dump}"))
      lines.append(page(mine[1].replace(" the ", " this ", 1),
                        f"http://near{number}.example/{dump}"))
      lines.append(page("click here " * 60, f"http://x.example/{dump}{number}"))
      lines.append(page(mine[-1] + "\nWrite to jane.doe@mail-domain.org or "
                        "call +1 415-555-2671 about it, she will answer soon.",
                        f"http://pii{number}.example/{dump}"))
      (folder / dump / f"{number}.jsonl").write_text("\n".join(lines) + "\n")
  return folder


def config(dumps, workdir, names="ab", **curate_settings) -> CurateConfig:
  stages = StagesConfig(
      gopher_quality=dataclasses.replace(StagesConfig().gopher_quality,
                                         min_words=20, min_alpha_words=0.6),
      c4=dataclasses.replace(StagesConfig().c4, min_sentences=1))
  return CurateConfig(
      input=InputConfig(paths=tuple(str(dumps / name) for name in names)),
      curate=dataclasses.replace(stages, **curate_settings),
      executor=ExecutorConfig(workers=1), workdir=str(workdir), removed="ids")


def written(workdir, *folders) -> dict[str, bytes]:
  """What a run leaves for others, without the times."""
  files = {str(file.relative_to(workdir)): file.read_bytes()
           for folder in folders or ("documents", "removed")
           for file in sorted((workdir / folder).rglob("*.*"))}
  funnel = json.loads((workdir / "funnel.json").read_text())
  return files | {"funnel": json.dumps(without_seconds(funnel)).encode()}


def without_seconds(value):
  if isinstance(value, dict):
    return {key: without_seconds(item) for key, item in value.items()
            if "second" not in key}
  if isinstance(value, list):
    return [without_seconds(item) for item in value]
  return value


def texts(workdir) -> dict[str, str]:
  """url -> text of the documents."""
  found = {}
  for file in sorted((workdir / "documents").rglob("*.jsonl.gz")):
    for line in gzip.decompress(file.read_bytes()).splitlines():
      record = json.loads(line)
      found[record["url"]] = record["text"]
  return found


@pytest.fixture(scope="module")
def whole(dumps, tmp_path_factory):
  """An uninterrupted run."""
  workdir = tmp_path_factory.mktemp("whole") / "run"
  funnel = curate.run(config(dumps, workdir))
  return workdir, funnel


def test_a_run(whole, capsys):
  workdir, funnel = whole
  documents = texts(workdir)
  # 24 articles and the page with an address, of each of two files of two dumps;
  # an article with a list in it may go.
  assert 92 <= len(documents) <= 100
  urls = set(documents)
  assert not any("x.example" in url for url in urls)
  # One of each pair of copies, whichever comes first in its file.
  for dump in "ab":
    for number in range(2):
      assert f"http://{dump}{number}.example/0" in urls
      assert f"http://copy{number}.example/{dump}" not in urls
      assert f"http://near{number}.example/{dump}" not in urls
  shown = [text for url, text in documents.items() if "pii" in url]
  assert all("jane.doe" not in text and "555" not in text for text in shown)
  assert all("[EMAIL]" in text and "[PHONE]" in text for text in shown)
  stages = [stage["stage"] for stage in funnel["stages"]]
  assert stages[0] == "read" and stages[-1] == "write"
  assert funnel["stages"][0]["documents_out"] == 112
  assert funnel["stages"][-1]["documents_out"] == len(documents)
  page_text = (workdir / "funnel.html").read_text()
  assert "jane.doe" not in page_text and "gopher" in page_text


def test_again_there_is_nothing_to_do(whole, dumps):
  workdir, _ = whole
  before = written(workdir)
  times = {file: file.stat().st_mtime_ns
           for file in (workdir / "documents").rglob("*.gz")}
  curate.run(config(dumps, workdir))
  assert written(workdir) == before
  assert times == {file: file.stat().st_mtime_ns for file in times}


def test_another_setting_is_another_run(whole, dumps):
  workdir, _ = whole
  with pytest.raises(ConfigError, match="curate.language_threshold=0.65"):
    curate.run(config(dumps, workdir, language_threshold=0.5))
  # Where it runs makes no difference to what it writes.
  again = dataclasses.replace(config(dumps, workdir),
                              executor=ExecutorConfig(workers=2))
  curate.run(again)


def test_copies_across_dumps(whole, dumps, tmp_path):
  workdir, _ = whole
  apart = texts(workdir)
  twins = {"http://a1.example/5", "http://b0.example/0"}  # article 30
  assert twins <= set(apart)
  curate.run(config(dumps, tmp_path, dedup=DedupConfig(scope="all")))
  together = texts(tmp_path)
  assert set(together) < set(apart)
  assert len(twins & set(together)) == 1
  # 20 articles are in both, but that the last of a file has another line.
  assert 15 <= len(apart) - len(together) <= 20


def test_evaluation_sets_are_left_out(whole, dumps, tmp_path):
  documents = texts(whole[0])
  url, text = next(iter(documents.items()))
  held_out = tmp_path / "held_out.jsonl"
  held_out.write_text(json.dumps({"question": text[100:300]}) + "\n")
  curate.run(config(dumps, tmp_path / "run", names="a",
                    decontaminate=DecontaminateConfig(
                        against=(str(held_out),))))
  assert url not in texts(tmp_path / "run")


def start(dumps, workdir, *flags) -> subprocess.Popen:
  paths = ",".join(str(dumps / name) for name in "ab")
  return subprocess.Popen(
      [sys.executable, "-m", "experiments.curate", f"--input.paths={paths}",
       f"--workdir={workdir}", *FLAGS, *flags], cwd=ROOT,
      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
      start_new_session=True)


def wait_for(condition, process) -> None:
  for _ in range(6000):
    if condition() or process.poll() is not None:
      return
    time.sleep(0.01)
  raise AssertionError("nothing happened for a minute")


@pytest.mark.slow
def test_killed_at_any_stage_it_goes_on(whole, dumps, tmp_path):
  """Killed in filtering, deduplication and writing, and ended at last."""
  workdir = tmp_path / "run"
  kills = 0
  # A file of each phase: when it is there, the phase is at work.
  for sign in ("logs/filter-a/executor.json", "filtered/b", "dedup/a",
               "dedup/b", "logs/finish-b/executor.json"):
    process = start(dumps, workdir, "--executor.workers=2")
    wait_for((workdir / sign).exists, process)
    if process.poll() is None:
      os.killpg(process.pid, signal.SIGKILL)
      kills += 1
    process.communicate()
  assert kills >= 4
  process = start(dumps, workdir, "--executor.workers=2")
  output, _ = process.communicate(timeout=120)
  assert process.returncode == 0, output
  assert written(workdir) == written(whole[0])


def test_finished_tasks_are_not_done_again(dumps, tmp_path):
  workdir = tmp_path / "run"
  process = start(dumps, workdir, "--executor.workers=1")
  wait_for((workdir / "logs/filter-a/completions/00000").exists, process)
  os.killpg(process.pid, signal.SIGKILL)
  process.communicate()
  first = workdir / "filtered/a/00000.jsonl.gz"
  stamp = first.stat().st_mtime_ns
  process = start(dumps, workdir, "--executor.workers=1")
  output, _ = process.communicate(timeout=120)
  assert process.returncode == 0, output
  assert first.stat().st_mtime_ns == stamp


def test_slurm_scripts(dumps, tmp_path, capsys):
  workdir = tmp_path / "run"
  assert curate.run(dataclasses.replace(
      config(dumps, workdir), dry_run=True, executor=ExecutorConfig(
          kind="slurm", partition="cpu", time="02:00:00", cpus_per_task=3,
          setup="source env/bin/activate"))) == {}
  out = capsys.readouterr().out
  for line in ("# --- filter-a", "# --- finish-b", "# --- report",
               "#SBATCH --partition=cpu", "#SBATCH --time=02:00:00",
               "#SBATCH --cpus-per-task=3", "#SBATCH --array=0-1",
               "source env/bin/activate", "launch_pickled_pipeline"):
    assert line in out, line
  assert not (workdir / "config.json").exists()


def test_the_local_plan(dumps, tmp_path, capsys):
  curate.run(dataclasses.replace(config(dumps, tmp_path / "run"),
                                 dry_run=True))
  lines = capsys.readouterr().out.splitlines()
  assert lines[0].startswith("filter-a: 2 tasks: read, url, extract, language")
  assert lines[-1] == "report: 1 tasks: FunnelReport"
  assert not (tmp_path / "run").exists()


def test_no_sbatch_no_jobs(dumps, tmp_path, monkeypatch):
  monkeypatch.setenv("PATH", str(tmp_path))
  with pytest.raises(ConfigError, match="no sbatch"):
    curate.run(dataclasses.replace(
        config(dumps, tmp_path / "run"),
        executor=ExecutorConfig(kind="slurm", partition="cpu")))


def test_jobs_wait_for_each_other(dumps, tmp_path, monkeypatch):
  """A stand-in for sbatch that notes its arguments and numbers the jobs."""
  bin_folder = tmp_path / "bin"
  bin_folder.mkdir()
  script = bin_folder / "sbatch"
  script.write_text(
      f"#!{sys.executable}\nimport pathlib, sys\n"
      f"log = pathlib.Path({str(tmp_path / 'jobs')!r})\n"
      "lines = log.read_text().splitlines() if log.exists() else []\n"
      "log.write_text('\\n'.join(lines + [' '.join(sys.argv[1:-1])]) + '\\n')\n"
      "print('Submitted batch job', 100 + len(lines))\n")
  script.chmod(0o755)
  monkeypatch.setenv("PATH", f"{bin_folder}{os.pathsep}{os.environ['PATH']}")
  assert curate.run(dataclasses.replace(
      config(dumps, tmp_path / "run", names="a"),
      executor=ExecutorConfig(kind="slurm", partition="cpu"))) == {}
  jobs = [line for line in (tmp_path / "jobs").read_text().splitlines()
          if "RUN_OFFSET" in line]
  assert "--dependency" not in jobs[0]
  assert all("--dependency=afterok:" in job for job in jobs[1:])
  assert len(jobs) >= 5


@pytest.mark.reference
def test_ray_writes_the_same(whole, dumps, tmp_path):
  ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
  ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False,
           logging_level="WARNING")
  try:
    curate.run(dataclasses.replace(
        config(dumps, tmp_path / "run"),
        executor=ExecutorConfig(kind="ray", workers=2, memory_per_cpu_gb=1)))
  finally:
    ray.shutdown()
  assert written(tmp_path / "run") == written(whole[0])


@pytest.mark.parametrize("flags, told", [
    (["--input.paths=/nowhere/at/all"], "/nowhere/at/all does not exist"),
    (["--curate.language_model=/no/model.bin"], "/no/model.bin"),
    (["--curate.url.blocklist=/no/list.txt"], "/no/list.txt"),
    (["--curate.decontaminate.against=/no/set.jsonl"], "/no/set.jsonl"),
    (["--curate.dedup.index=/no/index"], "/no/index"),
    (["--curate.classifier.enabled"], "--curate.classifier.model=DIRECTORY"),
    (["--curate.languages=en:2"], "'en:2'"),
    (["--executor.kind=slurm"], "--executor.partition"),
])
def test_bad_settings(dumps, tmp_path, flags, told):
  paths = [] if any("input.paths" in flag for flag in flags) else [
      f"--input.paths={dumps / 'a'}"]
  done = subprocess.run(
      [sys.executable, "-m", "experiments.curate", *paths,
       f"--workdir={tmp_path / 'run'}", *flags], cwd=ROOT,
      capture_output=True, text=True, timeout=60)
  assert done.returncode == 2, done.stderr
  assert told in done.stderr and "Traceback" not in done.stderr
  assert not (tmp_path / "run").exists()
