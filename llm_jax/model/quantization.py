"""int8 weights and caches: a quarter of float32's bytes, read as bytes.

Decoding reads every weight and the whole cache for each token, so their size
is its speed limit. `quantize_weights` maps a parameter tree to one whose
matrices are `Int8`: symmetric, round to nearest, one float32 scale for each
output channel (weight-only, as in LLM.int8()'s absmax, Dettmers et al. 2022,
arXiv:2208.07339). Scales of outputs come out of the sum over inputs,

    x · W ≈ (x · W_int8) · scale,

so the product reads the bytes and the wide weights never exist: see `matmul`.
"""

from __future__ import annotations

import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp


@flax.struct.dataclass
class Int8:
  """An array as int8 values and float32 scales that broadcast against them.

  Attributes:
    values: int8, of the array's shape.
    scales: float32, of the same rank, 1 along the axes that share a scale.
  """
  values: jax.Array
  scales: jax.Array

  @property
  def shape(self) -> tuple[int, ...]:
    """Of the array that this stands for."""
    return self.values.shape

  @property
  def ndim(self) -> int:
    """Of the array that this stands for."""
    return self.values.ndim

  def reshape(self, *shape: int) -> Int8:
    """To [inputs, outputs]; the scales must be of the outputs."""
    values = self.values.reshape(*shape)
    return Int8(values, self.scales.reshape(1, values.shape[1]))

  def astype(self, dtype: Any) -> jax.Array:
    """The array itself, made whole in `dtype`."""
    return (self.values.astype(dtype) * self.scales.astype(dtype))


def quantize(x: jax.Array, axes: tuple[int, ...]) -> Int8:
  """`x` with one scale for all that lies along `axes`: max |x| is ±127."""
  wide = x.astype(jnp.float32)
  largest = jnp.max(jnp.abs(wide), axis=axes, keepdims=True)
  scales = jnp.where(largest > 0, largest / 127.0, 1.0)
  return Int8(jnp.round(wide / scales).astype(jnp.int8), scales)


# Rows of a kernel that are widened at once: they stay in the nearest cache, so
# that the bytes are read from memory once and nothing wide is written to it.
_BLOCK_ROWS = 48
_BLOCK_OUTPUTS = 128
# With more rows of `x` than this, as when a prompt is read, the sums outgrow
# that cache, and are gone over less often in larger blocks.
_FEW_ROWS, _LARGER = 32, 4


def matmul(x_MK: jax.Array, kernel: Int8, *, blocked: bool) -> jax.Array:
  """x · W for an `Int8` W whose scales are of its outputs.

  Args:
    x_MK: rows, in the dtype that the sums are taken in.
    kernel: [K, N], scales [1, N].
    blocked: widen the kernel block by block. XLA:CPU makes any operand of a
      product whole first, as wide as `x`, and all kernels of a program at once;
      on other backends the widening is part of the product and this should be
      False.

  Returns:
    [M, N], of `x`'s dtype.
  """
  K, N = kernel.shape
  scales_1N = kernel.scales.astype(x_MK.dtype)
  if not blocked:
    return (x_MK @ kernel.values.astype(x_MK.dtype)) * scales_1N
  few = x_MK.shape[0] <= _FEW_ROWS
  rows = _divisor(K, _BLOCK_ROWS * (1 if few else _LARGER))

  def add(sums_MN, start):
    x_Mk = jax.lax.dynamic_slice_in_dim(x_MK, start, rows, axis=1)
    values_kN = jax.lax.dynamic_slice_in_dim(kernel.values, start, rows)
    return sums_MN + x_Mk @ values_kN.astype(x_MK.dtype), None

  # Zeros that are made of `x`: XLA:CPU makes what depends on nothing before
  # everything else, here the sums of all products of a program at once.
  zeros_MN = jnp.broadcast_to(jnp.minimum(jnp.abs(x_MK[:, :1]), 0),
                              (x_MK.shape[0], N))
  sums_MN, _ = jax.lax.scan(add, zeros_MN, jnp.arange(0, K, rows))
  return sums_MN * scales_1N


def matmul_transposed(x_MK: jax.Array, kernel: Int8, *,
                      blocked: bool) -> jax.Array:
  """x · Wᵀ for an `Int8` W [N, K], scales [N, 1]: a tied head's product.

  Args:
    x_MK: rows, in the dtype that the sums are taken in.
    kernel: an embedding table.
    blocked: as for `matmul`; here over outputs.

  Returns:
    [M, N], float32 or wider.
  """
  wide = jnp.promote_types(x_MK.dtype, jnp.float32)
  product = functools.partial(jnp.einsum, "mk,nk->mn",
                              preferred_element_type=wide)
  N = kernel.shape[0]
  if not blocked:
    sums_MN = product(x_MK, kernel.values.astype(x_MK.dtype))
  else:
    outputs = _divisor(N, _BLOCK_OUTPUTS)

    def block(start):
      values_nK = jax.lax.dynamic_slice_in_dim(kernel.values, start, outputs)
      return product(x_MK, values_nK.astype(x_MK.dtype))

    sums_bMn = jax.lax.map(block, jnp.arange(0, N, outputs))
    sums_MN = sums_bMn.swapaxes(0, 1).reshape(-1, N)
  return sums_MN * kernel.scales.T.astype(wide)


def _divisor(size: int, target: int) -> int:
  """The divisor of `size` that is nearest to `target` by ratio."""
  divisors = [d for d in range(1, size + 1) if size % d == 0]
  return min(divisors, key=lambda d: max(d / target, target / d))


# Axes that a kernel sums over, counted from its first one that is not of
# layers or experts; the embedding's scales are of its rows, which are the
# outputs where it is the head as well.
_SUMMED = {"q": (0,), "k": (0,), "v": (0,), "o": (0, 1), "q_down": (0,),
           "q_up": (0,), "kv_down": (0,), "k_up": (0,), "v_up": (0,),
           "up": (0,), "gate": (0,), "down": (0,), "kernel": (0,),
           "tokens": (1,)}


def quantize_weights(params: dict[str, Any]) -> dict[str, Any]:
  """Parameters whose matrices are `Int8`; norms, biases, positions and routers
  stay as they are.

  The kernels of experts, and those that latent attention applies to either
  side, are widened a layer at a time when they are used; the others never.

  Args:
    params: `init_params`' tree, stacked or unstacked. Under `jit`, donate it
      where it is not needed any more.
  """
  def visit(path, x):
    name = path[-1].key
    if name not in _SUMMED:
      return x
    rank = 3 if name in ("q", "k", "v", "o", "q_up", "k_up", "v_up") else 2
    lead = x.ndim - rank  # layers, experts
    return quantize(x, tuple(axis + lead for axis in _SUMMED[name]))
  return jax.tree_util.tree_map_with_path(visit, params)
