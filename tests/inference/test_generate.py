"""Cached generation against the plainest possible loop over `forward`."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_jax.config import (
  ConfigError,
  MeshConfig,
  ModelConfig,
  SamplingConfig,
)
from llm_jax.inference import completions, streaming
from llm_jax.inference import generate as gen
from llm_jax.model.params import init_params
from llm_jax.model.transformer import forward, unstack_layers
from llm_jax.sharding import make_mesh
from llm_jax.training.losses import token_logprobs

LLAMA = ModelConfig(vocab_size=31, embed_dim=16, num_layers=2, num_heads=4,
                    num_kv_heads=2, head_dim=4, mlp_dim=24, max_seq_len=40,
                    init_std=0.5)
GPT2 = dataclasses.replace(
    LLAMA, norm="layernorm", position="learned", mlp="gelu", use_bias=True,
    num_kv_heads=4)
PROMPTS = [[5, 9, 2], [1], [30, 7, 7, 4, 8, 11, 3], [2, 6]]

generate = jax.jit(
    gen.generate, static_argnames=(
        "sampling", "config", "stop_ids", "samples_per_prompt", "pad_id"))
run_forward = jax.jit(forward, static_argnames="config")


@pytest.fixture(scope="module", params=[LLAMA, GPT2], ids=["llama", "gpt2"])
def model(request):
  config = request.param
  return jax.jit(init_params, static_argnames="config")(
      jax.random.key(0), config=config), config


@pytest.fixture(scope="module")
def llama():
  return jax.jit(init_params, static_argnames="config")(
      jax.random.key(0), config=LLAMA), LLAMA


def naive_greedy(params, prompt, num_tokens, config):
  """The argmax of a full forward pass per token; one shape for one compile."""
  tokens = list(prompt)
  for _ in range(num_tokens):
    padded_BT, _ = gen.pad_prompts([tokens], 16)
    logits_BTV, _ = run_forward(params, padded_BT, config=config)
    tokens.append(int(jnp.argmax(logits_BTV[0, len(tokens) - 1])))
  return tokens[len(prompt):]


def test_greedy_matches_the_naive_loop_on_ragged_prompts(model):
  params, config = model
  prompts_BT, lengths_B = gen.pad_prompts(PROMPTS, 8, pad_id=13)
  sampling = SamplingConfig(temperature=0.0, max_new_tokens=6)
  samples = generate(params, prompts_BT, lengths_B, jax.random.key(0),
                     sampling=sampling, config=config)
  expected = [naive_greedy(params, p, 6, config) for p in PROMPTS]
  np.testing.assert_array_equal(samples.tokens_BT, expected)
  np.testing.assert_array_equal(samples.lengths_B, [6] * 4)
  np.testing.assert_array_equal(samples.stopped_B, [False] * 4)
  np.testing.assert_array_equal(samples.logprobs_BT, np.zeros((4, 6)))


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_logprobs_match_forward(model, temperature):
  params, config = model
  prompts_BT, lengths_B = gen.pad_prompts(PROMPTS, 8)
  sampling = SamplingConfig(temperature=temperature, max_new_tokens=8)
  samples = generate(params, prompts_BT, lengths_B, jax.random.key(1),
                     sampling=sampling, config=config)
  for row, prompt in enumerate(PROMPTS):
    sequence = [*prompt, *np.asarray(samples.tokens_BT[row]).tolist()]
    padded_BT, _ = gen.pad_prompts([sequence], 16)
    logits_BTV, _ = run_forward(params, padded_BT, config=config)
    generated = slice(len(prompt) - 1, len(sequence) - 1)
    targets_BT = np.roll(padded_BT, -1, axis=1)
    model_BT = token_logprobs(logits_BTV, targets_BT)
    sampled_BT = token_logprobs(logits_BTV / temperature, targets_BT)
    np.testing.assert_allclose(
        samples.model_logprobs_BT[row], model_BT[0, generated], atol=1e-5)
    np.testing.assert_allclose(
        samples.logprobs_BT[row], sampled_BT[0, generated], atol=1e-5)


def test_a_row_alone_is_the_row_in_its_batch(llama):
  params, config = llama
  prompts_BT, lengths_B = gen.pad_prompts(PROMPTS, 8)
  sampling = SamplingConfig(max_new_tokens=10)
  together = generate(params, prompts_BT, lengths_B, jax.random.key(2),
                      sampling=sampling, config=config)
  for row in range(len(PROMPTS)):
    alone = generate(params, prompts_BT[row:row + 1], lengths_B[row:row + 1],
                     jax.random.key(2), sampling=sampling, config=config,
                     rows_B=jnp.array([row]))
    np.testing.assert_array_equal(alone.tokens_BT[0], together.tokens_BT[row])
  assert len(set(map(tuple, np.asarray(together.tokens_BT).tolist()))) == 4


@pytest.mark.slow
def test_samples_of_one_prompt_are_those_of_the_repeated_prompt(llama):
  params, config = llama
  prompts_BT, lengths_B = gen.pad_prompts(PROMPTS, 8)
  sampling = SamplingConfig(max_new_tokens=5)
  shared = generate(params, prompts_BT, lengths_B, jax.random.key(3),
                    sampling=sampling, config=config, samples_per_prompt=3)
  repeated = generate(params, prompts_BT.repeat(3, 0), lengths_B.repeat(3),
                      jax.random.key(3), sampling=sampling, config=config)
  np.testing.assert_array_equal(shared.tokens_BT, repeated.tokens_BT)
  np.testing.assert_allclose(
      shared.logprobs_BT, repeated.logprobs_BT, atol=1e-5)


@pytest.mark.slow
def test_a_stop_token_ends_a_row_and_is_kept(llama):
  params, config = llama
  prompts_BT, lengths_B = gen.pad_prompts(PROMPTS, 8)
  sampling = SamplingConfig(max_new_tokens=12)
  free = generate(params, prompts_BT, lengths_B, jax.random.key(4),
                  sampling=sampling, config=config)
  stop_ids = tuple(int(t) for t in (free.tokens_BT[0, 4], free.tokens_BT[2, 0]))
  stopped = generate(params, prompts_BT, lengths_B, jax.random.key(4),
                     sampling=sampling, config=config, stop_ids=stop_ids,
                     pad_id=29)
  for row, tokens in enumerate(np.asarray(free.tokens_BT).tolist()):
    ends = [i for i, token in enumerate(tokens) if token in stop_ids]
    length = ends[0] + 1 if ends else 12
    assert stopped.lengths_B[row] == length
    assert stopped.stopped_B[row] == bool(ends)
    expected = tokens[:length] + [29] * (12 - length)
    np.testing.assert_array_equal(stopped.tokens_BT[row], expected)
    mask = [1.0] * length + [0.0] * (12 - length)
    np.testing.assert_array_equal(stopped.mask_BT[row], mask)
    np.testing.assert_allclose(
        stopped.logprobs_BT[row], free.logprobs_BT[row] * np.array(mask),
        atol=1e-6)
  assert stopped.lengths_B[2] == 1


def test_one_new_token(llama):
  params, config = llama
  prompts_BT, lengths_B = gen.pad_prompts(PROMPTS, 8)
  samples = generate(
      params, prompts_BT, lengths_B, jax.random.key(5),
      sampling=SamplingConfig(temperature=0.0, max_new_tokens=1),
      config=config)
  assert samples.tokens_BT.shape == (4, 1)
  expected = [naive_greedy(params, p, 1, config) for p in PROMPTS]
  np.testing.assert_array_equal(samples.tokens_BT, expected)


def test_the_loop_ends_when_every_row_has(llama):
  """Of 30 steps only those needed are run: counted by a callback."""
  params, config = llama
  prompts_BT, lengths_B = gen.pad_prompts(PROMPTS, 8)
  calls = []
  original = gen.next_token

  def counting(*args, **kwargs):
    jax.debug.callback(lambda: calls.append(1))
    return original(*args, **kwargs)

  gen.next_token = counting
  try:
    samples = jax.jit(
        lambda *a: gen.generate(
            *a, SamplingConfig(max_new_tokens=30), config,
            stop_ids=tuple(range(0, 31, 2))))(
        params, prompts_BT, lengths_B, jax.random.key(6))
    jax.effects_barrier()
  finally:
    gen.next_token = original
  assert len(calls) == int(samples.lengths_B.max()) - 1 < 29


def test_stream_is_generate_token_by_token(llama):
  params, config = llama
  sampling = SamplingConfig(temperature=0.8, max_new_tokens=9)
  prompts_BT, lengths_B = gen.pad_prompts(PROMPTS[:1], 8)
  expected = generate(params, prompts_BT, lengths_B, jax.random.key(7),
                      sampling=sampling, config=config)
  expected = np.asarray(expected.tokens_BT[0]).tolist()
  streamed = list(streaming.stream(unstack_layers(params), PROMPTS[0],
                             jax.random.key(7), sampling, config))
  assert streamed == expected
  stop_id = expected[3]
  streamed = list(streaming.stream(params, PROMPTS[0], jax.random.key(7),
                                   sampling, config, stop_ids=(stop_id,)))
  assert streamed == expected[:expected.index(stop_id) + 1]


def test_too_long_is_told_before_anything_runs(llama):
  params, config = llama
  prompts_BT, lengths_B = gen.pad_prompts(PROMPTS, 8)
  with pytest.raises(ConfigError, match="max_seq_len=40"):
    gen.generate(params, prompts_BT, lengths_B, jax.random.key(0),
                 SamplingConfig(max_new_tokens=33), config)
  with pytest.raises(ConfigError, match="max_new_tokens=38"):
    streaming.stream(params, PROMPTS[0], jax.random.key(0),
               SamplingConfig(max_new_tokens=38), config)
  with pytest.raises(ConfigError, match="room for 5"):
    gen.pad_prompts(PROMPTS, 5)
  with pytest.raises(ConfigError, match="no tokens"):
    gen.pad_prompts([[]], 5)


@pytest.mark.slow
def test_a_mesh_that_the_prompts_do_not_divide_changes_nothing(llama):
  """Four prompts over eight devices: rows are filled up and taken off."""
  params, config = llama
  arguments = (PROMPTS, jax.random.key(9), SamplingConfig(max_new_tokens=5),
               config)
  alone = completions.generate_tokens(params, *arguments, prompt_len=8)
  with jax.set_mesh(make_mesh(MeshConfig(data=4, fsdp=2))):
    split = completions.generate_tokens(params, *arguments, prompt_len=8)
  assert alone.tokens_BT.shape == (4, 5)
  np.testing.assert_array_equal(alone.tokens_BT, split.tokens_BT)
  np.testing.assert_allclose(alone.logprobs_BT, split.logprobs_BT, atol=1e-5)


class Letters:
  """A tokenizer of 30 letters; 0 is between documents, which have no text."""
  endoftext_id = 0

  def encode(self, text):
    return [ord(letter) - ord("a") + 1 for letter in text]

  def decode(self, ids):
    return "".join(chr(ord("a") + int(i) - 1) for i in ids)


def test_complete_goes_on_from_a_text(llama):
  params, config = llama
  texts = completions.complete(params, ("", "bcd", "x" * 60), Letters(),
                               config, 6, temperature=0.0)
  for text, prompt in zip(texts, ("", "bcd", "x" * 34)):
    ids = ([0] + Letters().encode(prompt))[-34:]
    expected = []
    while len(expected) < 6:
      padded_BT, _ = gen.pad_prompts([ids + expected], 40)
      logits_BTV, _ = run_forward(params, padded_BT, config=config)
      expected.append(int(jnp.argmax(logits_BTV[0, len(ids + expected) - 1])))
      if expected[-1] == 0:
        expected.pop()
        break
    assert text == Letters().decode(expected)
