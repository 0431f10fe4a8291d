"""Conversations: what they are, where they are read from, how they are split.

A `.jsonl`, `.jsonl.gz` or `.parquet` file has one conversation (or one tree of
them) per row, in one of the public formats of `conversation_readers/`, told by
the fields of its first row. Whatever is wrong with a row is told with the file,
the line, the fault and the remedy; or the row is passed over, and counted.

`synthetic.py` makes conversations by procedure. Their form as tokens is the
business of `tokenizer/chat.py`; every answer ends with <|end|> there.
"""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from llm_jax.config import DataFault, require, require_choice
from llm_jax.data import files as files_lib
from llm_jax.data.conversation_readers import (
    openai, openassistant, prompt_response, sharegpt, ultrachat)
from llm_jax.data.conversation_readers.tool_fields import without_nulls
from llm_jax.data.documents import split_items
from llm_jax.tokenizer.chat import render_conversation
from llm_jax.tokenizer.messages import (
    Message, check_tools, function_of, normalize_messages)
from llm_jax.tokenizer.protocol import Tokenizer

# In the order in which a record is tried: some have `prompt` besides.
READERS = {"messages": openai, "sharegpt": sharegpt, "ultrachat": ultrachat,
           "openassistant": openassistant, "prompt_response": prompt_response}
_PATH = " path "  # in the source of one of a tree's conversations
_SHOWN_FIELDS = 8


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


@dataclasses.dataclass
class Reading:
  """What became of the rows of a path.

  Attributes:
    rows: that were read, good and bad.
    faults: kind -> rows that were passed over.
    formats: format -> rows.
  """
  rows: int = 0
  faults: collections.Counter[str] = dataclasses.field(
      default_factory=collections.Counter)
  formats: collections.Counter[str] = dataclasses.field(
      default_factory=collections.Counter)

  def summary(self, path: str) -> str:
    """A line on what was left out; "" where nothing was."""
    if not self.faults:
      return ""
    kinds = ", ".join(f"{count:,} {kind}"
                      for kind, count in self.faults.most_common())
    return (f"{path}: left out {self.faults.total():,} of {self.rows:,} rows: "
            f"{kinds}")


def read_conversations(path: str, errors: str = "strict", *,
                       form: str = "auto", paths: str = "best",
                       on_error: str = "stop", kind: str = "file",
                       report: Callable[[str], None] = print
                       ) -> Iterator[Conversation]:
  """The conversations of a file, directory or glob of `.jsonl` or `.parquet`.

  Args:
    path: local or remote, see `files.find_files`.
    errors: "strict", or "replace" for bytes that are not UTF-8.
    form: one of `READERS`, or "auto": by the fields of a record.
    paths: of a tree of messages, "best" or "all".
    on_error: "stop" at a fault, or "skip" the row and count it.
    kind: of the conversations, where a row of `messages` has no `kind`.
    report: told the format of each file and, at the end, what was left out.

  Raises:
    DataFault: naming file, row, fault and remedy: a row that is not JSON or not
      UTF-8, a field that is missing, a message that is not one, an empty
      answer, a conversation in which the assistant says nothing.
    ConfigError: there is no conversation at all.
  """
  require_choice("data.format", form, ("auto", *READERS))
  require_choice("data.paths", paths, ("best", "all"))
  require_choice("data.on_error", on_error, ("stop", "skip"))
  seen = Reading()

  def skip(fault: DataFault) -> None:
    seen.rows += 1
    seen.faults[fault.kind] += 1

  on_fault = skip if on_error == "skip" else None
  told = ""  # the format that was told last
  for file in files_lib.find_files(path, files_lib.RECORD_SUFFIXES):
    records = files_lib.read_records(file, None, errors, on_fault)
    for record in _trees(records):
      try:
        name = _format_of(record, form)
        if name != told:
          report(f"{file.path}: read as {name}")
          told = name
        found = _conversations(record, name, paths, kind)
      except DataFault as fault:
        if on_fault is None:
          raise DataFault(fault.kind, f"{record.source}: {fault}") from fault
        skip(fault)
        continue
      seen.rows += 1
      seen.formats[name] += 1
      yield from found
  if summary := seen.summary(path):
    report(summary)
  require(seen.rows > 0, f"{path} has no conversations: its files are empty.")
  require(seen.faults.total() < seen.rows, f"{path} has no conversations: all "
          f"of its {seen.rows:,} rows were left out; read the first fault with "
          "--data.on_error=stop.")


def split_conversations(conversations: Iterable[Conversation], seed: int,
                        fraction: float) -> dict[str, list[Conversation]]:
  """{"train": [...], "validation": [...]}, by content as documents are.

  Conversations of one tree are on one side.

  Raises `ConfigError` if a single conversation would have to be both.
  """
  def text_of(conversation: Conversation) -> str:
    if _PATH in conversation.source:  # the root is what they have in common
      return json.dumps(conversation.messages[0])
    return json.dumps(conversation.messages)

  sides: dict[str, list[Conversation]] = {"train": [], "validation": []}
  for side, conversation in split_items(conversations, text_of, seed,
                                        fraction):
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


def check_trainable(messages: Sequence[Message]) -> None:
  """Raises `DataFault` where there is nothing to learn, or an empty answer.

  Args:
    messages: normalised.
  """
  for number, message in enumerate(messages, start=1):
    if message["role"] != "assistant":
      continue
    calls = message.get("tool_calls", ())
    if not calls and not message["content"].strip():
      raise DataFault("empty assistant turn", f"message {number} is an empty "
                      "assistant turn; write the answer or remove the row.")
    if not all(function_of(call)["name"].strip() for call in calls):
      raise DataFault("tool call", f"message {number} calls a tool without a "
                      "name; name it, or remove the row.")
  if not any(message["role"] == "assistant" for message in messages):
    raise DataFault("no answer", "no message has the role 'assistant', so "
                    "there is nothing to learn; add the answer or remove the "
                    "row.")


def _trees(records: Iterator[files_lib.Record]
           ) -> Iterator[files_lib.Record]:
  """Records as they are; messages of trees, one a row, as trees."""
  first = next(records, None)
  if first is None:
    return
  def all_of_them():
    yield first
    yield from records
  if openassistant.is_flat(first.fields):
    yield from openassistant.assemble(all_of_them())
  else:
    yield from all_of_them()


def _format_of(record: files_lib.Record, form: str) -> str:
  """The format of a record; raises `DataFault` if it has none, or not `form`.
  """
  names = READERS if form == "auto" else (form,)
  for name in names:
    if READERS[name].reads(record.fields):
      return name
  fields = list(map(str, record.fields))
  shown = ", ".join(fields[:_SHOWN_FIELDS]) or "none"
  shown += ", ..." if len(fields) > _SHOWN_FIELDS else ""
  if form != "auto":
    raise DataFault("unknown format", f"its fields ({shown}) are not those of "
                    f"--data.format={form}; leave it out to have the format "
                    "found out.")
  raise DataFault("unknown format", f"its fields ({shown}) are of no format "
                  "known here: `messages`, `conversations` (ShareGPT), `data` "
                  "(UltraChat), `prompt` with `replies` (OpenAssistant), or a "
                  "`prompt` or `instruction` with its `response`, `completion` "
                  "or `output`; rename them.")


def _conversations(record: files_lib.Record, form: str, paths: str,
                   kind: str) -> list[Conversation]:
  """A record as conversations; raises `DataFault` where it is none."""
  fields = record.fields
  if " row " in record.source:  # of a parquet file
    fields = {name: without_nulls(value) if name in ("messages", "tools")
              else value for name, value in fields.items()}
  reader = READERS[form]
  read = (reader.read(fields, paths) if reader is openassistant
          else reader.read(fields))
  if not read:
    raise DataFault("no answer", "the tree has no answer, so there is nothing "
                    "to learn; remove the row.")
  if reader is openai and isinstance(fields.get("kind"), str):
    kind = fields["kind"]
  made = []
  for number, (messages, tools) in enumerate(read, start=1):
    messages = normalize_messages(messages)
    check_trainable(messages)
    check_tools(tools)
    source = record.source
    if reader is openassistant and paths == "all":
      source += f"{_PATH}{number}"
    made.append(Conversation(tuple(messages), kind, source, tuple(tools)))
  return made
