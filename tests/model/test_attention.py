"""Every kind of attention against a NumPy oracle, values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_jax.model import attention, attention_rows

KINDS = ("reference", "blockwise", "jax")
# One compilation, not one for each operation.
self_attention = jax.jit(attention.self_attention, static_argnames=(
    "kind", "window", "softcap", "scale"))


def oracle(q, k, v, mask, scale=None, softcap=None):
  """Row by row in float64: q [B,T,N,H], k and v [B,S,K,H], mask [B,T,S]."""
  q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
  B, T, N, H = q.shape
  group = N // k.shape[2]
  scale = 1 / np.sqrt(H) if scale is None else scale
  out = np.zeros((B, T, N, v.shape[-1]))
  for b in range(B):
    for t in range(T):
      seen = np.flatnonzero(mask[b, t])
      for n in range(N):
        scores = k[b, seen, n // group] @ q[b, t, n] * scale
        if softcap:
          scores = softcap * np.tanh(scores / softcap)
        weights = np.exp(scores - scores.max())
        out[b, t, n] = weights / weights.sum() @ v[b, seen, n // group]
  return out


def causal_mask(T, segment_ids_BT):
  mask = np.tril(np.ones((T, T), bool))[None]
  return mask & (segment_ids_BT[:, :, None] == segment_ids_BT[:, None, :])


def inputs(B, T, N, K, H, dtype=np.float32, seed=0):
  rng = np.random.default_rng(seed)
  shapes = (B, T, N, H), (B, T, K, H), (B, T, K, H), (B, T, N, H)
  return [jnp.asarray(rng.normal(size=s), dtype) for s in shapes]


def segments(B, T, seed=0):
  """Contiguous documents of random lengths, then padding (0)."""
  rng = np.random.default_rng(seed)
  ids = np.cumsum(rng.random((B, T)) < 0.05, axis=1) + 1
  ids[:, T - T // 7:] = 0
  return ids.astype(np.int32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("T,K", [(1, 2), (7, 1), (64, 4), (150, 2)])
def test_equals_the_oracle(kind, T, K):
  q, k, v, _ = inputs(2, T, 4, K, 8)
  ids = segments(2, T)
  out = self_attention(
      q, k, v, segment_ids_BT=jnp.asarray(ids), kind=kind)
  np.testing.assert_allclose(
      out, oracle(q, k, v, causal_mask(T, ids)), rtol=1e-4, atol=1e-5)
  out = self_attention(q, k, v, kind=kind)
  np.testing.assert_allclose(
      out, oracle(q, k, v, causal_mask(T, np.ones((2, T)))),
      rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ("blockwise", "jax"))
@pytest.mark.parametrize("with_segments", [False, True])
@pytest.mark.parametrize("T,K", [(33, 4), (150, 2)])
def test_gradients_equal_the_reference(kind, with_segments, T, K):
  *qkv, cotangent = inputs(2, T, 4, K, 8)
  ids = jnp.asarray(segments(2, T)) if with_segments else None

  def gradients(kind):
    def loss(q, k, v):
      out = self_attention(q, k, v, segment_ids_BT=ids, kind=kind)
      return jnp.vdot(out, cotangent)
    return jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(*qkv)

  for got, want in zip(gradients(kind), gradients("reference")):
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=2e-5)


# A window within a block, one over several, one that reaches everything.
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("window,softcap,T", [
    (5, 0.0, 150), (70, 2.0, 150), (65, 0.0, 260), (400, 2.0, 150)])
def test_windows_soft_caps_and_narrower_values(kind, window, softcap, T):
  q, k, v, cotangent = inputs(2, T, 4, 2, 8)
  v, cotangent = v[..., :6], cotangent[..., :6]
  ids = segments(2, T)
  scores = {"window": window, "softcap": softcap, "scale": 0.7}
  near = np.arange(T)[:, None] - np.arange(T)[None] < window
  out = self_attention(q, k, v, segment_ids_BT=jnp.asarray(ids), kind=kind,
                       **scores)
  np.testing.assert_allclose(
      out, oracle(q, k, v, causal_mask(T, ids) & near, 0.7, softcap),
      rtol=1e-4, atol=1e-5)
  if kind == "reference":
    return

  def gradients(kind):
    def loss(q, k, v):
      return jnp.vdot(self_attention(q, k, v, kind=kind, **scores), cotangent)
    return jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(q, k, v)
  for got, want in zip(gradients(kind), gradients("reference")):
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=3e-5)


def test_a_window_leaves_out_the_blocks_before_it():
  blocks = attention._blocks(64 * 6, 64)
  assert [first for _, _, first in blocks] == [0, 0, 64, 128, 192, 256]
  assert all(first == 0 for _, _, first in attention._blocks(64 * 6))


@pytest.mark.parametrize("scores", [{}, {"window": 70, "softcap": 2.0}])
def test_rows_of_a_long_block_are_scanned(scores, monkeypatch):
  *qkv, cotangent = inputs(2, 150, 4, 2, 8)
  ids = jnp.asarray(segments(2, 150))

  def both(kind):
    def loss(q, k, v):
      return jnp.vdot(attention.self_attention(
          q, k, v, segment_ids_BT=ids, kind=kind, **scores), cotangent)
    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))(*qkv)
  want = both("reference")
  monkeypatch.setattr(attention_rows, "MAX_ROWS", 16)  # the last block: 11 · 2
  for got, value in zip(jax.tree.leaves(both("blockwise")),
                        jax.tree.leaves(want)):
    np.testing.assert_allclose(got, value, rtol=1e-4, atol=1e-4)


def test_a_long_sequence_never_holds_all_its_scores():
  T, H = 4096, 16
  abstract = [jax.ShapeDtypeStruct((1, T, 1, H), jnp.float32)] * 3

  def loss(q, k, v):
    return self_attention(q, k, v, kind="blockwise").sum()
  compiled = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(
      *abstract).compile()
  # Some copies of 128 rows of scores, and of q, k, v, out.
  limit = 4 * (6 * attention_rows.MAX_ROWS * T + 20 * T * H)
  assert compiled.memory_analysis().temp_size_in_bytes < limit < 4 * T * T


def test_gradient_of_the_reference_by_differences():
  with jax.enable_x64(True):
    *qkv, cotangent = inputs(1, 5, 2, 1, 4, np.float64)
    mask = causal_mask(5, np.ones((1, 5)))

    def loss(q, k, v):
      out = self_attention(q, k, v, kind="reference")
      return jnp.vdot(out, cotangent)
    gradients = jax.grad(loss, argnums=(0, 1, 2))(*qkv)
    arrays = [np.array(x) for x in qkv]
    for array, gradient in zip(arrays, gradients):
      for index in [(0, 0, 0, 1), (0, 2, 0, 0), (0, 4, 0, 3)]:
        sides = []
        for step in (1e-5, -1e-5):
          array[index] += step
          sides.append(np.vdot(oracle(*arrays, mask), cotangent))
          array[index] -= step
        np.testing.assert_allclose(
            gradient[index], (sides[0] - sides[1]) / 2e-5, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_causality_by_gradient(kind):
  q, k, v, _ = inputs(1, 130, 2, 2, 4)
  for t in (0, 63, 64, 100):
    def output(k, v, t=t):
      return self_attention(q, k, v, kind=kind)[0, t].sum()
    for gradient in jax.grad(output, argnums=(0, 1))(k, v):
      reach = np.abs(gradient).sum(axis=(0, 2, 3))
      assert np.all(reach[t + 1:] == 0)
    assert np.all(reach[:t + 1] > 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_other_dtypes(kind, dtype):
  with jax.enable_x64(dtype == "float64"):
    q, k, v, cotangent = inputs(2, 70, 4, 2, 8, jnp.dtype(dtype))
    ids = segments(2, 70)

    def output(q, k, v):
      return self_attention(
          q, k, v, segment_ids_BT=jnp.asarray(ids), kind=kind)
    out, pullback = jax.vjp(output, q, k, v)
    # jax.nn's softmax is float32 whatever the dtype.
    tolerance = 1e-12 if kind != "jax" else 1e-6
    tolerance = 2e-2 if dtype == "bfloat16" else tolerance
    assert out.dtype == dtype
    np.testing.assert_allclose(
        np.asarray(out, np.float64), oracle(q, k, v, causal_mask(70, ids)),
        rtol=10 * tolerance, atol=tolerance)
    assert all(g.dtype == dtype and np.isfinite(np.asarray(g, np.float32)).all()
               for g in pullback(cotangent))


@pytest.mark.parametrize("kind", KINDS)
def test_huge_scores_and_padding_are_finite(kind):
  q, k, v, cotangent = inputs(2, 100, 2, 1, 4)
  ids = jnp.asarray(segments(2, 100)).at[1].set(0)
  out, pullback = jax.vjp(lambda *qkv: self_attention(
      *qkv, segment_ids_BT=ids, kind=kind), 1e3 * q, 1e3 * k, v)
  for array in (out, *pullback(cotangent)):
    assert np.isfinite(array).all()


@pytest.mark.parametrize("T", [1, 9])
def test_cached_attention_equals_the_oracle(T):
  q, k, v, _ = inputs(3, 24, 4, 2, 8)
  q = q[:, :T]
  positions = np.array([0, 7, 14])[:, None] + np.arange(T)
  mask = np.arange(24) <= positions[:, :, None]
  k_BKSH, v_BKSH = k.swapaxes(1, 2), v.swapaxes(1, 2)
  out = attention.cached_attention(
      q, k_BKSH, v_BKSH, positions_BT=jnp.asarray(positions))
  np.testing.assert_allclose(out, oracle(q, k, v, mask), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("axes", [("data",), ("data", "tensor")])
def test_sharded_equals_one_device(axes):
  shape = (8,) if axes == ("data",) else (4, 2)
  if jax.device_count() < 8:
    pytest.skip("needs 8 (fake) devices")
  mesh = jax.make_mesh(
      shape, axes, axis_types=(jax.sharding.AxisType.Auto,) * len(axes))
  spec = jax.sharding.PartitionSpec(
      "data", None, "tensor" if "tensor" in axes else None)
  *qkv, cotangent = inputs(8, 70, 4, 2, 8)
  ids = jnp.asarray(segments(8, 70))

  def loss(q, k, v):
    return jnp.vdot(self_attention(
        q, k, v, segment_ids_BT=ids, kind="blockwise"), cotangent)
  step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))
  want = step(*qkv)
  with jax.set_mesh(mesh):
    sharded = [jax.device_put(x, jax.NamedSharding(mesh, spec)) for x in qkv]
    got = step(*sharded)
  for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want)):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_unknown_kind_is_named():
  q, k, v, _ = inputs(1, 4, 2, 2, 4)
  with pytest.raises(ValueError, match="flash"):
    self_attention(q, k, v, kind="flash")
