"""Bits per byte of models whose bits are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_jax.config import ConfigError, MeshConfig, ModelConfig
from llm_jax.evals.bits_per_byte import evaluate_bits_per_byte
from llm_jax.model.params import init_params
from llm_jax.model.transformer import forward
from llm_jax.sharding import make_mesh

MODEL = ModelConfig(vocab_size=32, embed_dim=16, num_layers=1, num_heads=2,
                    num_kv_heads=2, head_dim=8, mlp_dim=16, max_seq_len=16,
                    init_std=0.4)


def dataset(num_batches=3, rows=8, length=10):
  """Batches of random tokens; of the last, one row and a half counts."""
  rng = np.random.default_rng(0)
  batches = []
  for _ in range(num_batches):
    ids = rng.integers(0, 32, (rows, length + 1), dtype=np.int32)
    shape = (rows, length)
    batches.append({
        "tokens": ids[:, :-1], "targets": ids[:, 1:],
        "loss_mask": np.ones(shape, np.float32),
        "segment_ids": np.ones(shape, np.int32),
        "positions": np.broadcast_to(np.arange(length, dtype=np.int32), shape)})
  batches[-1]["loss_mask"][1, 5:] = 0
  batches[-1]["loss_mask"][2:] = 0
  return batches


@pytest.fixture(scope="module")
def params():
  return jax.jit(init_params, static_argnames="config")(
      jax.random.key(0), config=MODEL)


def numpy_nll(params, batches):
  total = 0.0
  for batch in batches:
    logits, _ = forward(params, jnp.asarray(batch["tokens"]), MODEL)
    logits = np.asarray(logits, np.float64)
    logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    for place in np.argwhere(batch["loss_mask"]):
      total -= logp[tuple(place)][batch["targets"][tuple(place)]]
  return total


def test_a_model_that_knows_nothing_pays_log2_of_the_vocabulary(params):
  nothing = jax.tree.map(jnp.zeros_like, params)
  batches = dataset()
  tokens = sum(batch["loss_mask"].sum() for batch in batches)
  bits = evaluate_bits_per_byte(nothing, batches, 700, MODEL)
  np.testing.assert_allclose(bits, tokens * 5 / 700, rtol=1e-6)


def test_it_is_the_sum_over_what_counts(params):
  batches = dataset()
  bits = evaluate_bits_per_byte(params, batches, 700, MODEL)
  expected = numpy_nll(params, batches) / np.log(2) / 700
  np.testing.assert_allclose(bits, expected, rtol=1e-5)


def test_a_part_is_compared_with_its_share_of_the_bytes(params):
  batches = dataset()
  bits = evaluate_bits_per_byte(params, batches, 700, MODEL, max_batches=2)
  share = 160 / (160 + 15)
  expected = numpy_nll(params, batches[:2]) / np.log(2) / (700 * share)
  np.testing.assert_allclose(bits, expected, rtol=1e-5)
  np.testing.assert_allclose(
      evaluate_bits_per_byte(params, batches, 700, MODEL, max_batches=9),
      evaluate_bits_per_byte(params, batches, 700, MODEL))


def test_it_is_the_same_on_a_mesh(params):
  alone = evaluate_bits_per_byte(params, dataset(), 700, MODEL)
  with jax.set_mesh(make_mesh(MeshConfig(fsdp=4))):
    split = evaluate_bits_per_byte(params, dataset(), 700, MODEL)
  np.testing.assert_allclose(split, alone, rtol=1e-5)


def test_no_text_is_told(params):
  with pytest.raises(ConfigError, match="no validation text"):
    evaluate_bits_per_byte(params, [], 0, MODEL)
