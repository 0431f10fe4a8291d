"""Conversations in which the model calls tools, many at once.

A round: every conversation that is open is written out, the model answers all
of them in batches, the calls in its answers are made, and their results are
appended; the next round goes on with those that got results. What a model
generates it never trusts itself with: results are text that it reads.

The draws of conversation n in round r depend on (key, n, r) alone, so neither
the batch size nor the others change an answer (other batch shapes add numbers
in another order, which may move a draw that is within rounding of a border).
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from llm_jax.config import ModelConfig, SamplingConfig, require
from llm_jax.inference.completions import generate_tokens
from llm_jax.inference.sampling import fold_rows
from llm_jax.inference.tools import Tool, call_tool
from llm_jax.model.params import Params
from llm_jax.tokenizer.chat import (
    can_call_tools, parse_answer, render_prompt, stop_ids)
from llm_jax.tokenizer.messages import Message
from llm_jax.tokenizer.protocol import Tokenizer

# Why a conversation ended.
ANSWERED = "answered"  # the model answered, without a call
CUT = "cut"  # its last answer has `max_new_tokens` and no end
CONTEXT = "context"  # there is no room for another answer
CALLS = "calls"  # it calls on after `max_calls`

NO_CALLS_LEFT = "Error: no calls are left; answer with what you have."
RESULT_CHARACTERS = 1000
# Prompts are padded to a multiple of this or, beyond eight of them, to an
# eighth of an octave, so that growing conversations compile few programs.
_BUCKET = 64
_THREADS = 32  # calls at once: those to a service wait more than they compute


@dataclasses.dataclass
class Outcome:
  """What was appended to a conversation, and why it ended.

  Attributes:
    messages: the model's answers and the results of its calls, in order.
    status: ANSWERED, CUT, CONTEXT or CALLS.
    calls: calls that were made; refused ones are not counted.
  """
  messages: list[Message] = dataclasses.field(default_factory=list)
  status: str = ""
  calls: int = 0


def answer_all(params: Params, conversations: Sequence[Sequence[Message]],
               tools: Sequence[Tool], tokenizer: Tokenizer,
               sampling: SamplingConfig, model: ModelConfig, *,
               key: jax.Array, batch_size: int, max_calls: int,
               result_characters: int = RESULT_CHARACTERS
               ) -> list[list[Message]]:
  """What is appended to each conversation: `run_all` without its statuses."""
  return [outcome.messages for outcome in run_all(
      params, conversations, tools, tokenizer, sampling, model, key=key,
      batch_size=batch_size, max_calls=max_calls,
      result_characters=result_characters)]


def run_all(params: Params, conversations: Sequence[Sequence[Message]],
            tools: Sequence[Tool], tokenizer: Tokenizer,
            sampling: SamplingConfig, model: ModelConfig, *, key: jax.Array,
            batch_size: int, max_calls: int,
            result_characters: int = RESULT_CHARACTERS) -> list[Outcome]:
  """Answers conversations, calling tools until no call is left.

  Args:
    params: model parameters, on the ambient mesh where there is one.
    conversations: messages, each ending with the user's or a tool's.
    tools: that may be called; with none each is answered once.
    tokenizer: the model's.
    sampling: temperature, filters, and `max_new_tokens` of each answer, which
      need room in the context: a conversation without it ends.
    model: the model.
    key: scalar key.
    batch_size: conversations at once.
    max_calls: calls of one conversation. Those beyond are told that none is
      left, and the model answers once more.
    result_characters: of a result, at most.

  Returns:
    One outcome for each conversation, in order.

  Raises:
    ConfigError: messages that cannot be written out; tools for a template
      that has no calls; `sampling.stop`; a tool that this machine cannot run.
  """
  require(not sampling.stop, "sampling.stop holds texts, at which a call may "
          "be cut in two; leave it empty where tools are called.")
  if tools:
    require_tool_calls(tokenizer)
  require(sampling.max_new_tokens < model.max_seq_len, "sampling."
          f"max_new_tokens={sampling.max_new_tokens} leaves no room for a "
          f"prompt in the context of {model.max_seq_len} tokens; lower it.")
  room = model.max_seq_len - sampling.max_new_tokens
  schemas = tuple(tool.schema for tool in tools)
  stops = stop_ids(tokenizer)
  rows = min(batch_size, len(conversations))
  outcomes = [Outcome() for _ in conversations]
  active = list(range(len(conversations)))
  turn = 0
  while active:
    prompts = {}
    for n in active:
      ids = render_prompt([*conversations[n], *outcomes[n].messages],
                          tokenizer, tools=schemas)
      if len(ids) <= room:
        prompts[n] = ids
      else:
        outcomes[n].status = CONTEXT
    active = list(prompts)
    turn_key = jax.random.fold_in(key, turn)
    for start in range(0, len(active), batch_size):
      numbers = active[start:start + batch_size]
      samples = generate_tokens(
          params, [prompts[n] for n in numbers],
          fold_rows(turn_key, np.array(numbers)), sampling, model,
          prompt_len=padded_length(max(len(prompts[n]) for n in numbers),
                                    room),
          stop_ids=stops, num_rows=rows)
      for row, n in enumerate(numbers):
        _append_answer(outcomes[n], samples, row, tokenizer)
    active = [n for n in active if not outcomes[n].status]
    results = run_calls(
        [(outcomes[n].messages[-1], max_calls - outcomes[n].calls)
         for n in active], tools, result_characters)
    for n, made in zip(active, results):
      _append_results(outcomes[n], made, max_calls)
    active = [n for n in active if not outcomes[n].status]
    turn += 1
  return outcomes


def require_tool_calls(tokenizer: Tokenizer) -> None:
  """Raises `ConfigError` where there is no way to write a call."""
  require(can_call_tools(tokenizer), "this model's tokenizer has "
          "no way to write a call: neither <|tool_call|> and <|tool|> among "
          "its special tokens nor calls that are known in its chat template; "
          "leave tools.names empty, or take a model that was trained to call "
          "tools.")


def calls_of(message: Message) -> Sequence[dict[str, Any]]:
  """The tool calls of a message, maybe none."""
  return message.get("tool_calls") or ()


def run_calls(asked: Sequence[tuple[Message, int]], tools: Sequence[Tool],
              result_characters: int = RESULT_CHARACTERS
              ) -> list[list[Message]]:
  """The results of the calls of several messages, made side by side.

  Args:
    asked: (an assistant's message, calls that it may make); those behind get
      `NO_CALLS_LEFT`.
    tools: that may be called.
    result_characters: of a result, at most.

  Raises:
    ConfigError: this side cannot run a tool.
  """
  with concurrent.futures.ThreadPoolExecutor(
      min(_THREADS, 4 * (os.cpu_count() or 1))) as pool:
    waiting = [[(call, pool.submit(call_tool, tools, call, result_characters)
                 if number < left else None)
                for number, call in enumerate(calls_of(message))]
               for message, left in asked]
    return [[_result_message(call, future.result() if future
                             else NO_CALLS_LEFT) for call, future in made]
            for made in waiting]


def _result_message(call: dict[str, Any], result: str) -> Message:
  """A tool's message with the result of a call."""
  identity = {"tool_call_id": call["id"]} if "id" in call else {}
  return {"role": "tool", "content": result,
          "name": call["function"]["name"], **identity}


def _append_answer(outcome: Outcome, samples: Any, row: int,
                   tokenizer: Tokenizer) -> None:
  """Reads a row of host `Samples`; sets the status if there is no call."""
  stopped = bool(samples.stopped_B[row])
  end = int(samples.lengths_B[row]) - stopped
  message = parse_answer(samples.tokens_BT[row, :end].tolist(), tokenizer)
  outcome.messages.append(message)
  if not stopped:  # a call at its end may be half of one
    outcome.status = CUT
  elif not calls_of(message):
    outcome.status = ANSWERED


def _append_results(outcome: Outcome, results: Sequence[Message],
                    max_calls: int) -> None:
  """Appends results; sets the status if it called on after it was told."""
  if any(each["content"] == NO_CALLS_LEFT for each in outcome.messages):
    outcome.status = CALLS
  outcome.messages += results
  outcome.calls = min(outcome.calls + len(results), max_calls)


def padded_length(length: int, room: int) -> int:
  """Slots that a batch's prompts are padded to.

  Args:
    length: of the longest.
    room: slots at most.
  """
  multiple = max(_BUCKET, 1 << max(0, length.bit_length() - 4))
  return min(-(-length // multiple) * multiple, room)
