"""experiments/evaluate.py --suite=psychology, from flags to JSON and page."""

import json

import jax
import jax.numpy as jnp
import pytest

from experiments import evaluate, make_biographies
from llm_jax import config_flags
from llm_jax.config import (
    ConfigError, EvaluateConfig, MakeBiographiesConfig, ModelConfig,
    TokenizerConfig)
from llm_jax.config_psychology import SECTIONS
from llm_jax.model.params import init_params
from llm_jax.tokenizer.bpe import train_bpe
from llm_jax.training.saved_models import save_params


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
  """A model that says nothing of sense, as a base model and as an assistant."""
  root = tmp_path_factory.mktemp("psychology")
  tokenizer = train_bpe(["What is the name of it?"] * 3,
                        TokenizerConfig(vocab_size=270))
  model = ModelConfig(vocab_size=tokenizer.vocab_size, embed_dim=8,
                      num_layers=1, num_heads=1, num_kv_heads=1, head_dim=8,
                      mlp_dim=8, max_seq_len=512)
  params = jax.tree.map(jnp.zeros_like, init_params(jax.random.key(0), model))
  for stage in ("pretrain", "sft"):
    save_params(str(root / stage), params, model, tokenizer, stage)
  (root / "sft" / "config.json").write_text(json.dumps(
      {"data": {"path": "synthetic", "synthetic": {
          "identity_facts": "I am Test. Ann made me."}}}))
  return root


def evaluated(directory, *flags):
  return evaluate.run(config_flags.parse(EvaluateConfig, [
      "evaluate", "--suite=psychology", "--batch_size=4",
      "--psychology.tools.names=", "--psychology.items=4",
      "--psychology.max_new_tokens=4", *flags]))


def test_a_baseline_is_a_model_or_what_was_written_of_one(directory, capsys):
  spelling = "--psychology.sections=spelling"
  first = evaluated(directory, spelling, f"--checkpoint={directory}/pretrain",
                    f"--output={directory}/out/base.json")
  assert first["stage"] == "pretrain"
  (section,) = first["psychology"]["sections"]
  assert section["rows"][0]["correct"] == 0
  assert len(section["rows"][0]["verdicts"]) == 4
  told = capsys.readouterr().out
  assert "not measured" in told and "verdicts" not in told
  second = evaluated(directory, spelling, f"--checkpoint={directory}/sft",
                     f"--baseline={directory}/out/base.json",
                     f"--output={directory}/out/sft.json")
  changes = second["psychology"]["comparison"]
  assert {c["rate"]: c["difference"] for c in changes} == {
      "correct": 0, "hallucination": 0, "refused": 0}
  page = (directory / "out" / "sft.html").read_text()
  assert "How words are spelled" in page and "· before" in page
  assert json.loads((directory / "out" / "sft.json").read_text()) == second


@pytest.mark.parametrize("flags, sentence", [
    (("--baseline=none.json",), "none.json does not exist; give a model"),
    (("--psychology.sections=search", "--psychology.people=/nowhere"),
     "/nowhere/facts.jsonl is missing"),
    (("--psychology.sections=identity", "--checkpoint={d}/pretrain"),
     "give it as --psychology.identity_facts"),
    (("--output=x.txt",), "does not end in .json"),
    (("--suite=sums", "--baseline=x"), "baseline is for --suite=psychology"),
])
def test_mistakes_are_told(directory, flags, sentence):
  with pytest.raises(ConfigError, match=sentence):
    evaluated(directory, f"--checkpoint={directory}/sft",
              *(flag.format(d=directory) for flag in flags))


@pytest.mark.slow
def test_all_sections(directory):
  people = str(directory / "people")
  make_biographies.run(config_flags.parse(MakeBiographiesConfig, [
      "make_biographies", f"--output={people}", "--people.known=80",
      "--people.unlearned=40", "--people.invented=40",
      "--people.first_names=40", "--people.last_names=60",
      "--people.sentences=2"]))
  found = evaluated(
      directory, f"--checkpoint={directory}/sft", "--psychology.items=8",
      f"--baseline={directory}/pretrain", f"--psychology.people={people}",
      "--psychology.tools.names=python,search", "--psychology.shots=1",
      "--psychology.calibration_facts=4", "--batch_size=16",
      f"--output={directory}/all.json")["psychology"]
  assert [s["name"] for s in found["sections"]] == list(SECTIONS)
  assert not any(s["left_out"] for s in found["sections"])
  assert len(found["promises"]) == 8
  assert all(r["value"] is not None for r in found["promises"])
  assert (directory / "all.html").exists()
