"""The forward pass: tokens -> hidden states -> logits.

`backbone` is apart from `unembed` because chunked losses, value heads and
reward heads all want the hidden states. One body serves training, prefill and
decoding: with a cache it writes this call's keys and values and attends to all
that is written; without one it attends within the call.
"""

from __future__ import annotations

from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name
import jax.numpy as jnp

from llm_jax.config import ModelConfig
from llm_jax.model import layers
from llm_jax.model.attention import SAVED, cached_attention
from llm_jax.model.cache import KVCache, write_slots
from llm_jax.model.context_attention import (
    from_zigzag, sequence_attention, to_zigzag, ways_of_context)
from llm_jax.model.latent_attention import latent_attention
from llm_jax.model.moe import moe, no_aux
from llm_jax.model.params import Params
from llm_jax.model.quantization import Int8, matmul_transposed
from llm_jax.model.rotary import apply_rotary, rotary_angles
from llm_jax.sharding import shard

_LAYER_INPUT = "layer_input"  # its `checkpoint_name`


def _attention(x_BTD: jax.Array, params: dict[str, Any], rotary: Any,
               segment_ids_BT: jax.Array | None,
               positions_BT: jax.Array, cache_kv: tuple[Any, Any] | None,
               window: int, config: ModelConfig) -> tuple[jax.Array, Any]:
  """The attention sub-block; returns (output_BTD, this layer's new cache)."""
  if config.latent.kv_rank:
    cached = None if cache_kv is None else cache_kv[0]
    out_BTD, cached = latent_attention(x_BTD, params, rotary, segment_ids_BT,
                                       positions_BT, cached, config)
    return out_BTD, (cached, None)
  q_BTNH, k_BTKH, v_BTKH = (
      layers.project(x_BTD, params[name], params.get(name + "_bias"),
                     "btd,dnh->btnh") for name in ("q", "k", "v"))
  if config.qk_norm != "none":
    q_BTNH, k_BTKH = (
        layers.rms_norm(x, params[name], config.norm_eps, config.norm_offset)
        for x, name in ((q_BTNH, "q_norm"), (k_BTKH, "k_norm")))
  if rotary is not None:
    q_BTNH = apply_rotary(q_BTNH, *rotary)
    k_BTKH = apply_rotary(k_BTKH, *rotary)
  scores = {"window": window, "softcap": config.attention_softcap,
            "scale": config.attention_scale}
  if cache_kv is None:
    out_BTNH = sequence_attention(q_BTNH, k_BTKH, v_BTKH,
                                  segment_ids_BT=segment_ids_BT, config=config,
                                  **scores)
  else:
    cache_kv = (write_slots(cache_kv[0], k_BTKH, positions_BT),
                write_slots(cache_kv[1], v_BTKH, positions_BT))
    out_BTNH = cached_attention(q_BTNH, *cache_kv, positions_BT=positions_BT,
                                **scores)
  return layers.project(out_BTNH, params["o"], params.get("o_bias"),
                        "btnh,nhd->btd"), cache_kv


def block(x_BTD: jax.Array, params: dict[str, Any], rotary: dict[str, Any],
          segment_ids_BT: jax.Array | None, positions_BT: jax.Array,
          cache_kv: tuple[Any, Any] | None, kind: str, config: ModelConfig
          ) -> tuple[jax.Array, Any, dict[str, jax.Array]]:
  """One Transformer block.

  Args:
    x_BTD: residual stream.
    params: this block's tensors, without a stacking axis.
    rotary: of `rotary_of_kinds`.
    segment_ids_BT: int32 document of each token, or None: one document a row.
    positions_BT: int32 positions; with a cache also the slots written.
    cache_kv: this layer's entries of `KVCache`, or None.
    kind: of `config.layer_pattern`.
    config: the model.

  Returns:
    (x_BTD, cache_kv, both updated, what `moe.no_aux` has of this layer).
  """
  def add(x_BTD, update_BTD, name):
    if name in params:
      update_BTD = layers.norm(update_BTD, params[name], config)
    return shard(x_BTD + update_BTD, "batch", "seq", "act_embed",
                 rules=config.rules)

  def before(x_BTD, name):
    return (layers.norm(x_BTD, params[name], config) if name in params
            else x_BTD)

  window = config.window if kind.startswith("local") else 0
  with jax.named_scope("attention"):
    update_BTD, cache_kv = _attention(
        before(x_BTD, "attention_norm"), params["attention"], rotary[kind],
        segment_ids_BT, positions_BT, cache_kv, window, config)
    x_BTD = add(x_BTD, update_BTD, "attention_post_norm")
  aux = no_aux(config)
  with jax.named_scope("mlp"):
    normed_BTD = before(x_BTD, "mlp_norm")
    if "moe" in params:
      update_BTD, aux = moe(normed_BTD, params["moe"], config)
    else:
      update_BTD = layers.mlp(normed_BTD, params["mlp"], config)
    x_BTD = add(x_BTD, update_BTD, "mlp_post_norm")
  return x_BTD, cache_kv, aux


def rotary_of_kinds(positions_BT: jax.Array, config: ModelConfig
                    ) -> dict[str, Any]:
  """(cos, sin) for each kind of layer that the model has; None: no rotation."""
  rotary = {}
  for kind in sorted(set(config.layer_pattern)):
    turned = config.position == "rope" and not kind.endswith("_nope")
    rotary[kind] = (rotary_angles(positions_BT, config, local=kind == "local")
                    if turned else None)
  return rotary


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
    (hidden_BTD after the final norm, the updated cache or None, with experts
    what `moe.no_aux` names, each the mean over their layers, else {}).
  """
  dtype = jnp.dtype(config.compute_dtype)
  if positions_BT is None:
    positions_BT = jnp.broadcast_to(
        jnp.arange(tokens_BT.shape[1], dtype=jnp.int32)[None, :],
        tokens_BT.shape)
  split = cache is None and ways_of_context(tokens_BT.shape[1],
                                            config.rules) > 1
  if split:
    tokens_BT, positions_BT, segment_ids_BT = (
        x if x is None else to_zigzag(x, config.rules)
        for x in (tokens_BT, positions_BT, segment_ids_BT))
  with jax.named_scope("embed"):
    x_BTD = layers.embed(params["embed"]["tokens"], tokens_BT, dtype)
    if config.position == "learned":
      x_BTD += params["embed"]["positions"].astype(dtype)[positions_BT]
    if config.embed_scale != 1.0:
      x_BTD *= jnp.asarray(config.embed_scale, dtype)
    x_BTD = shard(x_BTD, "batch", "seq", "act_embed", rules=config.rules)
  rotary = rotary_of_kinds(positions_BT, config)

  if cache is not None:
    x_BTD, cache, total = _cached_blocks(params, x_BTD, rotary, positions_BT,
                                         cache, config)
  else:
    x_BTD, total = _blocks(params, x_BTD, rotary, segment_ids_BT,
                           positions_BT, config)
  aux = {name: value / (config.num_layers - config.moe.first_dense)
         for name, value in total.items()}
  hidden_BTD = layers.norm(x_BTD, params["final_norm"], config)
  if split:
    hidden_BTD = from_zigzag(hidden_BTD, config.rules)
  return hidden_BTD, cache, aux


def _cached_blocks(params, x_BTD, rotary, positions_BT, cache, config):
  """All blocks, unstacked: a slice of a stack would copy the weights."""
  blocks = [layer for group in unstack_layers(params)["layers"]
            for layer in group]
  entries, total = [], no_aux(config)
  for number, layer in enumerate(blocks):
    x_BTD, entry, aux = block(
        x_BTD, layer, rotary, None, positions_BT,
        (cache.k[number], cache.v[number]), config.layer_kind(number), config)
    entries.append(entry)
    total = jax.tree.map(jnp.add, total, aux)
  return x_BTD, KVCache(*zip(*entries, strict=True)), total


def _blocks(params, x_BTD, rotary, segment_ids_BT, positions_BT, config):
  """All blocks: scanned, a period of the layer pattern at a time, or one after
  the other."""
  def run(x_BTD, layer, kind, in_scan=False):
    def body(x_BTD, layer):
      x_BTD, _, aux = block(checkpoint_name(x_BTD, _LAYER_INPUT), layer,
                            rotary, segment_ids_BT, positions_BT, None, kind,
                            config)
      return x_BTD, aux
    if config.remat != "none":
      # A scan is barrier enough: what its backward pass computes again is not
      # found to be the same as what its forward pass computed.
      body = jax.checkpoint(body, prevent_cse=not in_scan,
                            policy=_kept_by(config.remat))
    return body(x_BTD, layer)

  total, first = no_aux(config), 0
  for group in params["layers"]:
    stacked = isinstance(group, dict)
    repeats = (jax.tree.leaves(group)[0].shape[0] if stacked else len(group))
    scanned, period = 0, len(config.layer_pattern)
    if stacked and config.scan_layers:
      scanned = repeats // period * period
    kinds = [config.layer_kind(first + i) for i in range(repeats)]
    if scanned:
      def body(x_BTD, period_layers):
        sums = no_aux(config)
        for i, kind in enumerate(kinds[:period]):  # noqa: B023 - used at once
          x_BTD, aux = run(
              x_BTD, jax.tree.map(lambda w, i=i: w[i], period_layers), kind,
              in_scan=True)
          sums = jax.tree.map(jnp.add, sums, aux)
        return x_BTD, sums
      periods = jax.tree.map(
          lambda w: w[:scanned].reshape(-1, period, *w.shape[1:]), group)  # noqa: B023
      x_BTD, sums = jax.lax.scan(body, x_BTD, periods)
      total = jax.tree.map(lambda a, b: a + jnp.sum(b), total, sums)
    for i in range(scanned, repeats):
      layer = (jax.tree.map(lambda w, i=i: w[i], group) if stacked
               else group[i])
      x_BTD, aux = run(x_BTD, layer, kinds[i])
      total = jax.tree.map(jnp.add, total, aux)
    first += repeats
  return x_BTD, total


def _kept_by(remat):
  """What a layer keeps for its backward pass, beside its input (which
  `offload` keeps in the host's memory); the rest is computed again."""
  policies = jax.checkpoint_policies
  if remat == "dots":
    return policies.dots_with_no_batch_dims_saveable
  if remat == "attention":
    return policies.save_only_these_names(SAVED)
  if remat == "offload":
    return policies.save_and_offload_only_these_names(
        names_which_can_be_saved=[],
        names_which_can_be_offloaded=[_LAYER_INPUT],
        offload_src="device", offload_dst="pinned_host")
  return policies.nothing_saveable


def unembed(params: Params, hidden_BTD: jax.Array,
            config: ModelConfig) -> jax.Array:
  """Logits of the next token, [B, T, V], float32 (or wider)."""
  with jax.named_scope("unembed"):
    wide = jnp.promote_types(hidden_BTD.dtype, jnp.float32)
    B, T, D = hidden_BTD.shape
    table = params["embed"]["tokens"] if config.tie_embeddings else None
    if isinstance(table, Int8):
      logits_BTV = matmul_transposed(
          hidden_BTD.reshape(B * T, D), table,
          blocked=layers.platform() == "cpu" and layers.on_one_device()
      ).reshape(B, T, -1)
      return _capped(logits_BTV, config)
    if table is None and isinstance(params["head"]["kernel"], Int8):
      return _capped(layers.project(hidden_BTD.astype(wide),
                                    params["head"]["kernel"], None,
                                    "btd,dv->btv"), config)
    if table is not None and (T == 1 or not layers.on_one_device()):
      # As it lies: decoding would pay for a transpose at every token.
      logits_BTV = jnp.einsum("btd,vd->btv", hidden_BTD,
                              table.astype(hidden_BTD.dtype),
                              preferred_element_type=wide)
      return _capped(logits_BTV, config)
    kernel_DV = (params["head"]["kernel"] if table is None else table.T
                 ).astype(hidden_BTD.dtype)
    if T > 1 and layers.on_one_device():
      # The barrier keeps XLA from folding the transpose into the gradient's
      # product, which XLA:CPU runs up to twice as fast as [D, V] than as
      # [V, D].
      logits_BTV = jnp.matmul(
          hidden_BTD.reshape(B * T, D), jax.lax.optimization_barrier(kernel_DV),
          preferred_element_type=wide).reshape(B, T, -1)
    else:
      logits_BTV = jnp.einsum("btd,dv->btv", hidden_BTD, kernel_DV,
                              preferred_element_type=wide)
    return _capped(logits_BTV, config)


def _capped(logits_BTV, config):
  logits_BTV = layers.softcap(logits_BTV, config.logit_softcap)
  return shard(logits_BTV, "batch", "seq", "act_vocab", rules=config.rules)


def forward(params: Params, tokens_BT: jax.Array, config: ModelConfig,
            **kwargs: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
  """`unembed(backbone(...))`: (logits_BTV, aux). Takes `backbone`'s keywords.

  `logits_BTV[b, t]` are of the token that follows `tokens_BT[b, t]`.
  """
  hidden_BTD, _, aux = backbone(params, tokens_BT, config, **kwargs)
  return unembed(params, hidden_BTD, config), aux
