"""Optax optimisers and schedules, chosen by `OptimizerConfig`."""

from __future__ import annotations

from typing import Any

import jax
import optax
import optax.contrib

from llm_jax.config import OptimizerConfig
from llm_jax.model.params import is_spec


def make_schedule(config: OptimizerConfig, num_steps: int) -> optax.Schedule:
  """Learning rate at each step: linear warm-up, then the named shape.

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


def _muon_dimensions(params: Any) -> Any:
  """Which axes of each stacked layer tensor Muon takes as rows and columns.

  Embeddings and head are left to AdamW (with Nesterov's momentum, as Optax has
  it there), as are scales and biases (Jordan et al. 2024). Heads are flattened
  into the matrix they are part of.
  """
  columns = {"q": (2, 3), "k": (2, 3), "v": (2, 3), "o": (3,)}
  rows = {"o": (1, 2)}

  def dimensions(path, _):
    name = path[-1].key
    if path[0].key != "layers" or not is_matrix(path):
      return None
    return optax.contrib.MuonDimensionNumbers(
        reduction_axis=rows.get(name, (1,)),
        output_axis=columns.get(name, (2,)))
  return jax.tree_util.tree_map_with_path(dimensions, params, is_leaf=is_spec)


def make_optimizer(config: OptimizerConfig,
                   num_steps: int) -> optax.GradientTransformation:
  """Clipping, then AdamW or Muon, with decoupled weight decay on matrices."""
  schedule = make_schedule(config, num_steps)
  if config.name == "muon":
    update = optax.chain(
        optax.contrib.muon(
            1.0, adam_b1=config.b1, adam_b2=config.b2, eps=config.eps,
            muon_weight_dimension_numbers=_muon_dimensions,
            # RMS of the update matched to AdamW's, so that both take one
            # learning rate (Liu et al. 2025, "Muon is scalable for LLM
            # training").
            consistent_rms=0.2),
        # Muon's own decay would pass over what it leaves to AdamW. The update
        # points downhill already, hence the sign.
        optax.add_decayed_weights(-config.weight_decay, decay_mask),
        optax.scale_by_schedule(schedule))
  else:
    update = optax.adamw(schedule, b1=config.b1, b2=config.b2, eps=config.eps,
                         weight_decay=config.weight_decay, mask=decay_mask)
  if not config.clip_norm:
    return update
  return optax.chain(optax.clip_by_global_norm(config.clip_norm), update)
