"""The parts of a block that are not attention itself."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from llm_jax.config import ModelConfig


def rms_norm(x: jax.Array, scale: jax.Array, eps: float) -> jax.Array:
  """x / rms(x) · scale over the last axis (Zhang and Sennrich 2019).

  Statistics are taken in float32 (or wider); the result has `x`'s dtype.
  """
  wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  inverse = jax.lax.rsqrt(jnp.mean(jnp.square(wide), -1, keepdims=True) + eps)
  scale = scale.reshape((1,) * (x.ndim - 1) + (-1,))
  return (wide * inverse).astype(x.dtype) * scale.astype(x.dtype)


def layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array,
               eps: float) -> jax.Array:
  """(x - mean) / std · scale + bias over the last axis (Ba et al. 2016)."""
  wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  mean = jnp.mean(wide, -1, keepdims=True)
  variance = jnp.mean(jnp.square(wide - mean), -1, keepdims=True)
  normed = (wide - mean) * jax.lax.rsqrt(variance + eps)
  shape = (1,) * (x.ndim - 1) + (-1,)
  return (normed.astype(x.dtype) * scale.reshape(shape).astype(x.dtype)
          + bias.reshape(shape).astype(x.dtype))


def norm(x: jax.Array, params: dict[str, Any],
         config: ModelConfig) -> jax.Array:
  """The model's kind of norm over the last axis of `x`."""
  if config.norm == "layernorm":
    return layer_norm(x, params["scale"], params["bias"], config.norm_eps)
  return rms_norm(x, params["scale"], config.norm_eps)


def rotary_angles(positions_BT: jax.Array,
                  config: ModelConfig) -> tuple[jax.Array, jax.Array]:
  """cos and sin of the rotary angles, float32 [B, T, 1, H/2] (RoFormer, 2021).

  Angle of pair i at position p: p · theta^(-2i/H).
  """
  half = config.head_dim // 2
  frequencies = config.rope_theta ** (-jnp.arange(half, dtype=jnp.float32)
                                      / half)
  angles = (positions_BT[:, :, None, None].astype(jnp.float32)
            * frequencies[None, None, None, :])
  return jnp.cos(angles), jnp.sin(angles)


def apply_rotary(x_BTNH: jax.Array, cos: jax.Array,
                 sin: jax.Array) -> jax.Array:
  """Turns channel pairs (i, i + H/2) by the angles: the Llama convention."""
  first, second = jnp.split(x_BTNH, 2, axis=-1)
  cos, sin = cos.astype(x_BTNH.dtype), sin.astype(x_BTNH.dtype)
  return jnp.concatenate(
      [first * cos - second * sin, second * cos + first * sin], axis=-1)


def on_one_device() -> bool:
  """Whether nothing is split: no ambient mesh, or one of a single device."""
  mesh = jax.sharding.get_abstract_mesh()
  return mesh.empty or mesh.size == 1


def project(x: jax.Array, kernel: jax.Array, bias: jax.Array | None,
            equation: str) -> jax.Array:
  """`einsum(equation, x, kernel)` in `x`'s dtype, plus `bias` if there is one.

  Kernels are stored in `param_dtype` and cast here, at the point of use.

  Args:
    x: [B, T, ...inputs].
    kernel: [...inputs, ...outputs].
    bias: [...outputs] or None.
    equation: contracts all axes of `x` but B and T.

  Returns:
    [B, T, ...outputs].
  """
  kernel = kernel.astype(x.dtype)
  if on_one_device():
    # The same as one product of matrices: XLA:CPU runs that faster, backwards
    # above all. On a mesh it would merge axes that are split differently.
    B, T, *inputs = x.shape
    width = math.prod(inputs)
    out = x.reshape(B * T, width) @ kernel.reshape(width, -1)
    out = out.reshape(B, T, *kernel.shape[len(inputs):])
  else:
    out = jnp.einsum(equation, x, kernel)
  if bias is None:
    return out
  return out + bias.astype(x.dtype).reshape(
      (1,) * (out.ndim - bias.ndim) + bias.shape)


def mlp(x_BTD: jax.Array, params: dict[str, Any],
        config: ModelConfig) -> jax.Array:
  """The feed-forward sub-block: SwiGLU (Shazeer 2020), GELU or ReLU²."""
  up_BTF = project(x_BTD, params["up"], params.get("up_bias"), "btd,df->btf")
  if config.mlp == "swiglu":
    gate_BTF = project(x_BTD, params["gate"], params.get("gate_bias"),
                       "btd,df->btf")
    hidden_BTF = jax.nn.silu(gate_BTF) * up_BTF
  elif config.mlp == "gelu":
    hidden_BTF = jax.nn.gelu(up_BTF, approximate=True)
  else:
    hidden_BTF = jnp.square(jax.nn.relu(up_BTF))
  return project(hidden_BTF, params["down"], params.get("down_bias"),
                 "btf,fd->btd")
