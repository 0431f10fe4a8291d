"""A user's mistake is one sentence and exit code 2, before any training."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import (
    chat, evaluate, pretrain, rl, sft, tokenize_corpus, train_tokenizer)
from llm_jax.config import (
    CheckpointConfig, ModelConfig, OptimizerConfig, TokenizerConfig)
from llm_jax.model.params import init_params
from llm_jax.tokenizer.bpe import train_bpe
from llm_jax.training.checkpoints import Checkpointer
from llm_jax.training.optimizers import make_optimizer
from llm_jax.training.train_step import TrainState
from tiny_runs import TINY_MODEL, words, write_jsonl

ROOT = pathlib.Path(__file__).parents[2]
MODEL = ModelConfig(vocab_size=266, embed_dim=32, num_layers=2, num_heads=2,
                    num_kv_heads=2, head_dim=16, mlp_dim=48, max_seq_len=64)


@pytest.fixture(scope="module")
def made(files, tmp_path_factory):
  """A tokenizer, shards, and an untrained run with a checkpoint."""
  directory = tmp_path_factory.mktemp("made")
  tokenizer = train_bpe(["a text"] * 4, TokenizerConfig(vocab_size=266))
  tokenizer.save(directory / "tokenizer")
  tokenizer.save(directory / "base" / "tokenizer")
  saver = Checkpointer(str(directory / "base"), CheckpointConfig(), MODEL,
                       "pretrain")
  tx = make_optimizer(OptimizerConfig(), 1)
  params = jax.jit(init_params, static_argnums=1)(jax.random.key(0), MODEL)
  saver.save(0, TrainState(jnp.int32(0), params, tx.init(params)),
             {"next_batch": 0})
  saver.close()
  tokenize_corpus.run(tokenize_corpus.TokenizeCorpusConfig(
      data=pretrain.TextConfig(path=str(files / "texts.jsonl"),
                               validation_fraction=0.1),
      tokenizer=str(directory / "tokenizer"),
      output=str(directory / "shards")))
  return directory


@pytest.fixture
def told(command, tmp_path):
  """told(module, *flags): the one sentence that a mistake is answered with.

  And that nothing has begun: no run directory which would hold the user, who
  corrects the mistake, to what was wrong.
  """
  def call(module, *flags):
    workdir = tmp_path / "run"
    place = "--output" if module in (train_tokenizer, tokenize_corpus) else (
        "--workdir")
    if module not in (evaluate, chat):
      flags = (f"{place}={workdir}", *flags)
    code, output, errors = command(module, *flags)
    assert code == 2, errors
    assert errors.count("\n") == 1 and errors.endswith((".\n", "?\n"))
    assert "Traceback" not in output + errors
    for name in ("metrics.jsonl", "config.json", "stats.json", "meta.json",
                 "checkpoints", "tokenizer.json"):
      assert not (workdir / name).exists(), name
    return errors
  return call


def flags_of(module, path, made):
  """What names `path` as data of an experiment, and the rest it needs."""
  if module is train_tokenizer:
    return (f"--data.path={path}", "--tokenizer.vocab_size=264")
  if module is tokenize_corpus:
    return (f"--data.path={path}", f"--tokenizer={made}/tokenizer")
  if module is pretrain:
    return (f"--data.path={path}", f"--data.tokenizer={made}/tokenizer",
            *TINY_MODEL, "--seq_len=64", "--batch_size=8")
  return (f"--data.path={path}", f"--init_from={made}/base", "--seq_len=64",
          "--batch_size=8")


READERS = pytest.mark.parametrize(
    "module,name", [(train_tokenizer, "x.txt"), (tokenize_corpus, "x.jsonl"),
                    (pretrain, "x.txt"), (sft, "x.jsonl"), (rl, "x.jsonl")],
    ids=lambda x: getattr(x, "__name__", ""))


@READERS
def test_missing_file(told, made, tmp_path, module, name):
  path = tmp_path / "nowhere" / name
  if module is rl:
    flags = (*flags_of(module, path, made), "--sampling.max_new_tokens=8")
  else:
    flags = flags_of(module, path, made)
  assert str(path) in told(module, *flags)


@READERS
def test_empty_file(told, made, tmp_path, module, name):
  path = tmp_path / name
  path.write_text("")
  flags = (*flags_of(module, path, made), *(
      ("--sampling.max_new_tokens=8",) if module is rl else ()))
  assert str(path) in told(module, *flags)


@READERS
def test_bytes_that_are_not_utf8(told, command, made, tmp_path, module, name):
  """Named with their offset; --data.errors=replace goes on."""
  path = tmp_path / name
  rng = np.random.default_rng(0)
  if name.endswith("txt"):
    good = words(rng, 3000).encode()
    data = good[:1000] + b"\xff" + good[1000:]
  else:
    lines = [json.dumps({"text": words(rng, 60), "prompt": f"{i}?",
                         "response": "no" * 3, "answer": i}).encode()
             for i in range(20)]
    data = b"\n".join(lines)
    data = data[:1000] + b"\xff" + data[1000:]
  path.write_bytes(data)
  flags = (*flags_of(module, path, made), *(
      ("--sampling.max_new_tokens=8",) if module is rl else ()))
  sentence = told(module, *flags)
  assert str(path) in sentence and "1000" in sentence
  assert "--data.errors=replace" in sentence
  if module in (train_tokenizer, tokenize_corpus):
    code, _, errors = command(module, f"--output={tmp_path / 'out'}", *flags,
                              "--data.errors=replace")
    assert code == 0, errors


def test_corpus_shorter_than_one_context(told, made, tmp_path):
  path = write_jsonl(tmp_path / "short.jsonl",
                     [{"text": f"few words {i}"} for i in range(3)])
  sentence = told(pretrain, *flags_of(pretrain, path, made))
  assert "fewer than one context" in sentence and "seq_len=64" in sentence


def test_vocabulary_smaller_than_the_bytes_and_specials(told, files):
  sentence = told(train_tokenizer, f"--data.path={files}/book.txt",
                  "--tokenizer.vocab_size=263")
  assert "263" in sentence and "264" in sentence


@pytest.mark.parametrize("flag,named", [
    ("--model.num_kv_heads=3", ("num_heads=2", "num_kv_heads=3")),
    ("--model.head_dim=15", ("head_dim=15",)),
    ("--model.mlp=swish", ("model.mlp", "swiglu")),
    ("--batch_size=12", ("batch_size=12", "8 devices", "multiple of 8")),
    ("--num_microbatches=2", ("batch_size=8", "multiple of 16")),
    ("--num_microbatches=3", ("batch_size=8", "num_microbatches=3")),
    ("--seq_len=65", ("seq_len=65", "max_seq_len=64")),
    ("--mesh.data=3", ("3 devices", "there are 8")),
    ("--mesh.tensor=4", ("vocab=266", "4 devices", "--model.rules.vocab=")),
    ("--model.rules.mlp=tensr", ("model.rules.mlp", "'tensr'", "tensor")),
    ("--num_steps=0", ("num_steps",)),
    ("--optimizer.name=adam", ("optimizer.name", "adamw")),
    ("--data.tokenizer=/nowhere/t", ("/nowhere/t",)),
    ("--data.tokenizer=", ("--data.tokenizer",)),
    ("--init_from=/nowhere/r", ("/nowhere/r",)),
    ("--batch_sise=8", ("--batch_sise", "--batch_size")),
    ("--batch_size=eight", ("batch_size", "eight"))])
def test_settings_of_pretraining(told, files, made, flag, named):
  flags = flags_of(pretrain, files / "book.txt", made)
  flags = [f for f in flags if f.split("=")[0] != flag.split("=")[0]]
  sentence = told(pretrain, *flags, flag)
  for part in named:
    assert part in sentence


def test_checkpoint_of_another_architecture(told, made):
  sentence = told(pretrain, *flags_of(pretrain, made / "shards", made),
                  f"--init_from={made}/base", "--model.num_layers=3",
                  "--model.use_bias")
  assert f"{made}/base" in sentence
  assert "model.num_layers (2 there, 3 here)" in sentence
  assert "model.use_bias" in sentence


def test_a_run_of_another_architecture_is_not_resumed(
    command, made, tmp_path):
  flags = [*flags_of(pretrain, made / "shards", made), "--num_steps=1",
           "--sample_tokens=0", f"--workdir={tmp_path / 'run'}"]
  code, _, errors = command(pretrain, *flags)
  assert code == 0, errors
  code, _, errors = command(pretrain, *flags, "--model.mlp_dim=64",
                            "--num_steps=2")
  assert code == 2 and errors.count("\n") == 1
  assert "model.mlp_dim=48" in errors and "64" in errors
  assert "--workdir" in errors


def test_conversations(told, made, tmp_path):
  def sentence(record, *flags):
    path = write_jsonl(tmp_path / "chats.jsonl", [
        {"prompt": "a", "response": "b"}, record])
    return told(sft, *flags_of(sft, path, made), *flags)
  source = f"{tmp_path}/chats.jsonl"
  for record, named in (
      ({"prompt": "a"}, (source, "response")),
      ({"messages": [{"role": "robot", "content": "a"}]},
       (source, "robot", "assistant")),
      ({"messages": [{"role": "user", "content": "a"}]},
       (source, "assistant")),
      ({"prompt": "a", "response": "b" * 80}, ("seq_len=64", "trim"))):
    told_it = sentence(record)
    assert all(part in told_it for part in named), told_it
  assert "plateau_metric" in sentence({"prompt": "c", "response": "d"},
                                      "--plateau_metric=sums")


def test_problems(told, made, tmp_path):
  def sentence(record, *flags):
    path = write_jsonl(tmp_path / "p.jsonl", [
        {"prompt": f"{i}?", "answer": i} for i in range(9)] + [record])
    return told(rl, *flags_of(rl, path, made), *flags)
  source, room = f"{tmp_path}/p.jsonl", "--sampling.max_new_tokens=8"
  assert source in sentence({"prompt": "a"}, room)
  assert "integer" in sentence({"prompt": "a", "answer": "blue"}, room)
  good = {"prompt": "a", "answer": 2}
  assert "no room" in sentence(good, "--sampling.max_new_tokens=64")
  assert "room for 2" in sentence(good, "--sampling.max_new_tokens=62")
  assert "top_k=5" in sentence(good, room, "--sampling.top_k=5")
  assert "group_size" in sentence(good, room, "--group_size=1")
  assert "logging.examples" in sentence(good, room, "--logging.examples")
  assert "temperature" in sentence(good, room, "--sampling.temperature=0")


@pytest.mark.parametrize("module,flag", [
    (sft, "--init_from"), (rl, "--init_from"), (evaluate, "--checkpoint"),
    (chat, "--checkpoint")], ids=lambda x: getattr(x, "__name__", x))
def test_no_model(told, tmp_path, module, flag):
  sentence = told(module, f"{flag}={tmp_path}/none")
  assert "no such directory" in sentence or "does not exist" in sentence
  assert "no finished checkpoint" in told(module, f"{flag}={tmp_path}")
  assert flag.strip("-") in told(module, f"{flag}=")


@pytest.mark.parametrize("arguments,named", [
    (["--data.path=/nowhere/x.txt"], "/nowhere/x.txt"),
    (["--workdri=x"], "did you mean --workdir"),
    (["x"], "--name=value")])
def test_in_a_process_of_its_own(tmp_path, arguments, named):
  """The exit code that a shell sees, and stderr with nothing else in it."""
  result = subprocess.run(
      [sys.executable, "-m", "experiments.pretrain",
       f"--workdir={tmp_path / 'run'}", *arguments],
      cwd=ROOT, capture_output=True, text=True,
      env=os.environ | {"JAX_PLATFORMS": "cpu"})
  assert result.returncode == 2
  assert named in result.stderr and result.stderr.count("\n") == 1
  assert not (tmp_path / "run").exists()
