"""Conversations that a model holds, as the very tokens that it sampled.

    prompt | answer | what it is told | answer | ...
    mask 0 |   1    |        0        |   1

A trace is the row that is trained later. An answer goes into it as the ids that
were drawn, with the log-probabilities that they were drawn with; its text is
read by tools and rewards and never encoded again, since another cut of the same
text would be another action than the model's. What tools, or the environment,
say in between is rendered as a continuation of those ids.

Questions of one answer, answers that call tools, and episodes of an environment
are all played by `play`, a round of answers at a time, in one batch. The draws
of row n in round r depend on (key, n, r) alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from llm_jax.config import ModelConfig, SamplingConfig, ToolsConfig, require
from llm_jax.inference.compaction import DecodeStats, generate_compacted
from llm_jax.inference.completions import completion_texts, generate_texts
from llm_jax.inference.generate import Samples
from llm_jax.inference.sampling import fold_rows
from llm_jax.inference.tool_loop import (
    ANSWERED, CALLS, CONTEXT, CUT, NO_CALLS_LEFT, calls_of, padded_length,
    require_tool_calls, run_calls)
from llm_jax.inference.tools import Tool
from llm_jax.model.params import Params
from llm_jax.rl.environments.protocol import (
    Completion, Environment, Episode, Problem)
from llm_jax.tokenizer.chat import (
    parse_answer, render_continuation, render_prompt, stop_ids)
from llm_jax.tokenizer.messages import Message
from llm_jax.tokenizer.protocol import Tokenizer

# Further reasons why a conversation ended, beside those of `tool_loop`.
DONE = "done"  # the episode says so
TURNS = "turns"  # it has `max_turns` answers

# Names the draws of later rounds; no completion has so many tokens.
_ROUNDS = np.int32(2**31 - 1)


@dataclasses.dataclass
class Trace:
  """One row before padding; the lists are equally long.

  Attributes:
    tokens: ids of the whole conversation.
    mask: where the model generated the token, stop tokens included.
    logprobs: of the sampler, 0 where `mask` is False.
    completion: what a reward reads.
    prompt: the messages that it began with.
    ended: why, as in `tool_loop`, or DONE or TURNS.
  """
  tokens: list[int]
  mask: list[bool]
  logprobs: list[float]
  completion: Completion
  prompt: tuple[Message, ...] = ()
  ended: str = ANSWERED


@dataclasses.dataclass
class _Talk:
  """A trace in the making."""
  tokens: list[int]
  prompt: tuple[Message, ...]
  episode: Episode | None
  mask: list[bool] = dataclasses.field(default_factory=list)
  logprobs: list[float] = dataclasses.field(default_factory=list)
  messages: list[Message] = dataclasses.field(default_factory=list)
  text: str = ""
  stopped: bool = False
  answers: int = 0
  calls: int = 0
  game_reward: float | None = None
  ended: str = ""

  def append(self, ids: Sequence[int], logprobs: Sequence[float] = ()) -> None:
    """Adds tokens, which the model generated if they have log-probabilities."""
    self.tokens += ids
    self.mask += [bool(logprobs)] * len(ids)
    self.logprobs += logprobs or [0.0] * len(ids)

  def trace(self) -> Trace:
    """The conversation as it has become."""
    completion = Completion(
        text=self.text, stopped=self.stopped and self.ended != CONTEXT,
        tokens=sum(self.mask), messages=tuple(self.messages),
        game_reward=self.game_reward)
    return Trace(self.tokens, self.mask, self.logprobs, completion,
                 self.prompt, self.ended)


def first_messages(problem: Problem) -> list[Message]:
  """A problem as the messages that are answered."""
  system = ([{"role": "system", "content": problem.system}]
            if problem.system else [])
  return [*system, {"role": "user", "content": problem.prompt}]


def encode_prompts(problems: Sequence[Problem], tokenizer: Tokenizer,
                   tools: Sequence[Tool] = (),
                   environment: Environment | None = None) -> list[list[int]]:
  """Each problem as ids after which the model answers.

  Args:
    problems: what is asked.
    tokenizer: the model's.
    tools: that it may call.
    environment: where given, problems that are episodes begin as those do.
  """
  schemas = tuple(tool.schema for tool in tools)
  prompts = []
  for problem in problems:
    episode = environment.episode(problem) if environment else None
    messages = episode.reset() if episode else first_messages(problem)
    prompts.append(render_prompt(messages, tokenizer, tools=schemas))
  return prompts


def play(params: Params, problems: Sequence[Problem], environment: Environment,
         tokenizer: Tokenizer, sampling: SamplingConfig, model: ModelConfig, *,
         key: jax.Array, row_len: int, samples_per_prompt: int = 1,
         first_row: int = 0, num_prompts: int = 0, tools: Sequence[Tool] = (),
         limits: ToolsConfig | None = None, max_turns: int = 16,
         stats: list[DecodeStats] | None = None) -> list[Trace]:
  """Has each problem answered `samples_per_prompt` times.

  Args:
    params: of the policy, on the ambient mesh where there is one.
    problems: P of them.
    environment: says which of them are episodes, and makes those.
    tokenizer: the model's.
    sampling: temperature, filters, and `max_new_tokens` of each answer, which
      need room in the row: a conversation without it ends.
    model: the model.
    key: scalar key.
    row_len: tokens of a whole conversation at most.
    samples_per_prompt: G; a prompt is read once for all of them.
    first_row: number of the first row for the draws.
    num_prompts: prompts of the first round's batch, filled up where P is less;
      a fixed number compiles once.
    tools: that may be called.
    limits: `max_calls` of a conversation and `result_characters`.
    max_turns: answers to an episode at most.
    stats: is appended what each round of sampling took.

  Returns:
    Traces of P·G rows, those of a problem beside each other.

  Raises:
    ConfigError: a prompt that leaves no room for an answer; tools for a
      template that has no calls; an episode that begins in more than one way.
  """
  limits = limits or ToolsConfig()
  if tools:
    require(not sampling.stop, "sampling.stop holds texts, at which a call may "
            "be cut in two; leave it empty where tools are called.")
    require_tool_calls(tokenizer)
  schemas = tuple(tool.schema for tool in tools)
  talks = _begin(problems, environment, samples_per_prompt)
  require(not (sampling.stop and talks[0].episode), "sampling.stop holds "
          "texts, but what follows an answer of an episode is read as if the "
          "model had ended it itself; leave it empty.")
  require(jax.process_count() == 1 or not (tools or talks[0].episode),
          "tools and episodes say what they say in one process; several "
          "processes would hear different things. Run in one.")
  prompts = [render_prompt(talk.prompt, tokenizer, tools=schemas)
             for talk in talks[::samples_per_prompt]]
  for row, talk in enumerate(talks):
    talk.append(prompts[row // samples_per_prompt])
  room = row_len - sampling.max_new_tokens
  longest = max(map(len, prompts), default=1)
  require(longest <= room, f"a prompt has {longest} tokens, but there is room "
          f"for {room} beside sampling.max_new_tokens="
          f"{sampling.max_new_tokens}; raise seq_len or lower the latter.")
  keys_B = fold_rows(key, first_row + np.arange(len(talks)))
  stats = [] if stats is None else stats
  samples, texts = sample_answers(
      params, prompts, tokenizer, keys_B, sampling, model,
      prompt_len=padded_length(longest, room),
      samples_per_prompt=samples_per_prompt, num_prompts=num_prompts,
      stats=stats)
  rows, turn = list(range(len(talks))), 0
  while True:
    for place, row in enumerate(rows):
      _hear(talks[row], samples, place, texts[place], tokenizer, bool(tools))
    rows = [row for row in rows if not talks[row].ended]
    _reply([talks[row] for row in rows], tools, limits, max_turns, tokenizer,
           room)
    rows = [row for row in rows if not talks[row].ended]
    if not rows:
      return [talk.trace() for talk in talks]
    turn += 1
    prompts = [talks[row].tokens for row in rows]
    samples, texts = sample_answers(
        params, prompts, tokenizer, _turn_keys(keys_B[np.array(rows)], turn),
        sampling, model, prompt_len=padded_length(max(map(len, prompts)), room),
        num_prompts=1 << (len(rows) - 1).bit_length(), stats=stats)


def sample_answers(params: Params, prompts: Sequence[Sequence[int]],
                   tokenizer: Tokenizer, keys_B: jax.Array,
                   sampling: SamplingConfig, model: ModelConfig, *,
                   prompt_len: int, samples_per_prompt: int = 1,
                   num_prompts: int = 0, stats: list[DecodeStats]
                   ) -> tuple[Samples, list[str]]:
  """One batch of answers: all that rollouts ask of a sampler.

  Args:
    params: of the policy.
    prompts: P token lists.
    tokenizer: the model's.
    keys_B: one for each of the P·G rows.
    sampling: the distribution.
    model: the model.
    prompt_len: slots for the prompts.
    samples_per_prompt: G.
    num_prompts: prompts that the batch is filled up to.
    stats: is appended what it took, where rows that are done are dropped: not
      where texts end them.

  Returns:
    (host Samples of P·G rows, their texts without what stopped them).
  """
  options = {"prompt_len": prompt_len, "stop_ids": stop_ids(tokenizer),
             "samples_per_prompt": samples_per_prompt, "num_rows": num_prompts}
  if sampling.stop:
    return generate_texts(params, prompts, tokenizer, keys_B, sampling, model,
                          **options)
  samples, took = generate_compacted(params, prompts, keys_B, sampling, model,
                                     **options)
  stats.append(took)
  return samples, completion_texts(samples, tokenizer)


def _turn_keys(keys_B: jax.Array, turn: int) -> jax.Array:
  """Keys of a later round, from those of the rows."""
  def fold(key):
    return jax.random.fold_in(jax.random.fold_in(key, _ROUNDS), turn)
  return jax.vmap(fold)(keys_B)


def _begin(problems: Sequence[Problem], environment: Environment,
           samples_per_prompt: int) -> list[_Talk]:
  """A conversation for each sample of each problem, not yet begun."""
  talks = []
  for problem in problems:
    begun = None
    for _ in range(samples_per_prompt):
      episode = environment.episode(problem)
      messages = tuple(episode.reset() if episode else first_messages(problem))
      require(begun is None or begun == messages, "an episode of "
              f"{problem.source or problem.prompt[:60]!r} began in two ways; "
              "`reset` should give the same messages each time, so that its "
              "samples can be compared.")
      begun = messages
      talks.append(_Talk([], messages, episode,
                         game_reward=0.0 if episode else None))
  return talks


def _hear(talk: _Talk, samples: Samples, row: int, text: str,
          tokenizer: Tokenizer, has_tools: bool) -> None:
  """Appends a row of host `Samples`, an answer."""
  length = int(samples.lengths_B[row])
  ids = samples.tokens_BT[row, :length].tolist()
  talk.append(ids, samples.logprobs_BT[row, :length].tolist())
  talk.stopped = bool(samples.stopped_B[row])
  message: Any = {"role": "assistant", "content": text}
  if has_tools:
    message = parse_answer(ids[:length - talk.stopped], tokenizer)
  talk.text = message["content"]
  talk.messages.append(message)
  talk.answers += 1
  if not talk.stopped:  # a call at its end may be half of one
    talk.ended = CUT
  elif not calls_of(message) and talk.episode is None:
    talk.ended = ANSWERED


def _reply(talks: Sequence[_Talk], tools: Sequence[Tool], limits: ToolsConfig,
           max_turns: int, tokenizer: Tokenizer, room: int) -> None:
  """Says to each conversation what its tools or its episode say to it."""
  schemas = tuple(tool.schema for tool in tools)
  results = iter(run_calls(
      [(talk.messages[-1], limits.max_calls - talk.calls) for talk in talks
       if calls_of(talk.messages[-1])], tools, limits.result_characters))
  for talk in talks:
    answer = talk.messages[-1]
    if calls_of(answer):
      following = next(results)
      _count_calls(talk, following, limits.max_calls)
    else:
      turn = talk.episode.step(talk.text)
      talk.game_reward += turn.reward
      following = ([{"role": "user", "content": turn.observation}]
                   if turn.observation or not turn.done else [])
      if turn.done:
        talk.ended = DONE
      elif talk.answers >= max_turns:
        talk.ended = TURNS
    talk.messages += following
    if not talk.ended:
      ids = render_continuation(answer, following, tokenizer, tools=schemas)
      if len(talk.tokens) + len(ids) <= room:
        talk.append(ids)
      else:
        talk.ended = CONTEXT


def _count_calls(talk: _Talk, results: Sequence[Message],
                 max_calls: int) -> None:
  """Ends a conversation that calls on after it was told that it cannot."""
  if any(message["role"] == "tool" and message["content"] == NO_CALLS_LEFT
         for message in talk.messages):
    talk.ended = CALLS
  talk.calls = min(talk.calls + len(results), max_calls)
