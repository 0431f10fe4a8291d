"""From prompts to completions: `generate` for batches, `stream` for a person.

Both are the same two steps, `first_token` (read the prompt into a cache, draw)
and `next_token` (read the last token, draw). `generate` puts the second in a
`lax.while_loop` that ends as soon as every row has; `stream` puts it in a
Python loop, so that each token can be shown when it is there.

Randomness belongs to (key, row, number of the token), so a row's text is the
same whether its neighbours are there or not, and a text that was streamed is
the text that `generate` makes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from llm_jax.config import ModelConfig, SamplingConfig, require
from llm_jax.inference.sampling import fold_rows, sample
from llm_jax.model.decode import decode_step, init_cache, prefill
from llm_jax.model.params import Params
from llm_jax.model.transformer import KVCache, unstack_layers
from llm_jax.tokenizer.protocol import Tokenizer

# Prompts of a stream are padded to a multiple of this, so that a conversation
# that grows compiles a few prefills rather than one per length.
_BUCKET = 64

Draw = tuple[jax.Array, jax.Array, jax.Array]  # what `sample` returns


@flax.struct.dataclass
class Samples:
  """Completions, without their prompts; T is `max_new_tokens`.

  Attributes:
    tokens_BT: int32; `pad_id` after the end.
    logprobs_BT: of each token, under the distribution that was sampled.
    model_logprobs_BT: of each token, under the model at temperature 1.
    mask_BT: float32; 1 on generated tokens, the stop token included.
    lengths_B: int32 generated tokens, the stop token included.
    stopped_B: whether a stop token ended the row, rather than the length.
  """
  tokens_BT: jax.Array
  logprobs_BT: jax.Array
  model_logprobs_BT: jax.Array
  mask_BT: jax.Array
  lengths_B: jax.Array
  stopped_B: jax.Array


def check_length(prompt_len: int, max_new_tokens: int,
                 config: ModelConfig) -> None:
  """Raises `ConfigError` where prompt and completion exceed the context."""
  require(prompt_len + max_new_tokens <= config.max_seq_len,
          f"a prompt of {prompt_len} tokens and max_new_tokens="
          f"{max_new_tokens} need {prompt_len + max_new_tokens} positions, but "
          f"the model was built for max_seq_len={config.max_seq_len}; shorten "
          "the prompt or lower max_new_tokens.")


def pad_prompts(prompts: Sequence[Sequence[int]], length: int,
                pad_id: int = 0, num_rows: int = 0
                ) -> tuple[np.ndarray, np.ndarray]:
  """Right-pads token lists to (prompts_BT, lengths_B), both int32.

  Where `num_rows` is more than there are prompts, rows of one token that mean
  nothing fill the batch up.

  Raises:
    ConfigError: a prompt is empty, or longer than `length`.
  """
  lengths_B = np.array([len(p) for p in prompts], np.int32)
  require(bool((lengths_B > 0).all()), "a prompt has no tokens; begin it with "
          "the tokenizer's <|endoftext|>.")
  require(int(lengths_B.max(initial=0)) <= length,
          f"a prompt has {int(lengths_B.max(initial=0))} tokens, but there is "
          f"room for {length}; shorten it, or leave it more of the context by "
          "lowering max_new_tokens.")
  fill = max(0, num_rows - len(prompts))
  prompts_BT = np.full((len(prompts) + fill, length), pad_id, np.int32)
  for row, prompt in enumerate(prompts):
    prompts_BT[row, :len(prompt)] = prompt
  return prompts_BT, np.append(lengths_B, np.ones(fill, np.int32))


def first_token(params: Params, prompts_BT: jax.Array, lengths_B: jax.Array,
                keys_B: jax.Array, sampling: SamplingConfig,
                config: ModelConfig, *, cache_len: int,
                samples_per_prompt: int = 1) -> tuple[Draw, KVCache]:
  """Reads right-padded prompts and draws each row's first token.

  Args:
    params: model parameters, stacked or unstacked.
    prompts_BT: int32, P rows.
    lengths_B: int32 real lengths, at least 1.
    keys_B: a key per sample, P·G of them.
    sampling: the distribution.
    config: the model.
    cache_len: slots of the cache.
    samples_per_prompt: G; a prompt is read once for all of its samples, which
      become rows p·G .. p·G+G-1.

  Returns:
    (`sample`'s answer for P·G rows, their cache).
  """
  cache = init_cache(prompts_BT.shape[0], cache_len, config)
  logits_BV, cache = prefill(params, prompts_BT, lengths_B, cache, config)
  if samples_per_prompt > 1:
    logits_BV, cache = jax.tree.map(
        lambda x: jnp.repeat(x, samples_per_prompt, axis=0),
        (logits_BV, cache))
  return sample(_fold_step(keys_B, 0), logits_BV, sampling), cache


def next_token(params: Params, tokens_B: jax.Array, positions_B: jax.Array,
               cache: KVCache, keys_B: jax.Array, step: jax.Array,
               sampling: SamplingConfig,
               config: ModelConfig) -> tuple[Draw, KVCache]:
  """Reads `tokens_B` at `positions_B` and draws completion token `step`."""
  logits_BV, cache = decode_step(params, tokens_B, positions_B, cache, config)
  return sample(_fold_step(keys_B, step), logits_BV, sampling), cache


def generate(params: Params, prompts_BT: jax.Array, lengths_B: jax.Array,
             key: jax.Array, sampling: SamplingConfig, config: ModelConfig, *,
             stop_ids: tuple[int, ...] = (), samples_per_prompt: int = 1,
             rows_B: jax.Array | None = None, pad_id: int = 0) -> Samples:
  """Completes a batch of right-padded prompts.

  Undecorated; call it as `jax.jit(generate, static_argnames=("sampling",
  "config", "stop_ids", "samples_per_prompt", "pad_id"))`.

  Args:
    params: model parameters.
    prompts_BT: int32 prompts, P rows, padded on the right with anything.
    lengths_B: int32 real length of each, at least 1.
    key: scalar key.
    sampling: temperature, filters and `max_new_tokens`.
    config: the model.
    stop_ids: tokens that end a row.
    samples_per_prompt: G completions of each prompt, in rows p·G .. p·G+G-1.
    rows_B: numbers that name the P·G rows for the random draws; default
      0, 1, ... A row alone, called by its number, is what it was in the batch.
    pad_id: what follows a completion that ended.

  Returns:
    Samples of P·G rows.

  Raises:
    ConfigError: the prompt's and the completion's slots exceed
      `config.max_seq_len`.
  """
  num_prompts, prompt_len = prompts_BT.shape
  max_new = sampling.max_new_tokens
  check_length(prompt_len, max_new, config)
  batch_size = num_prompts * samples_per_prompt
  rows_B = jnp.arange(batch_size) if rows_B is None else rows_B
  keys_B = fold_rows(key, rows_B)
  lengths_B = jnp.repeat(jnp.asarray(lengths_B), samples_per_prompt)
  # Slices of the stacked weights are taken here, once, not in the loop.
  params = unstack_layers(params)
  draw, cache = first_token(
      params, prompts_BT, lengths_B[::samples_per_prompt], keys_B, sampling,
      config, cache_len=prompt_len + max_new,
      samples_per_prompt=samples_per_prompt)

  def write(out, draw, done_B, step):
    """Puts a draw in column `step`; rows that were done keep their padding."""
    blank = (pad_id, 0.0, 0.0, 0.0)
    draw = (*draw, jnp.ones(batch_size))
    return tuple(
        x_BT.at[:, step].set(jnp.where(done_B, empty, x_B).astype(x_BT.dtype))
        for x_BT, x_B, empty in zip(out, draw, blank, strict=True))

  def stops(tokens_B):
    done_B = jnp.zeros(batch_size, bool)
    for stop_id in stop_ids:
      done_B |= tokens_B == stop_id
    return done_B

  def unfinished(carry):
    step, _, done_B, _, _ = carry
    return (step < max_new) & ~jnp.all(done_B)

  def body(carry):
    step, tokens_B, done_B, cache, out = carry
    draw, cache = next_token(
        params, tokens_B, lengths_B + step - 1, cache, keys_B, step, sampling,
        config)
    out = write(out, draw, done_B, step)
    return step + 1, draw[0], done_B | stops(draw[0]), cache, out

  shape = (batch_size, max_new)
  out = (jnp.full(shape, pad_id, jnp.int32), *(jnp.zeros(shape),) * 3)
  out = write(out, draw, jnp.zeros(batch_size, bool), 0)
  carry = (jnp.int32(1), draw[0], stops(draw[0]), cache, out)
  _, _, done_B, _, out = jax.lax.while_loop(unfinished, body, carry)
  tokens_BT, logprobs_BT, model_logprobs_BT, mask_BT = out
  return Samples(tokens_BT, logprobs_BT, model_logprobs_BT, mask_BT,
                 jnp.sum(mask_BT, axis=1).astype(jnp.int32), done_B)


def generate_tokens(params: Params, prompts: Sequence[Sequence[int]],
                    key: jax.Array, sampling: SamplingConfig,
                    config: ModelConfig, *, prompt_len: int,
                    stop_ids: tuple[int, ...] = (),
                    samples_per_prompt: int = 1,
                    first_row: int = 0, num_rows: int = 0) -> Samples:
  """`generate` from the host: token lists in, NumPy arrays out.

  Args:
    params: model parameters, on the ambient mesh where there is one.
    prompts: P token lists.
    key: scalar key.
    sampling: temperature, filters and `max_new_tokens`.
    config: the model.
    prompt_len: slots for the prompts; a fixed number compiles once.
    stop_ids: tokens that end a row.
    samples_per_prompt: G.
    first_row: number of the first row for the random draws, so that a list
      of prompts can be worked through in batches of any size.
    num_rows: prompts of the batch that is run, filled up where P is less;
      a fixed number compiles once.

  Returns:
    Samples of P·G rows.

  Raises:
    ConfigError: a prompt longer than `prompt_len`; more positions than the
      model has.
  """
  check_length(prompt_len, sampling.max_new_tokens, config)
  multiple = _batch_ways(config)
  num_rows = -(-max(num_rows, len(prompts)) // multiple) * multiple
  prompts_BT, lengths_B = pad_prompts(prompts, prompt_len, num_rows=num_rows)
  rows_B = first_row + np.arange(num_rows * samples_per_prompt)
  samples = _generate(
      params, prompts_BT, lengths_B, key, sampling, config, stop_ids=stop_ids,
      samples_per_prompt=samples_per_prompt, rows_B=rows_B)
  if jax.process_count() > 1:
    samples = multihost_utils.process_allgather(samples, tiled=True)
  wanted = len(prompts) * samples_per_prompt
  return jax.tree.map(lambda x: x[:wanted], jax.device_get(samples))


def completion_texts(samples: Samples, tokenizer: Tokenizer) -> list[str]:
  """The text of each row of host `Samples`, without its stop token."""
  ends_B = samples.lengths_B - samples.stopped_B.astype(np.int32)
  return [tokenizer.decode(tokens[:end])
          for tokens, end in zip(samples.tokens_BT, ends_B.tolist())]


def complete(params: Params, prompts: Sequence[str], tokenizer: Tokenizer,
             config: ModelConfig, max_new_tokens: int, *,
             temperature: float = 0.8, seed: int = 0) -> list[str]:
  """Continues texts with a base model, as if each began a document.

  Args:
    params: model parameters.
    prompts: texts; "" starts from nothing. The end of one that exceeds the
      context is what is read.
    tokenizer: the model's.
    config: the model.
    max_new_tokens: tokens at most; fewer where the document ends.
    temperature: 0 is greedy.
    seed: of the draws.

  Returns:
    The continuations, without their prompts.
  """
  max_new_tokens = min(max_new_tokens, config.max_seq_len - 1)
  room = config.max_seq_len - max_new_tokens
  start, stop = [tokenizer.endoftext_id], (tokenizer.endoftext_id,)
  ids = [(start + tokenizer.encode(prompt))[-room:] for prompt in prompts]
  longest = max(map(len, ids), default=1)
  samples = generate_tokens(
      params, ids, jax.random.key(seed),
      SamplingConfig(temperature=temperature, max_new_tokens=max_new_tokens),
      config, prompt_len=min(-(-longest // _BUCKET) * _BUCKET, room),
      stop_ids=stop)
  return completion_texts(samples, tokenizer)


def stream(params: Params, prompt: Sequence[int], key: jax.Array,
           sampling: SamplingConfig, config: ModelConfig, *,
           stop_ids: tuple[int, ...] = ()) -> Iterator[int]:
  """Yields the tokens of one completion as they are drawn.

  The tokens of row 0 of `generate` with this key (caches of another length
  may round the last bit differently). The stop token, where one comes, is the
  last that is yielded.

  Args:
    params: model parameters; `unstack_layers` them first where many streams
      are made of them.
    prompt: token ids, at least one.
    key: scalar key.
    sampling: temperature, filters and `max_new_tokens`.
    config: the model.
    stop_ids: tokens that end the completion.

  Raises:
    ConfigError: at the call, where prompt and completion exceed the context.
  """
  check_length(len(prompt), sampling.max_new_tokens, config)
  bucket = min(-(-len(prompt) // _BUCKET) * _BUCKET, config.max_seq_len)
  padded = pad_prompts([prompt], bucket)
  return _stream(params, *padded, key, sampling, config, stop_ids)


def _stream(params, prompts_BT, lengths_B, key, sampling, config, stop_ids):
  """The loop of `stream`; a generator runs nothing before its first `next`."""
  keys_B = fold_rows(key, jnp.arange(1))
  # What is not read by the traced functions should not make them compile anew.
  drawn = dataclasses.replace(sampling, max_new_tokens=1)
  params = unstack_layers(params)
  draw, cache = _first_token(
      params, prompts_BT, lengths_B, keys_B, drawn, config,
      cache_len=config.max_seq_len)
  for step in range(1, sampling.max_new_tokens + 1):
    token = int(draw[0][0])
    yield token
    if token in stop_ids or step == sampling.max_new_tokens:
      return
    draw, cache = _next_token(
        params, draw[0], lengths_B + np.int32(step - 1), cache, keys_B,
        np.int32(step), drawn, config)


def _batch_ways(config: ModelConfig) -> int:
  """Parts that the ambient mesh splits a batch into."""
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    return 1
  return math.prod(mesh.shape[axis] for axis in config.rules.batch)


_generate = jax.jit(generate, static_argnames=(
    "sampling", "config", "stop_ids", "samples_per_prompt", "pad_id"))
_first_token = jax.jit(
    first_token, static_argnames=("sampling", "config", "cache_len"))
_next_token = jax.jit(
    next_token, static_argnames=("sampling", "config"),
    donate_argnames=("cache",))


def _fold_step(keys_B: jax.Array, step: Any) -> jax.Array:
  return jax.vmap(lambda key: jax.random.fold_in(key, step))(keys_B)
