"""GGUF files: what is written comes back, at every type and on a mesh."""

import dataclasses

import gguf
import jax
import numpy as np
import pytest

from llm_jax.config import ConfigError, MeshConfig, ModelConfig, Rules
from llm_jax.convert.gguf import load_gguf, save_gguf
from llm_jax.convert.gguf_file import Planned, read_file, write_file
from llm_jax.model.params import param_shardings
from llm_jax.model.quantization import quantize
from llm_jax.sharding import make_mesh
from tests.convert.gguf_models import CASES, T, V, tiny_params, tiny_tokenizer

LLAMA = CASES["llama"][1]


@pytest.fixture(scope="module")
def tokenizer():
  return tiny_tokenizer()


@pytest.fixture(scope="module")
def params():
  return tiny_params(LLAMA)


def errors(a, b):
  """Largest difference of each tensor, and tensors must be the same ones."""
  return jax.tree.leaves(jax.tree.map(
      lambda x, y: float(np.abs(np.asarray(x, np.float32)
                                - np.asarray(y, np.float32)).max()), a, b))


@pytest.mark.parametrize("case", CASES)
def test_every_architecture_comes_back(case, tokenizer, tmp_path):
  architecture, config = CASES[case]
  params, file = tiny_params(config), tmp_path / "model.gguf"
  save_gguf(file, params, config, tokenizer, "f32")
  assert read_file(file).fields["general.architecture"] == architecture
  again, config_again, tokenizer_again = load_gguf(file)
  # Gemma's norms lose the last bit when one is added and taken off.
  assert max(errors(params, again)) <= (1e-6 if config.norm_offset else 0)
  assert config_again == config
  assert tokenizer_again.ranks == tokenizer.ranks
  assert tokenizer_again.special_tokens == tokenizer.special_tokens


@pytest.mark.parametrize("kind, loaded", [
    ("f16", "float32"), ("bf16", "bfloat16"), ("q8_0", "float32")])
def test_types(kind, loaded, params, tokenizer, tmp_path):
  save_gguf(tmp_path / "m.gguf", params, LLAMA, tokenizer, kind)
  contents = read_file(tmp_path / "m.gguf")
  assert contents.types["blk.1.ffn_down.weight"].name.lower() == kind
  assert contents.types["blk.1.ffn_norm.weight"].name == "F32"
  again, config, _ = load_gguf(tmp_path / "m.gguf")
  assert config == dataclasses.replace(LLAMA, param_dtype=loaded,
                                       compute_dtype=loaded)
  relative = {"f16": 2**-11, "bf16": 2**-8, "q8_0": 0.51 / 127}[kind]
  for ours, theirs in zip(jax.tree.leaves(params), jax.tree.leaves(again)):
    assert theirs.dtype == loaded
    bound = relative * np.abs(ours).max() + 1e-6
    if loaded == "bfloat16":  # also of the norms, which are float32 in the file
      bound = np.maximum(bound, 2**-8 * np.abs(np.asarray(ours)))
    assert np.all(np.abs(ours - np.asarray(theirs, np.float32)) <= bound)
  wide = load_gguf(tmp_path / "m.gguf", "bfloat16")[0]
  assert {str(x.dtype) for x in jax.tree.leaves(wide)} == {"bfloat16"}


def test_bfloat16_is_written_to_the_bit(tokenizer, tmp_path):
  config = dataclasses.replace(LLAMA, param_dtype="bfloat16",
                               compute_dtype="bfloat16")
  params = jax.tree.map(lambda x: x.astype("bfloat16"), tiny_params(LLAMA))
  save_gguf(tmp_path / "m.gguf", params, config, tokenizer, "bf16")
  again, config_again, _ = load_gguf(tmp_path / "m.gguf")
  assert config_again == config and max(errors(params, again)) == 0


def test_int8_weights_are_refused(params, tokenizer, tmp_path):
  small = dict(params, head={"kernel": quantize(params["head"]["kernel"],
                                                (0,))})
  with pytest.raises(ConfigError, match="is a Int8, not an array"):
    save_gguf(tmp_path / "m.gguf", small, LLAMA, tokenizer)


def test_rows_that_do_not_fill_blocks_stay_float16(tokenizer, tmp_path):
  config = dataclasses.replace(LLAMA, mlp_dim=50)
  save_gguf(tmp_path / "m.gguf", tiny_params(config), config, tokenizer,
            "q8_0")
  types = read_file(tmp_path / "m.gguf").types
  assert types["blk.0.ffn_down.weight"].name == "F16"
  assert types["blk.0.ffn_up.weight"].name == "Q8_0"


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_quantised_files_are_read(kind, params, tokenizer, tmp_path):
  """Each value is off by at most its block's step."""
  save_gguf(tmp_path / "f32.gguf", params, LLAMA, tokenizer, "f32")
  contents = read_file(tmp_path / "f32.gguf")
  kind = gguf.GGMLQuantizationType[kind]
  writer = gguf.GGUFWriter(tmp_path / "q.gguf", "llama")
  for key, value in contents.fields.items():
    if not key.startswith("GGUF.") and key != "general.architecture":
      field = gguf.GGUFReader(tmp_path / "f32.gguf").fields[key]
      writer.add_key_value(key, value, field.types[0])
  for name, shape in contents.shapes.items():
    values = np.array(contents.read(name))
    if len(shape) == 2:
      writer.add_tensor(name, gguf.quants.quantize(values, kind),
                        raw_dtype=kind)
    else:
      writer.add_tensor(name, values)
  writer.write_header_to_file()
  writer.write_kv_data_to_file()
  writer.write_tensors_to_file()
  writer.close()
  again, config, _ = load_gguf(tmp_path / "q.gguf")
  assert config == LLAMA
  step = {"Q4_0": 1 / 8, "Q4_1": 2 / 15, "Q5_0": 1 / 16, "Q5_1": 2 / 31,
          "Q8_0": 1 / 127}[kind.name]
  up, up_again = (np.asarray(p["layers"][0]["mlp"]["up"])
                  for p in (params, again))
  assert 0 < np.abs(up - up_again).max() <= 1.01 * step * np.abs(up).max()


def test_onto_a_mesh(params, tokenizer, tmp_path):
  rules = Rules(mlp=("tensor",), embed=("fsdp",))
  config = dataclasses.replace(LLAMA, rules=rules)
  save_gguf(tmp_path / "m.gguf", params, config, tokenizer, "f32")
  mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
  with jax.set_mesh(mesh):
    again, loaded, _ = load_gguf(tmp_path / "m.gguf")
  assert max(errors(params, again)) == 0
  shardings = jax.tree.leaves(
      param_shardings(loaded), is_leaf=lambda x: isinstance(
          x, jax.sharding.PartitionSpec))
  for leaf, spec in zip(jax.tree.leaves(again), shardings, strict=True):
    assert leaf.sharding.is_equivalent_to(
        jax.sharding.NamedSharding(mesh, spec), leaf.ndim)


def test_unstacked_parameters_are_written_alike(params, tokenizer, tmp_path):
  from llm_jax.model.transformer import unstack_layers
  save_gguf(tmp_path / "a.gguf", params, LLAMA, tokenizer)
  save_gguf(tmp_path / "b.gguf", unstack_layers(params), LLAMA, tokenizer)
  assert (tmp_path / "a.gguf").read_bytes() == (
      tmp_path / "b.gguf").read_bytes()


def test_other_rotary_divisors_are_kept_as_they_are(params, tokenizer,
                                                    tmp_path):
  """`rope_freqs` that Llama 3's formula does not give."""
  divisors = np.linspace(1, 7, 8, dtype=np.float32)
  _rewrite(params, tokenizer, tmp_path, tensors={"rope_freqs.weight": divisors})
  config = load_gguf(tmp_path / "m.gguf")[1]
  assert config.rope_scaling.kind == "longrope"
  np.testing.assert_array_equal(
      np.float32(config.rope_scaling.long_factors), divisors)
  assert config.rope_scaling.short_factors == config.rope_scaling.long_factors


# --- what is wrong is told ----------------------------------------------------


def _rewrite(params, tokenizer, folder, *, fields=(), tensors=(), drop=()):
  """A file with some fields and tensors changed."""
  save_gguf(folder / "good.gguf", params, LLAMA, tokenizer, "f32")
  contents = read_file(folder / "good.gguf")
  values = {name: np.array(contents.read(name)) for name in contents.shapes
            if name not in drop} | dict(tensors)
  kept = {key: value for key, value in contents.fields.items()
          if not key.startswith(("GGUF.", "general.file_type",
                                 "general.quantization_version",
                                 "general.architecture"))} | dict(fields)
  architecture = kept.pop("general.architecture", "llama")
  write_file(folder / "m.gguf", architecture,
             {key: value for key, value in kept.items() if value is not None},
             [Planned(name, value.shape, lambda value=value: value)
              for name, value in values.items()], "f32")


@pytest.mark.parametrize("changes, told", [
    (dict(drop=("blk.1.attn_k.weight",)),
     "m.gguf lacks tensor blk.1.attn_k.weight"),
    (dict(drop=("token_embd.weight",)), "lacks tensor token_embd.weight"),
    (dict(tensors={"blk.0.extra.weight": np.ones((2, 2))}),
     "has tensor blk.0.extra.weight, which is no part"),
    (dict(tensors={"blk.2.ffn_up.weight": np.ones((95, 64))}),
     r"blk.2.ffn_up.weight of shape \[95, 64\].*\[96, 64\]"),
    (dict(fields={"general.architecture": "mamba"}),
     "architecture 'mamba', which is not known here; known are qwen2, llama"),
    (dict(fields={"llama.block_count": None}), "lacks llama.block_count"),
    (dict(fields={"llama.attention.head_count": "4"}),
     "has '4' for llama.attention.head_count"),
    (dict(fields={"llama.attention.head_count_kv": 3}), "no model that works"),
    (dict(fields={"llama.attention.value_length": 8}),
     "another size than keys"),
    (dict(fields={"llama.rope.scaling.type": "dynamic",
                  "llama.rope.scaling.factor": 2.0}), "'dynamic'"),
    (dict(fields={"tokenizer.ggml.model": "bert"}), "of the kind 'bert'"),
    (dict(fields={"tokenizer.ggml.pre": "abc",
                  "tokenizer.huggingface.json": None}), "cuts text by 'abc'"),
    (dict(fields={"tokenizer.ggml.token_type": [1, 1]}), "2 types of tokens"),
    (dict(fields={"split.count": 3}), "one of 3 parts"),
    (dict(tensors={"token_embd.weight": np.ones((V - 9, 64)),
                   "output.weight": np.ones((V - 9, 64))}),
     f"{V} tokens, but tensor token_embd.weight only {V - 9} rows")])
def test_a_wrong_file_is_told(changes, told, params, tokenizer, tmp_path):
  _rewrite(params, tokenizer, tmp_path, **changes)
  with pytest.raises(ConfigError, match=told):
    load_gguf(tmp_path / "m.gguf")


def test_a_damaged_file_is_told(params, tokenizer, tmp_path):
  save_gguf(tmp_path / "good.gguf", params, LLAMA, tokenizer, "f32")
  data = (tmp_path / "good.gguf").read_bytes()
  bad = tmp_path / "bad.gguf"
  for cut in (3, 100, 9000, len(data) // 2, len(data) - 40):
    bad.write_bytes(data[:cut])
    with pytest.raises(ConfigError, match="bad.gguf .*cut short"):
      load_gguf(bad)
  with pytest.raises(ConfigError, match="tensor blk.2.* ends at"):
    bad.write_bytes(data[:-40])
    load_gguf(bad)
  bad.write_bytes(b"nothing of that kind" * 100)
  with pytest.raises(ConfigError, match="cannot be read as a GGUF file"):
    load_gguf(bad)
  name = b"blk.0.ffn_up.weight"
  place = data.index(name) + len(name) + 4 + 2 * 8  # dimensions, shape
  bad.write_bytes(data[:place] + (99).to_bytes(4, "little") + data[place + 4:])
  with pytest.raises(ConfigError, match="blk.0.ffn_up.weight in a type"):
    load_gguf(bad)
  with pytest.raises(ConfigError, match="does not exist"):
    load_gguf(tmp_path / "none.gguf")


@pytest.mark.parametrize("changes, told", [
    (dict(mlp="relu2"), "model.mlp=relu2"),
    (dict(layer_pattern=("local",), window=8), "model.window=8"),
    (dict(rope_fraction=0.5, qk_norm="full"), "qk_norm"),
    (dict(rope_scaling=dataclasses.replace(
        CASES["llama yarn"][1].rope_scaling, truncate=False)), "truncate"),
    (dict(logit_softcap=20.0), "model.logit_softcap=20.0"),
    (dict(embed_scale=3.0), "model.embed_scale=3.0")])
def test_a_model_that_llama_cpp_cannot_run_is_refused(changes, told, tokenizer,
                                                      tmp_path):
  config = dataclasses.replace(LLAMA, **changes)
  with pytest.raises(ConfigError, match=told):
    save_gguf(tmp_path / "m.gguf", {}, config, tokenizer)
  assert not any(tmp_path.iterdir())


def test_nothing_is_overwritten_or_half_written(params, tokenizer, tmp_path):
  file = tmp_path / "m.gguf"
  file.write_text("mine")
  with pytest.raises(ConfigError, match="m.gguf exists"):
    save_gguf(file, params, LLAMA, tokenizer)
  assert file.read_text() == "mine"
  large = dict(params, final_norm={"scale": params["final_norm"]["scale"]},
               head={"kernel": params["head"]["kernel"] * 1e7})
  with pytest.raises(ConfigError, match="output.weight has values beyond"):
    save_gguf(tmp_path / "new.gguf", large, LLAMA, tokenizer, "f16")
  small = dict(params, head={"kernel": params["head"]["kernel"][:, :-1]})
  with pytest.raises(ConfigError, match="head.kernel has shape"):
    save_gguf(tmp_path / "new.gguf", small, LLAMA, tokenizer)
  with pytest.raises(ConfigError, match="no such|does not exist"):
    save_gguf(tmp_path / "no" / "new.gguf", params, LLAMA, tokenizer)
  with pytest.raises(ConfigError, match="dtype is 'q4_0'"):
    save_gguf(tmp_path / "new.gguf", params, LLAMA, tokenizer, "q4_0")
  assert [path.name for path in tmp_path.iterdir()] == ["m.gguf"]


def test_a_padded_vocabulary(tokenizer, tmp_path):
  """Rows beyond the tokenizer's are named, and are no tokens when read."""
  config = ModelConfig(vocab_size=V + 4, embed_dim=32, num_layers=1,
                       num_heads=2, num_kv_heads=1, head_dim=16, mlp_dim=32,
                       max_seq_len=T)
  save_gguf(tmp_path / "m.gguf", tiny_params(config), config, tokenizer)
  fields = read_file(tmp_path / "m.gguf").fields
  assert fields["tokenizer.ggml.tokens"][-1] == f"[PAD{V + 3}]"
  _, loaded, again = load_gguf(tmp_path / "m.gguf")
  assert loaded.vocab_size == V + 4 and again.vocab_size == V
