"""What training starts from, made of models in other forms."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tiny_checkpoints
from llm_jax.config import ConfigError, LoraConfig, RlConfig, SftConfig
from llm_jax.convert import base_runs
from llm_jax.convert.base_runs import base_run, model_named
from llm_jax.convert.pretrained import load_pretrained
from llm_jax.model.presets import PRESETS


@pytest.fixture
def folder(tmp_path):
  tiny_checkpoints.write(tmp_path / "hub", "qwen3", dtype="bfloat16",
                         tokenizer=tiny_checkpoints.tokenizer())
  return tmp_path / "hub"


@pytest.mark.parametrize("stage, config", [
    ("rl", RlConfig()), ("sft", SftConfig(lora=LoraConfig(rank=2)))])
def test_a_folder_is_converted_once(folder, tmp_path, capsys, stage, config):
  config = dataclasses.replace(config, init_from=str(folder),
                               workdir=str(tmp_path / "run"))
  run = base_run(config, stage)
  assert f"{stage}: converted {folder}" in capsys.readouterr().out
  params, model, tokenizer = load_pretrained(run)
  want, given, _ = load_pretrained(folder)
  # All of it is to be trained, or an adapter to what stays as it is.
  dtype = "float32" if stage == "rl" else "bfloat16"
  assert (model.param_dtype, model.compute_dtype) == (dtype, "bfloat16")
  for one, other in zip(jax.tree.leaves(params), jax.tree.leaves(want),
                        strict=True):
    assert one.dtype == jnp.dtype(dtype)
    np.testing.assert_array_equal(one.astype(np.float32),
                                  other.astype(np.float32))
  assert tokenizer.vocab_size == 272 and given.param_dtype == "bfloat16"
  assert base_run(config, stage) == run  # what is there already
  assert not capsys.readouterr().out
  # A run is what it is.
  assert base_run(dataclasses.replace(config, init_from=run), stage) == run


def test_several_processes_do_not_convert(folder, tmp_path, monkeypatch):
  monkeypatch.setattr(base_runs.jax, "process_count", lambda: 2)
  with pytest.raises(ConfigError, match="several processes do not convert it"):
    base_run(RlConfig(init_from=str(folder), workdir=str(tmp_path / "run")),
             "rl")
  assert not (tmp_path / "run").exists()


def test_nothing_to_start_from(tmp_path):
  with pytest.raises(ConfigError, match="init_from is empty"):
    base_run(RlConfig(init_from="", workdir=str(tmp_path)), "rl")
  with pytest.raises(ConfigError, match="--init_from="):
    base_run(RlConfig(init_from=str(tmp_path / "none")), "rl")


def test_a_model_is_named_without_its_weights(folder, tmp_path):
  for file in folder.glob("*.safetensors"):
    file.unlink()
  assert model_named(str(folder)).num_layers == 3
  for name in ("Qwen/Qwen3-1.7B", "runs/qwen3-1.7b", "qwen3-1.7b"):
    assert model_named(name) == PRESETS["qwen3-1.7b"]
  with pytest.raises(ConfigError, match="'qwen4-1b' is no preset"):
    model_named("runs/Qwen4-1B")


def test_of_a_run_the_checkpoint_says_what_it_is(folder, tmp_path):
  run = base_run(RlConfig(init_from=str(folder),
                          workdir=str(tmp_path / "run")), "rl")
  assert model_named(run) == load_pretrained(run)[1]
