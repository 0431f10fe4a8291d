"""The loss in chunks, of rows or of the vocabulary, against that of whole
logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_jax.config import LossConfig, MeshConfig, ModelConfig, Rules
from llm_jax.model.lora import LowRank
from llm_jax.model.params import init_params
from llm_jax.model.transformer import unembed
from llm_jax.sharding import make_mesh
from llm_jax.training.chunked_loss import chunked_loss
from llm_jax.training.losses import language_model_loss, next_token_loss
from llm_jax.training.vocab_chunked_loss import vocab_chunked_loss

B, T, D, V = 4, 12, 8, 32


def model(**changes):
  return ModelConfig(**dict(
      vocab_size=V, embed_dim=D, num_layers=1, num_heads=2, num_kv_heads=2,
      head_dim=4, mlp_dim=16, max_seq_len=T, init_std=0.5) | changes)


def batch(seed=0):
  rng = np.random.default_rng(seed)
  return {"tokens": rng.integers(V, size=(B, T)),
          "targets": rng.integers(V, size=(B, T)),
          "loss_mask": 1.0 * (rng.random((B, T)) < 0.6),
          "segment_ids": None, "positions": None}


def head_and_hidden(config, dtype=np.float64):
  rng = np.random.default_rng(1)
  table = jnp.asarray(rng.normal(size=(V, D)), dtype)
  params = ({"embed": {"tokens": table}} if config.tie_embeddings
            else {"head": {"kernel": table.T}})
  return params, jnp.asarray(rng.normal(size=(B, T, D)), dtype)


def in_chunks(params, hidden, config, loss):
  """The two sums, the way that `loss` asks for."""
  told = batch()
  arrays = (params, hidden, told["targets"], told["loss_mask"], config)
  if loss.vocab_parts:
    return vocab_chunked_loss(*arrays, parts=loss.vocab_parts,
                              z_coef=loss.z_coef)
  return chunked_loss(*arrays, chunk=loss.chunk, z_coef=loss.z_coef)


def both(config, params, hidden, loss):
  """((loss, (z loss or None)), gradients) of the head and the hidden states."""
  told = batch()

  def sums(params, hidden):
    if loss.chunk or loss.vocab_parts:
      loss_sum, z_sum = in_chunks(params, hidden, config, loss)
      return loss_sum, loss.z_coef * z_sum
    loss_sum, aux = next_token_loss(
        unembed(params, hidden, config), told["targets"], told["loss_mask"],
        z_coef=loss.z_coef)
    return loss_sum, aux.metrics["z_loss"][0] if loss.z_coef else 0.0
  return jax.jit(jax.value_and_grad(sums, (0, 1), has_aux=True))(
      params, hidden)


def assert_same(got, want, rtol, atol):
  for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(want),
                        strict=True):
    np.testing.assert_allclose(one, other, rtol=rtol, atol=atol)


# Chunks that divide the row, that do not, and that hold it whole; parts that
# divide the vocabulary, and that do not (16 are taken of 20).
@pytest.mark.parametrize("loss,tied,softcap", [
    (LossConfig(4), True, 0.0), (LossConfig(5, 1e-2), False, 2.0),
    (LossConfig(100, 1e-2), True, 2.0), (LossConfig(1, 1e-2), False, 0.0),
    (LossConfig(vocab_parts=4), True, 0.0),
    (LossConfig(0, 1e-2, vocab_parts=8), False, 2.0),
    (LossConfig(0, 1e-2, vocab_parts=20), True, 2.0),
    (LossConfig(vocab_parts=1), False, 0.0)])
def test_values_and_gradients_are_the_whole_losss(loss, tied, softcap):
  with jax.enable_x64(True):
    config = model(tie_embeddings=tied, logit_softcap=softcap)
    params, hidden = head_and_hidden(config)
    got = both(config, params, hidden, loss)
    assert_same(got, both(config, params, hidden, LossConfig(0, loss.z_coef)),
                1e-10, 1e-12)
    # Without a gradient another program runs.
    alone = in_chunks(params, hidden, config, loss)
    np.testing.assert_allclose(alone[0], got[0][0], rtol=1e-12)


@pytest.mark.parametrize("loss", [LossConfig(2, 1e-2),
                                  LossConfig(0, 1e-2, vocab_parts=4)])
@pytest.mark.parametrize("mesh,seq,tied", [
    ({"data": 2, "fsdp": 2, "tensor": 2}, (), True),
    ({"data": 1, "fsdp": 2, "tensor": 2, "context": 2}, ("context",), False)])
def test_the_same_on_a_mesh(mesh, seq, tied, loss):
  with jax.enable_x64(True):
    config = model(tie_embeddings=tied, rules=Rules(seq=seq))
    params, hidden = head_and_hidden(config)
    want = both(config, params, hidden, LossConfig(0, 1e-2))
    mesh = make_mesh(MeshConfig(**mesh))
    spec = jax.P("tensor", "fsdp") if tied else jax.P("fsdp", "tensor")
    with jax.set_mesh(mesh):
      split = jax.tree.map(
          lambda x: jax.device_put(x, jax.NamedSharding(mesh, spec)), params)
      hidden = jax.device_put(hidden, jax.NamedSharding(
          mesh, jax.P(("data", "fsdp"), seq or None)))
      got = both(config, split, hidden, loss)
    table, = jax.tree.leaves(got[1][0])
    assert table.addressable_shards[0].data.size == V * D // 4
  assert_same(got, want, 1e-10, 1e-12)


@pytest.mark.parametrize("loss", [LossConfig(3), LossConfig(vocab_parts=4)])
def test_bfloat16_adds_up_in_float32(loss):
  config = model()
  params, hidden = head_and_hidden(config, np.float32)
  (loss_sum, _), (head, _) = both(config, params, hidden.astype(jnp.bfloat16),
                                  loss)
  (want, _), (exact, _) = both(config, params, hidden, LossConfig())
  table, exact = jax.tree.leaves(head)[0], jax.tree.leaves(exact)[0]
  assert loss_sum.dtype == table.dtype == jnp.float32
  np.testing.assert_allclose(loss_sum, want, rtol=1e-2)
  assert np.linalg.norm(table - exact) < 0.03 * np.linalg.norm(exact)


def test_a_head_with_a_low_rank_update_is_trained():
  config = model(tie_embeddings=False)
  params, hidden = head_and_hidden(config, np.float32)
  told = batch()
  factors = {"a": jnp.full((D, 2), 0.1), "b": jnp.full((2, V), 0.2)}

  def gradient(chunk):
    def loss(factors):
      head = LowRank(params["head"]["kernel"], **factors, scale=0.5)
      if not chunk:
        logits = unembed({"head": {"kernel": head}}, hidden, config)
        return next_token_loss(logits, told["targets"], told["loss_mask"])[0]
      return chunked_loss({"head": {"kernel": head}}, hidden, told["targets"],
                          told["loss_mask"], config, chunk=chunk)[0]
    return jax.jit(jax.grad(loss))(factors)
  assert_same(gradient(5), gradient(0), 1e-4, 1e-5)


@pytest.mark.parametrize("loss", [LossConfig(5, 1e-2),
                                  LossConfig(0, 1e-2, vocab_parts=4)])
def test_language_model_loss_is_the_same_in_chunks(loss):
  config = model()
  params = init_params(jax.random.key(0), config)

  def step(params, loss):
    return language_model_loss(params, None, batch(), 0, config=config,
                               loss=loss)
  step = jax.jit(jax.value_and_grad(step, has_aux=True), static_argnums=1)
  assert_same(step(params, loss),
              step(params, LossConfig(0, 1e-2)), 1e-4, 1e-5)


def test_logits_are_never_whole():
  many, words, D = 512, 16384, 16
  config = model(vocab_size=words, embed_dim=D, max_seq_len=many)
  hidden, table = (jax.ShapeDtypeStruct(shape, jnp.float32)
                   for shape in ((1, many, D), (words, D)))
  ints, mask = (jax.ShapeDtypeStruct((1, many), dtype)
                for dtype in (jnp.int32, jnp.float32))

  def chunked(hidden, table, targets, mask):
    return chunked_loss({"embed": {"tokens": table}}, hidden, targets, mask,
                        config, chunk=32)[0]

  def in_parts(hidden, table, targets, mask):
    return vocab_chunked_loss({"embed": {"tokens": table}}, hidden, targets,
                              mask, config, parts=32)[0]

  def whole(hidden, table, targets, mask):
    return next_token_loss(hidden @ table.T, targets, mask)[0]

  def temporaries(loss):
    return jax.jit(jax.value_and_grad(loss, (0, 1))).lower(
        hidden, table, ints, mask).compile().memory_analysis(
        ).temp_size_in_bytes
  logits = 4 * many * words
  assert temporaries(whole) > logits
  assert logits > 3 * max(temporaries(chunked), temporaries(in_parts))
