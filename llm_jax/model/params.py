"""Parameters: shape, logical axes and initialiser of each tensor, once.

`param_specs` is the whole description of a model's weights. Everything else
(initial values, shardings, counts, the table printed at start-up) is a tree map
over it. Parameters are a plain nested dict, so that LoRA, EMA, weight-decay
masks and format conversion are tree maps too.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any
import zlib

import jax
import jax.numpy as jnp

from llm_jax.config import ModelConfig, Rules
from llm_jax.sharding import partition_spec

Params = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class ParamSpec:
  """One tensor: its shape, the logical name of each axis, its initial values.

  `std` is the standard deviation of a normal; `fill` a constant instead.
  `dtype` is other than `config.param_dtype` only where the sense demands it.
  """
  shape: tuple[int, ...]
  axes: tuple[str, ...]
  std: float = 0.0
  fill: float | None = None
  dtype: str = ""

  def __post_init__(self):
    if len(self.shape) != len(self.axes):
      raise ValueError(f"{self.shape} has not one name per axis: {self.axes}")


def _norm_specs(config: ModelConfig) -> dict[str, ParamSpec]:
  specs = {"scale": ParamSpec((config.embed_dim,), ("act_embed",),
                              fill=1.0 - config.norm_offset)}
  if config.norm == "layernorm":
    specs["bias"] = ParamSpec((config.embed_dim,), ("act_embed",), fill=0.0)
  return specs


def _attention_specs(config: ModelConfig, out_std: float
                     ) -> dict[str, ParamSpec]:
  d, h, std = config.embed_dim, config.head_dim, config.init_std
  n, k = config.num_heads, config.num_kv_heads
  query, key = ("heads", "head_dim"), ("kv_heads", "head_dim")
  specs = {
      "q": ParamSpec((d, n, h), ("embed", *query), std),
      "k": ParamSpec((d, k, h), ("embed", *key), std),
      "v": ParamSpec((d, k, h), ("embed", *key), std),
      "o": ParamSpec((n, h, d), (*query, "embed"), out_std),
  }
  if config.use_bias or config.qkv_bias:
    specs |= {"q_bias": ParamSpec((n, h), query, fill=0.0),
              "k_bias": ParamSpec((k, h), key, fill=0.0),
              "v_bias": ParamSpec((k, h), key, fill=0.0)}
  if config.use_bias:
    specs["o_bias"] = ParamSpec((d,), ("act_embed",), fill=0.0)
  one = 1.0 - config.norm_offset
  if config.qk_norm == "head":
    specs |= {name: ParamSpec((h,), ("head_dim",), fill=one)
              for name in ("q_norm", "k_norm")}
  elif config.qk_norm == "full":
    specs |= {"q_norm": ParamSpec((n, h), query, fill=one),
              "k_norm": ParamSpec((k, h), key, fill=one)}
  return specs


def _latent_specs(config: ModelConfig, out_std: float
                  ) -> dict[str, ParamSpec]:
  d, n, std = config.embed_dim, config.num_heads, config.init_std
  latent, one = config.latent, 1.0 - config.norm_offset
  qk = latent.nope_dim + latent.rope_dim
  up = ("latent", "heads", "head_dim")
  if latent.q_rank:
    specs = {
        "q_down": ParamSpec((d, latent.q_rank), ("embed", "latent"), std),
        "q_down_norm": ParamSpec((latent.q_rank,), ("latent",), fill=one),
        "q_up": ParamSpec((latent.q_rank, n, qk), up, std)}
  else:
    specs = {"q": ParamSpec((d, n, qk), ("embed", "heads", "head_dim"), std)}
  return specs | {
      "kv_down": ParamSpec((d, latent.kv_rank + latent.rope_dim),
                           ("embed", "latent"), std),
      "kv_norm": ParamSpec((latent.kv_rank,), ("latent",), fill=one),
      "k_up": ParamSpec((latent.kv_rank, n, latent.nope_dim), up, std),
      "v_up": ParamSpec((latent.kv_rank, n, latent.v_dim), up, std),
      "o": ParamSpec((n, latent.v_dim, d), ("heads", "head_dim", "embed"),
                     out_std)}


def _mlp_specs(config: ModelConfig, width: int, out_std: float
               ) -> dict[str, ParamSpec]:
  d, std = config.embed_dim, config.init_std
  specs = {"up": ParamSpec((d, width), ("embed", "mlp"), std),
           "down": ParamSpec((width, d), ("mlp", "embed"), out_std)}
  if config.mlp in ("swiglu", "geglu"):
    specs["gate"] = ParamSpec((d, width), ("embed", "mlp"), std)
  if config.use_bias:
    specs |= {name + "_bias": ParamSpec((spec.shape[1],), axes, fill=0.0)
              for name, axes in (("up", ("mlp",)), ("down", ("act_embed",)),
                                 ("gate", ("mlp",)))
              if (spec := specs.get(name))}
  return specs


def _moe_specs(config: ModelConfig, out_std: float) -> dict[str, Any]:
  d, moe, std = config.embed_dim, config.moe, config.init_std
  e, f = moe.num_experts, moe.mlp_dim
  specs = {
      "router": ParamSpec((d, e), ("embed", "expert_choice"), std),
      "gate": ParamSpec((e, d, f), ("experts", "embed", "mlp"), std),
      "up": ParamSpec((e, d, f), ("experts", "embed", "mlp"), std),
      "down": ParamSpec((e, f, d), ("experts", "mlp", "embed"), out_std)}
  if moe.correction_bias:
    specs["router_bias"] = ParamSpec((e,), ("expert_choice",), fill=0.0,
                                     dtype="float32")
  if moe.shared_dim:
    specs["shared"] = _mlp_specs(config, moe.shared_dim, out_std)
  return specs


def _layer_specs(config: ModelConfig, dense: bool) -> dict[str, Any]:
  """One block, without the stacking axis."""
  # What writes to the residual stream starts smaller, so that the stream's
  # variance does not grow with depth (GPT-2, Radford et al. 2019, section 2.3).
  out_std = config.init_std / math.sqrt(2 * config.num_layers)
  specs: dict[str, Any] = {
      "attention": (_latent_specs if config.latent.kv_rank
                    else _attention_specs)(config, out_std)}
  if dense:
    specs["mlp"] = _mlp_specs(config, config.mlp_dim, out_std)
  else:
    specs["moe"] = _moe_specs(config, out_std)
  if config.norm_placement in ("pre", "both"):
    specs |= {"attention_norm": _norm_specs(config),
              "mlp_norm": _norm_specs(config)}
  if config.norm_placement in ("post", "both"):
    specs |= {"attention_post_norm": _norm_specs(config),
              "mlp_post_norm": _norm_specs(config)}
  return specs


def layer_groups(config: ModelConfig) -> list[tuple[int, bool]]:
  """(layers, whether their MLP is dense) of each run of equal layers."""
  if not config.moe.num_experts:
    return [(config.num_layers, True)]
  dense = config.moe.first_dense
  groups = [(dense, True), (config.num_layers - dense, False)]
  return [group for group in groups if group[0]]


def is_spec(x: Any) -> bool:
  """True for a `ParamSpec`: the `is_leaf` of maps over `param_specs`."""
  return isinstance(x, ParamSpec)


def _stack(spec: ParamSpec, repeats: int) -> ParamSpec:
  return dataclasses.replace(spec, shape=(repeats, *spec.shape),
                             axes=("layers", *spec.axes))


def param_specs(config: ModelConfig) -> Params:
  """Tree of `ParamSpec`: everything there is to know of the weights.

  `layers` is a list of groups, the runs of layers with the same tensors: one,
  or two where a mixture of experts begins with dense layers. A group's tensors
  are stacked [repeats, ...] and scanned.
  """
  v, d = config.vocab_size, config.embed_dim
  # Of a width other than where init_std was tuned: what comes out of a hidden
  # matrix keeps its size, and what comes out of the head falls as one over the
  # root of the width, as it will grow by training (muP, Yang et al. 2022,
  # arXiv:2203.03466, table 3).
  narrower = config.mup_base_dim / d if config.mup_base_dim else 1.0
  hidden = dataclasses.replace(
      config, init_std=config.init_std * math.sqrt(narrower))
  specs: Params = {
      "embed": {"tokens": ParamSpec((v, d), ("vocab", "embed"),
                                    config.init_std)},
      "layers": [jax.tree.map(functools.partial(_stack, repeats=repeats),
                              _layer_specs(hidden, dense), is_leaf=is_spec)
                 for repeats, dense in layer_groups(config)],
      "final_norm": _norm_specs(config),
  }
  if config.position == "learned":
    specs["embed"]["positions"] = ParamSpec(
        (config.max_seq_len, d), ("position", "embed"), config.init_std)
  if not config.tie_embeddings:
    specs["head"] = {"kernel": ParamSpec((d, v), ("embed", "vocab"),
                                         config.init_std * narrower)}
  return specs


def init_params(key: jax.Array, config: ModelConfig) -> Params:
  """Initial parameters: `init_tensors` of `param_specs`.

  Args:
    key: a `jax.random.key`.
    config: the model.

  Returns:
    Nested dict of arrays of `config.param_dtype`, shaped as `param_specs`.
  """
  config.validate()
  return init_tensors(key, param_specs(config), config.param_dtype)


def init_tensors(key: jax.Array, specs: Params, dtype: str) -> Params:
  """Initial values of a tree of specs.

  A tensor's values depend on the key and on the tensor's own path only, so
  adding a tensor leaves the others as they were. (JAX's counter-based generator
  gives the same values however the result is sharded.)

  Args:
    key: a `jax.random.key`.
    specs: tree of `ParamSpec`.
    dtype: of tensors whose spec names none.
  """
  leaves, treedef = jax.tree_util.tree_flatten_with_path(
      specs, is_leaf=is_spec)

  def make(path, spec):
    leaf_dtype = jnp.dtype(spec.dtype or dtype)
    if spec.fill is not None:
      return jnp.full(spec.shape, spec.fill, leaf_dtype)
    # crc32, because Python salts its own hash() anew in each process.
    leaf_key = jax.random.fold_in(
        key, zlib.crc32(jax.tree_util.keystr(path).encode()))
    values = jax.random.normal(leaf_key, spec.shape,
                               jnp.promote_types(leaf_dtype, jnp.float32))
    return (spec.std * values).astype(leaf_dtype)

  return treedef.unflatten([make(path, spec) for path, spec in leaves])


def param_shardings(config: ModelConfig) -> Params:
  """Tree of `PartitionSpec`, shaped as the parameters."""
  return tensor_shardings(param_specs(config), config.rules)


def tensor_shardings(specs: Params, rules: Rules) -> Params:
  """Tree of `PartitionSpec`, shaped as `specs`."""
  return jax.tree.map(lambda s: partition_spec(s.axes, rules), specs,
                      is_leaf=is_spec)


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
