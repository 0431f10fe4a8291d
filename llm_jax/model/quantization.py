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

  def astype(self, dtype: Any) -> jax.Array:
    """The array itself, made whole in `dtype`."""
    return (self.values.astype(dtype) * self.scales.astype(dtype))


def quantize(x: jax.Array, axes: tuple[int, ...]) -> Int8:
  """`x` with one scale for all that lies along `axes`: max |x| is ±127."""
  wide = x.astype(jnp.float32)
  largest = jnp.max(jnp.abs(wide), axis=axes, keepdims=True)
  scales = jnp.where(largest > 0, largest / 127.0, 1.0)
  return Int8(jnp.round(wide / scales).astype(jnp.int8), scales)
