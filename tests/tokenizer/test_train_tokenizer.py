"""experiments/train_tokenizer.py, as someone with a file would use it."""

import argparse
import dataclasses
import inspect
import json
import os
import subprocess
import sys

import pytest

from experiments import train_tokenizer
from llm_jax.config import (
  ConfigError,
  TextConfig,
  TokenizerConfig,
  TrainTokenizerConfig,
)
from llm_jax.tokenizer.loading import load_tokenizer


@pytest.fixture
def config(tmp_path):
  text = inspect.getsource(argparse)
  with open(tmp_path / "text.jsonl", "w") as file:
    for part in text.split("\n\n"):
      file.write(json.dumps({"text": part}) + "\n")
  return TrainTokenizerConfig(
      data=TextConfig(path=str(tmp_path / "text.jsonl"),
                      validation_fraction=0.2),
      tokenizer=TokenizerConfig(vocab_size=600),
      output=str(tmp_path / "out"))


def test_trains_measures_and_keeps(config, capsys, tmp_path):
  stats = train_tokenizer.run(config)
  assert "bytes per token" in capsys.readouterr().out
  tokenizer = load_tokenizer(config.output)
  assert stats["vocab_size"] == tokenizer.vocab_size == 600
  assert json.loads((tmp_path / "out" / "stats.json").read_text()) == stats
  assert sorted(os.listdir(tmp_path)) == ["out", "text.jsonl"]
  # Measured again, from the definition.
  from llm_jax.data.documents import iter_documents, split_documents
  texts = {"train": [], "validation": []}
  for split, document in split_documents(iter_documents(config.data), 0, 0.2):
    texts[split].append(document.text)
  held_out = texts["validation"]
  assert len(held_out) > 10
  num_bytes = sum(len(t.encode()) for t in held_out)
  num_tokens = sum(len(tokenizer.encode(t)) for t in held_out)
  assert stats["bytes_per_token"] == pytest.approx(num_bytes / num_tokens)
  assert stats["measured_on"] == "validation"
  assert stats["train_documents"] == len(texts["train"])
  assert stats["train_bytes"] == sum(len(t.encode()) for t in texts["train"])

  before = os.stat(tmp_path / "out" / "tokenizer.json").st_mtime_ns
  assert train_tokenizer.run(config) == stats
  assert "keeping it" in capsys.readouterr().out
  assert os.stat(tmp_path / "out" / "tokenizer.json").st_mtime_ns == before


def test_held_out_documents_of_another_file(config, tmp_path):
  with open(config.data.path) as file:
    lines = file.readlines()
  held_out = tmp_path / "held_out.jsonl"
  held_out.write_text(lines[2] + json.dumps({"text": "Never seen."}) + "\n")
  stats = train_tokenizer.run(dataclasses.replace(
      config, data=dataclasses.replace(
          config.data, validation_path=str(held_out))))
  texts = [json.loads(line)["text"] for line in lines]
  kept = [t for t in texts if t.strip() and t.strip() != texts[2].strip()]
  assert stats["measured_on"] == "validation"
  assert stats["measured_bytes"] == len(texts[2].encode()) + 11
  assert stats["train_documents"] == len(kept)


def test_other_settings_or_data_train_again(config, tmp_path):
  train_tokenizer.run(config)
  other = dataclasses.replace(config, tokenizer=TokenizerConfig(vocab_size=500))
  assert train_tokenizer.run(other)["vocab_size"] == 500
  assert load_tokenizer(config.output).vocab_size == 500
  first = train_tokenizer.run(dataclasses.replace(other, seed=1))
  with open(config.data.path, "a") as file:
    file.write(json.dumps({"text": "one more"}) + "\n")
  assert (train_tokenizer.run(dataclasses.replace(other, seed=1))["made_from"]
          != first["made_from"])


def test_a_failed_training_leaves_what_was_there(config, monkeypatch, tmp_path):
  train_tokenizer.run(config)
  from llm_jax.tokenizer.bpe import BpeTokenizer

  def disk_full(self, directory):
    os.makedirs(directory)
    raise OSError("disk full")

  with monkeypatch.context() as patch:
    patch.setattr(BpeTokenizer, "save", disk_full)
    with pytest.raises(OSError):
      train_tokenizer.run(dataclasses.replace(config, seed=1))
  assert load_tokenizer(config.output).vocab_size == 600
  assert train_tokenizer.run(dataclasses.replace(config, seed=1))
  assert sorted(os.listdir(tmp_path)) == ["out", "text.jsonl"]


def test_without_validation_it_measures_on_training_text(config):
  data = dataclasses.replace(config.data, validation_fraction=0.0)
  limited = dataclasses.replace(config.tokenizer, max_bytes=60_000)
  stats = train_tokenizer.run(
      dataclasses.replace(config, data=data, tokenizer=limited))
  assert stats["measured_on"] == "train"
  assert stats["train_bytes"] == 60_000


@pytest.mark.parametrize("kind", ["sentencepiece", "sentencepiece_bpe"])
def test_sentencepiece(config, kind):
  stats = train_tokenizer.run(dataclasses.replace(
      config, tokenizer=TokenizerConfig(kind=kind, vocab_size=600)))
  assert stats["kind"] == kind
  assert load_tokenizer(config.output).vocab_size == 600


# Peak memory of learning from a text so many times over, in a fresh process;
# getrusage would count what the tests' process has, too.
_PEAK = """
import inspect, argparse, re, sys
from llm_jax.config import TokenizerConfig
from llm_jax.tokenizer.bpe import train_bpe
text = inspect.getsource(argparse)
# tokenizers holds 256 texts at a time, so large ones would fill that first.
texts = [text[i:i + 2000] for i in range(0, len(text), 2000)]
config = TokenizerConfig(vocab_size=1000, max_bytes=0)
tokenizer = train_bpe(
    (text for _ in range(int(sys.argv[1])) for text in texts), config)
with open("/proc/self/status") as status:
  print(int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read())[1]) / 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_a_stream_that_repeats():
  once, twice = (
      float(subprocess.run([sys.executable, "-c", _PEAK, str(times)],
                           capture_output=True, text=True, check=True,
                           timeout=120).stdout) for times in (60, 240))
  # 6 and 24 MB of text; what is held are its 3,000 different words.
  assert twice < once + 3


def test_another_directory_is_not_replaced(config, tmp_path):
  (tmp_path / "out").mkdir()
  (tmp_path / "out" / "thesis.txt").write_text("mine")
  with pytest.raises(ConfigError, match="choose another --output"):
    train_tokenizer.run(config)
  assert (tmp_path / "out" / "thesis.txt").read_text() == "mine"


def test_no_text(config, tmp_path):
  (tmp_path / "text.jsonl").write_text("")
  with pytest.raises(ConfigError, match="no text"):
    train_tokenizer.run(config)
  assert not (tmp_path / "out").exists()


def command(*args):
  return subprocess.run(
      [sys.executable, "-m", "experiments.train_tokenizer", *args],
      capture_output=True, text=True, timeout=120)


def test_as_a_command(config, tmp_path):
  done = command(f"--data.path={config.data.path}", f"--output={tmp_path}/new",
                 "--tokenizer.vocab_size=500", "--tokenizer.max_digits=1")
  assert done.returncode == 0, done.stderr
  assert load_tokenizer(tmp_path / "new").vocab_size == 500
  # A mistake is one sentence.
  done = command(f"--data.path={config.data.path}", f"--output={tmp_path}/big",
                 "--tokenizer.vocab_size=90000")
  assert done.returncode == 2
  assert "give at most" in done.stderr and "Traceback" not in done.stderr
  assert not (tmp_path / "big").exists()


def test_the_quickstart_config_is_valid():
  from configs import quickstart_corpus, quickstart_tokenizer
  config = quickstart_tokenizer.get_config()
  config.validate()
  # Learnt from what is tokenised, and measured on what is held out there.
  assert config.data == quickstart_corpus.get_config().data
