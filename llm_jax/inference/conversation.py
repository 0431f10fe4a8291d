"""A conversation with a model: what fits in its context, and text as it comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from llm_jax.config import require
from llm_jax.inference.text_stream import TextStream
from llm_jax.tokenizer.chat import CALL, has_own_template, render_prompt
from llm_jax.tokenizer.messages import Message
from llm_jax.tokenizer.protocol import Tokenizer


def stream_text(tokens: Iterable[int], tokenizer: Tokenizer,
                stop_ids: tuple[int, ...] = (),
                stop: tuple[str, ...] = ()) -> Iterator[str]:
  """Text of tokens as they come, in whole characters.

  A character may be spread over several tokens; what there is of it waits for
  the rest, and shows as U+FFFD only where the rest never comes. Likewise text
  waits that a stop string may begin with.

  Args:
    tokens: ids, for example of `streaming.stream`.
    tokenizer: the model's.
    stop_ids: ids that are not text and end it.
    stop: texts that end it, and are not part of it (`SamplingConfig.stop`).
  """
  text = TextStream(tokenizer, stop)
  for token in tokens:
    if token in stop_ids:
      break
    if piece := text.push(token):
      yield piece
    if text.stopped:
      return
  if piece := text.finish():
    yield piece


def call_marks(tokenizer: Tokenizer) -> tuple[tuple[int, ...],
                                              tuple[str, ...]]:
  """(ids, texts) with which a call of a tool begins: not words for a person.

  Calls that are bare JSON, as Llama 3 writes them, begin with nothing else.
  """
  if not has_own_template(tokenizer):
    return (tokenizer.special_tokens[CALL],), ()
  return (), (("<tool_call>",) if "<tool_call>" in tokenizer.chat_template
              else ())


def fit_messages(messages: Sequence[Message], tokenizer: Tokenizer, room: int,
                 tools: Sequence[Mapping[str, Any]] = ()
                 ) -> tuple[list[int], int]:
  """The prompt of a conversation, without the oldest turns if it is too long.

  Turns are left out whole, a user's message with its answer; the system
  message and the last user message, with what came of it, stay.

  Args:
    messages: the conversation, the last one the user's or a tool's.
    tokenizer: the model's.
    room: tokens that the prompt may have.
    tools: schemas of the functions that the model may call.

  Returns:
    (ids, messages left out).

  Raises:
    ConfigError: the last message alone is too long.
  """
  system = list(messages[:1]) if messages[0]["role"] == "system" else []
  turns = list(messages[len(system):])
  dropped = 0
  while True:
    ids = render_prompt(system + turns[dropped:], tokenizer, tools)
    if len(ids) <= room:
      return ids, dropped
    later = [i for i in range(dropped + 1, len(turns))
             if turns[i]["role"] == "user"]
    require(bool(later), f"the message is too long: it takes {len(ids)} tokens "
            f"of the model's context and {room} are left for it; shorten it.")
    dropped = later[0]
