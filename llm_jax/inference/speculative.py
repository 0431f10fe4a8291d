"""Several tokens per reading of the weights, from the same distribution.

A cheap guess at the next K tokens is read by the model at once, which costs
little more than reading one, as it is the weights that take the time. Each
guess is then kept with the probability that makes the result a sample of the
model's own distribution (Leviathan et al. 2023, arXiv:2211.17192; Chen et al.
2023, arXiv:2302.01318). With p the model's distribution at a position, filters
and penalties applied, and q the one the guess x was drawn from,

    keep x with probability min(1, p(x) / q(x));
    at the first one not kept draw from max(p - q, 0) / Σ max(p - q, 0) instead;
    if all K are kept, draw one more from p.

Guesses come from a smaller model of the same vocabulary, or from the text
itself: what followed the last time that the last few tokens occurred (prompt
lookup, Saxena 2023), where q is 1 on one token. Greedy sampling is the case of
p and q with one token each.

Each row has its own position. What was read of guesses that were not kept stays
in the cache above the row's position, where nothing sees it until the next
reading overwrites it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp

from llm_jax.config import ModelConfig, SamplingConfig, require
from llm_jax.inference.completions import lay_out, on_host
from llm_jax.inference.generate import (
    Samples, check_length, first_token, repeat_rows)
from llm_jax.inference.penalties import (
    History, extend_history, init_history)
from llm_jax.inference.prompt_lookup import at_index, look_up
from llm_jax.inference.sampling import draw, filter_logits, fold_rows
from llm_jax.model.cache import KVCache, init_cache
from llm_jax.model.decode import prefill
from llm_jax.model.params import Params
from llm_jax.model.transformer import backbone, unembed, unstack_layers


@dataclasses.dataclass(frozen=True)
class Speculation:
  """How tokens are guessed; hashable, static under `jit`.

  Attributes:
    num_guesses: K, tokens guessed at a time.
    max_ngram: longest run of last tokens that is looked for in the text.
    min_ngram: shortest run that makes a guess.
    draft: the model that guesses; None: the text does.
  """
  num_guesses: int = 4
  max_ngram: int = 3
  min_ngram: int = 2
  draft: ModelConfig | None = None

  def validate(self, config: ModelConfig, length: int) -> None:
    """Raises `ConfigError` where it cannot guess for `config`'s model.

    Args:
      config: the model whose tokens are guessed.
      length: positions that prompt and completion need.
    """
    require(self.num_guesses > 0 and 0 < self.min_ngram <= self.max_ngram,
            f"num_guesses={self.num_guesses} and min_ngram={self.min_ngram} "
            f"must be at least 1, and max_ngram={self.max_ngram} not less than "
            "min_ngram.")
    if self.draft is None:
      return
    require(self.draft.vocab_size == config.vocab_size, "the draft model has "
            f"vocab_size={self.draft.vocab_size} and the model "
            f"vocab_size={config.vocab_size}; a draft model shares the "
            "tokenizer.")
    require(length <= self.draft.max_seq_len, f"the draft model was built for "
            f"max_seq_len={self.draft.max_seq_len}, but prompt and completion "
            f"need {length} positions; shorten them.")


@flax.struct.dataclass
class SpeculationStats:
  """What the guesses were worth.

  Attributes:
    rounds_B: int32; readings of the model after the prompt.
    kept_B: int32; guesses that became tokens. A row of n tokens without
      speculation takes n - 1 readings, with it `rounds_B`.
  """
  rounds_B: jax.Array
  kept_B: jax.Array


@flax.struct.dataclass
class _State:
  """Between two rounds; S is prompt, completion and the last guesses."""
  tokens_BS: jax.Array  # prompt and completion, contiguous
  logprobs_BT: jax.Array  # of the completion; T is S less the prompt's slots
  model_logprobs_BT: jax.Array
  drawn_B: jax.Array  # tokens of the completion
  done_B: jax.Array
  stopped_B: jax.Array
  cache: KVCache
  draft_cache: KVCache | None
  history: History | None  # the last token included
  stats: SpeculationStats


def generate_speculative(
    params: Params, prompts_BT: jax.Array, lengths_B: jax.Array,
    key: jax.Array, sampling: SamplingConfig, config: ModelConfig,
    speculation: Speculation, *, draft_params: Params | None = None,
    stop_ids: tuple[int, ...] = (), samples_per_prompt: int = 1,
    pad_id: int = 0) -> tuple[Samples, SpeculationStats]:
  """As `generate`, from the same distribution, in fewer readings of the model.

  Greedy tokens are those of `generate`; samples are other ones, as the random
  numbers are used otherwise. A row depends on its key and its prompt alone, but
  for rounding: where no row has a guess, one token is read instead of K + 1.

  Undecorated; call it under `jit` with `sampling`, `config`, `speculation`,
  `stop_ids`, `samples_per_prompt` and `pad_id` static.

  Args:
    params: model parameters.
    prompts_BT: int32 prompts, P rows, padded on the right with anything.
    lengths_B: int32 real length of each, at least 1.
    key: scalar key, or keys_B: one for each of the P·G rows.
    sampling: temperature, filters, penalties and `max_new_tokens`.
    config: the model.
    speculation: how to guess.
    draft_params: of `speculation.draft`.
    stop_ids: tokens that end a row.
    samples_per_prompt: G completions of each prompt, in rows p·G .. p·G+G-1.
    pad_id: what follows a completion that ended.

  Returns:
    (Samples of P·G rows, SpeculationStats).

  Raises:
    ConfigError: more positions than a model has; another vocabulary; stop
      strings, which only `completions.generate_texts` sees.
  """
  prompt_len, max_new = prompts_BT.shape[1], sampling.max_new_tokens
  num_guesses, group = speculation.num_guesses, samples_per_prompt
  check_length(prompt_len, max_new, config)
  speculation.validate(config, prompt_len + max_new)
  require(not sampling.stop, "sampling.stop holds texts, which speculative "
          "generation does not see; leave it out.")
  num_rows = prompts_BT.shape[0] * group
  keys_B = fold_rows(key, jnp.arange(num_rows)) if key.ndim == 0 else key
  models = [(unstack_layers(params), config)]
  slots = prompt_len + max_new + num_guesses
  history = repeat_rows(
      init_history(prompts_BT, lengths_B, sampling, config.vocab_size), group)
  (tokens_B, logprobs_B, model_logprobs_B), cache = first_token(
      models[0][0], prompts_BT, lengths_B, keys_B, sampling, config,
      cache_len=slots, samples_per_prompt=group, history=history)
  draft_cache = None
  if speculation.draft is not None:
    models.append((unstack_layers(draft_params), speculation.draft))
    draft_cache = init_cache(prompts_BT.shape[0], slots, speculation.draft)
    _, draft_cache = prefill(models[1][0], prompts_BT, lengths_B, draft_cache,
                             speculation.draft)
    draft_cache = repeat_rows(draft_cache, group)
  prompts_BT = repeat_rows(prompts_BT, group)
  lengths_B = repeat_rows(jnp.asarray(lengths_B), group)

  rows_B = jnp.arange(num_rows)
  more = max_new + num_guesses + 1
  numbers_BT = jnp.zeros((num_rows, more), logprobs_B.dtype)
  stopped_B = jnp.isin(tokens_B, jnp.array(stop_ids, jnp.int32))
  zeros_B = jnp.zeros(num_rows, jnp.int32)
  state = _State(
      tokens_BS=jnp.pad(jnp.asarray(prompts_BT), ((0, 0), (0, more))).at[
          rows_B, lengths_B].set(tokens_B),
      logprobs_BT=numbers_BT.at[:, 0].set(logprobs_B),
      model_logprobs_BT=numbers_BT.at[:, 0].set(model_logprobs_B),
      drawn_B=zeros_B + 1, done_B=stopped_B | (max_new == 1),
      stopped_B=stopped_B, cache=cache, draft_cache=draft_cache,
      history=extend_history(history, tokens_B),
      stats=SpeculationStats(zeros_B, zeros_B))
  state = jax.lax.while_loop(
      lambda state: ~jnp.all(state.done_B),
      lambda state: _round(state, models, lengths_B, keys_B, sampling,
                           speculation, stop_ids), state)
  columns_1T = jnp.arange(max_new)[None, :]
  real_BT = columns_1T < state.drawn_B[:, None]
  tokens_BT = jnp.take_along_axis(
      state.tokens_BS, lengths_B[:, None] + columns_1T, axis=1)
  return Samples(
      jnp.where(real_BT, tokens_BT, pad_id),
      jnp.where(real_BT, state.logprobs_BT[:, :max_new], 0.0),
      jnp.where(real_BT, state.model_logprobs_BT[:, :max_new], 0.0),
      real_BT.astype(jnp.float32), state.drawn_B, state.stopped_B), state.stats


def speculate_tokens(
    params: Params, prompts: Sequence[Sequence[int]], key: jax.Array,
    sampling: SamplingConfig, config: ModelConfig, speculation: Speculation, *,
    prompt_len: int, draft_params: Params | None = None,
    stop_ids: tuple[int, ...] = (), samples_per_prompt: int = 1
    ) -> tuple[Samples, SpeculationStats]:
  """`generate_speculative` from the host, as `completions.generate_tokens`."""
  prompts_BT, lengths_B, keys_B = lay_out(
      prompts, key, sampling, config, prompt_len, samples_per_prompt)
  out = _generate(
      params, prompts_BT, lengths_B, keys_B, sampling, config, speculation,
      draft_params=draft_params, stop_ids=stop_ids,
      samples_per_prompt=samples_per_prompt)
  wanted = len(prompts) * samples_per_prompt
  return jax.tree.map(lambda x: x[:wanted], on_host(out))


def _round(state: _State, models: list[tuple[Params, ModelConfig]],
           lengths_B: jax.Array, keys_B: jax.Array, sampling: SamplingConfig,
           speculation: Speculation, stop_ids: tuple[int, ...]) -> _State:
  """Guesses, reads the guesses, keeps some, draws one token more."""
  num_guesses = speculation.num_guesses
  # The last token drawn has not been read yet. Each round of a row begins
  # after another number of tokens, so its random numbers are its own.
  last_B = lengths_B + state.drawn_B - 1
  keys_B = jax.vmap(jax.random.fold_in)(keys_B, state.drawn_B)
  guessed_B = draft_BKV = draft_cache = None
  if speculation.draft is None:
    guesses_BK, run_B = look_up(state.tokens_BS, last_B, num_guesses,
                                speculation.max_ngram)
    guessed_B = (run_B >= speculation.min_ngram) & ~state.done_B
  else:
    guesses_BK, draft_BKV, draft_cache = _guess(
        state, models[1], last_B, keys_B, sampling, num_guesses)

  read_BT = jnp.concatenate(
      [at_index(state.tokens_BS, last_B)[:, None], guesses_BK], axis=1)
  steps_1T = jnp.arange(num_guesses + 1)[None, :]
  logits_BTV, cache = _read(models[0], read_BT, last_B[:, None] + steps_1T,
                            state.cache, guessed_B)
  sampled_BTV = _filtered(logits_BTV, guesses_BK, sampling, state.history)
  probs_BTV = jax.nn.softmax(sampled_BTV, axis=-1)

  uniform_BK = jax.vmap(lambda key: jax.random.uniform(
      jax.random.fold_in(key, num_guesses), (num_guesses,)))(keys_B)
  probs_BK = at_index(probs_BTV[:, :-1], guesses_BK)
  kept_BK = is_kept(uniform_BK, probs_BK, 1.0 if draft_BKV is None
                    else at_index(draft_BKV, guesses_BK))
  if guessed_B is not None:
    kept_BK &= guessed_B[:, None]
  kept_B = jnp.sum(jnp.cumprod(kept_BK.astype(jnp.int32), axis=1), axis=1)
  # The distribution of the guess after those kept: all zero after the last.
  if draft_BKV is None:
    vocab_1V = jnp.arange(logits_BTV.shape[-1])[None, :]
    guess_B = at_index(jnp.pad(guesses_BK, ((0, 0), (0, 1)),
                               constant_values=-1), kept_B)
    draft_BV = ((vocab_1V == guess_B[:, None])
                & guessed_B[:, None]).astype(probs_BTV.dtype)
  else:
    draft_BV = at_index(jnp.pad(draft_BKV, ((0, 0), (0, 1), (0, 0))), kept_B)
  last_keys_B = jax.vmap(
      lambda key: jax.random.fold_in(key, num_guesses + 1))(keys_B)
  final_B, _ = draw(last_keys_B, jnp.log(
      remainder(at_index(probs_BTV, kept_B), draft_BV)))

  emitted_BT = jnp.where(steps_1T < kept_B[:, None],
                         jnp.pad(guesses_BK, ((0, 0), (0, 1))),
                         final_B[:, None])
  stop_BT = jnp.isin(emitted_BT, jnp.array(stop_ids, jnp.int32))
  # Tokens up to the first stop token, to the one not guessed, to the limit.
  before_stop_B = jnp.sum(jnp.cumprod(~stop_BT, axis=1), axis=1)
  max_new = sampling.max_new_tokens
  count_B = jnp.minimum(jnp.minimum(before_stop_B, kept_B) + 1,
                        max_new - state.drawn_B)
  count_B = jnp.where(state.done_B, 0, count_B)
  new_BT = steps_1T < count_B[:, None]
  drawn_B = state.drawn_B + count_B
  stopped_B = state.stopped_B | jnp.any(stop_BT & new_BT, axis=1)

  def put(values_BX, start_B, new_values_BT):
    columns_BT = jnp.where(new_BT, start_B[:, None] + steps_1T,
                           values_BX.shape[1])
    rows_B1 = jnp.arange(values_BX.shape[0])[:, None]
    return values_BX.at[rows_B1, columns_BT].set(new_values_BT, mode="drop")

  def logprobs_of(values_BTV):
    return (at_index(values_BTV, emitted_BT)
            - jax.nn.logsumexp(values_BTV, axis=-1))

  history = state.history
  for step in range(num_guesses + 1):
    history = extend_history(history, emitted_BT[:, step], new_BT[:, step])
  return _State(
      tokens_BS=put(state.tokens_BS, last_B + 1, emitted_BT),
      logprobs_BT=put(state.logprobs_BT, state.drawn_B,
                      logprobs_of(sampled_BTV)),
      model_logprobs_BT=put(state.model_logprobs_BT, state.drawn_B,
                            logprobs_of(logits_BTV)),
      drawn_B=drawn_B, stopped_B=stopped_B,
      done_B=state.done_B | stopped_B | (drawn_B >= max_new),
      cache=cache, draft_cache=draft_cache, history=history,
      stats=SpeculationStats(
          state.stats.rounds_B + ~state.done_B,
          state.stats.kept_B + jnp.minimum(kept_B, count_B)))


def is_kept(uniform_BK: jax.Array, probs_BK: jax.Array,
            draft_probs_BK: jax.Array | float) -> jax.Array:
  """Whether each guess is kept: with probability min(1, p / q)."""
  return uniform_BK * draft_probs_BK < probs_BK


def remainder(probs_BV: jax.Array, draft_probs_BV: jax.Array) -> jax.Array:
  """max(p - q, 0), not normalised; p where rounding leaves nothing of it."""
  rest_BV = jnp.maximum(probs_BV - draft_probs_BV, 0.0)
  some_B1 = jnp.any(rest_BV > 0, axis=-1, keepdims=True)
  return jnp.where(some_B1, rest_BV, probs_BV)


def _filtered(logits_BTV: jax.Array, guesses_BK: jax.Array,
              sampling: SamplingConfig, history: History | None) -> jax.Array:
  """`filter_logits` at each position, after the guesses before it."""
  B, T, V = logits_BTV.shape
  if history is None:
    return filter_logits(logits_BTV.reshape(B * T, V), sampling).reshape(
        B, T, V)
  filtered = []
  for step in range(T):
    filtered.append(filter_logits(logits_BTV[:, step], sampling, history))
    if step < T - 1:
      history = extend_history(history, guesses_BK[:, step])
  return jnp.stack(filtered, axis=1)


def _read(model: tuple[Params, ModelConfig], tokens_BT: jax.Array,
          positions_BT: jax.Array, cache: KVCache,
          guessed_B: jax.Array | None) -> tuple[jax.Array, KVCache]:
  """(logits_BTV, cache); of the first tokens only where no row has a guess."""
  params, config = model

  def read(count):
    hidden_BtD, new_cache, _ = backbone(
        params, tokens_BT[:, :count], config,
        positions_BT=positions_BT[:, :count], cache=cache)
    # As so many rows of one token, `unembed` does as it does in decoding,
    # where the table is not transposed.
    B, t, D = hidden_BtD.shape
    logits_BtV = unembed(params, hidden_BtD.reshape(B * t, 1, D),
                         config).reshape(B, t, -1)
    missing = tokens_BT.shape[1] - count
    return jnp.pad(logits_BtV, ((0, 0), (0, missing), (0, 0))), new_cache

  if guessed_B is None:
    return read(tokens_BT.shape[1])
  return jax.lax.cond(jnp.any(guessed_B), lambda: read(tokens_BT.shape[1]),
                      lambda: read(1))


def _guess(state: _State, model: tuple[Params, ModelConfig],
           last_B: jax.Array, keys_B: jax.Array, sampling: SamplingConfig,
           num_guesses: int) -> tuple[jax.Array, jax.Array, KVCache]:
  """The draft model's (guesses_BK, what they were drawn from, its cache)."""
  params, config = model

  def guess(tokens_BT, positions_BT, cache, history, number):
    hidden_BTD, cache, _ = backbone(params, tokens_BT, config,
                                    positions_BT=positions_BT, cache=cache)
    logits_BV = filter_logits(
        unembed(params, hidden_BTD[:, -1:], config)[:, 0], sampling, history)
    keys = jax.vmap(lambda key: jax.random.fold_in(key, number))(keys_B)
    tokens_B, _ = draw(keys, logits_BV)
    return tokens_B, cache, jax.nn.softmax(logits_BV, axis=-1)

  # Where all guesses were kept, the last of them was never read: it is now.
  places_B2 = last_B[:, None] - jnp.arange(1, -1, -1)[None, :]
  tokens_B, cache, probs_BV = guess(
      jnp.take_along_axis(state.tokens_BS, places_B2, axis=1), places_B2,
      state.draft_cache, state.history, 0)

  def step(carry, number):
    tokens_B, cache, history = carry
    history = extend_history(history, tokens_B)
    new_B, cache, probs_BV = guess(
        tokens_B[:, None], (last_B + number)[:, None], cache, history, number)
    return (new_B, cache, history), (new_B, probs_BV)

  (_, cache, _), (rest_KB, rest_KBV) = jax.lax.scan(
      step, (tokens_B, cache, state.history),
      jnp.arange(1, num_guesses))
  guesses_KB = jnp.concatenate([tokens_B[None], rest_KB])
  draft_KBV = jnp.concatenate([probs_BV[None], rest_KBV])
  return guesses_KB.swapaxes(0, 1), draft_KBV.swapaxes(0, 1), cache


_generate = jax.jit(generate_speculative, static_argnames=(
    "sampling", "config", "speculation", "stop_ids", "samples_per_prompt",
    "pad_id"))
