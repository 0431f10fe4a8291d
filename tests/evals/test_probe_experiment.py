"""experiments/probe_base_model.py and repeat_documents.py, from end to end."""

import json
import random
import shutil
import sys

import jax
import jax.numpy as jnp
import pytest

from experiments import pretrain, probe_base_model, repeat_documents
from llm_jax import config_flags
from llm_jax.config import (
    CheckpointConfig, ModelConfig, OptimizerConfig, PretrainConfig,
    ProbeBaseModelConfig, RepeatDocumentsConfig, TokenizerConfig)
from llm_jax.model.params import init_params
from llm_jax.tokenizer.bpe import train_bpe
from llm_jax.training.checkpoints import Checkpointer
from llm_jax.training.optimizers import make_optimizer
from llm_jax.training.train_step import TrainState

MODEL = ModelConfig(vocab_size=290, embed_dim=16, num_layers=1, num_heads=2,
                    num_kv_heads=2, head_dim=8, mlp_dim=16, max_seq_len=640)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
  """12 texts, the tokenizer learnt from them, and their names."""
  directory = tmp_path_factory.mktemp("probe")
  words = "stone river cloud mill oar lamp bell fern tide salt".split()
  rng = random.Random(0)
  texts = [f"Text {i}: " + " ".join(rng.choices(words, k=40))
           for i in range(12)]
  (directory / "texts.jsonl").write_text("".join(
      json.dumps({"text": text}) + "\n" for text in texts))
  train_bpe(texts, TokenizerConfig(vocab_size=290)).save(
      directory / "tokenizer")
  return directory


def repeated(corpus, *flags):
  config = config_flags.parse(RepeatDocumentsConfig, [
      "repeat_documents", f"--data.path={corpus}/texts.jsonl",
      f"--output={corpus}/corpus.jsonl", "--max_chars=160", *flags])
  return repeat_documents.run(config)


@pytest.fixture(scope="module")
def untrained(corpus):
  """A run with a checkpoint of random weights."""
  shutil.copytree(corpus / "tokenizer", corpus / "run" / "tokenizer")
  params = jax.jit(init_params, static_argnums=1)(jax.random.key(0), MODEL)
  tx = make_optimizer(OptimizerConfig(), 1)
  saver = Checkpointer(str(corpus / "run"), CheckpointConfig(), MODEL,
                       "pretrain")
  saver.save(0, TrainState(jnp.int32(0), params, tx.init(params)),
             {"next_batch": 0})
  saver.close()
  return corpus / "run"


@pytest.mark.slow
def test_all_probes_of_an_untrained_model(corpus, untrained, capsys):
  counts = repeated(corpus, "--repeats=1,3", "--documents=6")
  lines = (corpus / "corpus.jsonl").read_text().splitlines()
  assert (counts["documents"], counts["lines"], len(lines)) == (12, 24, 24)
  assert counts["characters"] == sum(len(json.loads(line)["text"])
                                     for line in lines)
  capsys.readouterr()
  output = corpus / "out" / "probes.json"
  config = config_flags.parse(ProbeBaseModelConfig, [
      "probe_base_model", f"--checkpoint={untrained}", f"--output={output}",
      f"--regurgitation.data.path={corpus}/corpus.jsonl",
      "--regurgitation.data.validation_fraction=0.2",
      "--regurgitation.prompt_tokens=8", "--regurgitation.new_tokens=8",
      "--few_shot.tasks=past", "--few_shot.shots=0,2",
      "--few_shot.questions=3", "--few_shot.max_new_tokens=4",
      "--prompted_assistant.max_new_tokens=4", "--hallucination.names=2",
      "--hallucination.samples=2", "--hallucination.max_new_tokens=4"])
  results = probe_base_model.run(config)
  told = capsys.readouterr().out
  assert results == json.loads(output.read_text())
  assert json.loads(told[told.index("\n{\n"):]) == results
  groups = [row["group"] for row in results["regurgitation"]["rows"]]
  assert groups == ["held out", "read 1x", "read 2x"]  # 3 counts as 2
  assert all(row["verbatim"] == 0 for row in results["regurgitation"]["rows"])
  assert [row["shots"] for row in results["few_shot"]["rows"]] == [0, 2] * 2
  assert [row["accuracy"] for row in results["few_shot"]["rows"]] == [0] * 4
  assert len(results["prompted_assistant"]["examples"]) == 2 * 24
  assert results["hallucination"]["rows"][1]["right"] == 0


@pytest.mark.parametrize("flags, sentence", [
    ([], "no model is named; give --checkpoint=RUN"),
    (["--model=a", "--checkpoint=b"], "give one of them"),
    (["--checkpoint=/nowhere"], "/nowhere"),
    (["--probe=memory"], "probe is 'memory'; choose one of all, regurg"),
    (["--few_shot.shots=40"], "give numbers from 0 to 16"),
    (["--few_shot.tasks=chess"], "few_shot.tasks is 'chess'"),
    (["--hallucination.samples=1"], "agreement needs two"),
    (["--hallucination.temperature=0"], "greedy samples always agree"),
    (["--regurgitation.prompt_tokens=0"], "at least one token"),
])
def test_mistakes_are_told(flags, sentence, monkeypatch, capsys):
  monkeypatch.setattr(sys, "argv", ["probe_base_model", *flags])
  with pytest.raises(SystemExit) as ended:
    config_flags.launch(ProbeBaseModelConfig, probe_base_model.run)
  errors = capsys.readouterr().err
  assert ended.value.code == 2 and sentence in errors, errors


@pytest.mark.slow
def test_what_is_read_often_is_recited(corpus, tmp_path):
  """A model trained here, on texts that it read 1 and 128 times."""
  repeated(corpus, "--repeats=1,128", "--documents=6")
  pretrain.run(config_flags.parse(PretrainConfig, [
      "pretrain", f"--workdir={tmp_path}/base", f"--data.tokenizer={corpus}"
      "/tokenizer", f"--data.path={corpus}/corpus.jsonl",
      "--data.validation_fraction=0", "--model.embed_dim=64",
      "--model.num_layers=2", "--model.num_heads=2", "--model.num_kv_heads=2",
      "--model.mlp_dim=192", "--model.qk_norm=head", "--model.init_std=0.08",
      "--num_steps=120", "--batch_size=8", "--seq_len=64", "--eval_every=0",
      "--sample_tokens=0", "--nologging.tensorboard",
      "--optimizer.name=muon", "--optimizer.learning_rate=1e-2"]))
  found = probe_base_model.run(config_flags.parse(ProbeBaseModelConfig, [
      "probe_base_model", f"--checkpoint={tmp_path}/base",
      "--probe=regurgitation", "--regurgitation.prompt_tokens=16",
      f"--regurgitation.data.path={corpus}/corpus.jsonl",
      "--regurgitation.new_tokens=16"]))
  rows = {r["group"]: r for r in found["regurgitation"]["rows"]}
  assert rows["read 128x"]["verbatim"] >= 0.8
  assert rows["read 1x"]["verbatim"] == 0.0
  assert rows["read 128x"]["similarity"] > rows["read 1x"]["similarity"] + 0.3
