"""How much better than its siblings each sample was."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp


def group_advantages(rewards_PG: jax.Array, *, normalize_std: bool = True,
                     epsilon: float = 1e-6) -> jax.Array:
  """Rewards relative to the other samples of the same prompt.

  A = r - mean(r), divided by std(r) + ε where `normalize_std`.

  With the division this is GRPO (Shao et al. 2024, DeepSeekMath, section
  4.1.2); without it, Dr. GRPO (Liu et al. 2025), which gives problems that are
  nearly always or nearly never solved no extra weight. The std is of the
  population (divided by G). A group whose rewards are all alike says nothing
  and has advantage 0.

  Args:
    rewards_PG: rewards of G samples for each of P prompts.
    normalize_std: whether to divide by the group's std.
    epsilon: added to the std.

  Returns:
    advantages_PG, each row of mean zero.
  """
  chex.assert_rank(rewards_PG, 2)
  centred_PG = rewards_PG - jnp.mean(rewards_PG, axis=1, keepdims=True)
  if not normalize_std:
    return centred_PG
  std_P1 = jnp.std(rewards_PG, axis=1, keepdims=True)
  return centred_PG / (std_P1 + epsilon)
