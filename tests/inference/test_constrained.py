"""Whatever a model would like to say, it says what the constraint allows."""

import builtins
import json
import re

import jax
import numpy as np
import pytest

from llm_jax.config import (
    ConfigError, ModelConfig, SamplingConfig, TokenizerConfig)
from llm_jax.inference import constrained, constraints
from llm_jax.inference.completions import generate_tokens
from llm_jax.model.params import init_params
from llm_jax.tokenizer.bpe import train_bpe

pytest.importorskip("llguidance")
jsonschema = pytest.importorskip("jsonschema")

TEXT = ["the cat sat: naïve café, 数学 😀 12:34 {\"name\": \"Ann\", true}"] * 4
SCHEMA = {
    "type": "object", "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "maxLength": 5},
        "age": {"type": "integer", "minimum": 3, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["é", "数", "x"]},
                 "maxItems": 2},
        "ok": {"type": "boolean"}},
    "required": ["name", "age", "ok"]}
ROWS = 24


@pytest.fixture(scope="module")
def setup():
  """A model that has learnt nothing, and a vocabulary smaller than its."""
  tokenizer = train_bpe(TEXT, TokenizerConfig(vocab_size=290))
  config = ModelConfig(
      vocab_size=300, embed_dim=16, num_layers=1, num_heads=2, num_kv_heads=2,
      head_dim=8, mlp_dim=16, max_seq_len=128, init_std=0.5)
  params = jax.jit(init_params, static_argnames="config")(
      jax.random.key(0), config=config)
  stop_ids = tuple(tokenizer.special_tokens[name]
                   for name in ("<|end|>", "<|endoftext|>"))
  return params, config, tokenizer, stop_ids


def run(setup, constraint, *, prompts=None, group=ROWS, **settings):
  params, config, tokenizer, stop_ids = setup
  prompts = prompts or [tokenizer.encode("the cat")]
  return constrained.generate_constrained(
      params, prompts, constraint, tokenizer, jax.random.key(1),
      SamplingConfig(**{"max_new_tokens": 100, **settings}), config,
      prompt_len=8, stop_ids=stop_ids, samples_per_prompt=group)


@pytest.mark.parametrize("pattern", [
    r"[a-z]{1,8}( [a-z]{1,8}){0,2}!",
    r"(é|数学|😀){2,6}",
    r"[0-9]{1,3}:(?i:am|pm)?",
    r"[^a-z\n]{3,7}"])
def test_every_sample_matches_the_expression(setup, pattern):
  result = run(setup, constraints.regex(pattern))
  assert result.complete_B.all() and result.samples.stopped_B.all()
  for text in result.texts:
    assert re.fullmatch(pattern, text), text
  assert len(set(result.texts)) > ROWS // 4  # a choice is left to the model


def test_every_sample_is_valid_json(setup):
  result = run(setup, constraints.json_schema(SCHEMA))
  assert result.complete_B.all()
  for text in result.texts:
    jsonschema.validate(json.loads(text), SCHEMA)
  assert len(set(result.texts)) > ROWS // 4
  # The schema may come as text, and filters change nothing.
  for settings in ({"temperature": 0.0}, {"top_p": 0.8, "min_p": 0.05},
                   {"repetition_penalty": 1.5, "presence_penalty": 0.5}):
    result = run(setup, constraints.json_schema(json.dumps(SCHEMA)), group=2,
                 **settings)
    for text in result.texts:
      jsonschema.validate(json.loads(text), SCHEMA)


def test_each_row_has_its_own_constraint(setup):
  params, config, tokenizer, stop_ids = setup
  prompts = [tokenizer.encode(text) for text in ("the", "cat sat", "12")]
  asked = [constraints.regex("(yes|no)"), None, constraints.regex("[0-9]{4}")]
  result = run(setup, asked, prompts=prompts, group=2, max_new_tokens=12)
  assert all(re.fullmatch("yes|no", text) for text in result.texts[:2])
  assert all(re.fullmatch("[0-9]{4}", text) for text in result.texts[4:])
  # A row without a constraint draws what `generate` draws.
  free = generate_tokens(
      params, prompts, jax.random.key(1), SamplingConfig(max_new_tokens=12),
      config, prompt_len=8, stop_ids=stop_ids, samples_per_prompt=2)
  np.testing.assert_array_equal(result.samples.tokens_BT[2:4],
                                free.tokens_BT[2:4])
  np.testing.assert_allclose(result.samples.logprobs_BT[2:4],
                             free.logprobs_BT[2:4], atol=1e-5)


def test_probabilities_are_those_of_the_allowed_tokens(setup):
  """One token of two: the shares are the model's, renormalised."""
  params, config, tokenizer, stop_ids = setup
  prompt = tokenizer.encode("the cat")
  yes, no = (tokenizer.encode(letter)[0] for letter in "ab")
  result = run(setup, constraints.regex("a|b"), group=2000, max_new_tokens=2)
  first_B, drawn_B = result.samples.tokens_BT[:, 0], result.samples
  from llm_jax.model.transformer import forward
  logits_BTV, _ = forward(params, np.array([prompt]), config)
  logits_V = np.asarray(logits_BTV[0, -1], np.float64)
  share = 1 / (1 + np.exp(logits_V[no] - logits_V[yes]))
  assert set(first_B.tolist()) == {yes, no}
  spread = np.sqrt(share * (1 - share) / 2000)
  assert abs((first_B == yes).mean() - share) < 4 * spread
  np.testing.assert_allclose(
      drawn_B.logprobs_BT[first_B == yes, 0], np.log(share), atol=1e-4)
  # Then only a stop token is left, and it is as likely as the other one.
  assert set(drawn_B.tokens_BT[:, 1].tolist()) <= set(stop_ids)


def test_a_completion_that_is_cut_off_says_so(setup):
  result = run(setup, constraints.regex("[a-z]{300}"), group=3,
               max_new_tokens=5)
  assert not result.complete_B.any() and not result.samples.stopped_B.any()
  assert all(re.fullmatch("[a-z]+", text) for text in result.texts)


@pytest.mark.parametrize("constraint, told", [
    (lambda: constraints.regex("[a-"), "unclosed character class"),
    (lambda: constraints.regex("a(?=b)"), "look-around"),
    (lambda: constraints.regex("[^\\x00-\\U0010FFFF]"), "no text"),
    (lambda: constraints.json_schema("{"), "not JSON"),
    (lambda: constraints.json_schema([1]), "give an object"),
    (lambda: constraints.json_schema({"type": "foo"}), "foo"),
    (lambda: constraints.json_schema(False), "no text"),
    (lambda: constraints.json_schema(
        {"allOf": [{"type": "integer"}, {"type": "string"}]}), "nsatisfiable"),
    (lambda: constraints.json_schema(
        {"type": "array", "uniqueItems": True}), "uniqueItems")])
def test_mistakes_are_told_in_a_sentence(setup, constraint, told):
  with pytest.raises(ConfigError, match=told) as error:
    run(setup, constraint())
  assert "\n" not in str(error.value) and str(error.value).endswith(".")


def test_what_cannot_be_drawn_is_told(setup):
  with pytest.raises(ConfigError, match="logit_bias"):
    run(setup, constraints.regex("aaa"), group=1,
        logit_bias=(f"{setup[2].encode('a')[0]}:-inf",))
  with pytest.raises(ConfigError, match="2 constraints"):
    run(setup, [None, None])
  with pytest.raises(ConfigError, match="stop"):
    run(setup, constraints.regex("a"), stop=("x",))
  with pytest.raises(ConfigError, match="give stop_ids"):
    constraints.Grammars(setup[2], 300, ())


def test_without_the_package_its_name_is_told(setup, monkeypatch):
  original = builtins.__import__

  def refuse(name, *args, **kwargs):
    if name.startswith("llguidance"):
      raise ImportError(name)
    return original(name, *args, **kwargs)

  monkeypatch.setattr(builtins, "__import__", refuse)
  with pytest.raises(ConfigError, match="pip install 'llm_jax"):
    run(setup, constraints.regex("a"))
