"""Folders of Hugging Face's format, written and read back, without PyTorch."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

from etils import epath
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_jax.config import ConfigError, MeshConfig, TokenizerConfig
from llm_jax.convert.huggingface import (
    load_huggingface, read_tensor, save_huggingface)
from llm_jax.convert.hf_safetensors import INDEX, SINGLE, Weights
from llm_jax.model.params import param_shardings
from llm_jax.model.transformer import unstack_layers
from llm_jax.sharding import make_mesh
from llm_jax.tokenizer.chat import JINJA_TEMPLATE
from llm_jax.tokenizer.sentencepiece import train_sentencepiece
import tiny_checkpoints as tiny

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_written_and_read(name, tmp_path):
  params, config = tiny.write(tmp_path, name, max_shard_size=20_000)
  assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
  assert not (tmp_path / SINGLE).exists()
  index = json.loads((tmp_path / INDEX).read_text())
  assert set(index["weight_map"]) == set(tiny.tensors_of(tmp_path))
  again, config_again, tokenizer = load_huggingface(tmp_path)
  tiny.assert_same(again, params)
  assert config_again == config and tokenizer is None


def test_one_file_and_a_tokenizer(tmp_path):
  tokenizer = tiny.tokenizer()
  params, config = tiny.write(tmp_path, "llama", tokenizer=tokenizer)
  assert (tmp_path / SINGLE).exists() and not (tmp_path / INDEX).exists()
  again, _, read = load_huggingface(tmp_path)
  tiny.assert_same(again, params)
  assert read.encode("a text") == tokenizer.encode("a text")
  contents = json.loads((tmp_path / "config.json").read_text())
  special = tokenizer.special_tokens
  stops = [special["<|end|>"], special["<|endoftext|>"]]
  assert contents["eos_token_id"] == stops
  generation = json.loads((tmp_path / "generation_config.json").read_text())
  assert generation["eos_token_id"] == stops
  settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
  assert settings["chat_template"] == JINJA_TEMPLATE


def test_dtypes(tmp_path):
  params, config = tiny.write(tmp_path / "b", "llama", dtype="bfloat16")
  half, config_b, _ = load_huggingface(tmp_path / "b")
  assert (config_b.param_dtype, config_b.compute_dtype) == ("bfloat16",) * 2
  rounded = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
  tiny.assert_same(half, rounded)
  wide, config_w, _ = load_huggingface(tmp_path / "b", dtype="float32")
  assert config_w == config
  tiny.assert_same(wide, jax.tree.map(lambda x: x.astype(jnp.float32),
                                      rounded))
  tiny.write(tmp_path / "f", "llama", dtype="float16")
  single, config_f, _ = load_huggingface(tmp_path / "f")
  assert config_f == config
  tiny.assert_same(single, jax.tree.map(
      lambda x: x.astype(jnp.float16).astype(jnp.float32), params))


def test_the_correction_bias_stays_float32(tmp_path):
  params, config = tiny.write(tmp_path, "deepseek_v3", dtype="bfloat16")
  half, _, _ = load_huggingface(tmp_path)
  assert half["layers"][1]["moe"]["router_bias"].dtype == jnp.float32
  assert half["layers"][1]["moe"]["router"].dtype == jnp.bfloat16
  np.testing.assert_array_equal(half["layers"][1]["moe"]["router_bias"],
                                params["layers"][1]["moe"]["router_bias"])


def test_unstacked_parameters_are_the_same_files(tmp_path):
  params, config = tiny.write(tmp_path / "a", "deepseek_v2")
  (tmp_path / "b").mkdir()
  save_huggingface(tmp_path / "b", unstack_layers(params), config, None)
  for name, tensor in tiny.tensors_of(tmp_path / "a").items():
    np.testing.assert_array_equal(tensor,
                                  tiny.tensors_of(tmp_path / "b")[name])


# --- what other people's files have beside --------------------------------


def loaded_with_notes(folder):
  notes = []
  params, config, _ = load_huggingface(folder, log=notes.append)
  return params, config, notes


def test_gpt2_without_its_prefix_and_with_masks(tmp_path):
  params, config = tiny.write(tmp_path, "gpt2")
  tensors = {name.removeprefix("transformer."): x
             for name, x in tiny.tensors_of(tmp_path).items()}
  assert "wte.weight" in tensors
  tensors |= {f"h.{i}.attn.bias": np.ones((1, 1, 64, 64)) for i in range(3)}
  tiny.rewrite(tmp_path, tensors)
  again, _, notes = loaded_with_notes(tmp_path)
  tiny.assert_same(again, params)
  assert len(notes) == 1 and "left out 3 tensors" in notes[0]
  assert "h.0.attn.bias: attention masks" in notes[0]


def test_benign_tensors_are_left_out_and_said(tmp_path):
  params, _ = tiny.write(tmp_path, "llama_tied")
  tensors = tiny.tensors_of(tmp_path)
  tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
  tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(4)
  tiny.rewrite(tmp_path, tensors)
  again, _, notes = loaded_with_notes(tmp_path)
  tiny.assert_same(again, params)
  assert len(notes) == 2
  assert any("lm_head.weight: the head is the embedding" in n for n in notes)
  assert any("inv_freq: rotary frequencies" in n for n in notes)


def test_multi_token_prediction_heads_are_left_out(tmp_path):
  params, _ = tiny.write(tmp_path, "deepseek_v3")
  tensors = tiny.tensors_of(tmp_path)
  tensors["model.layers.3.eh_proj.weight"] = np.ones((32, 64))
  tensors["model.layers.3.embed_tokens.weight"] = np.ones((272, 32))
  tensors["model.layers.3.shared_head.norm.weight"] = np.ones(32)
  tiny.rewrite(tmp_path, tensors, num_nextn_predict_layers=1)
  again, _, notes = loaded_with_notes(tmp_path)
  tiny.assert_same(again, params)
  assert "left out 3" in notes[0] and "multi-token-prediction" in notes[0]
  tiny.rewrite(tmp_path, tensors, num_nextn_predict_layers=0)
  with pytest.raises(ConfigError, match="layers.3.eh_proj.weight, which is no"):
    load_huggingface(tmp_path)


def test_an_older_tokenizer_is_said_to_be_left_out(tmp_path):
  tiny.write(tmp_path, "gpt2")
  (tmp_path / "vocab.json").write_text("{}")
  notes = []
  _, _, tokenizer = load_huggingface(tmp_path, log=notes.append)
  assert tokenizer is None and "vocab.json and merges.txt only" in notes[0]


def test_a_sentencepiece_vocabulary(tmp_path):
  tokenizer = train_sentencepiece(
      [f"some words and number {i}" for i in range(300)],
      TokenizerConfig(kind="sentencepiece", vocab_size=300))
  config = dataclasses.replace(tiny.config_of("llama"), vocab_size=300)
  save_huggingface(tmp_path, tiny.params_of(config), config, tokenizer)
  assert (tmp_path / "tokenizer.model").exists()
  _, _, again = load_huggingface(tmp_path)
  assert again.encode("words and number 12") == tokenizer.encode(
      "words and number 12")
  assert again.stop_token_ids


@pytest.mark.parametrize("base", ["language_model.model.",
                                  "model.language_model."])
def test_the_text_part_of_a_model_that_sees(base, tmp_path):
  params, config = tiny.write(tmp_path, "gemma3")
  tensors = {base + name.removeprefix("model."): x
             for name, x in tiny.tensors_of(tmp_path).items()}
  tensors["vision_tower.encoder.weight"] = np.ones((3, 3))
  tensors["multi_modal_projector.norm.weight"] = np.ones(3)
  text = json.loads((tmp_path / "config.json").read_text())
  tiny.rewrite(tmp_path, tensors,
               architectures=["Gemma3ForConditionalGeneration"],
               model_type="gemma3", text_config=text)
  again, config_again, notes = loaded_with_notes(tmp_path)
  tiny.assert_same(again, params)
  assert config_again == config and "the part that sees" in notes[0]


def test_8_bit_floats_are_scaled_by_block(tmp_path):
  """DeepSeek-V3's way: a float32 factor for each 128 x 128 of a matrix."""
  rng = np.random.default_rng(0)
  stored = rng.normal(size=(200, 300)).astype(jnp.float8_e4m3fn)
  scale = rng.uniform(size=(2, 3)).astype(np.float32)  # the last are smaller
  data = stored.tobytes() + scale.tobytes()
  header = json.dumps({
      "w": {"dtype": "F8_E4M3", "shape": [200, 300],
            "data_offsets": [0, 60_000]},
      "w_scale_inv": {"dtype": "F32", "shape": [2, 3],
                      "data_offsets": [60_000, 60_024]}}).encode()
  (tmp_path / SINGLE).write_bytes(
      len(header).to_bytes(8, "little") + header + data)
  by_hand = stored.astype(np.float32)
  for i in range(200):
    for j in range(300):
      by_hand[i, j] *= scale[i // 128, j // 128]
  with Weights(epath.Path(tmp_path)) as weights:
    np.testing.assert_array_equal(read_tensor(weights, "w"), by_hand)


# --- devices and memory -------------------------------------------------------


@pytest.mark.parametrize("name", ["qwen3", "gpt2", "mixtral", "deepseek_v2"])
def test_each_shard_goes_to_its_device(name, tmp_path):
  params, config = tiny.write(tmp_path, name)
  mesh = make_mesh(MeshConfig(data=1, fsdp=4, tensor=2))
  with jax.set_mesh(mesh):
    split, config_again, _ = load_huggingface(tmp_path)
    shardings = param_shardings(config)
    jax.tree.map(
        lambda x, spec: np.testing.assert_(
            x.sharding == jax.sharding.NamedSharding(mesh, spec)),
        split, shardings)
    table = split["embed"]["tokens"]
    assert {s.data.shape for s in table.addressable_shards} == {(136, 8)}
    # And out again, from all devices.
    (tmp_path / "again").mkdir()
    save_huggingface(tmp_path / "again", split, config, None)
  tiny.assert_same(split, params)
  for path, tensor in tiny.tensors_of(tmp_path).items():
    np.testing.assert_array_equal(tiny.tensors_of(tmp_path / "again")[path],
                                  tensor)


def test_experts_on_a_mesh(tmp_path):
  params, config = tiny.write(tmp_path, "mixtral")
  with jax.set_mesh(make_mesh(MeshConfig(data=1, fsdp=2, expert=4))):
    split, _, _ = load_huggingface(tmp_path)
    gate = split["layers"][0]["moe"]["gate"]
    assert {s.data.shape for s in gate.addressable_shards} == {(3, 1, 16, 40)}
  tiny.assert_same(split, params)


MEMORY = """
import json, sys
from llm_jax.convert.huggingface import load_huggingface, save_huggingface
from llm_jax.convert import hf_safetensors
import jax.numpy as jnp
def kibibytes(field):
  return int(next(line.split()[1] for line in open("/proc/self/status")
                  if line.startswith(field)))
jnp.zeros(3).block_until_ready()
before = kibibytes("VmRSS")
params, config, _ = load_huggingface(sys.argv[1])
read = kibibytes("VmHWM") - before
save_huggingface(sys.argv[2], params, config, None)
print(json.dumps({"read": read * 1024,
                  "written": (kibibytes("VmHWM") - before) * 1024}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_more_than_the_model_and_one_tensor_is_in_memory(tmp_path):
  """160 MB of weights, of which the largest tensor is 16 MB."""
  config = dataclasses.replace(
      tiny.config_of("llama"), vocab_size=8000, embed_dim=512, num_layers=12,
      num_heads=8, num_kv_heads=8, head_dim=64, mlp_dim=1024, use_bias=False)
  params = tiny.params_of(config)
  total = sum(x.nbytes for x in jax.tree.leaves(params))
  largest = config.vocab_size * config.embed_dim * 4
  (tmp_path / "in").mkdir()
  (tmp_path / "out").mkdir()
  save_huggingface(tmp_path / "in", params, config, None,
                   max_shard_size=50 * 2**20)
  result = subprocess.run(
      [sys.executable, "-c", MEMORY, str(tmp_path / "in"),
       str(tmp_path / "out")], cwd=ROOT, capture_output=True, text=True,
      env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""})
  assert result.returncode == 0, result.stderr[-2000:]
  peak = json.loads(result.stdout)
  slack = 24 * 2**20  # the interpreter's own
  assert total > 3 * (largest + slack)  # else this says nothing
  assert total < peak["read"] < total + largest + slack, peak
  assert peak["written"] < total + largest + slack, peak
