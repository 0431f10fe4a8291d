"""Optax optimisers and schedules, chosen by `OptimizerConfig`."""

from __future__ import annotations

from collections.abc import Callable
import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import optax

from llm_jax.config import (
    ConfigError, LoraConfig, ModelConfig, OptimizerConfig)
from llm_jax.config_tree import nearest
from llm_jax.model.lora import trained_specs
from llm_jax.model.params import is_spec, tensor_shardings
from llm_jax.training.muon import scale_by_muon


def make_schedule(config: OptimizerConfig, num_steps: int) -> optax.Schedule:
  """Learning rate at each step: linear warm-up, then the named shape.

  `cosine` and `linear` fall from the peak to its `final_learning_rate`th part,
  which may be none of it.
  `wsd` (warm-up, stable, decay; Hu et al. 2024) holds the peak and falls
  linearly over the last `decay_fraction` of the steps.
  """
  peak, end = config.learning_rate, (config.learning_rate
                                     * config.final_learning_rate)
  # A run shorter than its warm-up still reaches the peak.
  warmup = min(config.warmup_steps, num_steps // 2)
  rest = num_steps - warmup
  if config.schedule == "cosine":
    after = optax.cosine_decay_schedule(peak, rest,
                                        alpha=config.final_learning_rate)
  elif config.schedule == "wsd":
    decay = max(1, round(config.decay_fraction * num_steps))
    after = optax.join_schedules(
        [optax.constant_schedule(peak),
         optax.linear_schedule(peak, end, decay)], [max(0, rest - decay)])
  elif config.schedule == "linear":
    after = optax.linear_schedule(peak, end, rest)
  else:
    after = optax.constant_schedule(peak)
  # From peak / warmup and not from zero, which would waste the first step.
  rise = optax.linear_schedule(peak / max(1, warmup), peak, max(1, warmup - 1))
  return optax.join_schedules([rise, after], [warmup])


def is_matrix(path: tuple[Any, ...]) -> bool:
  """Whether a parameter is a matrix: neither a norm's scale nor a bias.

  Told by name, since stacked layers give every tensor one more dimension.
  """
  name = path[-1].key
  return not (name == "scale" or name.endswith(("bias", "_norm")))


def decay_mask(params: Any) -> Any:
  """Tree of bools: which parameters weight decay applies to."""
  return jax.tree_util.tree_map_with_path(
      lambda path, _: is_matrix(path), params, is_leaf=is_spec)


def _muon_labels(params: Any) -> Any:
  """"muon" for the matrices of the layers, "adamw" for the rest: embeddings,
  head, scales and biases (Jordan et al. 2024)."""
  return jax.tree_util.tree_map_with_path(
      lambda path, _: ("muon" if path[0].key == "layers" and is_matrix(path)
                       else "adamw"), params, is_leaf=is_spec)


def _direction(config: OptimizerConfig,
               shardings: Any) -> optax.GradientTransformation:
  """Gradients -> what is to be subtracted, at a learning rate of one."""
  if config.name == "muon":
    return optax.partition(
        {"muon": scale_by_muon(shardings),
         "adamw": optax.scale_by_adam(config.b1, config.b2, config.eps,
                                      nesterov=True)}, _muon_labels)
  if config.name == "lion":
    return optax.scale_by_lion(config.b1, config.b2)
  if config.name == "adafactor":
    # Without the paper's factor of the parameter's own size, so that a learning
    # rate means what it means to AdamW. Bounded by the update's root mean
    # square (Shazeer and Stern 2018, arXiv:1804.04235, section 6), which is
    # taken over a stack of layers at once.
    return optax.chain(optax.scale_by_factored_rms(),
                       optax.clip_by_block_rms(1.0))
  return optax.scale_by_adam(config.b1, config.b2, config.eps)


def _scaled(factor_of: Callable[[tuple[Any, ...]], float]
            ) -> optax.GradientTransformation:
  """Multiplies each update by `factor_of(its path)`."""
  return optax.stateless(lambda updates, _: jax.tree_util.tree_map_with_path(
      lambda path, u: factor_of(path) * u, updates))


def _name(path: tuple[Any, ...]) -> str:
  """As in the table at start-up."""
  return jax.tree_util.keystr(path, simple=True, separator=".")


def lr_factor(config: OptimizerConfig, name: str) -> float:
  """What `lr_factors` make of the learning rate of the parameter `name`: the
  product over the patterns that are found in it."""
  return math.prod(factor for pattern, factor in config.factors()
                   if re.search(pattern, name))


def check_factors(config: OptimizerConfig, specs: Any) -> None:
  """Raises `ConfigError` for a pattern of `lr_factors` that finds nothing.

  Args:
    config: the optimiser.
    specs: tree of `ParamSpec` of what is trained.
  """
  names = [_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(
      specs, is_leaf=is_spec)]
  for pattern, _ in config.factors():
    if not any(re.search(pattern, name) for name in names):
      near = nearest(pattern, names) or names[:3]
      raise ConfigError(
          f"optimizer.lr_factors: no parameter's path has {pattern!r} in it; "
          f"paths are such as {', '.join(near)} (the table at start-up has "
          "all of them).")


def _moments_in(dtype: str, tx: optax.GradientTransformation
                ) -> optax.GradientTransformation:
  """`tx`, whose moments are kept in `dtype` and computed in float32 or wider.

  All that an optimiser's state has of floating point are moments.
  """
  def cast(state, to):
    return jax.tree.map(
        lambda x: x.astype(to(x)) if jnp.issubdtype(x.dtype, jnp.floating)
        else x, state)

  def wide(x):
    return jnp.promote_types(x.dtype, jnp.float32)

  def stored(state):
    return cast(state, wide if dtype == "float32" else lambda _: dtype)

  def update(grads, state, params=None):
    updates, state = tx.update(grads, cast(state, wide), params)
    return updates, stored(state)
  return optax.GradientTransformation(
      lambda params: stored(tx.init(params)), update)


def _mup_factor(path: tuple[Any, ...], config: OptimizerConfig,
                model: ModelConfig) -> float:
  """Of the learning rate of a model that is wider than `mup_base_dim`.

  An update of sign, or of Adam's, agrees with what comes in, and its effect
  grows as the width: base / width undoes that in hidden matrices and the head
  (Yang et al. 2022, arXiv:2203.03466, table 3). The singular values of Muon's
  grow as the root of the width only, as its elements keep their size (Yang et
  al. 2023, arXiv:2310.17813, condition 1).
  """
  narrower = model.mup_base_dim / model.embed_dim
  if path[0].key == "head":
    return narrower
  if path[0].key != "layers" or not is_matrix(path):
    return 1.0
  return narrower ** 0.5 if config.name == "muon" else narrower


def make_optimizer(config: OptimizerConfig, num_steps: int,
                   model: ModelConfig | None = None,
                   lora: LoraConfig | None = None
                   ) -> optax.GradientTransformation:
  """Clipping, the named optimiser, decoupled weight decay on matrices, and the
  learning rate of the schedule times `lr_factors`.

  Args:
    config: the optimiser.
    num_steps: length of the schedule.
    model: what is trained, for Muon's work to be shared over a mesh and for
      learning rates that depend on the width.
    lora: with a rank, an adapter to it is what is trained.
  """
  adapter = lora is not None and lora.rank > 0
  shardings = None
  if model is not None and config.name == "muon":
    shardings = tensor_shardings(trained_specs(model, lora), model.rules)
  parts = [_direction(config, shardings)]
  if model is not None and model.mup_base_dim and not adapter:
    # Before the decay, so that learning rate x decay stays what it was.
    parts.append(_scaled(lambda path: _mup_factor(path, config, model)))
  parts.append(optax.add_decayed_weights(config.weight_decay, decay_mask))
  if config.lr_factors:  # they hold for the decay too
    parts.append(_scaled(lambda path: lr_factor(config, _name(path))))
  parts.append(optax.scale_by_learning_rate(make_schedule(config, num_steps)))
  update = optax.chain(*parts)
  if config.clip_norm:
    update = optax.chain(optax.clip_by_global_norm(config.clip_norm), update)
  return _moments_in(config.moments_dtype, update)
