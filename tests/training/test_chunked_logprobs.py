"""Log-probabilities and entropies in chunks, against those of whole logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_jax.config import MeshConfig, ModelConfig, Rules
from llm_jax.model.lora import LowRank
from llm_jax.model.transformer import unembed
from llm_jax.sharding import make_mesh
from llm_jax.training.chunked_logprobs import chunked_logprobs

B, T, D, V = 4, 12, 8, 32


def model(**changes):
  return ModelConfig(**dict(
      vocab_size=V, embed_dim=D, num_layers=1, num_heads=2, num_kv_heads=2,
      head_dim=4, mlp_dim=16, max_seq_len=T) | changes)


def arrays(config, dtype=np.float64):
  """(head, hidden states, targets, weights of the two results)."""
  rng = np.random.default_rng(1)
  table = jnp.asarray(rng.normal(size=(V, D)), dtype)
  params = ({"embed": {"tokens": table}} if config.tie_embeddings
            else {"head": {"kernel": table.T}})
  return (params, jnp.asarray(rng.normal(size=(B, T, D)), dtype),
          rng.integers(V, size=(B, T)),
          jnp.asarray(rng.normal(size=(2, B, T)), dtype))


def whole(params, hidden, targets, config, temperature=1.0):
  """Of a softmax over all logits."""
  logs = jax.nn.log_softmax(unembed(params, hidden, config) / temperature)
  return (jnp.take_along_axis(logs, targets[..., None], -1)[..., 0],
          -jnp.sum(jnp.exp(logs) * logs, -1))


def chunked(chunk):
  def of(params, hidden, targets, config, temperature=1.0):
    return chunked_logprobs(params, hidden, targets, config, chunk=chunk,
                            temperature=temperature)
  return of


def outcome(of, config, params, hidden, targets, weights, temperature=1.0):
  """((log-probabilities, entropies), gradients of a weighted sum of both)."""
  def total(params, hidden):
    found = of(params, hidden, targets, config, temperature)
    return sum(jnp.sum(w * x) for w, x in zip(weights, found)), found
  return jax.jit(jax.grad(total, (0, 1), has_aux=True))(params, hidden)[::-1]


def assert_same(got, want, rtol, atol):
  for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(want),
                        strict=True):
    np.testing.assert_allclose(one, other, rtol=rtol, atol=atol)


# Chunks that divide the row, that do not, that hold it whole, and all of it.
@pytest.mark.parametrize("chunk, tied, softcap, temperature", [
    (4, True, 0.0, 1.0), (5, False, 2.0, 0.7), (100, True, 2.0, 1.5),
    (1, False, 0.0, 1.0), (0, True, 0.0, 0.5)])
def test_values_and_gradients_are_the_whole_logits(chunk, tied, softcap,
                                                   temperature):
  with jax.enable_x64(True):
    config = model(tie_embeddings=tied, logit_softcap=softcap)
    given = (config, *arrays(config), temperature)
    got = outcome(chunked(chunk), *given)
    assert_same(got, outcome(whole, *given), 1e-9, 1e-12)
    # Without a gradient another function runs.
    params, hidden, targets, _ = arrays(config)
    assert_same(chunked(chunk)(params, hidden, targets, config, temperature),
                got[0], 1e-12, 1e-14)


@pytest.mark.parametrize("mesh, seq, tied", [
    ({"data": 2, "fsdp": 2, "tensor": 2}, (), True),
    ({"data": 1, "fsdp": 2, "tensor": 2, "context": 2}, ("context",), False)])
def test_the_same_on_a_mesh(mesh, seq, tied):
  with jax.enable_x64(True):
    config = model(tie_embeddings=tied, rules=Rules(seq=seq))
    params, hidden, targets, weights = arrays(config)
    want = outcome(whole, config, params, hidden, targets, weights)
    mesh = make_mesh(MeshConfig(**mesh))
    spec = jax.P("tensor", "fsdp") if tied else jax.P("fsdp", "tensor")
    with jax.set_mesh(mesh):
      split = jax.tree.map(
          lambda x: jax.device_put(x, jax.NamedSharding(mesh, spec)), params)
      hidden = jax.device_put(hidden, jax.NamedSharding(
          mesh, jax.P(("data", "fsdp"), seq or None)))
      got = outcome(chunked(2), config, split, hidden, targets, weights)
    table, = jax.tree.leaves(got[1][0])
    assert table.addressable_shards[0].data.size == V * D // 4
  assert_same(got, want, 1e-9, 1e-12)


def test_bfloat16_is_scored_in_float32():
  config = model()
  params, hidden, targets, weights = arrays(config, np.float32)
  got, (head, _) = outcome(chunked(3), config, params,
                           hidden.astype(jnp.bfloat16), targets, weights)
  want, (exact, _) = outcome(whole, config, params, hidden, targets, weights)
  table, exact = jax.tree.leaves(head)[0], jax.tree.leaves(exact)[0]
  assert got[0].dtype == got[1].dtype == table.dtype == jnp.float32
  assert_same(got, want, 0.05, 0.05)
  assert np.linalg.norm(table - exact) < 0.03 * np.linalg.norm(exact)


def test_a_head_with_a_low_rank_update_is_trained():
  config = model(tie_embeddings=False)
  params, hidden, targets, weights = arrays(config, np.float32)
  factors = {"a": jnp.full((D, 2), 0.1), "b": jnp.full((2, V), 0.2)}

  def gradient(of):
    def loss(factors):
      head = {"head": {"kernel": LowRank(params["head"]["kernel"], **factors,
                                         scale=0.5)}}
      return sum(jnp.sum(w * x) for w, x in zip(
          weights, of(head, hidden, targets, config)))
    return jax.jit(jax.grad(loss))(factors)
  assert_same(gradient(chunked(5)), gradient(whole), 1e-3, 1e-4)


def test_logits_are_never_whole():
  many, words, D = 512, 16384, 16
  config = model(vocab_size=words, embed_dim=D, max_seq_len=many)
  hidden, table = (jax.ShapeDtypeStruct(shape, jnp.float32)
                   for shape in ((1, many, D), (words, D)))
  targets, weights = (jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in (
      ((1, many), jnp.int32), ((2, 1, many), jnp.float32)))

  def temporaries(of):
    def loss(hidden, table, targets, weights):
      return sum(jnp.sum(w * x) for w, x in zip(weights, of(
          {"embed": {"tokens": table}}, hidden, targets, config)))
    return jax.jit(jax.grad(loss, (0, 1))).lower(
        hidden, table, targets, weights).compile().memory_analysis(
        ).temp_size_in_bytes
  logits = 4 * many * words
  assert temporaries(whole) > logits > 3 * temporaries(chunked(32))
