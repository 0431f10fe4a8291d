"""The forward pass: tokens -> hidden states -> logits.

`backbone` is apart from `unembed` because chunked losses, value heads and
reward heads all want the hidden states. One body serves training, prefill and
decoding: with a cache it writes this call's keys and values and attends to all
that is written; without one it attends within the call.
"""

from __future__ import annotations

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from llm_jax.config import ModelConfig
from llm_jax.model import layers
from llm_jax.model.attention import cached_attention, self_attention
from llm_jax.model.params import Params
from llm_jax.sharding import shard


@flax.struct.dataclass
class KVCache:
  """Keys and values of what was read so far; slot s holds position s.

  One array [B, K, S, H] per layer rather than a stack [L, ...]: each is then
  updated in place, where slicing a stack would copy it. The slots are within
  the heads because a decoding step's matrix products are batched over (B, K):
  any other order would transpose the whole cache for every token.
  """
  k: tuple[jax.Array, ...]
  v: tuple[jax.Array, ...]


def _attention(x_BTD: jax.Array, params: dict[str, Any], rotary: Any,
               segment_ids_BT: jax.Array | None,
               positions_BT: jax.Array,
               cache_kv: tuple[jax.Array, jax.Array] | None,
               config: ModelConfig) -> tuple[jax.Array, Any]:
  """The attention sub-block; returns (output_BTD, this layer's new cache)."""
  q_BTNH, k_BTKH, v_BTKH = (
      layers.project(x_BTD, params[name], params.get(name + "_bias"),
                     "btd,dnh->btnh") for name in ("q", "k", "v"))
  if config.qk_norm != "none":
    q_BTNH = layers.rms_norm(q_BTNH, params["q_norm"], config.norm_eps)
    k_BTKH = layers.rms_norm(k_BTKH, params["k_norm"], config.norm_eps)
  if rotary is not None:
    q_BTNH = layers.apply_rotary(q_BTNH, *rotary)
    k_BTKH = layers.apply_rotary(k_BTKH, *rotary)
  if cache_kv is None:
    out_BTNH = self_attention(q_BTNH, k_BTKH, v_BTKH,
                              segment_ids_BT=segment_ids_BT,
                              kind=config.attention)
  else:
    rows_B11 = jnp.arange(x_BTD.shape[0])[:, None, None]
    heads_1K1 = jnp.arange(config.num_kv_heads)[None, :, None]
    k_BKSH, v_BKSH = (
        cached.at[rows_B11, heads_1K1, positions_BT[:, None, :]].set(
            new.swapaxes(1, 2).astype(cached.dtype))
        for cached, new in zip(cache_kv, (k_BTKH, v_BTKH)))
    cache_kv = (k_BKSH, v_BKSH)
    out_BTNH = cached_attention(q_BTNH, k_BKSH, v_BKSH,
                                positions_BT=positions_BT)
  return layers.project(out_BTNH, params["o"], params.get("o_bias"),
                        "btnh,nhd->btd"), cache_kv


def block(x_BTD: jax.Array, params: dict[str, Any], rotary: Any,
          segment_ids_BT: jax.Array | None, positions_BT: jax.Array,
          cache_kv: tuple[jax.Array, jax.Array] | None,
          config: ModelConfig) -> tuple[jax.Array, Any]:
  """One pre-norm Transformer block.

  Args:
    x_BTD: residual stream.
    params: this block's tensors, without a stacking axis.
    rotary: (cos, sin) of `layers.rotary_angles`, or None.
    segment_ids_BT: int32 document of each token, or None: one document a row.
    positions_BT: int32 positions; with a cache also the slots written.
    cache_kv: this layer's (k_BKSH, v_BKSH), or None.
    config: the model.

  Returns:
    (x_BTD, cache_kv), both updated.
  """
  with jax.named_scope("attention"):
    normed = layers.norm(x_BTD, params["attention_norm"], config)
    update, cache_kv = _attention(normed, params["attention"], rotary,
                                  segment_ids_BT, positions_BT, cache_kv,
                                  config)
    x_BTD = shard(x_BTD + update, "batch", "seq", "act_embed",
                  rules=config.rules)
  with jax.named_scope("mlp"):
    normed = layers.norm(x_BTD, params["mlp_norm"], config)
    x_BTD = shard(x_BTD + layers.mlp(normed, params["mlp"], config),
                  "batch", "seq", "act_embed", rules=config.rules)
  return x_BTD, cache_kv


def unstack_layers(params: Params) -> Params:
  """Replaces each stacked group [repeats, ...] by a tuple of single blocks.

  Decoding reads every weight once per token; a slice of a stack inside a loop
  would copy it first. Already unstacked parameters come back as they are.
  """
  def split(group):
    if isinstance(group, tuple):
      return group
    repeats = jax.tree.leaves(group)[0].shape[0]
    return tuple(jax.tree.map(lambda x, i=i: x[i], group)
                 for i in range(repeats))
  return {**params, "layers": [split(group) for group in params["layers"]]}


def backbone(params: Params, tokens_BT: jax.Array, config: ModelConfig, *,
             positions_BT: jax.Array | None = None,
             segment_ids_BT: jax.Array | None = None,
             cache: KVCache | None = None
             ) -> tuple[jax.Array, KVCache | None, dict[str, jax.Array]]:
  """Everything but the head.

  Args:
    params: `init_params`' tree, stacked or unstacked.
    tokens_BT: int32 token ids.
    config: the model.
    positions_BT: int32 positions; default 0..T-1 in every row. With packed
      documents they restart at each document.
    segment_ids_BT: int32 document of each token; attention stays inside one.
      Training only.
    cache: keys and values so far. This call's are written to the slots
      `positions_BT`, and each query sees the slots up to its own position, so
      rows of different lengths need no padding on the left.

  Returns:
    (hidden_BTD after the final norm, the updated cache or None, aux losses:
    none for a dense model).
  """
  dtype = jnp.dtype(config.compute_dtype)
  if positions_BT is None:
    positions_BT = jnp.broadcast_to(
        jnp.arange(tokens_BT.shape[1], dtype=jnp.int32)[None, :],
        tokens_BT.shape)
  with jax.named_scope("embed"):
    x_BTD = params["embed"]["tokens"].astype(dtype)[tokens_BT]
    if config.position == "learned":
      x_BTD += params["embed"]["positions"].astype(dtype)[positions_BT]
    x_BTD = shard(x_BTD, "batch", "seq", "act_embed", rules=config.rules)
  rotary = (layers.rotary_angles(positions_BT, config)
            if config.position == "rope" else None)

  if cache is not None:
    blocks = [layer for group in unstack_layers(params)["layers"]
              for layer in group]
    new_k, new_v = [], []
    for layer, cache_kv in zip(blocks, zip(cache.k, cache.v), strict=True):
      x_BTD, (k, v) = block(x_BTD, layer, rotary, None, positions_BT, cache_kv,
                            config)
      new_k.append(k)
      new_v.append(v)
    cache = KVCache(tuple(new_k), tuple(new_v))
  else:
    def body(x_BTD, layer):
      return block(x_BTD, layer, rotary, segment_ids_BT, positions_BT, None,
                   config)
    if config.remat == "full":
      body = jax.checkpoint(body)
    for group in params["layers"]:
      if isinstance(group, dict) and config.scan_layers:
        x_BTD, _ = jax.lax.scan(body, x_BTD, group)
      else:
        for layer in unstack_layers({"layers": [group]})["layers"][0]:
          x_BTD, _ = body(x_BTD, layer)
  return layers.norm(x_BTD, params["final_norm"], config), cache, {}


def unembed(params: Params, hidden_BTD: jax.Array,
            config: ModelConfig) -> jax.Array:
  """Logits of the next token, [B, T, V], float32 (or wider)."""
  with jax.named_scope("unembed"):
    wide = jnp.promote_types(hidden_BTD.dtype, jnp.float32)
    kernel_DV = (params["embed"]["tokens"].T if config.tie_embeddings
                 else params["head"]["kernel"]).astype(hidden_BTD.dtype)
    B, T, D = hidden_BTD.shape
    if T > 1 and layers.on_one_device():
      # The barrier keeps XLA from folding the transpose into the gradient's
      # product, which XLA:CPU runs up to twice as fast as [D, V] than as
      # [V, D]. Decoding has no gradient, and would pay for the transpose.
      logits_BTV = jnp.matmul(
          hidden_BTD.reshape(B * T, D), jax.lax.optimization_barrier(kernel_DV),
          preferred_element_type=wide).reshape(B, T, -1)
    else:
      logits_BTV = jnp.einsum("btd,dv->btv", hidden_BTD, kernel_DV,
                              preferred_element_type=wide)
    return shard(logits_BTV, "batch", "seq", "act_vocab", rules=config.rules)


def forward(params: Params, tokens_BT: jax.Array, config: ModelConfig,
            **kwargs: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
  """`unembed(backbone(...))`: (logits_BTV, aux). Takes `backbone`'s keywords.

  `logits_BTV[b, t]` are of the token that follows `tokens_BT[b, t]`.
  """
  hidden_BTD, _, aux = backbone(params, tokens_BT, config, **kwargs)
  return unembed(params, hidden_BTD, config), aux
