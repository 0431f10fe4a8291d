"""Parameters: shape, logical axes and initialiser of each tensor, once.

`param_specs` is the whole description of a model's weights. Everything else
(initial values, shardings, counts, the table printed at start-up) is a tree map
over it. Parameters are a plain nested dict, so that LoRA, EMA, weight-decay
masks and format conversion are tree maps too.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any
import zlib

import jax
import jax.numpy as jnp

from llm_jax.config import ModelConfig
from llm_jax.sharding import partition_spec

Params = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class ParamSpec:
  """One tensor: its shape, the logical name of each axis, its initial values.

  `std` is the standard deviation of a normal; `fill` a constant instead.
  """
  shape: tuple[int, ...]
  axes: tuple[str, ...]
  std: float = 0.0
  fill: float | None = None

  def __post_init__(self):
    if len(self.shape) != len(self.axes):
      raise ValueError(f"{self.shape} has not one name per axis: {self.axes}")


def _norm_specs(config: ModelConfig) -> dict[str, ParamSpec]:
  specs = {"scale": ParamSpec((config.embed_dim,), ("act_embed",), fill=1.0)}
  if config.norm == "layernorm":
    specs["bias"] = ParamSpec((config.embed_dim,), ("act_embed",), fill=0.0)
  return specs


def _layer_specs(config: ModelConfig) -> dict[str, Any]:
  """One block, without the stacking axis."""
  d, f, h = config.embed_dim, config.mlp_dim, config.head_dim
  n, k = config.num_heads, config.num_kv_heads
  std = config.init_std
  # What writes to the residual stream starts smaller, so that the stream's
  # variance does not grow with depth (GPT-2, Radford et al. 2019, section 2.3).
  out_std = std / math.sqrt(2 * config.num_layers)
  attention = {
      "q": ParamSpec((d, n, h), ("embed", "heads", "head_dim"), std),
      "k": ParamSpec((d, k, h), ("embed", "kv_heads", "head_dim"), std),
      "v": ParamSpec((d, k, h), ("embed", "kv_heads", "head_dim"), std),
      "o": ParamSpec((n, h, d), ("heads", "head_dim", "embed"), out_std),
  }
  mlp = {
      "up": ParamSpec((d, f), ("embed", "mlp"), std),
      "down": ParamSpec((f, d), ("mlp", "embed"), out_std),
  }
  if config.mlp == "swiglu":
    mlp["gate"] = ParamSpec((d, f), ("embed", "mlp"), std)
  if config.use_bias:
    attention |= {
        "q_bias": ParamSpec((n, h), ("heads", "head_dim"), fill=0.0),
        "k_bias": ParamSpec((k, h), ("kv_heads", "head_dim"), fill=0.0),
        "v_bias": ParamSpec((k, h), ("kv_heads", "head_dim"), fill=0.0),
        "o_bias": ParamSpec((d,), ("act_embed",), fill=0.0),
    }
    mlp |= {name + "_bias": ParamSpec((spec.shape[1],), axes, fill=0.0)
            for name, axes in (("up", ("mlp",)), ("down", ("act_embed",)),
                               ("gate", ("mlp",)))
            if (spec := mlp.get(name))}
  if config.qk_norm != "none":
    attention |= {
        "q_norm": ParamSpec((h,), ("head_dim",), fill=1.0),
        "k_norm": ParamSpec((h,), ("head_dim",), fill=1.0),
    }
  return {"attention_norm": _norm_specs(config), "attention": attention,
          "mlp_norm": _norm_specs(config), "mlp": mlp}


def is_spec(x: Any) -> bool:
  """True for a `ParamSpec`: the `is_leaf` of maps over `param_specs`."""
  return isinstance(x, ParamSpec)


def _stack(spec: ParamSpec, repeats: int) -> ParamSpec:
  return dataclasses.replace(spec, shape=(repeats, *spec.shape),
                             axes=("layers", *spec.axes))


def param_specs(config: ModelConfig) -> Params:
  """Tree of `ParamSpec`: everything there is to know of the weights.

  `layers` is a list of groups; a group's tensors are stacked [repeats, ...] and
  scanned. Today every model is one group of `num_layers` equal blocks.
  """
  v, d = config.vocab_size, config.embed_dim
  specs: Params = {
      "embed": {"tokens": ParamSpec((v, d), ("vocab", "embed"),
                                    config.init_std)},
      "layers": [jax.tree.map(lambda s: _stack(s, config.num_layers),
                              _layer_specs(config), is_leaf=is_spec)],
      "final_norm": _norm_specs(config),
  }
  if config.position == "learned":
    specs["embed"]["positions"] = ParamSpec(
        (config.max_seq_len, d), ("position", "embed"), config.init_std)
  if not config.tie_embeddings:
    specs["head"] = {"kernel": ParamSpec((d, v), ("embed", "vocab"),
                                         config.init_std)}
  return specs


def init_params(key: jax.Array, config: ModelConfig) -> Params:
  """Initial parameters.

  A tensor's values depend on the key and on the tensor's own path only, so
  adding a tensor leaves the others as they were. (JAX's counter-based generator
  gives the same values however the result is sharded.)

  Args:
    key: a `jax.random.key`.
    config: the model.

  Returns:
    Nested dict of arrays of `config.param_dtype`, shaped as `param_specs`.
  """
  config.validate()
  dtype = jnp.dtype(config.param_dtype)
  leaves, treedef = jax.tree_util.tree_flatten_with_path(
      param_specs(config), is_leaf=is_spec)

  def make(path, spec):
    if spec.fill is not None:
      return jnp.full(spec.shape, spec.fill, dtype)
    # crc32, because Python salts its own hash() anew in each process.
    leaf_key = jax.random.fold_in(
        key, zlib.crc32(jax.tree_util.keystr(path).encode()))
    values = jax.random.normal(leaf_key, spec.shape, jnp.float32)
    return (spec.std * values).astype(dtype)

  return treedef.unflatten([make(path, spec) for path, spec in leaves])


def param_shardings(config: ModelConfig) -> Params:
  """Tree of `PartitionSpec`, shaped as the parameters."""
  return jax.tree.map(lambda s: partition_spec(s.axes, config.rules),
                      param_specs(config), is_leaf=is_spec)


def count_params(config: ModelConfig) -> int:
  """Number of parameters, embeddings included; tied ones once."""
  return sum(math.prod(s.shape) for s in
             jax.tree.leaves(param_specs(config), is_leaf=is_spec))


def param_table(config: ModelConfig) -> list[tuple[str, tuple[int, ...], int]]:
  """(path, shape, number of parameters) of each tensor, in tree order."""
  leaves = jax.tree_util.tree_flatten_with_path(
      param_specs(config), is_leaf=is_spec)[0]
  return [(jax.tree_util.keystr(path, simple=True, separator="."), spec.shape,
           math.prod(spec.shape)) for path, spec in leaves]
