"""Conversations: what they are, where they are read from, how they are split.

A `.jsonl` or `.parquet` file has one conversation per row, either as

    {"messages": [{"role": "user", "content": "..."},
                  {"role": "assistant", "content": "..."}]}

or, for a single turn, as {"prompt": "...", "response": "..."}. `synthetic.py`
makes them by procedure. Their form as tokens is the business of
`tokenizer/chat.py`; every answer ends with <|end|> there.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from llm_jax.config import ConfigError
from llm_jax.data import files as files_lib
from llm_jax.data.documents import split_items
from llm_jax.tokenizer.chat import render_conversation
from llm_jax.tokenizer.messages import Message, normalize_messages
from llm_jax.tokenizer.protocol import Tokenizer

COLUMNS = ("messages", "prompt+response")


@dataclasses.dataclass(frozen=True)
class Conversation:
  """A conversation to learn from.

  Attributes:
    messages: in order, as `tokenizer/messages.py` has them.
    kind: what its validation loss is reported under.
    source: where it came from.
    tools: schemas of the functions that the assistant was offered.
  """
  messages: tuple[Message, ...]
  kind: str = "file"
  source: str = ""
  tools: tuple[Mapping[str, Any], ...] = ()


def single_turn(prompt: str, response: str, kind: str = "file",
                source: str = "") -> Conversation:
  """A question and its answer."""
  return Conversation(({"role": "user", "content": prompt},
                       {"role": "assistant", "content": response}),
                      kind, source)


def read_conversations(path: str, errors: str = "strict"
                       ) -> Iterator[Conversation]:
  """The conversations of a file, directory or glob of `.jsonl` or `.parquet`.

  Args:
    path: local or remote, see `files.find_files`.
    errors: "strict", or "replace" for bytes that are not UTF-8.

  Raises:
    ConfigError: naming file and row: a field that is missing, a message that
      is not one, a conversation in which the assistant says nothing; or no
      conversation at all.
  """
  empty = True
  for file in files_lib.find_files(path, files_lib.RECORD_SUFFIXES):
    for record in files_lib.read_records(file, COLUMNS, errors):
      empty = False
      yield _conversation(record)
  if empty:
    raise ConfigError(f"{path} has no conversations: its files are empty.")


def split_conversations(conversations: Iterable[Conversation], seed: int,
                        fraction: float) -> dict[str, list[Conversation]]:
  """{"train": [...], "validation": [...]}, by content as documents are.

  Raises `ConfigError` if a single conversation would have to be both.
  """
  sides: dict[str, list[Conversation]] = {"train": [], "validation": []}
  for side, conversation in split_items(
      conversations, lambda c: json.dumps(c.messages), seed, fraction):
    sides[side].append(conversation)
  return sides


def render_all(conversations: Sequence[Conversation], tokenizer: Tokenizer
               ) -> list[tuple[np.ndarray, np.ndarray]]:
  """Each conversation as (ids int32 [n], loss_mask bool [n])."""
  rendered = []
  for conversation in conversations:
    ids, mask = render_conversation(conversation.messages, tokenizer,
                                    conversation.tools)
    rendered.append((np.asarray(ids, np.int32), np.asarray(mask, bool)))
  return rendered


def fits_in(tokenizer: Tokenizer,
            seq_len: int) -> Callable[[Conversation], bool]:
  """A test whether a conversation is at most `seq_len` tokens long."""
  def fits(conversation: Conversation) -> bool:
    ids, _ = render_conversation(conversation.messages, tokenizer,
                                 conversation.tools)
    return len(ids) <= seq_len
  return fits


def _conversation(record: files_lib.Record) -> Conversation:
  """A record as a conversation; raises `ConfigError` where it is none."""
  fields = record.fields
  if fields.get("messages") is None and "prompt" in fields:
    for name in ("prompt", "response"):
      if not isinstance(fields.get(name), str):
        raise ConfigError(f"{record.source}: `{name}` is of type "
                          f"{type(fields.get(name)).__name__}; it should be "
                          "text.")
    return single_turn(fields["prompt"], fields["response"],
                       source=record.source)
  messages = fields.get("messages")
  try:
    messages = normalize_messages(messages)
  except ConfigError as error:
    raise ConfigError(f"{record.source}: {error}") from error
  if not any(message["role"] == "assistant" for message in messages):
    raise ConfigError(f"{record.source}: no message has the role 'assistant', "
                      "so there is nothing to learn; add the answer or remove "
                      "the row.")
  return Conversation(tuple(messages), source=record.source)
