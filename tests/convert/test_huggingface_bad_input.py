"""What is wrong with a folder is one sentence, before any work."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from llm_jax.config import ConfigError, MeshConfig
from llm_jax.convert.hf_safetensors import INDEX, SINGLE
from llm_jax.convert.huggingface import load_huggingface, save_huggingface
from llm_jax.sharding import make_mesh
import tiny_checkpoints as tiny


@pytest.fixture
def folder(tmp_path):
  tiny.write(tmp_path, "llama")
  return tmp_path


@pytest.fixture
def sharded(tmp_path):
  tiny.write(tmp_path, "llama", max_shard_size=40_000)
  return tmp_path


def told(folder):
  """The sentence that loading the folder is answered with."""
  with pytest.raises(ConfigError) as error:
    load_huggingface(folder)
  text = str(error.value)
  assert text.endswith(".") and "\n" not in text
  return text


def change(folder, **tensors):
  """Replaces tensors; None takes one out."""
  all_of_them = tiny.tensors_of(folder) | {
      name.replace("__", "."): x for name, x in tensors.items()}
  tiny.rewrite(folder, {name: x for name, x in all_of_them.items()
                        if x is not None})


def test_no_folder_of_that_form(tmp_path):
  assert f"{tmp_path}/config.json does not exist" in told(tmp_path)


def test_config_is_no_json(folder):
  (folder / "config.json").write_text("{")
  assert f"{folder}/config.json is not JSON" in told(folder)
  (folder / "config.json").write_text("[]")
  assert "holds no JSON object" in told(folder)


def test_no_weights(folder):
  (folder / SINGLE).unlink()
  assert "has no model.safetensors and no model.safe" in told(folder)
  (folder / "pytorch_model.bin").write_bytes(b"x")
  text = told(folder)
  assert "pytorch_model.bin only" in text and "save_pretrained" in text


def test_missing_tensor(folder):
  change(folder, model__layers__1__mlp__up_proj__weight=None)
  assert "lacks tensor model.layers.1.mlp.up_proj.weight" in told(folder)


def test_missing_head(folder):
  change(folder, lm_head__weight=None)
  assert "lacks tensor lm_head.weight" in told(folder)


def test_extra_tensor(folder):
  change(folder, model__layers__1__mlp__extra__weight=np.ones(3))
  text = told(folder)
  assert "model.safetensors has tensor model.layers.1.mlp.extra.weight" in text
  assert "LlamaForCausalLM" in text


def test_one_layer_too_many(folder):
  change(folder, model__layers__3__mlp__up_proj__weight=np.ones((40, 32)))
  assert "tensor model.layers.3.mlp.up_proj.weight, which is no" in told(folder)


def test_wrong_shape(folder):
  change(folder, model__layers__1__mlp__up_proj__weight=np.ones((41, 32)))
  assert ("tensor model.layers.1.mlp.up_proj.weight of shape [41, 32], where "
          "config.json makes it [40, 32]") in told(folder)


@pytest.mark.parametrize("kept", [0, 5, 200, -100])
def test_truncated(folder, kept):
  data = (folder / SINGLE).read_bytes()
  (folder / SINGLE).write_bytes(data[:kept])
  text = told(folder)
  assert str(folder / SINGLE) in text and "download it again" in text
  assert kept != -100 or "is cut short" in text and "tensor " in text


@pytest.mark.parametrize("header, fault", [
    (b"not json", "cannot be read"), (b"[1, 2]", "cannot be read"),
    (b'{"w": {"dtype": "F3", "shape": [1], "data_offsets": [0, 4]}}',
     "dtype F3 is not known"),
    (b'{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}',
     "tensor w has 4 bytes, where its shape (2,) needs 8"),
    (b'{"w": {"dtype": "F32", "shape": [-1], "data_offsets": [4, 0]}}',
     "a negative number"),
    (b'{"w": {"dtype": "F32", "data_offsets": [0, 4]}}', "KeyError"),
])
def test_corrupt_header(folder, header, fault):
  (folder / SINGLE).write_bytes(
      len(header).to_bytes(8, "little") + header + b"1234")
  text = told(folder)
  assert str(folder / SINGLE) in text and fault in text


def test_missing_shard(sharded):
  file = sorted(sharded.glob("model-*.safetensors"))[1]
  file.unlink()
  text = told(sharded)
  assert f"{file} is missing, which {INDEX} names for tensor " in text


def test_index_of_another_model(sharded):
  index = json.loads((sharded / INDEX).read_text())
  index["weight_map"]["model.other.weight"] = sorted(
      set(index["weight_map"].values()))[0]
  (sharded / INDEX).write_text(json.dumps(index))
  assert "that tensor model.other.weight is in model-00001" in told(sharded)
  (sharded / INDEX).write_text("{}")
  assert f"{sharded / INDEX} is not an index" in told(sharded)


def test_tokenizer_of_a_larger_vocabulary(tmp_path):
  config = tiny.config_of("llama")
  smaller = dataclasses.replace(config, vocab_size=264)
  save_huggingface(tmp_path, tiny.params_of(smaller), smaller, None)
  # Eight special tokens: those alone may be beyond the table.
  tiny.tokenizer().save(tmp_path)
  load_huggingface(tmp_path)
  contents = json.loads((tmp_path / "tokenizer.json").read_text())
  contents["added_tokens"] = []
  (tmp_path / "tokenizer.json").write_text(json.dumps(contents))
  text = told(tmp_path)
  assert "tokenizer of 272 tokens" in text and "only 264 rows" in text


def test_8_bit_weights_without_their_scales(folder):
  data = (folder / SINGLE).read_bytes()
  # The same number of bytes, said to be four times as many numbers.
  length = int.from_bytes(data[:8], "little")
  header = json.loads(data[8:8 + length])
  name = "model.layers.1.mlp.up_proj.weight"
  begin = header[name]["data_offsets"][0]
  header[name] |= {"dtype": "F8_E4M3", "shape": [40, 32],
                   "data_offsets": [begin, begin + 1280]}
  text = json.dumps(header).encode()
  (folder / SINGLE).write_bytes(
      len(text).to_bytes(8, "little") + text + data[8 + length:])
  assert f"tensor {name} quantised (float8_e4m3fn) and no" in told(folder)


def test_values_too_large_for_float16(tmp_path):
  config = tiny.config_of("llama")
  params = tiny.params_of(config)
  params["final_norm"]["scale"] = params["final_norm"]["scale"] * 1e6
  with pytest.raises(ConfigError, match="tensor model.norm.weight has values "
                     "beyond float16's 65504; give dtype=bfloat16"):
    save_huggingface(tmp_path, params, config, None, dtype="float16")


def test_parameters_of_another_config(tmp_path):
  config = tiny.config_of("llama")
  params = tiny.params_of(config)
  params["final_norm"]["scale"] = params["final_norm"]["scale"][:-1]
  with pytest.raises(ConfigError, match="parameter final_norm.scale has shape"):
    save_huggingface(tmp_path, params, config, None)
  assert not list(tmp_path.iterdir())


def test_a_mesh_that_does_not_divide_the_model(folder):
  with jax.set_mesh(make_mesh(MeshConfig(data=1, fsdp=1, tensor=8))):
    assert "kv_heads=2, which is not divisible by the 8" in told(folder)


def test_dtypes_that_are_not(folder):
  with pytest.raises(ConfigError, match="dtype is 'int8'; choose one of"):
    load_huggingface(folder, dtype="int8")
  config = tiny.config_of("llama")
  with pytest.raises(ConfigError, match="dtype is 'q4'; choose one of"):
    save_huggingface(folder, tiny.params_of(config), config, None, dtype="q4")
