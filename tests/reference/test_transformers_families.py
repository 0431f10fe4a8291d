"""Every family: our logits are transformers', and theirs of what we export."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_jax.convert.hf_config import read_config, unlike, write_config
from llm_jax.convert.huggingface import load_huggingface, save_huggingface
from llm_jax.model.decode import decode_step, init_cache, prefill
from llm_jax.model.params import count_params, is_spec, param_specs
from llm_jax.model.presets import PRESETS
from llm_jax.model.transformer import forward

pytestmark = pytest.mark.reference
family_cases = pytest.importorskip("family_cases")
transformers, torch = family_cases.transformers, family_cases.torch
CASES, T, V = family_cases.CASES, family_cases.T, family_cases.V

LENGTHS_B = np.array([T, T - 9, 17])
PROMPTS_B = np.array([T - 6, 20, 11])  # then six tokens one by one
TOLERANCE = 1e-4


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
  """(name, their model, folder, our params, our config, tokens, logits)."""
  model = family_cases.make(request.param)
  folder = tmp_path_factory.mktemp(request.param)
  model.save_pretrained(folder)
  params, config, tokenizer = load_huggingface(folder)
  assert tokenizer is None
  tokens_BT = np.random.default_rng(0).integers(V, size=(3, T))
  theirs_BTV = family_cases.logits(model, tokens_BT, LENGTHS_B)
  return (request.param, model, folder, params, config, tokens_BT, theirs_BTV)


def real(values_BTV):
  """The positions that are not padding."""
  return np.concatenate([np.asarray(row)[:n]
                         for row, n in zip(values_BTV, LENGTHS_B)])


def test_logits(case):
  _, _, _, params, config, tokens_BT, theirs_BTV = case
  jax.tree.map(lambda spec, x: np.testing.assert_equal(x.shape, spec.shape),
               param_specs(config), params, is_leaf=is_spec)
  ours_BTV = jax.jit(lambda p, t: forward(p, t, config)[0])(
      params, jnp.asarray(tokens_BT, jnp.int32))
  assert 0.5 < np.abs(real(theirs_BTV)).max() < 30
  np.testing.assert_allclose(real(ours_BTV), real(theirs_BTV),
                             atol=TOLERANCE, rtol=0)


def test_cached_decoding(case):
  _, _, _, params, config, tokens_BT, theirs_BTV = case
  tokens_BT = jnp.asarray(tokens_BT, jnp.int32)
  rows = np.arange(3)
  logits_BV, cache = jax.jit(prefill, static_argnames="config")(
      params, tokens_BT, jnp.asarray(PROMPTS_B), init_cache(3, T, config),
      config)
  ours = [logits_BV]
  step = jax.jit(decode_step, static_argnames="config")
  for i in range(6):
    positions_B = jnp.asarray(PROMPTS_B + i)
    logits_BV, cache = step(params, tokens_BT[rows, positions_B], positions_B,
                            cache, config)
    ours.append(logits_BV)
  for i, logits_BV in enumerate(ours):
    at_B = PROMPTS_B - 1 + i
    np.testing.assert_allclose(logits_BV, theirs_BTV[rows, at_B],
                               atol=TOLERANCE, rtol=0)


def test_export(case, tmp_path):
  name, model, folder, params, config, tokens_BT, theirs_BTV = case
  model_type = json.loads((folder / "config.json").read_text())["model_type"]
  save_huggingface(tmp_path, params, config, None, model_type=model_type,
                   max_shard_size=40_000)
  again, info = type(model).from_pretrained(
      tmp_path, output_loading_info=True, attn_implementation="eager")
  assert not any(info.values()), info
  assert len(list(tmp_path.glob("*.safetensors"))) > 1
  for path, weight in model.state_dict().items():
    np.testing.assert_array_equal(weight, again.state_dict()[path], path)
  np.testing.assert_allclose(
      real(family_cases.logits(again, tokens_BT, LENGTHS_B)),
      real(theirs_BTV), atol=TOLERANCE, rtol=0)
  reread = json.loads((tmp_path / "config.json").read_text())
  assert read_config(reread, "") == dataclasses.replace(
      config, param_dtype="float32")


def test_the_family_is_found_without_its_name(case):
  """What is written by default is the same model, whatever it is called."""
  config = case[4]
  _, fields = write_config(config)
  assert not unlike(read_config(fields, ""), config)


def test_longrope_within_the_original_context(tmp_path):
  """transformers then takes the short factors; here max_seq_len says so."""
  model = family_cases.make("phi3_longrope")
  model.save_pretrained(tmp_path)
  params, config, _ = load_huggingface(tmp_path)
  assert config.max_seq_len > config.rope_scaling.original_max_len == 24
  config = dataclasses.replace(config, max_seq_len=24)
  tokens_BT = np.random.default_rng(0).integers(V, size=(2, 20))
  ours_BTV, _ = forward(params, jnp.asarray(tokens_BT), config)
  theirs_BTV = family_cases.logits(model, tokens_BT)
  np.testing.assert_allclose(ours_BTV, theirs_BTV, atol=TOLERANCE, rtol=0)


def test_the_text_part_of_a_model_that_sees(tmp_path):
  """Gemma3ForConditionalGeneration, as it is saved with its vision tower."""
  text = family_cases.CASES["gemma3"][2]
  config = transformers.Gemma3Config(
      text_config=family_cases.SIZES | text, vision_config=dict(
          hidden_size=16, intermediate_size=16, num_hidden_layers=1,
          num_attention_heads=2, image_size=8, patch_size=4),
      mm_tokens_per_image=4, boi_token_index=3, eoi_token_index=4,
      image_token_index=5)
  config._attn_implementation = "eager"
  model = family_cases.fill(
      transformers.Gemma3ForConditionalGeneration(config))
  model.save_pretrained(tmp_path)
  notes = []
  params, config, _ = load_huggingface(tmp_path, log=notes.append)
  assert len(notes) == 1 and "the part that sees" in notes[0]
  tokens_BT = np.random.default_rng(0).integers(6, V, size=(2, T))
  ours_BTV, _ = forward(params, jnp.asarray(tokens_BT), config)
  with torch.no_grad():
    theirs_BTV = model(input_ids=torch.tensor(tokens_BT)).logits.numpy()
  assert np.abs(theirs_BTV).max() > 0.5
  np.testing.assert_allclose(ours_BTV, theirs_BTV, atol=TOLERANCE, rtol=0)


def on_no_device(contents, folder):
  """Their model of a config.json, without memory for its weights."""
  (folder / "config.json").write_text(json.dumps(contents))
  config = transformers.AutoConfig.from_pretrained(folder)
  with torch.device("meta"):
    return transformers.AutoModelForCausalLM.from_config(config)


def count_theirs(model):
  """Parameters, tied ones once, and the routers' correction biases."""
  seen = {id(x): x for _, x in (*model.named_parameters(),
                                *((name, x) for name, x in
                                  model.named_buffers()
                                  if "correction_bias" in name))}
  return sum(x.numel() for x in seen.values())


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_as_many_parameters_as_theirs(name, tmp_path):
  _, fields = write_config(PRESETS[name])
  model = on_no_device(fields, tmp_path)
  assert count_theirs(model) == count_params(PRESETS[name])
