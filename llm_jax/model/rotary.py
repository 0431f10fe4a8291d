"""Rotary positions (Su et al. 2021, arXiv:2104.09864), and longer ones.

Pair i of a head's channels turns by the angle p · f_i at position p, with
f_i = theta^(-2i/R) for the R channels that turn. What stretches a model to a
longer context changes the f_i and nothing else (yarn and longrope also scale
the result, which sharpens the softmax):

  linear    f / s (Chen et al. 2023, arXiv:2306.15595)
  ntk       theta · s^(R/(R-2)) in theta's place: the slowest pair turns s times
            as slowly, the fastest as before (bloc97 2023; Peng et al. 2023,
            arXiv:2309.00071, equation 16)
  llama3    f where it turns often in the original context, f / s where less
            than once, linear in the turns between (Llama 3.1, 2407.21783)
  yarn      likewise, linear in the channel's number (Peng et al. 2023,
            2309.00071)
  longrope  f / a searched factor per channel (Ding et al. 2024, 2402.13753)

The frequencies depend on the config alone, so they are computed by NumPy while
tracing and are constants of the compiled function.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from llm_jax.config import ModelConfig, RopeScaling, require


def rotary_angles(positions_BT: jax.Array, config: ModelConfig, *,
                  local: bool = False) -> tuple[jax.Array, jax.Array]:
  """cos and sin of the rotary angles, [B, T, 1, R/2], float32 or wider.

  Args:
    positions_BT: int32 positions.
    config: the model.
    local: of its local layers, which may have a base of their own and are
      then never stretched.
  """
  own_base = local and config.rope_local_theta > 0
  theta = config.rope_local_theta if own_base else config.rope_theta
  scaling = RopeScaling() if own_base else config.rope_scaling
  frequencies = rotary_frequencies(
      rotary_dim(config), theta, scaling, config.max_seq_len)
  wide = jnp.promote_types(config.compute_dtype, jnp.float32)
  angles = (positions_BT[:, :, None, None].astype(wide)
            * jnp.asarray(frequencies, wide)[None, None, None, :])
  cos, sin = jnp.cos(angles), jnp.sin(angles)
  if scaling.kind in ("yarn", "longrope") and scaling.attention_factor != 1.0:
    cos, sin = cos * scaling.attention_factor, sin * scaling.attention_factor
  return cos, sin


def rotary_dim(config: ModelConfig) -> int:
  """Channels of a head that turn (R)."""
  if config.latent.kv_rank:
    return config.latent.rope_dim
  return int(config.head_dim * config.rope_fraction)


def rotary_frequencies(dim: int, theta: float, scaling: RopeScaling,
                       max_len: int) -> np.ndarray:
  """Angle per position of each pair of channels, float32 [dim / 2].

  Args:
    dim: channels that turn (R).
    theta: base of the frequencies.
    scaling: how they are stretched.
    max_len: the longest context the model is run with; longrope's long factors
      hold where it exceeds the original one.

  Raises:
    ConfigError: longrope without a factor for each pair, or ntk with one pair.
  """
  if scaling.kind == "ntk":
    theta = ntk_theta(dim, theta, scaling.factor)
  exponents = np.arange(0, dim, 2, dtype=np.float32) / np.float32(dim)
  plain = (1.0 / np.float32(theta) ** exponents).astype(np.float32)
  if scaling.kind == "linear":
    return plain / np.float32(scaling.factor)
  if scaling.kind == "llama3":
    return _llama3(plain, scaling)
  if scaling.kind == "yarn":
    return _yarn(plain, dim, theta, scaling)
  if scaling.kind == "longrope":
    beyond = max_len > scaling.original_max_len
    factors = scaling.long_factors if beyond else scaling.short_factors
    require(len(factors) == dim // 2, "model.rope_scaling."
            f"{'long' if beyond else 'short'}_factors has {len(factors)} "
            f"numbers; longrope needs one for each of the {dim // 2} pairs of "
            "channels that turn.")
    return plain / np.asarray(factors, np.float32)
  return plain


def ntk_theta(dim: int, theta: float, factor: float) -> float:
  """The base with which `dim` channels reach a context `factor` times longer.

  Raises:
    ConfigError: there is one pair, which would be slowest and fastest.
  """
  require(dim > 2, "model.rope_scaling.kind=ntk needs more than one pair of "
          "channels that turn; raise model.head_dim or model.rope_fraction.")
  return theta * factor ** (dim / (dim - 2))


def without_ntk(config: ModelConfig) -> ModelConfig:
  """The same model, in the words of formats that know only a base."""
  if config.rope_scaling.kind != "ntk":
    return config
  theta = ntk_theta(rotary_dim(config), config.rope_theta,
                    config.rope_scaling.factor)
  return dataclasses.replace(config, rope_theta=theta,
                             rope_scaling=RopeScaling())


def _llama3(plain: np.ndarray, scaling: RopeScaling) -> np.ndarray:
  turns = scaling.original_max_len * plain / (2 * np.pi)
  low, high = scaling.low_freq_factor, scaling.high_freq_factor
  kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
  stretched = plain / scaling.factor
  return ((1 - kept) * stretched + kept * plain).astype(np.float32)


def _yarn(plain: np.ndarray, dim: int, theta: float,
          scaling: RopeScaling) -> np.ndarray:
  def channel(turns):
    """Number of the pair that turns so often in the original context."""
    return (dim * math.log(scaling.original_max_len / (turns * 2 * math.pi))
            / (2 * math.log(theta)))
  low, high = channel(scaling.beta_fast), channel(scaling.beta_slow)
  if scaling.truncate:
    low, high = math.floor(low), math.ceil(high)
  low, high = max(low, 0), min(high, dim - 1)
  if low == high:
    high += 0.001  # a step, without a division by zero
  ramp = np.clip((np.arange(dim // 2, dtype=np.float32) - low) / (high - low),
                 0, 1)
  return (plain / scaling.factor * ramp + plain * (1 - ramp)).astype(
      np.float32)


def apply_rotary(x_BTNH: jax.Array, cos: jax.Array,
                 sin: jax.Array) -> jax.Array:
  """Turns channel pairs (i, i + R/2) of the first R: the Llama convention."""
  R = 2 * cos.shape[-1]
  first, second, rest = jnp.split(x_BTNH, (R // 2, R), axis=-1)
  cos, sin = cos.astype(x_BTNH.dtype), sin.astype(x_BTNH.dtype)
  turned = [first * cos - second * sin, second * cos + first * sin]
  return jnp.concatenate(turned + ([rest] if rest.shape[-1] else []), axis=-1)
