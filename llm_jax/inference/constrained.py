"""Completions that match a regular expression or a JSON schema.

Tokens that the constraint forbids are taken out before anything else is done to
the logits, so what is drawn is the model's distribution, given that the next
token is a possible one. While the device reads a token, the host finds out
which tokens may follow it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from llm_jax.config import ModelConfig, SamplingConfig, require
from llm_jax.inference.completions import lay_out, on_host
from llm_jax.inference.constraints import (
    Constraint, Grammars, unpack_bits)
from llm_jax.inference.generate import Samples, fold_step, repeat_rows
from llm_jax.inference.penalties import extend_history, init_history
from llm_jax.inference.sampling import sample
from llm_jax.model.decode import decode_step, init_cache, prefill
from llm_jax.model.params import Params
from llm_jax.model.transformer import unstack_layers
from llm_jax.tokenizer.protocol import Tokenizer


@dataclasses.dataclass(frozen=True)
class ConstrainedSamples:
  """Completions that are what their constraints ask for.

  Attributes:
    samples: NumPy arrays; log-probabilities are of the drawn distribution,
      forbidden tokens left out, and of the model.
    texts: of each row, without its stop token.
    complete_B: whether a row's text matches its constraint. Where it does not,
      `max_new_tokens` cut it off; it can be completed to a text that does.
  """
  samples: Samples
  texts: list[str]
  complete_B: np.ndarray


def generate_constrained(
    params: Params, prompts: Sequence[Sequence[int]],
    constraints: Constraint | Sequence[Constraint | None],
    tokenizer: Tokenizer, key: jax.Array, sampling: SamplingConfig,
    config: ModelConfig, *, prompt_len: int, stop_ids: tuple[int, ...],
    samples_per_prompt: int = 1, grammars: Grammars | None = None
    ) -> ConstrainedSamples:
  """Completes prompts, each under its constraint.

  A stop token can be drawn where the text is complete, and nothing else where
  it cannot be longer.

  Args:
    params: model parameters.
    prompts: P token lists.
    constraints: one for all prompts, or one for each; None: no constraint.
    tokenizer: the model's.
    key: scalar key; or keys_B, one for each of the P·G rows (`seed_keys`).
    sampling: temperature, filters, penalties and `max_new_tokens`.
    config: the model.
    prompt_len: slots for the prompts; a fixed number compiles once.
    stop_ids: tokens that end a row, at least one.
    samples_per_prompt: G.
    grammars: of this tokenizer and these stop_ids, where many calls are made.

  Raises:
    ConfigError: a constraint that is malformed or cannot be met; llguidance is
      not installed; stop strings; a prompt that does not fit.
  """
  if isinstance(constraints, Constraint):
    constraints = [constraints] * len(prompts)
  require(len(constraints) == len(prompts), f"{len(constraints)} constraints "
          f"are given for {len(prompts)} prompts; give one for each, or one "
          "for all.")
  require(not sampling.stop, "sampling.stop holds texts, and a constraint says "
          "itself where a text ends; leave it out.")
  grammars = grammars or Grammars(tokenizer, config.vocab_size, stop_ids)
  matchers = [grammars.matcher(constraint) for constraint in constraints
              for _ in range(samples_per_prompt)]
  prompts_BT, lengths_B, keys_B = lay_out(
      prompts, key, sampling, config, prompt_len, samples_per_prompt)
  max_new, wanted = sampling.max_new_tokens, len(matchers)
  # What is not read by the traced functions should not make them compile anew.
  sampling = dataclasses.replace(sampling, max_new_tokens=1)
  params = _unstack_layers(params)
  (logits_BV, cache), history = _read_prompts(
      params, prompts_BT, lengths_B, sampling, config,
      cache_len=prompt_len + max_new, samples_per_prompt=samples_per_prompt)
  lengths_B = np.repeat(lengths_B, samples_per_prompt)
  fill = [None] * (len(lengths_B) - wanted)
  done_B, ends_B = np.zeros(wanted, bool), np.full(wanted, max_new)
  columns = []
  for step in range(max_new):
    bits_BW = grammars.allowed_bits(
        [None if done else matcher for matcher, done in zip(matchers, done_B)]
        + fill)
    drawn, history = _draw(keys_B, np.int32(step), logits_BV, bits_BW,
                           sampling, history)
    if step + 1 < max_new:
      # Sent off before its tokens are waited for.
      logits_BV, cache = _read(params, drawn[0], lengths_B + np.int32(step),
                               cache, config)
    columns.append(on_host(drawn))
    for row, token in enumerate(columns[-1][0][:wanted].tolist()):
      if not done_B[row] and matchers[row] is not None:
        matchers[row].push(token)
      if not done_B[row] and token in stop_ids:
        done_B[row], ends_B[row] = True, step + 1
    if done_B.all():
      break

  def laid_out(column):
    x_BT = np.stack([drawn[column][:wanted] for drawn in columns], axis=1)
    x_BT = np.pad(x_BT, ((0, 0), (0, max_new - x_BT.shape[1])))
    return np.where(np.arange(max_new) < ends_B[:, None], x_BT, 0).astype(
        x_BT.dtype)
  mask_BT = (np.arange(max_new) < ends_B[:, None]).astype(np.float32)
  samples = Samples(laid_out(0), laid_out(1), laid_out(2), mask_BT,
                    ends_B.astype(np.int32), done_B)
  texts = [b"".join(map(tokenizer.token_bytes, tokens[:end - stopped].tolist()))
           .decode("utf-8", errors="replace") for tokens, end, stopped in
           zip(samples.tokens_BT, ends_B, done_B)]
  return ConstrainedSamples(samples, texts, np.array(
      [matcher is None or matcher.complete for matcher in matchers], bool))


def _read_rows(params, prompts_BT, lengths_B, sampling, config, *, cache_len,
               samples_per_prompt):
  """Logits after each prompt, the cache, the history, for each sample's row."""
  cache = init_cache(prompts_BT.shape[0], cache_len, config)
  read = prefill(params, prompts_BT, lengths_B, cache, config)
  history = init_history(prompts_BT, lengths_B, sampling, config.vocab_size)
  return repeat_rows((read, history), samples_per_prompt)


def _draw_allowed(keys_B, step, logits_BV, bits_BW, sampling, history):
  """`sample`, of the tokens whose bits are set; and the history after it."""
  allowed_BV = unpack_bits(bits_BW, logits_BV.shape[-1])
  drawn = sample(fold_step(keys_B, step), logits_BV, sampling, history,
                 allowed_BV)
  return drawn, extend_history(history, drawn[0])


_unstack_layers = jax.jit(unstack_layers)
_read_prompts = jax.jit(_read_rows, static_argnames=(
    "sampling", "config", "cache_len", "samples_per_prompt"))
_read = jax.jit(decode_step, static_argnames=("config",),
                donate_argnames=("cache",))
_draw = jax.jit(_draw_allowed, static_argnames=("sampling",))
