"""Self-play: a tiny run, its files, a kill and a restart, bad settings."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from llm_jax.config import ConfigError, SelfplayConfig
from llm_jax.config_flags import parse
from llm_jax.metrics import TIMINGS

ROOT = pathlib.Path(__file__).parents[2]
TINY = ["--game.rows=4", "--game.columns=4", "--game.connect=3",
        "--game.opening_plies=2", "--model.embed_dim=16",
        "--model.num_layers=1", "--model.num_heads=2", "--model.num_kv_heads=2",
        "--model.head_dim=8", "--model.mlp_dim=32", "--model.init_std=0.1",
        "--imitation.num_steps=12", "--imitation.batch_size=16",
        "--imitation.eval_every=6", "--imitation.checkpoint.every=4",
        "--imitation.logging.every=1", "--noimitation.logging.tensorboard",
        "--improvement.num_steps=10", "--improvement.batch_size=16",
        "--improvement.eval_every=5", "--improvement.checkpoint.every=4",
        "--improvement.pool_every=3", "--improvement.pool_size=2",
        "--improvement.logging.every=1", "--noimprovement.logging.tensorboard",
        "--match.pairs=8", "--match.final_pairs=16", "--match.bootstraps=50",
        "--match.rivals=1,3", "--search.simulations=4", "--search.pairs=4"]


def start(workdir, *flags):
  environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {
      "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT),
      "XLA_FLAGS": "--xla_backend_optimization_level=0",
      "JAX_COMPILATION_CACHE_DIR": str(workdir.parent / "compiled"),
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
  return subprocess.Popen(
      [sys.executable, "-m", "experiments.selfplay", f"--workdir={workdir}",
       *TINY, *flags], env=environment, cwd=ROOT, stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT, text=True)


def records(workdir, stage):
  lines = (workdir / stage / "metrics.jsonl").read_text().splitlines()
  return [{k: v for k, v in json.loads(line).items() if k not in TIMINGS}
          for line in lines]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """(workdir, console) of a run that nothing interrupted."""
  workdir = tmp_path_factory.mktemp("selfplay") / "whole"
  process = start(workdir, f"--output={workdir.parent}/figure")
  told, _ = process.communicate(timeout=900)
  assert process.returncode == 0, told[-4000:]
  return workdir, told


@pytest.mark.slow
def test_everything_is_told(whole):
  workdir, told = whole
  report = json.loads((workdir / "selfplay.json").read_text())
  assert [p["step"] for p in report["imitation"]["curve"]] == [0, 6, 12]
  assert [p["step"] for p in report["improvement"]["curve"]] == [0, 5, 10]
  # The imitator is where self-play begins.
  ends = (report["imitation"]["curve"][-1], report["improvement"]["curve"][0])
  assert ends[0]["elo"] == ends[1]["elo"]
  games = {(m["player"], m["opponent"]): m["games"] for m in report["matches"]}
  assert games["self-play, greedy", "depth 2, 20% random"] == 32
  assert games["self-play, greedy", "imitation, greedy"] == 32
  assert games["depth 3", "depth 2, 20% random"] == 32
  assert games["self-play, 4 simulations", "depth 3"] == 8
  assert "imitation: scratch" in told and "improvement: init_from" in told
  assert "ETA" in told
  for file in (workdir / "selfplay.svg", workdir.parent / "figure.svg"):
    assert "self-play" in file.read_text()
  ratios = [r["ratio_error_first"] for r in records(workdir, "improvement")
            if "ratio_error_first" in r]
  assert len(ratios) == 10 and max(ratios) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["imitation", "improvement"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_and_started_again_it_is_the_same_run(whole, tmp_path, stage,
                                                     number):
  whole_dir, _ = whole
  (tmp_path / "compiled").symlink_to(whole_dir.parent / "compiled")
  workdir = tmp_path / "killed"
  process = start(workdir)
  # The save of step 8 waits for that of step 4, so there is time.
  saved = workdir / stage / "checkpoints" / "4"
  deadline = time.monotonic() + 600
  while time.monotonic() < deadline and not saved.exists():
    time.sleep(0.005)
  process.send_signal(number)
  told, _ = process.communicate(timeout=600)
  assert process.returncode == (-9 if number == signal.SIGKILL else 75), told
  assert not (workdir / stage / "results.json").exists()
  again = start(workdir)
  told, _ = again.communicate(timeout=900)
  assert again.returncode == 0 and f"{stage}: resumed" in told, told[-4000:]
  for name in ("imitation", "improvement"):
    assert records(workdir, name) == records(whole_dir, name)
  reports = [json.loads((d / "selfplay.json").read_text())["matches"]
             for d in (workdir, whole_dir)]
  assert reports[0] == reports[1]


@pytest.mark.parametrize("flags, told", [
    (["--game.connect=9"], "must fit on 6 x 7"),
    (["--game.opening_plies=7"], "no opening is won"),
    (["--teacher.depth=0"], "1 to 8 plies"),
    (["--teacher.random_share=1.2"], "share from 0 to 1"),
    (["--improvement.gae_lambda=2"], "gae_lambda is 2.0"),
    (["--improvement.batch_size=510", "--improvement.updates=4"],
     "dealt out evenly"),
    (["--improvement.pool_every=0"], "pool_every is 0"),
    (["--imitation.seq_len=12"], "the experiment decides it"),
    (["--improvement.init_from=x"], "the experiment decides it"),
    (["--model.max_seq_len=40"], "less than the 42 moves"),
    (["--match.pairs=1"], "at least 2"),
    (["--match.rivals=9"], "depths from 1 to 8"),
    (["--search.simulations=-1"], "cannot be negative"),
    (["--output=docs/selfplay.svg"], "without its ending")])
def test_what_cannot_work_is_told(flags, told):
  with pytest.raises(ConfigError, match=told):
    parse(SelfplayConfig, ["selfplay", *flags])


def test_another_vocabulary_is_refused(tmp_path):
  from experiments import selfplay
  config = parse(SelfplayConfig, ["selfplay", f"--workdir={tmp_path}/run",
                                  "--model.vocab_size=100"])
  with pytest.raises(ConfigError, match="88 tokens; leave it 0"):
    selfplay.run(config)
