"""Attention over split sequences: reference attention's numbers, as much work
on each device, and what travels."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_jax.config import MeshConfig, ModelConfig
from llm_jax.model import attention_rows
from llm_jax.model.attention import self_attention
from llm_jax.model.context_attention import (
    from_zigzag, sequence_attention, to_zigzag, ways_of_context)
from llm_jax.sharding import make_mesh

B, T, N, K, H = 2, 48, 4, 2, 8
MODEL = ModelConfig()
MESH = MeshConfig(data=1, fsdp=2, context=4)
KINDS = ("ring", "all_gather")


def arrays(v_dim=H, dtype=np.float64, length=T):
  rng = np.random.default_rng(0)
  q, k, v, seen = (rng.normal(size=(B, length, heads, size)).astype(dtype)
                   for heads, size in ((N, H), (K, H), (K, v_dim), (N, v_dim)))
  begins = rng.random((B, length)) < 0.08
  return q, k, v, seen, np.cumsum(begins, axis=1).astype(np.int32)


def objective(q, k, v, seen, segments, attend):
  out = attend(q, k, v, segment_ids_BT=segments)
  return jnp.sum(out * seen), out


def over_devices(q, k, v, *, segment_ids_BT, config, **scores):
  """Arrays in the order of time, there and back."""
  q, k, v = (jax.vmap(lambda x: to_zigzag(x, config.rules), 2, 2)(x)
             for x in (q, k, v))
  if segment_ids_BT is not None:
    segment_ids_BT = to_zigzag(segment_ids_BT, config.rules)
  out = sequence_attention(q, k, v, segment_ids_BT=segment_ids_BT,
                           config=config, **scores)
  return jax.vmap(lambda x: from_zigzag(x, config.rules), 2, 2)(out)


def gradients(attend):
  return jax.jit(jax.value_and_grad(
      functools.partial(objective, attend=attend), argnums=(0, 1, 2),
      has_aux=True))


def test_the_order_of_chunks():
  x = jnp.arange(T, dtype=jnp.int32).reshape(1, T).repeat(B, 0)
  with jax.set_mesh(make_mesh(MESH)):
    assert ways_of_context(T, MODEL.rules) == 4
    zigzag = jax.jit(lambda x: to_zigzag(x, MODEL.rules))(x)
    back = jax.jit(lambda x: from_zigzag(x, MODEL.rules))(zigzag)
    assert ways_of_context(T + 4, MODEL.rules) == 1  # not in 8 chunks
  chunks = np.arange(T).reshape(8, 6)
  np.testing.assert_array_equal(
      zigzag[0], chunks[[0, 7, 1, 6, 2, 5, 3, 4]].ravel())
  np.testing.assert_array_equal(back, x)


CASES = {
    "plain": {},
    "window_softcap_scale": {"window": 9, "softcap": 3.0, "scale": 0.5,
                             "segments": True},
    "values_of_another_size": {"v_dim": 12, "segments": True}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [
    "window_softcap_scale",
    *(pytest.param(name, marks=pytest.mark.slow) for name in
      ("plain", "values_of_another_size"))])
def test_is_reference_attention(name, kind, monkeypatch):
  monkeypatch.setattr(attention_rows, "MAX_ROWS", 4)  # of chunks of six
  case = dict(CASES[name])
  segmented, v_dim = case.pop("segments", False), case.pop("v_dim", H)
  *inputs, segments = arrays(v_dim)
  segments = segments if segmented else None
  config = dataclasses.replace(MODEL, context_attention=kind)
  with jax.enable_x64(True):
    expected = gradients(functools.partial(
        self_attention, kind="reference", **case))(*inputs, segments)
    with jax.set_mesh(make_mesh(MESH)):
      found = gradients(functools.partial(
          over_devices, config=config, **case))(*inputs, segments)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(
      a, b, rtol=1e-11, atol=1e-12), found, expected)


@pytest.mark.slow
def test_heads_that_cannot_be_split_are_repeated():
  """Two key heads over four devices, and an axis that splits nothing."""
  *inputs, segments = arrays()
  with jax.enable_x64(True):
    expected = gradients(functools.partial(
        self_attention, kind="reference"))(*inputs, segments)
    with jax.set_mesh(make_mesh(MeshConfig(data=1, tensor=4, context=2))):
      found = gradients(functools.partial(
          over_devices, config=MODEL))(*inputs, segments)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(
      a, b, rtol=1e-11, atol=1e-12), found, expected)


@functools.cache
def program(kind, length=T):
  """Compiled forward and backward pass."""
  config = dataclasses.replace(MODEL, context_attention=kind)
  inputs = arrays(dtype=np.float32, length=length)
  attend = functools.partial(sequence_attention, config=config)
  with jax.set_mesh(make_mesh(MeshConfig(data=1, context=8))):
    return gradients(attend).lower(*inputs).compile()


def test_keys_go_round_or_are_gathered():
  ring, gathered = (program(kind).as_text() for kind in KINDS)
  assert "collective-permute" in ring and "all-gather" not in ring
  assert "all-gather" in gathered and "reduce-scatter" in gathered


@pytest.mark.parametrize("kind", KINDS)
def test_no_device_waits_for_another(kind):
  """Without a window nothing is conditional: all run the same products, of
  2C+1 pairs of chunks in place of the (2C)² of the whole square by C."""
  assert not re.search(r"\bconditional\(", program(kind).as_text())


@pytest.mark.slow
def test_a_ring_keeps_a_share_of_the_sequence():
  T = 4096
  ring, gathered = (program(kind, T).memory_analysis().temp_size_in_bytes
                    for kind in KINDS)
  # Gathered keys and values, and their gradients, float32.
  whole = 4 * 4 * B * T * K * H
  print(f"temporaries at T={T}: ring {ring:,}, all_gather {gathered:,}, of "
        f"which keys, values and their gradients {whole:,}")
  assert gathered - ring > whole / 3
