"""The TPU's kernel, interpreted: against the formula, whole and on a mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_jax.config import Rules
from llm_jax.model.attention import self_attention
from llm_jax.model.layers import platform
from tests.model.test_attention import inputs, segments


def values_and_gradients(kind, arrays, ids, **scores):
  q, k, v, cotangent = arrays

  def loss(q, k, v):
    return jnp.vdot(self_attention(q, k, v, segment_ids_BT=ids, kind=kind,
                                   **scores), cotangent)
  return jax.tree.leaves(
      jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))(q, k, v))


def assert_same(got, want):
  for one, other in zip(got, want, strict=True):
    np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-4)


# Rows and heads that have to be padded; windows in a block and over several.
@pytest.mark.parametrize("T,K,with_segments,scores", [
    (150, 2, True, {"window": 5, "softcap": 2.0, "scale": 0.7}),
    (300, 1, False, {"window": 140})])
def test_equals_the_reference(T, K, with_segments, scores):
  q, k, v, cotangent = inputs(1, T, 4, K, 8)
  arrays = q, k, v[..., :6], cotangent[..., :6]
  ids = jnp.asarray(segments(1, T)) if with_segments else None
  assert_same(values_and_gradients("splash", arrays, ids, **scores),
              values_and_gradients("reference", arrays, ids, **scores))


# Key heads that the mesh splits, and one that it cannot split; three rows do
# not divide over four devices.
@pytest.mark.parametrize("B,K", [(4, 2), (3, 1)])
@pytest.mark.slow
def test_runs_on_each_devices_rows_and_heads(B, K):
  mesh = jax.make_mesh(
      (2, 2, 2), ("data", "fsdp", "tensor"),
      axis_types=(jax.sharding.AxisType.Auto,) * 3)
  arrays = inputs(B, 128, 4, K, 8)
  ids = jnp.asarray(segments(B, 128))
  want = values_and_gradients("reference", arrays, ids)
  with jax.set_mesh(mesh):
    got = values_and_gradients("splash", arrays, ids, rules=Rules())
  assert_same(got, want)


def test_platform_is_the_meshs():
  assert platform() == "cpu"
  there = jax.sharding.AbstractMesh(
      (4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,),
      abstract_device=jax.sharding.AbstractDevice(
          "TPU v5e", num_cores=1, platform="tpu"))
  with jax.sharding.use_abstract_mesh(there):
    assert platform() == "tpu"
