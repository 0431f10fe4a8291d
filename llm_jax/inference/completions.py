"""Batches of completions for the host: lists in, arrays or texts out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from llm_jax.config import ModelConfig, SamplingConfig, require
from llm_jax.inference.generate import (
    Samples, check_length, generate, pad_prompts, resume, start)
from llm_jax.inference.sampling import fold_rows
from llm_jax.inference.text_stream import TextStream
from llm_jax.model.params import Params
from llm_jax.model.transformer import unstack_layers
from llm_jax.tokenizer.protocol import Tokenizer

_BUCKET = 64  # lengths of `complete`'s prompts are rounded up to this

# Tokens between two looks at the text, where there are stop strings: enough
# to hide the look, few enough to waste little after a stop.
_CHUNK = 16


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
    key: scalar key; or keys_B, one for each of the P·G rows (`seed_keys`).
    sampling: temperature, filters, penalties and `max_new_tokens`.
    config: the model.
    prompt_len: slots for the prompts; a fixed number compiles once.
    stop_ids: tokens that end a row.
    samples_per_prompt: G.
    first_row: number of the first row for the draws of a scalar key, so that
      a list of prompts can be worked through in batches of any size.
    num_rows: prompts of the batch that is run, filled up where P is less;
      a fixed number compiles once.

  Returns:
    Samples of P·G rows.

  Raises:
    ConfigError: a prompt longer than `prompt_len`; more positions than the
      model has; `sampling.stop` (see `generate_texts`).
  """
  prompts_BT, lengths_B, keys_B = lay_out(
      prompts, key, sampling, config, prompt_len, samples_per_prompt,
      first_row, num_rows)
  samples = _generate(
      params, prompts_BT, lengths_B, keys_B, sampling, config,
      stop_ids=stop_ids, samples_per_prompt=samples_per_prompt)
  wanted = len(prompts) * samples_per_prompt
  return jax.tree.map(lambda x: x[:wanted], on_host(samples))


def generate_texts(params: Params, prompts: Sequence[Sequence[int]],
                   tokenizer: Tokenizer, key: jax.Array,
                   sampling: SamplingConfig, config: ModelConfig, *,
                   prompt_len: int, stop_ids: tuple[int, ...] = (),
                   samples_per_prompt: int = 1, first_row: int = 0,
                   num_rows: int = 0) -> tuple[Samples, list[str]]:
  """`generate_tokens` and the completions' texts, up to `sampling.stop`.

  A row ends at the token that completes a stop string: `lengths_B` counts it
  and `stopped_B` is true, as with a stop token, so log-probabilities are of
  all that was drawn. Its text ends before the stop string.

  Where there are stop strings the compiled loop is left every 16 tokens to look
  at the text; a row that has met one is drawn on until then, in vain.

  Args:
    params: as for `generate_tokens`, like what is not named here.
    tokenizer: the model's.

  Returns:
    (host Samples, the text of each row without what stopped it).
  """
  options = dict(stop_ids=stop_ids, samples_per_prompt=samples_per_prompt)
  if not sampling.stop:
    samples = generate_tokens(
        params, prompts, key, sampling, config, prompt_len=prompt_len,
        first_row=first_row, num_rows=num_rows, **options)
    return samples, completion_texts(samples, tokenizer)
  prompts_BT, lengths_B, keys_B = lay_out(
      prompts, key, sampling, config, prompt_len, samples_per_prompt,
      first_row, num_rows)
  max_new, wanted = sampling.max_new_tokens, len(prompts) * samples_per_prompt
  texts = [TextStream(tokenizer, sampling.stop) for _ in range(wanted)]
  # What is not read by the traced functions should not make them compile anew.
  sampling = dataclasses.replace(sampling, max_new_tokens=1, stop=())
  columns = min(_CHUNK, max_new)
  params = _unstack_layers(params)
  state, out = _start(params, prompts_BT, lengths_B, keys_B, sampling, config,
                      cache_len=prompt_len + max_new, columns=columns,
                      **options)
  lengths_B = np.repeat(lengths_B, samples_per_prompt)
  ends_B = np.full(wanted, max_new)  # tokens of each row
  read, chunks = 0, []
  while True:
    out, done_B = on_host((out, state.done_B))
    chunks.append(out)
    for row, text in enumerate(texts):
      drawn = int(out[3][row].sum())
      for column, token in enumerate(out[0][row, :drawn].tolist()):
        if token not in stop_ids:
          text.push(token)
        if text.stopped or token in stop_ids:
          ends_B[row] = min(ends_B[row], read + column + 1)
    read += out[0].shape[1]
    # Rows that fill the batch up are no one's.
    done_B = np.append(read >= ends_B, np.ones(len(done_B) - wanted, bool))
    if read >= max_new or done_B.all():
      break
    state, out = _resume(
        params, state.replace(done_B=done_B), lengths_B, keys_B,
        np.int32(max_new), sampling, config, columns=columns,
        stop_ids=stop_ids)
  for text in texts:
    text.finish()
  samples = _joined(chunks, ends_B, max_new, stop_ids,
                    np.array([text.stopped for text in texts], bool))
  return samples, [
      _stopped_text(text, samples.tokens_BT[row, :ends_B[row]], tokenizer)
      if text.stopped else whole for row, (text, whole) in
      enumerate(zip(texts, completion_texts(samples, tokenizer)))]


def completion_texts(samples: Samples, tokenizer: Tokenizer) -> list[str]:
  """The text of each row of host `Samples`, without its stop token."""
  ends_B = samples.lengths_B - samples.stopped_B.astype(np.int32)
  return [tokenizer.decode(tokens[:end])
          for tokens, end in zip(samples.tokens_BT, ends_B.tolist())]


def complete(params: Params, prompts: Sequence[str], tokenizer: Tokenizer,
             config: ModelConfig, max_new_tokens: int, *,
             temperature: float = 0.8, seed: int = 0,
             stop: tuple[str, ...] = ()) -> list[str]:
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
    stop: texts that end a continuation too.

  Returns:
    The continuations, without their prompts.
  """
  max_new_tokens = min(max_new_tokens, config.max_seq_len - 1)
  room = config.max_seq_len - max_new_tokens
  begin, stops = [tokenizer.endoftext_id], (tokenizer.endoftext_id,)
  ids = [(begin + tokenizer.encode(prompt))[-room:] for prompt in prompts]
  longest = max(map(len, ids), default=1)
  return generate_texts(
      params, ids, tokenizer, jax.random.key(seed),
      SamplingConfig(temperature=temperature, max_new_tokens=max_new_tokens,
                     stop=stop),
      config, prompt_len=min(-(-longest // _BUCKET) * _BUCKET, room),
      stop_ids=stops)[1]


def lay_out(prompts: Sequence[Sequence[int]], key: jax.Array,
            sampling: SamplingConfig, config: ModelConfig, prompt_len: int,
            samples_per_prompt: int = 1, first_row: int = 0, num_rows: int = 0
            ) -> tuple[np.ndarray, np.ndarray, jax.Array]:
  """(prompts_BT, lengths_B, keys_B) of a batch that the mesh divides.

  Takes arguments of `generate_tokens`, and raises what it raises.
  """
  check_length(prompt_len, sampling.max_new_tokens, config)
  multiple = batch_ways(config)
  num_rows = -(-max(num_rows, len(prompts)) // multiple) * multiple
  rows = num_rows * samples_per_prompt
  if key.ndim:
    wanted = len(prompts) * samples_per_prompt
    require(len(key) == wanted, f"{len(key)} keys are given for {wanted} "
            "completions; give one for each, or a single key for all.")
    key = key[jnp.minimum(jnp.arange(rows), wanted - 1)]
  else:
    key = _fold_rows(key, first_row + np.arange(rows))
  return *pad_prompts(prompts, prompt_len, num_rows=num_rows), key


def batch_ways(config: ModelConfig) -> int:
  """Parts that the ambient mesh splits a batch into."""
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    return 1
  return math.prod(mesh.shape[axis] for axis in config.rules.batch)


def on_host(tree: Any) -> Any:
  """Device arrays, whichever process holds them, as NumPy's."""
  if jax.process_count() > 1:
    tree = multihost_utils.process_allgather(tree, tiled=True)
  return jax.device_get(tree)


def _joined(chunks, ends_B, max_new, stop_ids, stopped_B) -> Samples:
  """Chunks of columns as `Samples` in which rows end where `ends_B` says."""
  wanted = len(ends_B)
  columns = []
  for parts in zip(*chunks):
    x_BT = np.concatenate(parts, axis=1)[:wanted, :max_new]
    x_BT = np.pad(x_BT, ((0, 0), (0, max_new - x_BT.shape[1])))
    columns.append(
        np.where(np.arange(max_new) < ends_B[:, None], x_BT, 0).astype(
            x_BT.dtype))
  last_B = columns[0][np.arange(wanted), ends_B - 1]
  stopped_B = stopped_B | np.isin(last_B, stop_ids)
  return Samples(*columns, ends_B.astype(np.int32), stopped_B)


def _stopped_text(text: TextStream, tokens: np.ndarray,
                  tokenizer: Tokenizer) -> str:
  """`text` as `decode` would have it, which may leave out a first space."""
  whole = b"".join(map(tokenizer.token_bytes, tokens.tolist()))
  return text.text[len(whole) - len(tokenizer.decode_bytes(tokens)):]


_STATIC = ("sampling", "config", "stop_ids", "pad_id")
_generate = jax.jit(generate, static_argnames=(*_STATIC, "samples_per_prompt"))
_start = jax.jit(start, static_argnames=(
    *_STATIC, "samples_per_prompt", "cache_len", "columns"))
_resume = jax.jit(resume, static_argnames=(*_STATIC, "columns"),
                  donate_argnames=("state",))
_unstack_layers = jax.jit(unstack_layers)
_fold_rows = jax.jit(fold_rows)
