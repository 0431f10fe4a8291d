"""experiments/probe_knowledge.py on models that know exactly one thing."""

import json

import jax
import jax.numpy as jnp
import pytest

from experiments import probe_knowledge
from llm_jax.config import ModelConfig, TokenizerConfig
from llm_jax.model.params import init_params
from llm_jax.tokenizer.bpe import train_bpe
from llm_jax.training.saved_models import save_params

QUESTIONS = [f"What is the number of person {i}?" for i in range(12)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
  """Facts, and an untrained model as a base model and as an assistant."""
  root = tmp_path_factory.mktemp("knowledge")
  tokenizer = train_bpe(QUESTIONS, TokenizerConfig(vocab_size=280))
  model = ModelConfig(vocab_size=tokenizer.vocab_size, embed_dim=8,
                      num_layers=1, num_heads=1, num_kv_heads=1, head_dim=8,
                      mlp_dim=8, max_seq_len=128)
  params = jax.tree.map(jnp.zeros_like, init_params(jax.random.key(0), model))
  for stage in ("pretrain", "sft"):
    save_params(str(root / stage), params, model, tokenizer, stage)
  (root / "facts.jsonl").write_text("".join(
      json.dumps({"question": question, "answer": str(1000 + i), "name": str(i),
                  "group": "known" if i % 2 else "unlearned"}) + "\n"
      for i, question in enumerate(QUESTIONS)))
  return root


def flags(directory, *more, stage="sft"):
  return (f"--checkpoint={directory}/{stage}", "--shots=0", "--samples=2",
          f"--facts.path={directory}/facts.jsonl", "--max_new_tokens=4",
          "--batch_size=8", "--held_out_fraction=0", "--refusal_share=1", *more)


def test_all_is_written_and_nothing_asked_twice(directory, tmp_path, command):
  work = tmp_path / "probe"
  code, told, errors = command(probe_knowledge, *flags(
      directory, f"--workdir={work}"))
  assert code == 0, errors
  assert "12/12 questions | ETA 0s" in told
  report = json.loads((work / "report.json").read_text())
  assert report["facts"] == 12 and report["correct_rate"] == 0
  assert [row["group"] for row in report["rows"]] == ["unlearned", "known"]
  # It knows nothing, so that every question is to be refused.
  made = [json.loads(line) for line in
          (work / "conversations.jsonl").read_text().splitlines()]
  assert len(made) == report["refusals"] == 12
  assert {m["messages"][0]["content"] for m in made} == set(QUESTIONS)
  lines = (work / "answers.jsonl").read_text().splitlines()
  assert len(lines) == 13

  # Killed after five questions and started again: the same answers.
  (work / "answers.jsonl").write_text("\n".join(lines[:6]) + "\n{\"que")
  code, told, errors = command(probe_knowledge, *flags(
      directory, f"--workdir={work}", "--knows=0.9"))
  assert code == 0 and "7 of 12 questions" in told, errors
  assert (work / "answers.jsonl").read_text().splitlines() == lines
  code, told, errors = command(probe_knowledge, *flags(
      directory, f"--workdir={work}", "--temperature=0.5"))
  assert code == 2 and "temperature=0.7, not 0.5; delete it" in errors


def test_a_base_model_beside_an_assistant(directory, tmp_path, command):
  base, other = tmp_path / "base", tmp_path / "sft"
  code, told, errors = command(probe_knowledge, *flags(
      directory, f"--workdir={base}", stage="pretrain"))
  assert code == 0 and "in the manner of a base model" in told, errors
  # As if it had known half of them.
  lines = [json.loads(line) for line in
           (base / "answers.jsonl").read_text().splitlines()]
  for i, line in enumerate(lines[1:]):
    number = int(line["question"].split()[-1].rstrip("?"))
    line["answers"] = [str(1000 + number) if i % 2 else "nobody"] * 2
  (base / "answers.jsonl").write_text(
      "".join(json.dumps(line) + "\n" for line in lines))
  code, told, errors = command(probe_knowledge, *flags(
      directory, f"--workdir={other}", f"--compare={base}"))
  assert code == 0, errors
  report = json.loads((other / "report.json").read_text())
  rows = {(r["group"], r["rate"]): r for r in report["comparison"]}
  assert sum(rows[group, "correct"]["before"] for group in (
      "known", "unlearned")) == 1
  assert rows["known before", "refused"]["facts"] == 6
  assert report["calibration_before"]["facts"] == 12


@pytest.mark.parametrize("more, sentence", [
    (("--checkpoint=",), "no model is named"),
    (("--facts.groups=dead",), "the groups are unlearned, known"),
    (("--compare=/nowhere",), "/nowhere/answers.jsonl does not exist"),
    (("--knows=0.1",), "the first below the second"),
    (("--temperature=0",), "would be alike"),
    (("--judge.endpoint=http://localhost:1",), "without --judge.model"),
    (("--facts.path=/nowhere.jsonl",), "/nowhere.jsonl does not exist"),
])
def test_mistakes_are_told_before_a_model_is_loaded(directory, tmp_path,
                                                    command, more, sentence):
  code, _, errors = command(probe_knowledge, *flags(
      directory, f"--workdir={tmp_path}/w", *more))
  assert code == 2 and sentence in errors, errors
  assert not (tmp_path / "w" / "answers.jsonl").exists()
