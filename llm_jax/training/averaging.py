"""An exponential moving average of the parameters (EMA).

What evaluation, samples and `load_params` read in place of the parameters where
`optimizer.ema_decay` is set: noise of the last steps averages out (Polyak and
Juditsky 1992; Morales-Brotons et al. 2024, arXiv:2411.18704).
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp


def start_average(params: Any) -> Any:
  """The average before the first step: a copy, at least float32.

  In bfloat16 an average would stand still: what one step adds to it is less
  than half the distance to the next number.
  """
  return jax.tree.map(
      lambda p: jnp.array(p, jnp.promote_types(p.dtype, jnp.float32),
                          copy=True), params)


def update_average(average: Any, params: Any, decay: float,
                   count: jax.Array) -> Any:
  """d · average + (1 - d) · params, debiased.

    d = decay · (1 - decay^(t-1)) / (1 - decay^t)

  at the t-th update. The result is Σ decay^(t-i) · params_i over its own sum of
  weights: the values of steps 1 to t alone, as Adam's moments are after their
  bias correction. The initial parameters leave no trace, and a run shorter
  than 1 / (1 - decay) steps is averaged over all of its steps.

  Args:
    average: of `start_average`.
    params: after this step.
    decay: of the average, from 0 to below 1.
    count: int32 scalar t, updates so far with this one.
  """
  if decay <= 0:
    return start_average(params)
  t = count.astype(jnp.float32)
  log = math.log(decay)  # expm1, because 1 - decay^t is small at first
  d = decay * jnp.expm1((t - 1) * log) / jnp.expm1(t * log)
  return jax.tree.map(
      lambda a, p: (d.astype(a.dtype) * a
                    + (1 - d).astype(a.dtype) * p.astype(a.dtype)),
      average, params)
