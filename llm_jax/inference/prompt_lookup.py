"""Guesses at the next tokens from the text itself (Saxena 2023)."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def look_up(tokens_BS: jax.Array, last_B: jax.Array, num_guesses: int,
            max_ngram: int) -> tuple[jax.Array, jax.Array]:
  """What followed the last occurrence of the longest run of last tokens.

  Where the occurrence is so near that what followed it ends with the text, it
  is taken to go on in the same period.

  Args:
    tokens_BS: int32; of row b the first last_B[b] + 1 are text.
    last_B: int32 place of each row's last token, at least 1.
    num_guesses: K.
    max_ngram: longest run that is looked for.

  Returns:
    (guesses_BK, the length of each row's run; where that is 0 the last token
    itself does not occur before, and the guesses mean nothing).
  """
  places_1S = jnp.arange(tokens_BS.shape[1])[None, :]
  run_BS = jnp.zeros(tokens_BS.shape, jnp.int32)
  same_BS = jnp.ones(tokens_BS.shape, bool)
  for back in range(max_ngram):
    # Is the token `back` places before s what it is before the last one?
    same_BS &= ((jnp.roll(tokens_BS, back, axis=1)
                 == at_index(tokens_BS, jnp.maximum(last_B - back, 0))[:, None])
                & (places_1S >= back))
    run_BS += same_BS
  score_BS = jnp.where(places_1S < last_B[:, None],
                       run_BS * tokens_BS.shape[1] + places_1S, -1)
  found_B1 = jnp.argmax(score_BS, axis=1)[:, None]
  period_B1 = last_B[:, None] - found_B1
  ahead_1K = jnp.arange(num_guesses)[None, :]
  guesses_BK = jnp.take_along_axis(
      tokens_BS, found_B1 + 1 + ahead_1K % period_B1, axis=1)
  return guesses_BK, at_index(run_BS, found_B1[:, 0])


def at_index(values: jax.Array, index: jax.Array) -> jax.Array:
  """values[b, index[b]], or values[b, t, index[b, t]]."""
  axis = index.ndim
  index = index.reshape(index.shape + (1,) * (values.ndim - index.ndim))
  return jnp.take_along_axis(values, index, axis=axis).squeeze(axis)
