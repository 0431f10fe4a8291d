"""log π of each token and the entropy there, from logits that are never whole.

What reinforcement learning asks of a policy is numbers of each token, whose
cotangents are known only when the loss over all of them is: so `chunked_loss`,
which has its gradients with its logits, does not serve. Here the forward pass
keeps two numbers of a token, z = logsumexp(l) and the entropy H, and the
backward pass makes the logits of each chunk again. With l = cap(logits) / τ and
p = softmax(l),

    log π = l_target - z                 d log π / dl_v = [v = target] - p_v
    H     = z - Σ_v p_v l_v              dH / dl_v      = -p_v (log p_v + H)

so that beside the chunk's logits one array of their size is held, where a
rematerialised softmax and entropy hold several.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from llm_jax.config import ModelConfig
from llm_jax.model import layers
from llm_jax.model.params import Params
from llm_jax.training.logit_chunks import (
    cutters, head_of, is_target, is_turned, kernel_of, logits_backward,
    logits_of, nll_and_normaliser, scan_chunks, split_as_table, wide)


def chunked_logprobs(params: Params, hidden_BTD: jax.Array,
                     targets_BT: jax.Array, config: ModelConfig, *, chunk: int,
                     temperature: float = 1.0
                     ) -> tuple[jax.Array, jax.Array]:
  """log π(target) and H(π) at each position, straight from the hidden states.

  Args:
    params: of the model, for the head: the embedding where they are tied. A
      head that is quantised or has a low-rank update is made whole.
    hidden_BTD: of `backbone`.
    targets_BT: int32 tokens, already shifted by one.
    config: the model.
    chunk: tokens of a row whose logits exist at once; 0: all. Where time is
      split over devices they are of each device's part.
    temperature: τ of π = softmax(logits / τ).

  Returns:
    (logprobs_BT, entropy_BT), float32 or wider; both have gradients.
  """
  table, settings = head_of(params, config, hidden_BTD.dtype, chunk)
  with jax.named_scope("chunked_logprobs"):
    return _scores(hidden_BTD, table, targets_BT, settings, temperature)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _scores(hidden_BTD, table, targets_BT, settings, temperature):
  return _scores_fwd(hidden_BTD, table, targets_BT, settings, temperature)[0]


def _scaled(x, kernel, settings, temperature):
  """(capped logits, the same over the temperature) of a chunk."""
  capped = layers.softcap(logits_of(x, kernel, settings), settings.softcap)
  return capped, capped / temperature if temperature != 1.0 else capped


def _scores_fwd(hidden_BTD, table, targets_BT, settings, temperature):
  cut, join = cutters(hidden_BTD.shape[1], settings)
  kernel = kernel_of(table, hidden_BTD.dtype, settings)

  def one(_, chunk):
    x, targets = chunk
    _, logits = _scaled(x, kernel, settings, temperature)
    nll, z = nll_and_normaliser(logits, targets)
    mean = jnp.sum(jnp.exp(logits - z[..., None]) * logits, axis=-1)
    return (), (-nll, z - mean, z)

  _, found = scan_chunks(one, (), (cut(hidden_BTD), cut(targets_BT)))
  logprobs_BT, entropy_BT, z_BT = map(join, found)
  return (logprobs_BT, entropy_BT), (hidden_BTD, table, targets_BT, z_BT,
                                     entropy_BT)


def _scores_bwd(settings, temperature, kept, cotangents):
  hidden_BTD, table, targets_BT, z_BT, entropy_BT = kept
  cut, join = cutters(hidden_BTD.shape[1], settings)
  kernel = kernel_of(table, hidden_BTD.dtype, settings)

  def one(d_kernel, chunk):
    x, targets, z, entropy, d_logprob, d_entropy = chunk
    capped, logits = _scaled(x, kernel, settings, temperature)
    logs = logits - z[..., None]
    by_chance = d_logprob[..., None] + d_entropy[..., None] * (
        logs + entropy[..., None])
    d_logits = (jnp.where(is_target(targets, logs), d_logprob[..., None], 0)
                - jnp.exp(logs) * by_chance)
    d_x, added = logits_backward(x, d_logits / temperature, capped, kernel,
                                 settings)
    return split_as_table(d_kernel + added, settings), d_x

  d_kernel, d_x = scan_chunks(
      one,
      split_as_table(jnp.zeros(kernel.shape, wide(hidden_BTD.dtype)), settings),
      tuple(map(cut, (hidden_BTD, targets_BT, z_BT, entropy_BT, *cotangents))))
  if is_turned(settings):
    d_kernel = d_kernel.T
  return join(d_x), d_kernel.astype(table.dtype), None


_scores.defvjp(_scores_fwd, _scores_bwd)
