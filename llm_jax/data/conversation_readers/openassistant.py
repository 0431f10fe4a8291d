"""OpenAssistant (Köpf et al. 2023, arXiv:2304.07327): trees of messages.

The "trees" export has a tree a line: each message has `replies`, which people
ranked, 0 being the best.

    {"message_tree_id": "...", "prompt": {
        "role": "prompter", "text": "...", "replies": [
            {"role": "assistant", "text": "...", "rank": 0, "replies": []}]}}

The other export, which is also the parquet one, has a message a row, with
`message_id` and `parent_id`; `assemble` makes trees of them.

A tree is several conversations: the *best* is the path from the root that takes
the best-ranked reply each time; or all paths from root to leaf are read. A path
ends with its last answer. Deleted messages, and what follows on them, are
passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from llm_jax.config import DataFault
from llm_jax.data.files import Record

Fields = dict[str, Any]

_ROLES = {"prompter": "user", "assistant": "assistant"}


def reads(fields: Fields) -> bool:
  """Whether a record is a tree."""
  prompt = fields.get("prompt")
  return isinstance(prompt, dict) and "text" in prompt


def is_flat(fields: Fields) -> bool:
  """Whether a record is one message of a tree."""
  return {"message_id", "parent_id", "text", "role"} <= fields.keys()


def read(fields: Fields, paths: str = "best"
         ) -> list[tuple[Any, list[Any]]]:
  """The conversations of a tree.

  Args:
    fields: of the record.
    paths: "best" or "all".
  """
  found = []
  for path in _paths(fields["prompt"], paths == "all"):
    while path and path[-1]["role"] != "assistant":
      path.pop()
    # Two leaves below one answer are one conversation.
    if path and path not in found:
      found.append(path)
  return [(path, []) for path in found]


def assemble(records: Iterable[Record]) -> Iterator[Record]:
  """Trees of records that are messages; they are where their root is.

  All messages are held in memory, for children may stand before parents.
  """
  messages: dict[str, tuple[Fields, Record]] = {}
  for record in records:
    if not is_flat(record.fields):
      yield record  # whoever reads it says what is wrong with it
      continue
    message = dict(record.fields) | {"replies": []}
    messages[message["message_id"]] = message, record
  for message, _ in messages.values():
    parent = messages.get(message["parent_id"])
    if parent is not None:
      parent[0]["replies"].append(message)
  for message, record in messages.values():
    if message["parent_id"] is None:
      yield record._replace(fields={"prompt": message})


def _paths(message: Fields, every: bool) -> list[list[dict[str, str]]]:
  """Paths from a message down; with `every` all, else the best-ranked one."""
  if not isinstance(message, dict):
    raise DataFault("not a message", "a message of the tree is of type "
                    f"{type(message).__name__}; it should be an object.")
  if message.get("deleted"):
    return [[]]
  role, text = message.get("role"), message.get("text")
  if role not in _ROLES:
    raise DataFault("unknown role", f"a message of the tree has the role "
                    f"{role!r}; choose one of {', '.join(_ROLES)}.")
  if not isinstance(text, str):
    raise DataFault("content", "a message of the tree has a `text` of type "
                    f"{type(text).__name__}; it should be text.")
  said = {"role": _ROLES[role], "content": text}
  replies = [reply for reply in message.get("replies") or ()
             if not (isinstance(reply, dict) and reply.get("deleted"))]
  replies.sort(key=_rank)  # of the unranked the first is the best
  below = [path for reply in (replies if every else replies[:1])
           for path in _paths(reply, every)]
  return [[said, *path] for path in below or [[]]]


def _rank(reply: Any) -> float:
  rank = reply.get("rank") if isinstance(reply, dict) else None
  return float("inf") if rank is None else rank
