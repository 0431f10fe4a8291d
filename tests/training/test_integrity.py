"""Damaged checkpoints are found, told and put aside; a full disk is survived.

Orbax itself does not notice a flipped bit in a tensor: docs/LOG.md.
"""

import contextlib
import os
import resource
import shutil

from etils import epath
import jax
import numpy as np
import pytest

from llm_jax.config import (
    CheckpointConfig, ConfigError, ModelConfig, OptimizerConfig,
    PretrainConfig, TokenizerConfig)
from llm_jax.tokenizer.bpe import train_bpe
from llm_jax.training import checkpoints, integrity, saved_models, startup
from llm_jax.training.optimizers import make_optimizer
from llm_jax.training.train_step import init_train_state

MODEL = ModelConfig(vocab_size=264, embed_dim=16, num_layers=1, num_heads=2,
                    num_kv_heads=2, head_dim=8, mlp_dim=32, max_seq_len=8)
TX = make_optimizer(OptimizerConfig(), 10)
ITEMS = ("params", "optimizer", "data", "loop", "config")
# Where one tensor cannot be written Orbax closes its event loop, and what
# TensorStore tells it of the others comes later: nobody waits for that.
failing_save = pytest.mark.filterwarnings(
    r"ignore:(?s).*Event loop is closed"
    ":pytest.PytestUnraisableExceptionWarning")


def open_run(directory, keep=3):
  return checkpoints.Checkpointer(
      str(directory), CheckpointConfig(keep=keep), MODEL, "pretrain")


def save(saver, state, *steps):
  for step in steps:
    saver.save(step, state.replace(step=state.step + step),
               {"next_batch": step})


def resume(directory):
  saver = open_run(directory)
  start = startup.start_or_resume(PretrainConfig(), MODEL, TX, saver)
  saver.close()
  assert int(start.state.step) == start.step
  return start.step


@pytest.fixture(scope="module")
def state():
  return init_train_state(jax.random.key(0), TX, MODEL)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, state):
  """A run directory with checkpoints of steps 2 and 4, and a tokenizer."""
  directory = tmp_path_factory.mktemp("whole")
  saver = open_run(directory)
  save(saver, state, 2, 4)
  saver.close()
  train_bpe(["some text " * 4], TokenizerConfig(vocab_size=264)).save(
      directory / saved_models.TOKENIZER)
  return directory


@pytest.fixture
def run(whole, tmp_path):
  """A copy that may be damaged."""
  shutil.copytree(whole, tmp_path / "run")
  return tmp_path / "run"


def flip(path):
  """Changes one bit in the middle of a file."""
  raw = bytearray(path.read_bytes())
  raw[len(raw) // 2] ^= 1
  path.write_bytes(raw)


def halve(path):
  path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])


def empty(path):
  path.write_bytes(b"")


def files_of(checkpoint):
  return sorted(p for p in checkpoint.rglob("*") if p.is_file())


def biggest(checkpoint):
  """The file with the tensors' values."""
  return max(files_of(checkpoint / "params"), key=lambda p: p.stat().st_size)


def test_every_alteration_of_every_file_is_found(whole, tmp_path):
  checkpoint = tmp_path / "4"
  shutil.copytree(whole / "checkpoints/4", checkpoint)
  assert integrity.find_damage(checkpoint, ITEMS) == ""
  recorded = 0
  for path in files_of(checkpoint):
    raw, name = path.read_bytes(), str(path.relative_to(checkpoint))
    for damage in (flip, halve, empty, lambda path: path.unlink()):
      damage(path)
      told = integrity.find_damage(checkpoint, ITEMS)
      if path.name in ("_CHECKPOINT_METADATA", "commit_success.txt"):
        assert not told  # not needed for restoring: the next test
      elif path.name == "checksums.json":
        assert told or not path.exists()
      else:
        recorded += 1
        assert name in told
      path.write_bytes(raw)
  assert recorded > 40
  assert integrity.find_damage(checkpoint, ITEMS) == ""


def test_what_is_not_recorded_is_not_needed(run):
  for path in files_of(run / "checkpoints/4"):
    if path.name in ("_CHECKPOINT_METADATA", "commit_success.txt"):
      empty(path)
  assert resume(run) == 4


def test_each_part_of_the_files_is_read_by_one_process(whole, tmp_path):
  shutil.copytree(whole / "checkpoints/4", tmp_path / "4")
  flip(biggest(tmp_path / "4"))
  found = [integrity.find_damage(tmp_path / "4", ITEMS, part, 3)
           for part in range(3)]
  assert sorted(map(bool, found)) == [False, False, True]


def half_written(checkpoint):
  shutil.rmtree(checkpoint)
  (checkpoint / "params" / "d").mkdir(parents=True)


DAMAGES = {
    "a flipped bit": lambda c: flip(biggest(c)),
    "half a tensor": lambda c: halve(biggest(c)),
    "no tensor": lambda c: biggest(c).unlink(),
    "no optimizer": lambda c: shutil.rmtree(c / "optimizer"),
    "empty place in the data": lambda c: empty(c / "data" / "metadata"),
    "empty config": lambda c: empty(c / "config" / "metadata"),
    "empty checksums": lambda c: empty(c / "checksums.json"),
    "half written": half_written,
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_the_one_before_is_taken(run, state, kind, capsys):
  DAMAGES[kind](run / "checkpoints/4")
  assert resume(run) == 2
  told = capsys.readouterr().out
  assert "checkpoint 4 is damaged" in told and "4.damaged" in told
  assert "step 2" in told
  assert sorted(p.name for p in (run / "checkpoints").iterdir()) == [
      "2", "4.damaged"]


def test_a_damaged_one_is_never_counted_again(run, state, capsys):
  flip(biggest(run / "checkpoints/4"))
  assert resume(run) == 2
  capsys.readouterr()
  assert resume(run) == 2
  assert "damaged" not in capsys.readouterr().out
  saver = open_run(run, keep=2)
  save(saver, state, 4, 6)
  saver.close()
  names = sorted(p.name for p in (run / "checkpoints").iterdir())
  assert names == ["4", "4.damaged", "6"]
  assert resume(run) == 6


def test_where_all_are_damaged_nothing_is_lost(run):
  flip(biggest(run / "checkpoints/2"))
  empty(run / "checkpoints/4/data/metadata")
  with pytest.raises(ConfigError) as error:
    resume(run)
  told = str(error.value)
  assert "all checkpoints" in told and "delete them" in told
  assert "4: data/metadata has 0 bytes" in told and "2: bytes of params" in told
  assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["2", "4"]


def test_loading_names_the_one_that_is_whole(run):
  flip(biggest(run / "checkpoints/4"))
  with pytest.raises(ConfigError) as error:
    saved_models.load_params(str(run))
  told = str(error.value)
  assert f"{run}/checkpoints/4 is damaged: bytes of params" in told
  assert f"{run}/checkpoints/2 is whole" in told
  saved_models.load_params(str(run / "checkpoints/2"))
  empty(run / "checkpoints/2/config/metadata")
  with pytest.raises(ConfigError, match="no other one there is whole"):
    saved_models.load_params(str(run))


def test_the_optimizer_is_not_needed_for_loading(run):
  before, _, _ = saved_models.load_params(str(run))
  shutil.rmtree(run / "checkpoints/4/optimizer")
  params, _, _ = saved_models.load_params(str(run))
  jax.tree.map(np.testing.assert_array_equal, params, before)


def test_a_checkpoint_without_a_record_is_taken(run):
  (run / "checkpoints/4/checksums.json").unlink()
  assert resume(run) == 4


@contextlib.contextmanager
def disk_full(size=4096):
  """Files cannot grow past `size`: the kernel refuses to write, as when full.

  Python ignores the signal SIGXFSZ, so writing fails with EFBIG.
  """
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@failing_save
def test_a_save_that_fails_is_told_and_tried_again(tmp_path, state, capsys):
  """With one checkpoint kept, the last good one outlives failures."""
  saver = open_run(tmp_path, keep=1)
  save(saver, state, 1)
  saver.wait()
  for step in (2, 3):
    with disk_full():
      save(saver, state, step)
      saver.wait()
    told = capsys.readouterr().out
    assert f"step {step} could not be saved" in told
    assert str(tmp_path / "checkpoints") in told and "GiB are free" in told
    assert "File too large (EFBIG)" in told and "goes on" in told
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["1"]
    assert saver.latest_step() == 1
  save(saver, state, 4)
  saver.close()
  assert capsys.readouterr().out == ""
  assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["4"]
  assert resume(tmp_path) == 4


def test_what_is_written_while_it_is_removed_is_left_for_later(
    tmp_path, monkeypatch):
  partial = tmp_path / "5.orbax-checkpoint-tmp"
  partial.mkdir()
  rmdir, late = os.rmdir, ["metadata"]

  def write_and_remove(*args, **kwargs):
    if late:
      (partial / late.pop()).touch()
    rmdir(*args, **kwargs)
  monkeypatch.setattr(os, "rmdir", write_and_remove)
  integrity.remove_partial(epath.Path(tmp_path))
  assert partial.exists() and not late
  integrity.remove_partial(epath.Path(tmp_path))
  assert not partial.exists()


@failing_save
def test_a_last_save_that_fails_is_an_error(tmp_path, state):
  saver = open_run(tmp_path)
  save(saver, state, 1)
  saver.wait()
  with disk_full():
    save(saver, state, 2)
    with pytest.raises(ConfigError) as error:
      saver.close()
  assert "step 2 could not be saved" in str(error.value)
  assert "newest checkpoint is of step 1" in str(error.value)
  assert resume(tmp_path) == 1


@failing_save
def test_a_directory_that_cannot_be_written_is_told(tmp_path, state, capsys):
  saver = open_run(tmp_path)
  save(saver, state, 1)
  saver.wait()
  (tmp_path / "checkpoints").rename(tmp_path / "away")
  (tmp_path / "checkpoints").write_text("a file")
  save(saver, state, 2)
  saver.wait()
  assert "Not a directory (ENOTDIR)" in capsys.readouterr().out
  (tmp_path / "checkpoints").unlink()
  (tmp_path / "away").rename(tmp_path / "checkpoints")
  save(saver, state, 3)
  saver.close()
  assert resume(tmp_path) == 3


@pytest.mark.parametrize("error, told", [
    (OSError(28, "any words"), "No space left on device (ENOSPC)"),
    (ValueError("RESOURCE_EXHAUSTED: Failed to write [os_error_code='28']"),
     "No space left on device (ENOSPC)"),
    (PermissionError(13, "denied"), "Permission denied (EACCES)"),
    (ValueError("something\nelse"), "ValueError: something")])
def test_reasons(error, told):
  assert integrity.why(error) == told


def test_values_come_back(whole, state):
  """What the other tests restore is what was saved."""
  saver = open_run(whole)
  restored, _, _ = saver.restore(TX)
  saver.close()
  jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, y),
               restored.params, state.params)
