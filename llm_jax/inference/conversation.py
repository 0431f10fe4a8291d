"""A conversation with a model: what fits in its context, and text as it comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from llm_jax.config import require
from llm_jax.inference.text_stream import TextStream
from llm_jax.tokenizer.chat import Message, render_prompt
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


def fit_messages(messages: Sequence[Message], tokenizer: Tokenizer,
                 room: int) -> tuple[list[int], int]:
  """The prompt of a conversation, without the oldest turns if it is too long.

  Turns are left out whole, a user's message with its answer; the system
  message and the last user message stay.

  Args:
    messages: the conversation, the last one the user's.
    tokenizer: the model's.
    room: tokens that the prompt may have.

  Returns:
    (ids, messages left out).

  Raises:
    ConfigError: the last message alone is too long.
  """
  system = list(messages[:1]) if messages[0]["role"] == "system" else []
  turns = list(messages[len(system):])
  dropped = 0
  while True:
    ids = render_prompt(system + turns[dropped:], tokenizer)
    if len(ids) <= room:
      return ids, dropped
    later = [i for i in range(dropped + 1, len(turns))
             if turns[i]["role"] == "user"]
    require(bool(later), f"the message is too long: it takes {len(ids)} tokens "
            f"of the model's context and {room} are left for it; shorten it.")
    dropped = later[0]
