"""From a user's own files to an answer, through every experiment."""

import json

import pytest

from experiments import (
    chat, evaluate, pretrain, rl, sft, tokenize_corpus, train_tokenizer)
from tiny_runs import TINY_MODEL

RUN = ("--batch_size=8", "--logging.every=1", "--optimizer.warmup_steps=1")


def records(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def losses(workdir):
  return [r["loss"] for r in records(workdir / "metrics.jsonl")
          if "loss" in r]


def done(result):
  code, output, errors = result
  assert code == 0, errors
  return output


@pytest.mark.parametrize("name", ["book.txt", "texts.jsonl", "texts.parquet"])
def test_every_format_becomes_a_tokenizer_and_shards(
    files, tmp_path, command, name):
  done(command(train_tokenizer, f"--data.path={files / name}",
               "--tokenizer.vocab_size=300", f"--output={tmp_path / 't'}"))
  stats = json.loads((tmp_path / "t" / "stats.json").read_text())
  assert stats["vocab_size"] == 300 and stats["bytes_per_token"] > 1.2
  shards = tmp_path / "shards"
  make = (tokenize_corpus, f"--data.path={files / name}",
          f"--tokenizer={tmp_path / 't'}", f"--output={shards}",
          "--data.validation_fraction=0.1")
  done(command(*make))
  splits = json.loads((shards / "meta.json").read_text())["splits"]
  assert min(splits[s]["num_documents"] for s in splits) >= 1
  assert splits["train"]["num_tokens"] > splits["train"]["num_bytes"] / 8
  assert "there already" in done(command(*make))


@pytest.mark.slow
def test_the_whole_way(files, tmp_path, command):
  tokenizer, base = tmp_path / "tokenizer", tmp_path / "base"
  done(command(train_tokenizer, f"--data.path={files}/book.txt",
               "--tokenizer.vocab_size=300", f"--output={tokenizer}"))
  done(command(
      pretrain, f"--data.path={files}/book.txt",
      f"--data.tokenizer={tokenizer}", f"--workdir={base}", "--num_steps=3",
      "--seq_len=64", "--sample_prompts=the", "--sample_tokens=3",
      "--data.validation_fraction=0.1", *TINY_MODEL, *RUN))
  assert len(losses(base)) == 3 and losses(base)[2] < losses(base)[0]
  assert list((base / "tensorboard").iterdir())
  assert {r["prompt"] for r in records(base / "samples.jsonl")} == {"the"}
  run_info = json.loads((base / "run.json").read_text())
  assert run_info["devices"]["count"] == 8 and run_info["packages"]["jax"]
  resolved = json.loads((base / "config.json").read_text())
  assert resolved["model"]["embed_dim"] == 32

  assistant = tmp_path / "assistant"
  done(command(sft, f"--data.path={files}/chats.jsonl",
               f"--init_from={base}", f"--workdir={assistant}",
               "--num_steps=3", "--seq_len=64",
               "--data.validation_fraction=0.2", *RUN))
  assert losses(assistant)[2] < losses(assistant)[0]

  reasoner = tmp_path / "reasoner"
  done(command(rl, f"--data.path={files}/problems.jsonl",
               f"--init_from={assistant}", f"--workdir={reasoner}",
               "--num_steps=2", "--seq_len=48", "--group_size=2",
               "--sampling.max_new_tokens=8", *RUN))
  results = json.loads((reasoner / "results.json").read_text())
  assert results["eval_problems"] == 2  # a tenth of 25
  assert [step for step, _ in results["reward_curve"]] == [1, 2]

  output = done(command(
      evaluate, f"--checkpoint={reasoner}", "--seq_len=64",
      f"--data.path={files}/texts.jsonl", "--data.validation_fraction=0.1",
      f"--problems.path={files}/problems.jsonl", "--batch_size=8",
      "--sampling.max_new_tokens=8", f"--output={tmp_path}/result.json"))
  result = json.loads((tmp_path / "result.json").read_text())
  assert json.loads(output[output.index("{\n"):]) == result
  assert result["stage"] == "rl" and result["step"] == 2
  assert 1 < result["bits_per_byte"]["value"] < 9
  assert result["problems"]["problems"] == 25

  answers = [done(command(
      chat, f"--checkpoint={run}", "--prompt=the", "--max_new_tokens=6",
      "--seed=1")) for run in (reasoner, reasoner, base)]
  assert answers[0] == answers[1] and len(answers[0]) > 1
  assert answers[2].startswith("the")  # a base model goes on with the text

  # All of it again: nothing is left to do, nothing changes.
  before = (reasoner / "metrics.jsonl").read_text()
  assert "finished already" in done(command(
      rl, f"--data.path={files}/problems.jsonl", f"--init_from={assistant}",
      f"--workdir={reasoner}", "--num_steps=2", "--seq_len=48",
      "--group_size=2", "--sampling.max_new_tokens=8", *RUN))
  assert (reasoner / "metrics.jsonl").read_text() == before

  # Further: from the last checkpoint, with more steps.
  done(command(sft, f"--data.path={files}/chats.jsonl",
               f"--init_from={base}", f"--workdir={assistant}",
               "--num_steps=5", "--seq_len=64",
               "--data.validation_fraction=0.2", *RUN))
  steps = [r["step"] for r in records(assistant / "metrics.jsonl")
           if "loss" in r]
  assert steps == [1, 2, 3, 4, 5]


@pytest.mark.slow
def test_two_corpora_in_shares(files, tmp_path, command):
  done(command(train_tokenizer, f"--data.path={files}/book.txt",
               "--tokenizer.vocab_size=300", f"--output={tmp_path / 't'}"))
  for name in ("book.txt", "texts.jsonl"):
    done(command(tokenize_corpus, f"--data.path={files / name}",
                 f"--tokenizer={tmp_path / 't'}",
                 f"--output={tmp_path / name[:4]}",
                 "--data.validation_fraction=0.1"))
  run = (f"--data.mixture={tmp_path}/book:3,{tmp_path}/text:1",
         "--num_steps=2", "--eval_every=2", "--seq_len=64",
         "--sample_tokens=0", *TINY_MODEL, *RUN)
  told = done(command(pretrain, f"--workdir={tmp_path}/base", *run))
  assert "book: 75.0% of the tokens" in told and "passes over it" in told
  bits = [r for r in records(tmp_path / "base" / "metrics.jsonl")
          if "val_bits_per_byte" in r]
  assert len(bits) == 2
  for record in bits:
    assert record["val_bits_per_byte"] == pytest.approx(
        0.75 * record["val_bits_per_byte/book"]
        + 0.25 * record["val_bits_per_byte/text"])
  code, _, errors = command(pretrain, f"--workdir={tmp_path}/wrong",
                            "--data.mixture=a,b", *TINY_MODEL)
  assert code == 2 and "PATH:WEIGHT" in errors
