"""Dropping rows that are done changes nothing but the work."""

import dataclasses

import jax
import numpy as np
import pytest

from llm_jax.config import ConfigError, MeshConfig, ModelConfig, SamplingConfig
from llm_jax.inference.compaction import bucket, generate_compacted
from llm_jax.inference.completions import generate_tokens
from llm_jax.model.params import init_params
from llm_jax.sharding import make_mesh

MODEL = ModelConfig(vocab_size=24, embed_dim=16, num_layers=2, num_heads=2,
                    num_kv_heads=1, head_dim=8, mlp_dim=32, max_seq_len=96,
                    init_std=0.3)
PROMPTS = [[1, 2, 3], [4], [5, 6], [7, 8, 9, 10, 11], [12, 13]]
SAMPLING = SamplingConfig(temperature=1.0, max_new_tokens=40)


@pytest.fixture(scope="module")
def params():
  return jax.jit(init_params, static_argnums=1)(jax.random.key(0), MODEL)


def both(params, model=MODEL, sampling=SAMPLING, prompts=PROMPTS, *,
         segment=4, **options):
  options = {"prompt_len": 8, "stop_ids": (0, 1), **options}
  whole = generate_tokens(params, prompts, jax.random.key(3), sampling, model,
                          **options)
  samples, stats = generate_compacted(
      params, prompts, jax.random.key(3), sampling, model, segment=segment,
      **options)
  return whole, samples, stats


def assert_equal(samples, whole):
  for field in dataclasses.fields(samples):
    ours, theirs = (np.asarray(getattr(x, field.name))
                    for x in (samples, whole))
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
    if ours.dtype == np.float32:
      np.testing.assert_allclose(ours, theirs, atol=1e-5, err_msg=field.name)
    else:
      np.testing.assert_array_equal(ours, theirs, field.name)


@pytest.mark.parametrize("options", [
    {"samples_per_prompt": 4}, {"samples_per_prompt": 4, "segment": 64},
    {"samples_per_prompt": 3, "num_rows": 7, "first_row": 5},
    {"segment": 7}, {"samples_per_prompt": 4, "stop_ids": ()},
    {"samples_per_prompt": 4, "sampling": dataclasses.replace(
        SAMPLING, repetition_penalty=1.3, presence_penalty=0.5)},
    {"samples_per_prompt": 4, "model": dataclasses.replace(
        MODEL, cache_dtype="int8")}], ids=str)
def test_rows_are_what_they_are_in_the_whole_batch(params, options):
  whole, samples, _ = both(params, **options)
  assert_equal(samples, whole)
  if options.get("stop_ids") != ():
    assert len(set(samples.lengths_B.tolist())) > 3  # ragged, as wanted


def test_less_is_computed(params):
  _, samples, stats = both(params, samples_per_prompt=8)
  assert stats.tokens == samples.lengths_B.sum() - 40
  assert stats.tokens <= stats.row_steps < 0.7 * stats.unsaved_row_steps
  assert stats.unsaved_row_steps == 40 * (samples.lengths_B.max() - 1)
  assert 0 <= stats.wasted < 0.5
  # Who looks less often wastes more; all rows of one length waste nothing.
  _, _, rarely = both(params, samples_per_prompt=8, segment=40)
  assert rarely.segments == 1 and rarely.wasted > stats.wasted
  _, _, even = both(params, samples_per_prompt=8, stop_ids=(),
                    prompts=PROMPTS[:4])
  assert even.wasted == 0 and even.row_steps == even.unsaved_row_steps


def test_all_done_is_the_end(params):
  _, samples, stats = both(params, sampling=dataclasses.replace(
      SAMPLING, max_new_tokens=80), samples_per_prompt=4,
      stop_ids=tuple(range(12)))
  assert samples.stopped_B.all()
  assert stats.unsaved_row_steps < 20 * 40  # not to the limit


def test_limits_of_rows(params):
  limits_B = np.arange(1, 11, dtype=np.int32)
  whole, free, _ = both(params, samples_per_prompt=2)
  samples, _ = generate_compacted(
      params, PROMPTS, jax.random.key(3), SAMPLING, MODEL, prompt_len=8,
      stop_ids=(0, 1), samples_per_prompt=2, limits_B=limits_B, segment=4)
  np.testing.assert_array_equal(samples.lengths_B,
                                np.minimum(limits_B, free.lengths_B))
  np.testing.assert_array_equal(
      samples.tokens_BT, np.where(samples.mask_BT > 0, whole.tokens_BT, 0))
  np.testing.assert_array_equal(samples.stopped_B,
                                free.stopped_B & (free.lengths_B <= limits_B))
  with pytest.raises(ConfigError, match="limited to no tokens"):
    generate_compacted(params, PROMPTS[:1], jax.random.key(3), SAMPLING, MODEL,
                       prompt_len=8, limits_B=np.zeros(1, np.int32))


def test_on_eight_devices(params):
  alone = generate_compacted(
      params, PROMPTS, jax.random.key(3), SAMPLING, MODEL, prompt_len=8,
      stop_ids=(0, 1), samples_per_prompt=4, segment=4)
  with jax.set_mesh(make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))):
    samples, stats = generate_compacted(
        params, PROMPTS, jax.random.key(3), SAMPLING, MODEL, prompt_len=8,
        stop_ids=(0, 1), samples_per_prompt=4, segment=4)
  assert_equal(samples, alone[0])
  assert stats.row_steps < stats.unsaved_row_steps


def test_stop_texts_are_refused(params):
  with pytest.raises(ConfigError, match="sampling.stop"):
    both(params, sampling=dataclasses.replace(SAMPLING, stop=("x",)))


@pytest.mark.parametrize("rows, multiple, size", [
    (1, 1, 1), (2, 1, 2), (3, 1, 3), (5, 1, 6), (7, 1, 8), (9, 1, 12),
    (13, 1, 16), (97, 1, 128), (96, 1, 96), (3, 4, 4), (5, 4, 8), (17, 4, 24)])
def test_buckets(rows, multiple, size):
  assert bucket(rows, multiple) == size
