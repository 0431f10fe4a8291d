"""config.json of public models <-> the settings of ours."""

import dataclasses
import math

import pytest

from llm_jax.config import ConfigError, MoeConfig, ModelConfig, RopeScaling
from llm_jax.convert.hf_config import read_config, unlike, write_config
from llm_jax.model.presets import PRESETS
from public_configs import PUBLIC

LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama",
    "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 4,
    "num_attention_heads": 4, "vocab_size": 50, "rms_norm_eps": 1e-5,
    "max_position_embeddings": 64}
GEMMA3 = LLAMA | {"architectures": ["Gemma3ForCausalLM"],
                  "model_type": "gemma3_text", "num_key_value_heads": 2}


@pytest.mark.parametrize("name", PUBLIC)
def test_presets_are_the_public_files(name):
  config = read_config(PUBLIC[name], "config.json")
  assert not unlike(config, PRESETS[name])
  # The essence of both is equal; the settings are too, but for initial values.
  assert config == dataclasses.replace(PRESETS[name],
                                       init_std=config.init_std)


@pytest.mark.parametrize("name", PRESETS)
def test_what_is_written_is_read_as_the_same(name):
  family, fields = write_config(PRESETS[name])
  assert not unlike(read_config(fields, ""), PRESETS[name])
  if name in PUBLIC and not name.startswith(("phi", "gemma-3-4b")):
    assert family.architectures[0] == PUBLIC[name]["architectures"][0] or (
        name == "mistral-7b-v0.3")  # without windows it is a Llama


def test_a_family_can_be_asked_for():
  _, fields = write_config(PRESETS["phi-3-mini-4k"], "phi3")
  assert fields["architectures"] == ["Phi3ForCausalLM"]
  assert not unlike(read_config(fields, ""), PRESETS["phi-3-mini-4k"])
  with pytest.raises(ConfigError, match="no model_type=gpt2 of"):
    write_config(PRESETS["phi-3-mini-4k"], "gpt2")
  with pytest.raises(ConfigError, match="gpt5.* is not known; choose"):
    write_config(PRESETS["phi-3-mini-4k"], "gpt5")


def test_newer_style_says_the_same():
  old = LLAMA | {"rope_theta": 500.0, "rope_scaling": {
      "type": "linear", "factor": 2.0}}
  new = LLAMA | {"rope_parameters": {
      "rope_type": "linear", "rope_theta": 500.0, "factor": 2.0}}
  config = read_config(old, "")
  assert config == read_config(new, "")
  assert config.rope_theta == 500.0
  assert config.rope_scaling == RopeScaling("linear", factor=2.0)

  old = GEMMA3 | {"rope_theta": 700.0, "rope_local_base_freq": 70.0,
                  "rope_scaling": {"rope_type": "linear", "factor": 8.0},
                  "sliding_window_pattern": 2, "sliding_window": 5}
  new = GEMMA3 | {
      "layer_types": ["sliding_attention", "full_attention"] * 2,
      "sliding_window": 5, "rope_parameters": {
          "full_attention": {"rope_type": "linear", "rope_theta": 700.0,
                             "factor": 8.0},
          "sliding_attention": {"rope_type": "default",
                                "rope_theta": 70.0}}}
  config = read_config(old, "")
  assert config == read_config(new, "")
  assert config.layer_pattern == ("local", "global") and config.window == 5
  assert config.rope_local_theta == 70.0
  assert config.rope_scaling.kind == "linear"


def test_yarn():
  rope = {"type": "yarn", "factor": 4.0,
          "original_max_position_embeddings": 32768}
  scaling = read_config(LLAMA | {"rope_scaling": rope}, "").rope_scaling
  assert scaling.attention_factor == pytest.approx(0.1 * math.log(4) + 1)
  assert (scaling.beta_fast, scaling.beta_slow) == (32.0, 1.0)
  config = read_config(PUBLIC["deepseek-v3"], "")
  # 0.1 ln 40 + 1 = 1.36889, squared, over sqrt(128 + 64).
  assert config.attention_scale == pytest.approx(1.8738553 / 192 ** 0.5)
  assert config.rope_scaling.attention_factor == 1.0
  again = write_config(config)[1]["rope_scaling"]
  assert (again["mscale"], again["mscale_all_dim"]) == (1.0, 1.0)


def test_longrope():
  contents = LLAMA | {
      "architectures": ["Phi3ForCausalLM"], "model_type": "phi3",
      "max_position_embeddings": 131072, "rope_scaling": {
          "type": "longrope", "short_factor": [1.0] * 3,
          "long_factor": [2.0] * 3},
      "partial_rotary_factor": 0.75, "sliding_window": None,
      "original_max_position_embeddings": 4096}
  config = read_config(contents, "")
  assert config.rope_fraction == 0.75
  # sqrt(1 + ln 32 / ln 4096)
  assert config.rope_scaling.attention_factor == pytest.approx(1.1902380)
  assert config.rope_scaling.long_factors == (2.0, 2.0, 2.0)
  family, again = write_config(config)
  assert family.model_type == "phi3"
  assert again["rope_scaling"] == contents["rope_scaling"]
  assert again["original_max_position_embeddings"] == 4096


def test_windows_of_last_layers():
  qwen = LLAMA | {"architectures": ["Qwen2ForCausalLM"],
                  "use_sliding_window": True, "sliding_window": 9,
                  "max_window_layers": 3}
  config = read_config(qwen, "")
  assert [config.layer_kind(i) for i in range(4)] == [
      "global", "global", "global", "local"]
  assert config.window == 9 and config.qkv_bias
  off = read_config(qwen | {"use_sliding_window": False}, "")
  assert off.layer_pattern == ("global",) and off.window == 0


@pytest.mark.parametrize("changes, told", [
    ({"architectures": ["MambaForCausalLM"]},
     r"x/config.json is of an architecture that is not known here "
     r"\(architectures=\['MambaForCausalLM'\]\); known are GPT2LMHeadModel"),
    ({"architectures": None, "model_type": "mamba"}, "model_type='mamba'"),
    ({"hidden_size": None}, "x/config.json lacks `hidden_size`"),
    ({"hidden_size": "wide"}, "hidden_size='wide', which should be a number"),
    ({"hidden_act": "relu"}, "hidden_act='relu', but LlamaForCausalLM"),
    ({"attention_bias": True}, "attention_bias=True and mlp_bias=False"),
    ({"rope_scaling": {"type": "dynamic", "factor": 2.0}},
     "scales rotary positions by 'dynamic'"),
    ({"rope_scaling": {"type": "llama3", "factor": 2.0}},
     "without `low_freq_factor`"),
    ({"partial_rotary_factor": 0.5}, "partial_rotary_factor=0.5"),
    ({"quantization_config": {"quant_method": "awq"}}, "quantised by 'awq'"),
    ({"num_key_value_heads": 3}, "describes no model that works: model.num_he"),
    ({"architectures": ["Qwen3MoeForCausalLM"], "num_experts": 4,
      "num_experts_per_tok": 2, "moe_intermediate_size": 8,
      "mlp_only_layers": [1]}, r"mlp_only_layers=\[1\]; only the first"),
    ({"architectures": ["Qwen3MoeForCausalLM"], "decoder_sparse_step": 2},
     "decoder_sparse_step=2"),
    ({"architectures": ["Gemma3ForCausalLM"],
      "use_bidirectional_attention": True}, "use_bidirectional_attention"),
    ({"architectures": ["Gemma3ForCausalLM"],
      "layer_types": ["chunked_attention"] * 4}, "'chunked_attention' among"),
    ({"architectures": ["Gemma3ForCausalLM"],
      "layer_types": ["full_attention"]}, "but kinds of 1 layers only"),
    ({"architectures": ["DeepseekV3ForCausalLM"], "rms_norm_eps": 1e-5},
     "rms_norm_eps=1e-05"),
    ({"architectures": ["GPT2LMHeadModel"],
      "scale_attn_by_inverse_layer_idx": True},
     "scale_attn_by_inverse_layer_idx=True"),
])
def test_what_we_cannot_do_is_refused(changes, told):
  with pytest.raises(ConfigError, match=told) as error:
    read_config(LLAMA | changes, "x/config.json")
  assert str(error.value).count("\n") == 0


@pytest.mark.parametrize("changes, told", [
    ({"mlp": "relu2"}, "model.mlp=relu2"),
    ({"norm": "layernorm"}, "model.norm=layernorm"),
    ({"position": "none"}, "model.position=none"),
    ({"layer_pattern": ("local_nope", "global"), "window": 3,
      "qk_norm": "full"}, "nearest is"),
    ({"moe": MoeConfig(num_experts=4, mlp_dim=8, scale=2.0)},
     "model.moe.scale=2.0"),
])
def test_what_they_cannot_say_is_refused(changes, told):
  config = dataclasses.replace(ModelConfig(vocab_size=50), **changes)
  with pytest.raises(ConfigError, match=f"{told}.*save it with format=orbax"):
    write_config(config)
