"""The parts of a block that are not attention itself."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from llm_jax.config import ModelConfig
from llm_jax.model.quantization import Int8, matmul as int8_matmul
from llm_jax.model.lora import LowRank


def rms_norm(x: jax.Array, scale: jax.Array, eps: float,
             offset: float = 0.0) -> jax.Array:
  """x / rms(x) · (offset + scale) (Zhang and Sennrich 2019, arXiv:1910.07467).

  Statistics are taken in float32 (or wider); the result has `x`'s dtype.

  Args:
    x: any shape.
    scale: weights of the last axis; or of the last axes, over all of which the
      mean is then taken.
    eps: added to the mean square.
    offset: Gemma stores the distance from 1 and adds it in float32.
  """
  axes = tuple(range(-scale.ndim, 0))
  wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  inverse = jax.lax.rsqrt(
      jnp.mean(jnp.square(wide), axes, keepdims=True) + eps)
  scale = scale.reshape((1,) * (x.ndim - scale.ndim) + scale.shape)
  if offset:
    return (wide * inverse * (offset + scale.astype(wide.dtype))
            ).astype(x.dtype)
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
  return rms_norm(x, params["scale"], config.norm_eps, config.norm_offset)


def on_one_device() -> bool:
  """Whether nothing is split: no ambient mesh, or one of a single device."""
  mesh = jax.sharding.get_abstract_mesh()
  return mesh.empty or mesh.size == 1


def platform() -> str:
  """cpu, gpu or tpu: where what is being traced will run.

  That is the ambient mesh's platform, which is not this process's where a step
  is compiled ahead of time for other devices than it has.
  """
  device = jax.sharding.get_abstract_mesh().abstract_device
  return jax.default_backend() if device is None else device.platform


def project(x: jax.Array, kernel: jax.Array | LowRank, bias: jax.Array | None,
            equation: str) -> jax.Array:
  """`einsum(equation, x, kernel)` in `x`'s dtype, plus `bias` if there is one.

  Kernels are stored in `param_dtype` and cast here, at the point of use.

  Args:
    x: [B, T, ...inputs].
    kernel: [...inputs, ...outputs], an array or an `Int8`; of a `LowRank` it
      is not made whole.
    bias: [...outputs] or None.
    equation: contracts all axes of `x` but B and T.

  Returns:
    [B, T, ...outputs].
  """
  if isinstance(kernel, LowRank):
    first, second = kernel.equations(equation)
    low_BTr = kernel.scale * project(x, kernel.a, None, first)
    return (project(x, kernel.kernel, bias, equation)
            + project(low_BTr, kernel.b, None, second))
  if on_one_device():
    # The same as one product of matrices: XLA:CPU runs that faster, backwards
    # above all. On a mesh it would merge axes that are split differently.
    B, T, *inputs = x.shape
    width = math.prod(inputs)
    out = _matmul(x.reshape(B * T, width), kernel.reshape(width, -1))
    out = out.reshape(B, T, *kernel.shape[len(inputs):])
  else:
    out = jnp.einsum(equation, x, kernel.astype(x.dtype))
  if bias is None:
    return out
  return out + bias.astype(x.dtype).reshape(
      (1,) * (out.ndim - bias.ndim) + bias.shape)


def _matmul(x_MK: jax.Array, kernel: Any) -> jax.Array:
  """x · W in `x`'s dtype."""
  on_cpu = platform() == "cpu"
  if isinstance(kernel, Int8):
    return int8_matmul(x_MK, kernel, blocked=on_cpu)
  kernel_KN = kernel.astype(x_MK.dtype)
  if not on_cpu or x_MK.dtype != jnp.bfloat16:
    return x_MK @ kernel_KN
  # XLA:CPU has a fast product of bfloat16 with float32 sums, for two rows or
  # more; what `@` and a single row get is several times slower.
  M = x_MK.shape[0]
  x_MK = jnp.broadcast_to(x_MK, (2, x_MK.shape[1])) if M == 1 else x_MK
  return jnp.dot(x_MK, kernel_KN, preferred_element_type=jnp.float32
                 )[:M].astype(x_MK.dtype)


def embed(table_VD: Any, tokens_BT: jax.Array, dtype: Any) -> jax.Array:
  """Rows of the embedding table, [B, T, D] of `dtype`."""
  if isinstance(table_VD, Int8):
    return Int8(table_VD.values[tokens_BT],
                table_VD.scales[tokens_BT]).astype(dtype)
  return table_VD.astype(dtype)[tokens_BT]


def activate(up_BTF: jax.Array, gate_BTF: jax.Array | None,
             config: ModelConfig) -> jax.Array:
  """The MLP's non-linearity: SwiGLU, GEGLU (Shazeer 2020), GELU or ReLU²."""
  if config.mlp == "swiglu":
    return jax.nn.silu(gate_BTF) * up_BTF
  if config.mlp == "geglu":
    return jax.nn.gelu(gate_BTF, approximate=True) * up_BTF
  if config.mlp == "gelu":
    return jax.nn.gelu(up_BTF, approximate=True)
  return jnp.square(jax.nn.relu(up_BTF))


def mlp(x_BTD: jax.Array, params: dict[str, Any],
        config: ModelConfig) -> jax.Array:
  """The dense feed-forward sub-block."""
  up_BTF = project(x_BTD, params["up"], params.get("up_bias"), "btd,df->btf")
  gate_BTF = None
  if "gate" in params:
    gate_BTF = project(x_BTD, params["gate"], params.get("gate_bias"),
                       "btd,df->btf")
  return project(activate(up_BTF, gate_BTF, config), params["down"],
                 params.get("down_bias"), "btf,fd->btd")


def softcap(x: jax.Array, cap: float) -> jax.Array:
  """cap · tanh(x / cap): bounded scores (Gemma 2, arXiv:2408.00118)."""
  return cap * jnp.tanh(x / cap) if cap else x
