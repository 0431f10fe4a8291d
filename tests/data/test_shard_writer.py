"""Several processes, interruptions, checksums: always the same bytes."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

from byte_tokenizer import ByteTokenizer
import fsspec
import numpy as np
import pytest

from llm_jax.config import ConfigError, TokenizerConfig
from llm_jax.data import document_encoder, shard_writer
from llm_jax.data.documents import Document
from llm_jax.data.shard_writer import write_shards
from llm_jax.data.token_shards import TokenShards
from llm_jax.tokenizer.bpe import train_bpe
from llm_jax.tokenizer.sentencepiece import train_sentencepiece

_RANDOM = random.Random(0)
TEXTS = [f"{i} é <|endoftext|> " + "words and more " * _RANDOM.randrange(9)
         for i in range(300)]
PAIRS = [("validation" if i % 7 == 3 else "train",
          Document(text, f"t{i}", (i + 1) / len(TEXTS)))
         for i, text in enumerate(TEXTS)]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
  monkeypatch.setattr(shard_writer, "BATCH_DOCUMENTS", 11)
  monkeypatch.setattr(document_encoder, "SERIAL_CHARACTERS", 1)


def write(output, tokenizer=None, pairs=PAIRS, fingerprint="f", **settings):
  told = []
  settings = {"tokens_per_shard": 900} | settings
  write_shards(pairs, tokenizer or ByteTokenizer(), str(output),
               fingerprint=fingerprint, progress=told.append, **settings)
  return told


def files(directory):
  """Every file below a directory, with its bytes."""
  root = pathlib.Path(directory)
  return {str(path.relative_to(root)): path.read_bytes()
          for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("kind", ["bpe", "sentencepiece"])
def test_the_number_of_processes_changes_no_byte(tmp_path, kind):
  train = {"bpe": train_bpe, "sentencepiece": train_sentencepiece}[kind]
  tokenizer = train(TEXTS, TokenizerConfig(kind=kind, vocab_size=300))
  for workers in (1, 2, 3):
    write(tmp_path / str(workers), tokenizer, num_workers=workers)
  whole = files(tmp_path / "1")
  assert len(whole) > 10
  assert files(tmp_path / "2") == whole == files(tmp_path / "3")
  shards = TokenShards.open(str(tmp_path / "1"), tokenizer)
  texts = [document.text for split, document in PAIRS if split == "train"]
  expected = [[tokenizer.endoftext_id, *tokenizer.encode(t)] for t in texts]
  assert np.asarray(shards.tokens("train")).tolist() == sum(expected, [])


class Interrupted(BaseException):
  """Nobody catches it: what a kill leaves behind, in this process."""


def stopping_at(place):
  for i, pair in enumerate(PAIRS):
    if i == place:
      raise Interrupted
    yield pair


@pytest.mark.parametrize("places", [(1,), (100,), (150, 60, 250), (299, 299)])
def test_goes_on_where_it_was_stopped(tmp_path, places):
  write(tmp_path / "whole")
  for place in places:
    with pytest.raises(Interrupted):
      write(tmp_path / "stopped", pairs=stopping_at(place),
            num_workers=1 + place % 2)
    assert not (tmp_path / "stopped").exists()
  told = write(tmp_path / "stopped")
  if max(places) > 99:
    assert "going on after" in told[0] and "train shards" in told[0]
    documents = int(told[-1].split()[1])  # encoded by the last run
    assert documents < len(TEXTS)
  assert files(tmp_path / "stopped") == files(tmp_path / "whole")
  assert not (tmp_path / "stopped.partial").exists()


@pytest.mark.parametrize("call", range(1, 16, 2))
def test_stopped_between_writing_and_naming(tmp_path, monkeypatch, call):
  write(tmp_path / "whole")
  calls = []
  replace = os.replace

  def interrupted(source, target):
    calls.append(target)
    if len(calls) == call:
      raise Interrupted
    replace(source, target)

  with monkeypatch.context() as patch:
    patch.setattr(os, "replace", interrupted)
    with pytest.raises(Interrupted):
      write(tmp_path / "stopped")
  write(tmp_path / "stopped")
  assert files(tmp_path / "stopped") == files(tmp_path / "whole")


def test_a_damaged_shard_is_made_again(tmp_path):
  write(tmp_path / "whole")
  with pytest.raises(Interrupted):
    write(tmp_path / "stopped", pairs=stopping_at(290))
  shard = tmp_path / "stopped.partial" / "train-00003.npy"
  content = bytearray(shard.read_bytes())
  content[-5] ^= 1
  shard.write_bytes(content)
  assert "after 3 train shards" in write(tmp_path / "stopped")[0]
  assert files(tmp_path / "stopped") == files(tmp_path / "whole")


def test_what_another_run_left_is_not_taken(tmp_path):
  write(tmp_path / "whole")
  with pytest.raises(Interrupted):
    write(tmp_path / "stopped", pairs=stopping_at(290), fingerprint="other")
  told = write(tmp_path / "stopped")
  assert not any("going on" in line for line in told)
  assert files(tmp_path / "stopped") == files(tmp_path / "whole")
  with pytest.raises(Interrupted):
    write(tmp_path / "unnamed", pairs=stopping_at(290), fingerprint="")
  assert not (tmp_path / "unnamed.partial").exists()


def test_goes_on_in_an_object_store():
  tokenizer = ByteTokenizer()
  tokenizer.save = lambda directory: None  # it writes to disk only
  memory = fsspec.filesystem("memory")
  write("memory://writer/whole", tokenizer)
  with pytest.raises(Interrupted):
    write("memory://writer/stopped", tokenizer, stopping_at(200))
  assert not memory.exists("/writer/stopped/meta.json")
  assert "going on" in write("memory://writer/stopped", tokenizer)[0]
  names = [memory.find(f"/writer/{name}") for name in ("whole", "stopped")]
  assert [n.rpartition("/")[2] for n in names[0]] == [
      n.rpartition("/")[2] for n in names[1]]
  for whole, stopped in zip(*names):
    assert memory.cat(whole) == memory.cat(stopped)


# Writes shards with two workers and kills itself, as nothing can be caught,
# when the fourth progress.json would be written.
_KILLED = """
import multiprocessing, os, signal, sys
sys.path.insert(0, sys.argv[1])
import test_shard_writer as t
from llm_jax.data import document_encoder, shard_writer
if __name__ == "__main__":
  shard_writer.BATCH_DOCUMENTS, document_encoder.SERIAL_CHARACTERS = 11, 1
  put, calls = shard_writer._put, []
  def kill(path, contents):
    calls.append(path)
    if len(calls) == 4:
      print(*(child.pid for child in multiprocessing.active_children()),
            flush=True)
      os.kill(os.getpid(), signal.SIGKILL)
    put(path, contents)
  shard_writer._put = kill
  t.write(sys.argv[2], num_workers=2)
"""


def test_killed_outright(tmp_path):
  write(tmp_path / "whole")
  script = tmp_path / "killed.py"
  script.write_text(_KILLED)
  here = str(pathlib.Path(__file__).parent)
  done = subprocess.run(
      [sys.executable, str(script), here, str(tmp_path / "stopped")],
      stdout=subprocess.PIPE, text=True, timeout=60, check=False)
  assert done.returncode == -signal.SIGKILL
  assert "going on" in write(tmp_path / "stopped")[0]
  assert files(tmp_path / "stopped") == files(tmp_path / "whole")
  # The workers noticed, and ended.
  deadline = time.monotonic() + 20
  workers = [int(pid) for pid in done.stdout.split()]
  assert len(workers) == 2
  while any(map(_python, workers)):
    assert time.monotonic() < deadline
    time.sleep(0.1)


def _python(pid):
  """Whether a process is alive, and one of Python's."""
  try:
    return "spawn_main" in pathlib.Path(f"/proc/{pid}/cmdline").read_text()
  except OSError:
    return False


def test_checksums(tmp_path):
  write(tmp_path / "shards")
  shards = TokenShards.open(str(tmp_path / "shards"))
  names = {name for name in files(tmp_path / "shards") if "npy" in name}
  assert shards.verify() == len(names) == len(shards.meta["sha256"])
  file = tmp_path / "shards" / "validation-documents.npy"
  content = bytearray(file.read_bytes())
  content[-8] ^= 4
  file.write_bytes(content)
  shards = TokenShards.open(str(tmp_path / "shards"))  # the size is right
  with pytest.raises(ConfigError, match="validation-documents.npy is not what"):
    shards.verify()


def test_the_first_format_is_still_read(tmp_path):
  write(tmp_path / "shards")
  path = tmp_path / "shards" / "meta.json"
  meta = json.loads(path.read_text())
  del meta["sha256"]
  path.write_text(json.dumps(meta | {"format": 1}))
  shards = TokenShards.open(str(tmp_path / "shards"), ByteTokenizer())
  assert len(shards.tokens("train")) == shards.num_tokens("train")
  with pytest.raises(ConfigError, match="had no checksums"):
    shards.verify()
