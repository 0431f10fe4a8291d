"""load_pretrained and save_pretrained: from anywhere to anywhere."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_jax.config import ConfigError
from llm_jax.convert import load_pretrained, pretrained, save_pretrained
from llm_jax.model.params import param_specs
from llm_jax.model.transformer import unstack_layers
from llm_jax.training.saved_models import checkpoint_info, load_params
import tiny_checkpoints as tiny

NAMES = ("llama", "gpt2", "gemma3", "deepseek_v3", "qwen3_moe")


def nothing_beside(path):
  """No partial output is left next to `path`."""
  return [p.name for p in path.parent.iterdir() if "partial" in p.name] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_of_ours_and_back(name, tmp_path):
  config = tiny.config_of(name)
  params, tokenizer = tiny.params_of(config), tiny.tokenizer()
  output = save_pretrained(tmp_path / "run", params, config, tokenizer,
                           format="orbax")
  assert output == tmp_path / "run" and nothing_beside(output)
  _, step, info = checkpoint_info(str(output))
  assert (step, info["stage"]) == (0, "pretrain")
  for path in (output, output / "checkpoints", output / "checkpoints" / "0"):
    again, config_again, tokenizer_again = load_pretrained(path)
    tiny.assert_same(again, params)
    assert config_again == config
  assert tokenizer_again.special_tokens == tokenizer.special_tokens
  # On to a folder of Hugging Face's, and back to a checkpoint.
  folder = save_pretrained(tmp_path / "hf", again, config, tokenizer_again)
  theirs = load_pretrained(str(folder))
  tiny.assert_same(theirs[0], params)
  save_pretrained(tmp_path / "run2", *theirs, format="orbax", stage="rl")
  tiny.assert_same(load_params(str(tmp_path / "run2"))[0], params)
  assert checkpoint_info(str(tmp_path / "run2"))[2]["stage"] == "rl"


def test_dtype_is_cast_wherever_it_comes_from(tmp_path):
  config = tiny.config_of("llama")
  params, tokenizer = tiny.params_of(config), tiny.tokenizer()
  half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
  save_pretrained(tmp_path / "run", params, config, tokenizer, format="orbax")
  read, config_read, _ = load_pretrained(tmp_path / "run", dtype="bfloat16")
  tiny.assert_same(read, half)
  assert config_read.param_dtype == config_read.compute_dtype == "bfloat16"
  save_pretrained(tmp_path / "half", params, config, tokenizer,
                  format="orbax", dtype="bfloat16")
  read, config_read, _ = load_pretrained(tmp_path / "half")
  tiny.assert_same(read, half)
  assert config_read.param_dtype == "bfloat16"


def test_unstacked_parameters_are_stacked_for_a_checkpoint(tmp_path):
  config = tiny.config_of("deepseek_v3")
  params = tiny.params_of(config)
  save_pretrained(tmp_path / "run", unstack_layers(params), config,
                  tiny.tokenizer(), format="orbax")
  tiny.assert_same(load_params(str(tmp_path / "run"))[0], params)
  half = load_pretrained(tmp_path / "run", dtype="bfloat16")[0]
  moe = half["layers"][1]["moe"]
  assert (moe["router_bias"].dtype, moe["gate"].dtype) == (
      jnp.float32, jnp.bfloat16)


def test_the_template_and_the_stops_go_along(tmp_path):
  """A foreign tokenizer's, through a checkpoint of ours."""
  config = tiny.config_of("llama")
  params, tokenizer = tiny.params_of(config), tiny.tokenizer()
  tokenizer.chat_template = "{{ messages[0]['content'] }}<|end|>"
  tokenizer.stop_token_ids = (tokenizer.special_tokens["<|pad|>"],)
  save_pretrained(tmp_path / "a", params, config, tokenizer)
  _, _, read = load_pretrained(tmp_path / "a")
  assert read.chat_template == tokenizer.chat_template
  save_pretrained(tmp_path / "b", params, config, read, format="orbax")
  assert checkpoint_info(str(tmp_path / "b"))[2]["stage"] == "sft"
  _, _, read = load_pretrained(tmp_path / "b")
  assert read.chat_template == tokenizer.chat_template
  assert set(tokenizer.stop_token_ids) <= set(read.stop_token_ids)
  contents = json.loads((tmp_path / "a" / "config.json").read_text())
  stops = contents["eos_token_id"]
  assert tokenizer.stop_token_ids[0] in np.atleast_1d(stops)


def test_gguf_by_file_and_by_folder(tmp_path):
  pytest.importorskip("gguf")
  config = tiny.config_of("llama_tied")
  params, tokenizer = tiny.params_of(config), tiny.tokenizer()
  file = save_pretrained(tmp_path / "a" / "x.gguf", params, config, tokenizer,
                         format="gguf", dtype="f32")
  assert file == tmp_path / "a" / "x.gguf" and nothing_beside(file)
  again, _, _ = load_pretrained(file)
  tiny.assert_same(again, params)
  file = save_pretrained(tmp_path / "b", params, config, tokenizer,
                         format="gguf")
  assert file == tmp_path / "b" / "model-f16.gguf"
  again, _, _ = load_pretrained(tmp_path / "b")
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3,
                                                       atol=1e-6),
               again, params)
  save_pretrained(tmp_path / "b" / "other.gguf", params, config, tokenizer,
                  format="gguf")
  with pytest.raises(ConfigError, match="several .gguf files .model-f16.gguf"):
    load_pretrained(tmp_path / "b")


def test_what_is_there_is_left_alone(tmp_path):
  config = tiny.config_of("llama")
  params = tiny.params_of(config)
  (tmp_path / "full").mkdir()
  (tmp_path / "full" / "thesis.txt").write_text("mine")
  for format in pretrained.FORMATS:
    with pytest.raises(ConfigError, match="full is not empty; give another"):
      save_pretrained(tmp_path / "full", params, config, tiny.tokenizer(),
                      format=format)
  (tmp_path / "x.gguf").write_text("mine")
  with pytest.raises(ConfigError, match="the file .*x.gguf exists"):
    save_pretrained(tmp_path / "x.gguf", params, config, tiny.tokenizer(),
                    format="gguf")
  assert (tmp_path / "full" / "thesis.txt").read_text() == "mine"
  (tmp_path / "empty").mkdir()
  save_pretrained(tmp_path / "empty", params, config, None)
  assert (tmp_path / "empty" / "config.json").exists()


@pytest.mark.parametrize("format", pretrained.FORMATS)
def test_an_export_that_fails_leaves_nothing(format, tmp_path, monkeypatch):
  """Neither when something breaks nor when the user stops it."""
  config = tiny.config_of("llama")
  params, tokenizer = tiny.params_of(config), tiny.tokenizer()
  save = {"hf": "llm_jax.convert.pretrained.save_huggingface",
          "gguf": "llm_jax.convert.gguf.save_gguf",
          "orbax": "llm_jax.convert.pretrained.save_params"}[format]

  def broken(path, *args, **kwargs):
    if pathlib.Path(path).is_dir():
      (pathlib.Path(path) / "half").write_text("written")
    raise KeyboardInterrupt
  monkeypatch.setattr(save, broken)
  with pytest.raises(KeyboardInterrupt):
    save_pretrained(tmp_path / "out", params, config, tokenizer, format=format)
  assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_said_first(tmp_path):
  config = tiny.config_of("llama")
  params = tiny.params_of(config)
  def told(match, *args, **kwargs):
    with pytest.raises(ConfigError, match=match):
      save_pretrained(tmp_path / "out", *args, **kwargs)
    assert not list(tmp_path.iterdir())
  told("format is 'onnx'; choose one of hf, gguf, orbax", params, config, None,
       format="onnx")
  told("format=orbax includes a tokenizer, and this model came without",
       params, config, None, format="orbax")
  told("dtype is 'f16'", params, config, tiny.tokenizer(), dtype="f16")
  told("dtype is 'float16'", params, config, tiny.tokenizer(), format="orbax",
       dtype="float16")
  quantised = dict(params, final_norm={"scale": object()})
  told("parameter final_norm.scale is a object, not an array", quantised,
       config, None)


@pytest.mark.parametrize("path, told", [
    ("nowhere.gguf", "nowhere.gguf does not exist"),
    ("no/such/folder/here", "does not exist"),
    ("file.txt", "is a file and no .gguf"),
    ("empty", "holds no model: no finished checkpoint of a run"),
])
def test_a_source_that_is_none(path, told, tmp_path):
  (tmp_path / "file.txt").write_text("x")
  (tmp_path / "empty").mkdir()
  with pytest.raises(ConfigError, match=told):
    load_pretrained(tmp_path / path)


def test_counts_are_those_of_the_specs():
  """The trees that these tests compare are whole."""
  for name in NAMES:
    config = tiny.config_of(name)
    assert jax.tree.structure(tiny.params_of(config)) == jax.tree.structure(
        param_specs(config), is_leaf=lambda x: hasattr(x, "axes"))
