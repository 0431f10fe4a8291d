"""Logits changed by what was asked for and by what was already said.

Biases and penalties come before the temperature and the filters of
`sampling.py`. Penalties read a `History` of each row, [B, V], which exists only
where a penalty is asked for.
"""

from __future__ import annotations

import flax.struct
import jax
import jax.numpy as jnp

from llm_jax.config import SamplingConfig, require


@flax.struct.dataclass
class History:
  """The tokens of each row so far; what no penalty reads is None.

  Attributes:
    seen_BV: bool; whether a token is in the prompt or the completion.
    counts_BV: int32; times that a token is in the completion.
  """
  seen_BV: jax.Array | None
  counts_BV: jax.Array | None


def init_history(prompts_BT: jax.Array, lengths_B: jax.Array,
                 sampling: SamplingConfig, vocab_size: int) -> History | None:
  """The history of rows whose prompts were read, or None if nothing asks.

  Args:
    prompts_BT: int32, padded on the right with anything.
    lengths_B: int32 real lengths.
    sampling: the penalties.
    vocab_size: V.
  """
  shape = (prompts_BT.shape[0], vocab_size)
  seen_BV = counts_BV = None
  if sampling.repetition_penalty != 1.0:
    real_BT = jnp.arange(prompts_BT.shape[1])[None, :] < lengths_B[:, None]
    seen_BV = jnp.zeros(shape, bool).at[
        jnp.arange(shape[0])[:, None], prompts_BT].max(real_BT)
  if sampling.frequency_penalty or sampling.presence_penalty:
    counts_BV = jnp.zeros(shape, jnp.int32)
  if seen_BV is None and counts_BV is None:
    return None
  return History(seen_BV, counts_BV)


def extend_history(history: History | None, tokens_B: jax.Array,
                   drawn_B: jax.Array | bool = True) -> History | None:
  """`history` with one token more in each row where `drawn_B`."""
  if history is None:
    return None
  rows_B = jnp.arange(tokens_B.shape[0])
  seen_BV, counts_BV = history.seen_BV, history.counts_BV
  if seen_BV is not None:
    seen_BV = seen_BV.at[rows_B, tokens_B].max(drawn_B)
  if counts_BV is not None:
    counts_BV = counts_BV.at[rows_B, tokens_B].add(
        jnp.asarray(drawn_B, jnp.int32))
  return History(seen_BV, counts_BV)


def adjust_logits(logits_BV: jax.Array, sampling: SamplingConfig,
                  history: History | None = None) -> jax.Array:
  """Logits after `logit_bias` and the penalties, in this order.

      l_v += bias_v
      l_v  = l_v / θ if l_v > 0 else l_v · θ     where v was seen (CTRL, Keskar
                                                 et al. 2019, section 4.1)
      l_v -= n_v · frequency + (n_v > 0) · presence    n_v: times generated
                                                 (OpenAI's definition)

  Args:
    logits_BV: float.
    sampling: biases and penalties; those at their defaults cost nothing.
    history: of `init_history`, the last token included.

  Raises:
    ConfigError: a bias names a token that the model does not have.
    ValueError: penalties without a history.
  """
  if biases := sampling.biases():
    ids, values = (jnp.array(column) for column in zip(*biases))
    largest = max(token_id for token_id, _ in biases)
    require(largest < logits_BV.shape[-1], f"logit_bias names token {largest}, "
            f"but the model has {logits_BV.shape[-1]} tokens, counted from 0.")
    logits_BV = logits_BV.at[:, ids].add(
        values[None, :].astype(logits_BV.dtype))
  penalty = sampling.repetition_penalty
  counted = sampling.frequency_penalty or sampling.presence_penalty
  if history is None:
    if penalty != 1.0 or counted:
      raise ValueError("Penalties need the rows' history (init_history).")
    return logits_BV
  if penalty != 1.0:
    penalized_BV = jnp.where(logits_BV > 0, logits_BV / penalty,
                             logits_BV * penalty)
    logits_BV = jnp.where(history.seen_BV, penalized_BV, logits_BV)
  if counted:
    logits_BV -= (sampling.frequency_penalty * history.counts_BV
                  + sampling.presence_penalty * (history.counts_BV > 0))
  return logits_BV
