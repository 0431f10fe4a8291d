"""Torn checkpoints and full disks, of a whole run: `experiments.pretrain`.

Whatever befalls it, a run ends with the losses of one that nothing befell. What
counts as damage is in tests/training/test_integrity.py.
"""

import contextlib
import json
import resource
import shutil
import signal
import subprocess
import threading
import time

import pytest

from experiments import pretrain
from llm_jax.config import TokenizerConfig
from llm_jax.metrics import TIMINGS, MetricLogger
from llm_jax.tokenizer.bpe import train_bpe
from llm_jax.training.checkpoints import Checkpointer
from tiny_runs import TINY_MODEL

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings(
    # Of the tensors of a failed save, when Orbax waits for them no longer.
    r"ignore:(?s).*Event loop is closed"
    ":pytest.PytestUnraisableExceptionWarning")]
STEPS = 8


@pytest.fixture
def at_step(monkeypatch):
  """at_step({step: function}): what is called once that step is dispatched."""
  log = MetricLogger.log

  def arrange(calls):
    def log_and_call(self, step, metrics):
      log(self, step, metrics)
      if step in calls:
        calls[step]()
    monkeypatch.setattr(MetricLogger, "log", log_and_call)
  return arrange


@pytest.fixture(scope="module")
def flags(files, tmp_path_factory):
  tokenizer = tmp_path_factory.mktemp("tokenizer")
  train_bpe([(files / "book.txt").read_text()],
            TokenizerConfig(vocab_size=290)).save(tokenizer)
  return (*TINY_MODEL, f"--data.path={files}/texts.jsonl",
          f"--data.tokenizer={tokenizer}", "--data.validation_fraction=0.1",
          "--seq_len=16", "--batch_size=8", f"--num_steps={STEPS}",
          "--eval_every=4", "--sample_tokens=0", "--checkpoint.every=2",
          "--checkpoint.keep=3", "--logging.every=1", "--seed=3",
          "--optimizer.warmup_steps=2")


def records(run):
  return [{k: v for k, v in json.loads(line).items() if k not in TIMINGS}
          for line in (run / "metrics.jsonl").read_text().splitlines()]


def checkpoints(run):
  return sorted(p.name for p in (run / "checkpoints").iterdir())


@pytest.fixture
def whole(flags, command, tmp_path_factory):
  """What a run that nothing befalls has written."""
  run = tmp_path_factory.getbasetemp() / "undamaged"
  if not run.exists():
    code, _, err = command(pretrain, *flags, f"--workdir={run}")
    assert code == 0, err
  return records(run)


@pytest.fixture
def begun(flags, command, at_step, tmp_path, tmp_path_factory):
  """A copy of a run that was stopped at step 5: saved are 2, 4 and 5."""
  first = tmp_path_factory.getbasetemp() / "begun"
  if not first.exists():
    at_step({5: lambda: signal.raise_signal(signal.SIGTERM)})
    code, _, err = command(pretrain, *flags, f"--workdir={first}")
    assert code == 75, err
    at_step({})
  shutil.copytree(first, tmp_path / "run")
  assert checkpoints(tmp_path / "run") == ["2", "4", "5"]
  return tmp_path / "run"


def biggest(checkpoint, item):
  return max((p for p in (checkpoint / item).rglob("*") if p.is_file()),
             key=lambda p: p.stat().st_size)


def alter(change):
  """A damage: the biggest file of the parameters has other bytes."""
  def damage(checkpoint):
    path = biggest(checkpoint, "params")
    path.write_bytes(change(path.read_bytes()))
  return damage


def flipped(raw):
  """One bit of it, in the middle."""
  middle = len(raw) // 2
  return raw[:middle] + bytes([raw[middle] ^ 16]) + raw[middle + 1:]


DAMAGES = {
    "a flipped bit": (alter(flipped), "are not those that were written"),
    "torn": (alter(lambda raw: raw[:len(raw) // 2]), "bytes in place of"),
    # As a journal leaves it whose data never reached the disk.
    "zeros": (alter(lambda raw: bytes(len(raw))),
              "are not those that were written"),
    "empty": (alter(lambda raw: b""), "has 0 bytes in place of"),
    "a file is gone": (lambda c: biggest(c, "optimizer").unlink(),
                       "is missing"),
    "an item is gone": (lambda c: shutil.rmtree(c / "data"),
                        "data is missing"),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_the_run_says_so_and_goes_on_from_the_one_before(
    flags, command, whole, begun, kind):
  damage, told = DAMAGES[kind]
  damage(begun / "checkpoints/5")
  code, out, err = command(pretrain, *flags, f"--workdir={begun}")
  assert code == 0, err
  line = next(x for x in out.splitlines() if "damaged" in x)
  assert line.startswith("checkpoint 5 is damaged: ") and told in line
  assert f"{begun}/checkpoints/5.damaged" in line
  assert line.endswith("the run goes on from step 4")
  assert f"pretrain: resumed, step 4 of {STEPS}" in out
  assert records(begun) == whole
  assert "5.damaged" in checkpoints(begun)


def test_two_damaged_ones_are_both_put_aside(flags, command, whole, begun):
  for step in (4, 5):
    DAMAGES["torn"][0](begun / f"checkpoints/{step}")
  code, out, err = command(pretrain, *flags, f"--workdir={begun}")
  assert code == 0, err
  assert out.count("is damaged: ") == 2
  assert f"pretrain: resumed, step 2 of {STEPS}" in out
  assert records(begun) == whole


def test_where_none_is_whole_the_run_does_not_begin_anew(flags, command, begun):
  for step in (2, 4, 5):
    DAMAGES["torn"][0](begun / f"checkpoints/{step}")
  code, _, err = command(pretrain, *flags, f"--workdir={begun}")
  assert code == 2 and "all checkpoints in" in err
  assert checkpoints(begun) == ["2", "4", "5"]


class SmallDisk:
  """A file system of 8 MiB in memory; `full` leaves no byte of it."""
  told = "No space left on device (ENOSPC)"

  def __init__(self, directory):
    self.directory = directory
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", directory],
        capture_output=True, text=True)
    if mounted.returncode:
      pytest.skip(f"no file system can be mounted: {mounted.stderr.strip()}")

  def full(self):
    with contextlib.suppress(OSError), open(
        self.directory / "filler", "wb", buffering=0) as file:
      while file.write(bytes(4096)):
        pass

  def emptied(self):
    (self.directory / "filler").unlink(missing_ok=True)

  def close(self):
    subprocess.run(["umount", "-l", self.directory], check=True)


class SmallFiles:
  """While `full`, no file can grow past 32 KiB: the kernel refuses to write."""
  told = "File too large (EFBIG)"

  def __init__(self, directory):
    self.directory = directory
    self.before = resource.getrlimit(resource.RLIMIT_FSIZE)

  def full(self):
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 15, self.before[1]))

  def emptied(self):
    resource.setrlimit(resource.RLIMIT_FSIZE, self.before)

  close = emptied


@pytest.fixture(params=[SmallDisk, SmallFiles])
def disk(request, tmp_path):
  (tmp_path / "disk").mkdir()
  made = request.param(tmp_path / "disk")
  yield made
  made.close()


@pytest.fixture
def told(monkeypatch):
  """Set once a save has failed, which is found out in the background."""
  tell, event = Checkpointer._tell, threading.Event()

  def tell_and_set(self, error):
    tell(self, error)
    event.set()
  monkeypatch.setattr(Checkpointer, "_tell", tell_and_set)
  return event


def filled_once_saved(disk, run, step):
  """Fills the disk when the checkpoint of `step` is whole."""
  def fill():
    until = time.monotonic() + 60
    while not (run / f"checkpoints/{step}").exists():
      assert time.monotonic() < until
      time.sleep(0.01)
    disk.full()
  return fill


def test_training_goes_on_where_a_disk_is_full_for_a_while(
    flags, command, whole, at_step, disk, told):
  run = disk.directory / "run"

  def empty():
    assert told.wait(60)
    disk.emptied()
  at_step({3: filled_once_saved(disk, run, 2), 5: empty})
  code, out, err = command(pretrain, *flags, f"--workdir={run}")
  assert code == 0, err
  line = next(x for x in out.splitlines() if "could not be saved" in x)
  assert line.startswith("the checkpoint of step 4 could not be saved in "
                         f"{run}/checkpoints: {disk.told}")
  assert "GiB are free there" in line and "Training goes on" in line
  assert out.count("could not be saved") == 1, out
  assert checkpoints(run) == ["2", "6", "8"]
  assert records(run) == whole
  assert (run / "results.json").exists()


def test_where_it_stays_full_the_run_goes_on_later(flags, command, whole,
                                                   at_step, disk):
  run = disk.directory / "run"
  at_step({3: filled_once_saved(disk, run, 2)})
  code, out, err = command(pretrain, *flags, f"--workdir={run}")
  assert code == 2
  assert f"step {STEPS} could not be saved" in err and disk.told in err
  assert "newest checkpoint is of step 2" in err
  assert f"step {STEPS}/{STEPS} | loss" in out  # it went on to the end
  disk.emptied()
  at_step({})
  code, out, err = command(pretrain, *flags, f"--workdir={run}")
  assert code == 0, err
  assert f"pretrain: resumed, step 2 of {STEPS}" in out
  assert records(run) == whole
