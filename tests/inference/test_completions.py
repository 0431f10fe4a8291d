"""Texts of batches: stop strings, seeds, penalties over many steps."""

import codecs
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact_distribution import before_stop, token_probs

from llm_jax.config import (
    ConfigError, MeshConfig, ModelConfig, SamplingConfig, TokenizerConfig)
from llm_jax.inference import completions, streaming
from llm_jax.inference import generate as gen
from llm_jax.inference.conversation import stream_text
from llm_jax.model.params import init_params
from llm_jax.model.transformer import forward
from llm_jax.sharding import make_mesh
from llm_jax.tokenizer.bpe import train_bpe

PROMPTS = ["the cat", "é", "a dog and a cat", "数"]
NEW = 40


@pytest.fixture(scope="module")
def tokenizer():
  """Half a letter, a letter, or some."""
  return train_bpe(["the cat and the dog: é 数学 数学 😀😀"] * 3,
                   TokenizerConfig(vocab_size=280))


@pytest.fixture(scope="module")
def model(tokenizer):
  config = ModelConfig(
      vocab_size=tokenizer.vocab_size, embed_dim=16, num_layers=2, num_heads=2,
      num_kv_heads=1, head_dim=8, mlp_dim=16, max_seq_len=96, init_std=0.5)
  return jax.jit(init_params, static_argnames="config")(
      jax.random.key(0), config=config), config


# Letters and parts of accents only, so that stop strings do occur.
def likely(tokenizer, text="ath é数学 "):
  return tuple(f"{token}:6" for token in sorted(set(tokenizer.encode(text))))


@pytest.mark.parametrize("stop", [("a", "hh"), ("é",), ("学 ", "t数", "aa")])
@pytest.mark.slow
def test_rows_end_at_the_first_stop_string(model, tokenizer, stop):
  """Against the whole completion, cut by definition."""
  params, config = model
  prompts = [tokenizer.encode(prompt) for prompt in PROMPTS]
  sampling = SamplingConfig(max_new_tokens=NEW,
                            logit_bias=likely(tokenizer))
  end = tokenizer.special_tokens["<|end|>"]
  arguments = dict(prompt_len=24, stop_ids=(end,), samples_per_prompt=3)
  free = completions.generate_tokens(
      params, prompts, jax.random.key(1), sampling, config, **arguments)
  samples, texts = completions.generate_texts(
      params, prompts, tokenizer, jax.random.key(1),
      dataclasses.replace(sampling, stop=stop), config, **arguments)
  stopped_rows = 0
  for row, text in enumerate(texts):
    tokens = free.tokens_BT[row, :free.lengths_B[row]].tolist()
    whole, length, stopped = tokenizer.decode(tokens), len(tokens), False
    for count in range(1, len(tokens) + 1):
      # Whole characters: a decoder that is told that more may come.
      so_far = codecs.getincrementaldecoder("utf-8")("replace").decode(
          tokenizer.decode_bytes(tokens[:count]))
      if any(s in so_far for s in stop):
        whole, length, stopped = before_stop(so_far, stop)[0], count, True
        break
    stopped_rows += stopped
    if not stopped and free.stopped_B[row]:
      whole = tokenizer.decode(tokens[:-1])
    assert text == whole
    assert samples.lengths_B[row] == length == samples.mask_BT[row].sum()
    assert samples.stopped_B[row] == (stopped or free.stopped_B[row])
    expected = tokens[:length] + [0] * (NEW - length)
    np.testing.assert_array_equal(samples.tokens_BT[row], expected)
    np.testing.assert_allclose(
        samples.logprobs_BT[row],
        free.logprobs_BT[row] * samples.mask_BT[row], atol=1e-5)
  assert stopped_rows > 3


@pytest.mark.slow
def test_a_stream_stops_where_the_batch_does(model, tokenizer):
  params, config = model
  prompt = tokenizer.encode(PROMPTS[0])
  sampling = SamplingConfig(max_new_tokens=NEW, stop=("aa", "学"),
                            logit_bias=likely(tokenizer))
  _, (text,) = completions.generate_texts(
      params, [prompt], tokenizer, gen.seed_keys([3]), sampling, config,
      prompt_len=24)
  streamed = streaming.stream(params, prompt, jax.random.key(3), sampling,
                              config)
  assert "".join(stream_text(streamed, tokenizer, (), sampling.stop)) == text


@pytest.mark.slow
def test_a_mesh_changes_nothing(model, tokenizer):
  params, config = model
  prompts = [tokenizer.encode(prompt) for prompt in PROMPTS]
  arguments = (params, prompts, tokenizer, jax.random.key(1), SamplingConfig(
      max_new_tokens=20, stop=("a",), repetition_penalty=1.1), config)
  alone, texts = completions.generate_texts(*arguments, prompt_len=24)
  with jax.set_mesh(make_mesh(MeshConfig(data=4, fsdp=2))):
    split, split_texts = completions.generate_texts(*arguments, prompt_len=24)
  assert split_texts == texts
  np.testing.assert_array_equal(alone.tokens_BT, split.tokens_BT)


@pytest.mark.slow
def test_continuations_stop_at_a_text(model, tokenizer):
  params, config = model
  free = completions.complete(params, PROMPTS, tokenizer, config, 30, seed=2)
  stop = next(letter for letter in free[0] if letter.isascii())
  stopped = completions.complete(params, PROMPTS, tokenizer, config, 30,
                                 seed=2, stop=(stop,))
  assert stopped[0] == free[0].split(stop)[0] != free[0]
  assert all(stop not in text for text in stopped)


# --- seeds -------------------------------------------------------------------


def test_a_seeds_text_is_the_same_in_every_company(model, tokenizer):
  """Other prompts, lengths and seeds around it, and any row of the batch."""
  params, config = model
  ids = [tokenizer.encode(text) for text in PROMPTS]
  sampling = SamplingConfig(max_new_tokens=NEW)

  def run(prompts, seeds, group=1):
    return completions.generate_tokens(
        params, prompts, gen.seed_keys(seeds, group), sampling, config,
        prompt_len=24, samples_per_prompt=group).tokens_BT

  first = run(ids, (7, 1, 2, 3))
  for row, others in ((0, (4, 5, 6)), (2, (9, 9, 9)), (3, (1, 2, 3))):
    prompts, seeds = ids[1:][::-1], list(others)
    prompts.insert(row, ids[0])
    seeds.insert(row, 7)
    again = run(prompts, seeds)
    np.testing.assert_array_equal(again[row], first[0])
  # Seeds differ, and so do the samples of one seed.
  assert (run(ids, (8, 1, 2, 3))[0] != first[0]).any()
  group = run(ids[:2], (7, 7), 2)
  np.testing.assert_array_equal(group[0], first[0])
  assert (group[0] != group[1]).any()
  # A stream of the seed's key is the same text.
  streamed = list(streaming.stream(params, ids[0], jax.random.key(7), sampling,
                                   config))
  assert streamed == first[0].tolist()


@pytest.mark.slow
def test_other_shapes_change_near_ties_only(model, tokenizer):
  """Batches and slots of other sizes add in another order: a draw may only
  change where the cumulative distribution lies within rounding of it."""
  params, config = model
  ids = [tokenizer.encode(text) for text in PROMPTS]
  sampling, seeds = SamplingConfig(max_new_tokens=32), np.arange(32)
  whole = completions.generate_tokens(
      params, ids * 8, gen.seed_keys(seeds), sampling, config, prompt_len=24)
  changed = 0
  for size, prompt_len in ((8, 24), (4, 40), (1, 64)):
    for start in range(0, 32, 8 if size == 8 else 16):
      part = completions.generate_tokens(
          params, (ids * 8)[start:start + size],
          gen.seed_keys(seeds[start:start + size]), sampling, config,
          prompt_len=prompt_len)
      changed += (part.tokens_BT
                  != whole.tokens_BT[start:start + size]).any(-1).sum()
  assert changed <= 1  # rows of 42 that were compared


def test_keys_are_counted(model, tokenizer):
  params, config = model
  with pytest.raises(ConfigError, match="3 keys are given for 2"):
    completions.generate_tokens(
        params, [[1], [2]], gen.seed_keys([1, 2, 3]),
        SamplingConfig(max_new_tokens=4), config, prompt_len=8)


# --- penalties over steps ----------------------------------------------------

PENALTIES = SamplingConfig(
    temperature=0.0, max_new_tokens=12, repetition_penalty=1.4,
    frequency_penalty=0.2, presence_penalty=0.5, logit_bias=("5:1",))


@pytest.mark.slow
def test_penalties_see_the_prompt_and_each_token_drawn(model, tokenizer):
  params, config = model
  ids = [tokenizer.encode(text) for text in PROMPTS]
  samples = completions.generate_tokens(
      params, ids, jax.random.key(0), PENALTIES, config, prompt_len=24)
  run = jax.jit(forward, static_argnames="config")
  for row, prompt in enumerate(ids):
    tokens = samples.tokens_BT[row].tolist()
    padded = np.zeros((1, 36), np.int32)
    padded[0, :len(prompt) + 12] = prompt + tokens
    logits_BTV, _ = run(params, padded, config=config)
    for step in range(12):
      probs = token_probs(logits_BTV[0, len(prompt) + step - 1], PENALTIES,
                          prompt, tokens[:step])
      assert int(np.argmax(probs)) == tokens[step]
  plain = completions.generate_tokens(
      params, ids, jax.random.key(0),
      SamplingConfig(temperature=0.0, max_new_tokens=12), config,
      prompt_len=24)
  assert (plain.tokens_BT != samples.tokens_BT).any()
  # Streams and stop strings' chunks carry the same history.
  for row, prompt in enumerate(ids[:2]):
    streamed = list(streaming.stream(params, prompt, jax.random.key(0),
                                     PENALTIES, config))
    assert streamed == samples.tokens_BT[row].tolist()
  chunked, _ = completions.generate_texts(
      params, ids, tokenizer, jax.random.key(0),
      dataclasses.replace(PENALTIES, stop=("never",), max_new_tokens=20),
      config, prompt_len=24)
  np.testing.assert_array_equal(chunked.tokens_BT[:, :12], samples.tokens_BT)


# --- caches ------------------------------------------------------------------


@pytest.mark.slow
def test_a_streams_cache_grows_and_nothing_changes(
    model, tokenizer, monkeypatch):
  params, config = model
  prompt, sampling = tokenizer.encode(PROMPTS[2]), SamplingConfig(
      max_new_tokens=60)
  expected = list(streaming.stream(params, prompt, jax.random.key(1), sampling,
                                   config))
  sizes, original = [], streaming._grow_cache

  def grow(cache, slots, config):
    sizes.append((jax.tree.leaves(cache)[0].shape[2], slots))
    return original(cache, slots, config)

  monkeypatch.setattr(streaming, "_grow_cache", grow)
  monkeypatch.setattr(streaming, "_BUCKET", 8)
  monkeypatch.setattr(streaming, "_AHEAD", 4)
  for changes in ({}, {"cache_dtype": "int8"}):
    config = dataclasses.replace(config, **changes)
    streamed = list(streaming.stream(params, prompt, jax.random.key(1),
                                     sampling, config))
    assert len(streamed) == 60
    if not changes:
      assert streamed == expected
  # Powers of two, and at last what the model has.
  assert sizes == [(16, 32), (32, 64), (64, 96)] * 2


def test_slots_of_streams():
  config = ModelConfig(vocab_size=9, max_seq_len=1000)
  lengths = (1, 64, 65, 512, 600, 990)
  assert [streaming._prompt_slots(n, config) for n in lengths] == [
      64, 64, 128, 512, 640, 1000]
  assert [streaming._stream_slots(n, config) for n in (64, 65, 600)] == [
      64, 128, 1000]
  many = {streaming._prompt_slots(n, dataclasses.replace(
      config, max_seq_len=1 << 17)) for n in range(1, 1 << 15)}
  assert len(many) < 64


def test_bfloat16_generates_about_the_same(model, tokenizer):
  params, config = model
  ids = [tokenizer.encode(text) for text in PROMPTS]
  sampling = SamplingConfig(temperature=0.0, max_new_tokens=8)
  runs = [completions.generate_tokens(
      params, ids, jax.random.key(0), sampling,
      dataclasses.replace(config, compute_dtype=dtype), prompt_len=24)
      for dtype in ("float32", "bfloat16")]
  assert runs[1].logprobs_BT.dtype == np.float32
  np.testing.assert_array_equal(runs[1].lengths_B, [8] * 4)
  # First tokens: those of nearly the same distributions.
  same_B = runs[0].tokens_BT[:, 0] == runs[1].tokens_BT[:, 0]
  assert same_B.sum() >= 3
  np.testing.assert_allclose(runs[0].model_logprobs_BT[same_B, 0],
                             runs[1].model_logprobs_BT[same_B, 0], atol=0.5)


def test_the_compiled_loop_refuses_stop_strings(model):
  params, config = model
  with pytest.raises(ConfigError, match="generate_texts"):
    gen.generate(params, jnp.ones((1, 4), jnp.int32), jnp.array([4]),
                 jax.random.key(0), SamplingConfig(max_new_tokens=4,
                                                   stop=("x",)), config)
