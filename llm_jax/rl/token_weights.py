"""What counts alike in a loss: responses, tokens, or tokens at a fixed scale.

An objective sums over tokens and divides by nothing: these weights and their
denominator are the normalisation, and only the train step divides. Both add up
over microbatches, so that accumulated gradients are exact.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from llm_jax.config import require_choice


def normalization_weights(
    mask_BT: jax.Array, normalization: str, max_tokens: int
) -> tuple[jax.Array, jax.Array]:
  """The weight of each token, and what their weighted sum is divided by.

  - `response`, mask / length over responses: each response counts alike
    (GRPO, Shao et al. 2024, arXiv:2402.03300, eq. 3).
  - `token`, mask over tokens: each token counts alike (DAPO, Yu et al. 2025,
    arXiv:2503.14476, section 3.3).
  - `constant`, mask over responses × max_tokens: each token counts alike and
    the scale does not move with the lengths (Dr. GRPO, Liu et al. 2025,
    arXiv:2503.20783, section 3.2).

  The denominators are sums over rows, so those of microbatches add up to that
  of their batch. A row without tokens (padding of the batch) is no response.

  Args:
    mask_BT: 1 on the tokens that were generated, 0 elsewhere.
    normalization: `response`, `token` or `constant`.
    max_tokens: longest completion there can be; for `constant`.

  Returns:
    (weights_BT, denominator), float32.

  Raises:
    ConfigError: unknown normalisation.
  """
  require_choice("objective.normalization", normalization,
                 ("response", "token", "constant"))
  mask_BT = mask_BT.astype(jnp.float32)
  lengths_B1 = jnp.sum(mask_BT, axis=1, keepdims=True)
  if normalization == "token":
    return mask_BT, jnp.sum(mask_BT)
  responses = jnp.sum(lengths_B1 > 0).astype(jnp.float32)
  if normalization == "response":
    return mask_BT / jnp.maximum(lengths_B1, 1.0), responses
  return mask_BT, responses * max_tokens
