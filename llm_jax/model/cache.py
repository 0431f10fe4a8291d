"""Keys and values of what was read so far, as a value.

One array per layer rather than a stack [L, ...]: each is then updated in place,
where slicing a stack would copy it. The slots are within the heads because a
decoding step's matrix products are batched over (B, K): any other order would
transpose the whole cache for every token.
"""

from __future__ import annotations

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from llm_jax.config import ModelConfig
from llm_jax.model import layers
from llm_jax.model.quantization import Int8, quantize


@flax.struct.dataclass
class KVCache:
  """Keys and values, an array per layer; slot s holds position s.

  Attributes:
    k: [B, K, S, H] of each layer, or `Int8`. With latent attention [B, 1, S,
      R + Hr]: the latent, then the rotary key.
    v: [B, K, S, H] of each layer, or `Int8`. With latent attention None: the
      values are made from the latent.
  """
  k: tuple[Any, ...]
  v: tuple[Any, ...]


def init_cache(batch_size: int, max_len: int, config: ModelConfig) -> KVCache:
  """An empty cache of `max_len` slots.

  Its dtype is `config.cache_dtype`, where that is empty `compute_dtype`.
  """
  dtype = config.cache_dtype or config.compute_dtype
  latent = config.latent
  if latent.kv_rank:
    shape = (batch_size, 1, max_len, latent.kv_rank + latent.rope_dim)
  else:
    shape = (batch_size, config.num_kv_heads, max_len, config.head_dim)

  def layer():
    if dtype == "int8":
      return Int8(jnp.zeros(shape, jnp.int8), jnp.ones((*shape[:-1], 1)))
    return jnp.zeros(shape, dtype)
  layers = range(config.num_layers)
  return KVCache(tuple(layer() for _ in layers),
                 tuple(None if latent.kv_rank else layer() for _ in layers))


def write_slots(cached: Any, new_BTKH: jax.Array,
                positions_BT: jax.Array) -> Any:
  """Writes tokens' keys or values to the slots of their positions.

  Args:
    cached: a layer's [B, K, S, H], or `Int8` of that shape.
    new_BTKH: what is written.
    positions_BT: int32 slot of each token.

  Returns:
    `cached`, updated.
  """
  new_BKTH = new_BTKH.swapaxes(1, 2)
  if isinstance(cached, Int8):
    new = quantize(new_BKTH, (-1,))
    return Int8(_put(cached.values, new.values, positions_BT),
                _put(cached.scales, new.scales, positions_BT))
  return _put(cached, new_BKTH.astype(cached.dtype), positions_BT)


def _put(cached_BKSH, new_BKTH, positions_BT):
  if layers.on_one_device():
    rows_B11 = jnp.arange(cached_BKSH.shape[0])[:, None, None]
    heads_1K1 = jnp.arange(cached_BKSH.shape[1])[None, :, None]
    return cached_BKSH.at[rows_B11, heads_1K1, positions_BT[:, None, :]].set(
        new_BKTH)
  # Rows and heads as batches of the scatter: with numbers for them, GSPMD would
  # bring every device the keys of all rows to choose its own from.
  def put(cached_SH, new_TH, positions_T):
    return cached_SH.at[positions_T].set(new_TH)
  return jax.vmap(jax.vmap(put, (0, 0, None)))(
      cached_BKSH, new_BKTH, positions_BT)
