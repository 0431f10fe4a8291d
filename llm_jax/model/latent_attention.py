"""Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1).

Keys and values of all heads are linear in one latent c of R numbers per token,
beside a rotary key of Hr numbers that the heads share:

    k_n = [W_uk,n c ; k_rope]        v_n = W_uv,n c

In training the keys and values are made, and attention is as ever. In decoding
they never are: W_uk moves to the query's side and W_uv behind the sum,

    q·k = (q_nope W_uk,n) · c + q_rope · k_rope       o_n = W_uv,n Σ_s w_s c_s

which is attention of N heads to a single key/value head [c ; k_rope], whose
values are c. So the cache holds R + Hr numbers per token and layer.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from llm_jax.config import ModelConfig
from llm_jax.model import layers
from llm_jax.model.attention import cached_attention
from llm_jax.model.cache import write_slots
from llm_jax.model.context_attention import sequence_attention
from llm_jax.model.quantization import Int8
from llm_jax.model.rotary import apply_rotary


def latent_attention(
    x_BTD: jax.Array, params: dict[str, Any], rotary: Any,
    segment_ids_BT: jax.Array | None, positions_BT: jax.Array,
    cached_B1SC: Any | None, config: ModelConfig) -> tuple[jax.Array, Any]:
  """The attention sub-block.

  Args:
    x_BTD: normed residual stream.
    params: `q` or `q_down`, `q_down_norm`, `q_up`; `kv_down`, `kv_norm`,
      `k_up`, `v_up`, `o`.
    rotary: (cos, sin), or None in a layer without positions.
    segment_ids_BT: int32 document of each token, or None.
    positions_BT: int32 positions; with a cache also the slots written.
    cached_B1SC: latents and rotary keys (C = R + Hr) so far, or None.
    config: the model.

  Returns:
    (output_BTD, the updated cache or None).
  """
  latent, eps = config.latent, config.norm_eps
  q_BTNH = _queries(x_BTD, params, config)
  q_nope_BTNH, q_rope_BTNH = jnp.split(q_BTNH, [latent.nope_dim], axis=-1)
  down_BTC = layers.project(x_BTD, params["kv_down"], None, "btd,dc->btc")
  c_BTR, k_rope_BTC = jnp.split(down_BTC, [latent.kv_rank], axis=-1)
  c_BTR = layers.rms_norm(c_BTR, params["kv_norm"], eps)
  k_rope_BT1H = k_rope_BTC[:, :, None]
  if rotary is not None:
    q_rope_BTNH = apply_rotary(q_rope_BTNH, *rotary)
    k_rope_BT1H = apply_rotary(k_rope_BT1H, *rotary)
  scale = config.attention_scale or 1 / math.sqrt(q_BTNH.shape[-1])

  dtype = x_BTD.dtype
  k_up_RNH, v_up_RNH = (params[name].astype(dtype)
                        for name in ("k_up", "v_up"))
  if cached_B1SC is None:
    k_nope_BTNH = jnp.einsum("btr,rnh->btnh", c_BTR, k_up_RNH)
    k_rope_BTNH = jnp.broadcast_to(
        k_rope_BT1H, (*k_nope_BTNH.shape[:3], latent.rope_dim))
    out_BTNH = sequence_attention(
        jnp.concatenate([q_nope_BTNH, q_rope_BTNH], axis=-1),
        jnp.concatenate([k_nope_BTNH, k_rope_BTNH], axis=-1),
        jnp.einsum("btr,rnh->btnh", c_BTR, v_up_RNH),
        segment_ids_BT=segment_ids_BT, config=config, scale=scale)
  else:
    cached_B1SC = write_slots(
        cached_B1SC,
        jnp.concatenate([c_BTR[:, :, None], k_rope_BT1H], axis=-1),
        positions_BT)
    q_BTNR = jnp.einsum("btnh,rnh->btnr", q_nope_BTNH, k_up_RNH)
    sums_BTNR = cached_attention(
        jnp.concatenate([q_BTNR, q_rope_BTNH], axis=-1), cached_B1SC,
        _latents(cached_B1SC, latent.kv_rank), positions_BT=positions_BT,
        scale=scale)
    out_BTNH = jnp.einsum("btnr,rnh->btnh", sums_BTNR, v_up_RNH)
  return layers.project(out_BTNH, params["o"], None,
                        "btnh,nhd->btd"), cached_B1SC


def _queries(x_BTD, params, config):
  if "q" in params:
    return layers.project(x_BTD, params["q"], None, "btd,dnh->btnh")
  down_BTR = layers.project(x_BTD, params["q_down"], None, "btd,dr->btr")
  down_BTR = layers.rms_norm(down_BTR, params["q_down_norm"], config.norm_eps)
  return layers.project(down_BTR, params["q_up"], None, "btr,rnh->btnh")


def _latents(cached_B1SC, R):
  """The values: the first R channels of what is cached."""
  if isinstance(cached_B1SC, Int8):
    return Int8(cached_B1SC.values[..., :R], cached_B1SC.scales)
  return cached_B1SC[..., :R]
