"""A checkpoint's own chat template: the Jinja program that came with it.

What it makes is text, in which special tokens are spelt by name; so a user who
types "<|im_end|>" could end a turn that is not his. Not here: names of special
tokens *within a message* stay plain text. The ids are those of `transformers`
wherever no message holds such a name.

How: texts with a special token's name in them (of a message, of a call's
arguments, of a tool's schema) are rendered with marks around them. If the
result without the marks is what the plain conversation gives, the marks say
where those texts went, and only names outside of them become tokens. A template
that looks into contents so closely that marks change what it writes is refused
for such a message, with a sentence.

What is learnt is what the template says with `{% generation %}`; where it says
nothing, an answer is what follows the prompt for it, through the token that
ends the turn.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from llm_jax.config import ConfigError
from llm_jax.tokenizer.jinja_templates import (
    GENERATION_BEGIN, GENERATION_END, marks_generation, render_text)
from llm_jax.tokenizer.messages import Message
from llm_jax.tokenizer.protocol import Tokenizer

Tools = Sequence[Mapping[str, Any]]

# Marks: characters of a private plane, which no text has.
_BEGIN, _END = "\U000ffff0", "\U000ffff1"
_ALL_MARKS = _BEGIN + _END + GENERATION_BEGIN + GENERATION_END


class Piece(NamedTuple):
  """Text, whether special tokens' names in it are only text, and whether the
  template says that the assistant wrote it."""
  text: str
  plain: bool = False
  learnt: bool = False


def render_prompt(messages: Sequence[Message], tokenizer: Tokenizer,
                  tools: Tools = ()) -> list[int]:
  """The ids after which the assistant speaks."""
  return _encode(_pieces(messages, tokenizer, tools, True), tokenizer)


def render_continuation(messages: Sequence[Message], tokenizer: Tokenizer,
                        tools: Tools = ()) -> list[int]:
  """The ids that follow the answer `messages[1]`, behind its end of turn.

  Args:
    messages: a question, an answer without the names of special tokens in it,
      and what follows.
    tokenizer: the model's.
    tools: schemas of the functions that the assistant may call.

  Raises:
    ConfigError: the template writes no end of turn after that answer, or
      writes the question another way once more follows.
  """
  before = render_text(messages[:1], tokenizer, tools=tools,
                       add_generation_prompt=True)
  pieces = _pieces(messages, tokenizer, tools, True)
  text = "".join(piece.text for piece in pieces)
  special = {number: name for name, number in
             tokenizer.special_tokens.items()}
  stops = "|".join(re.escape(special[token]) for token in stop_ids(tokenizer)
                   if token in special) or r"(?!)"
  end = (re.compile(stops).search(text, len(before))
         if text.startswith(before) else None)
  if end is None:
    raise ConfigError("the checkpoint's chat template does not say where an "
                      "answer ends and the next turn begins, so conversations "
                      "of several turns cannot be sampled with it; choose a "
                      "template with --data.template when finetuning.")
  return _encode(_cut(pieces, end.end())[1], tokenizer)


def render_conversation(messages: Sequence[Message], tokenizer: Tokenizer,
                        tools: Tools = ()) -> tuple[list[int], list[int]]:
  """A whole conversation as ids, and which of them are learnt.

  An answer is encoded apart from what stands before it, as it is when it is
  generated.

  Raises:
    ConfigError: the template writes a turn another way once more turns follow,
      so that what was learnt is not what would be asked for.
  """
  pieces = _pieces(messages, tokenizer, tools, False)
  ids: list[int] = []
  mask: list[int] = []
  parts = (_generations(pieces) if marks_generation(tokenizer.chat_template)
           else _answers(pieces, messages, tokenizer, tools))
  stops = stop_ids(tokenizer)
  for part, learnt in parts:
    part_ids = _encode(part, tokenizer)
    count = len(part_ids) if learnt else 0
    if learnt and not any(piece.learnt for piece in part):
      # Through the token that ends the turn.
      count = next((i + 1 for i, token in enumerate(part_ids)
                    if token in stops), count)
    ids += part_ids
    mask += [1] * count + [0] * (len(part_ids) - count)
  return ids, mask


def _generations(pieces: list[Piece]) -> list[tuple[list[Piece], bool]]:
  """The conversation in parts that the template says are learnt, or not."""
  return [(list(part), learnt) for learnt, part in itertools.groupby(
      pieces, lambda piece: piece.learnt)]


def _answers(pieces: list[Piece], messages: Sequence[Message],
             tokenizer: Tokenizer, tools: Tools
             ) -> list[tuple[list[Piece], bool]]:
  """The conversation in answers and what stands between them."""
  text = "".join(piece.text for piece in pieces)
  parts: list[tuple[list[Piece], bool]] = []
  place = 0
  for number, message in enumerate(messages):
    if message["role"] != "assistant":
      continue
    before = render_text(messages[:number], tokenizer, tools=tools,
                         add_generation_prompt=True)
    through = render_text(messages[:number + 1], tokenizer, tools=tools,
                          add_generation_prompt=False)
    if not text.startswith(through) or not through.startswith(before):
      raise ConfigError(
          "the checkpoint's chat template writes answer "
          f"{number + 1} of this conversation differently when it is asked "
          "for and when more follows, so it cannot be trained on; leave out "
          "the turns after it, or choose a template with --data.template.")
    asked, pieces = _cut(pieces, len(before) - place)
    answer, pieces = _cut(pieces, len(through) - len(before))
    place = len(through)
    parts += [(asked, False), (answer, True)]
  return parts + [(pieces, False)]


def stop_ids(tokenizer: Tokenizer) -> tuple[int, ...]:
  """The tokens that end an answer, by the checkpoint and by its template."""
  found = list(tokenizer.stop_token_ids)
  special = tokenizer.special_tokens
  if tokenizer.token_names.get("eos_token") in special:
    found.append(special[tokenizer.token_names["eos_token"]])
  ended = _end_of_turn(tokenizer)
  if ended is not None:
    found.append(ended)
  return tuple(dict.fromkeys(found))


def _end_of_turn(tokenizer: Tokenizer) -> int | None:
  """The special token that the template writes after an answer."""
  answer = "llm_jax"
  try:
    text = render_text([{"role": "user", "content": "Hello"},
                        {"role": "assistant", "content": answer}], tokenizer,
                       add_generation_prompt=False)
  except ConfigError:
    return None
  after = text.rpartition(answer)[2]
  match = re.match(rf"\s*({_names(tokenizer)})", after)
  return tokenizer.special_tokens[match[1]] if match else None


def _names(tokenizer: Tokenizer) -> str:
  """Special tokens' names as a regular expression; one that never matches."""
  names = sorted(tokenizer.special_tokens, key=len, reverse=True)
  return "|".join(map(re.escape, names)) or r"(?!)"


def _pieces(messages: Sequence[Message], tokenizer: Tokenizer, tools: Tools,
            add_generation_prompt: bool) -> list[Piece]:
  """The rendered conversation, told apart into markup and contents."""
  text = render_text(messages, tokenizer, tools=tools,
                     add_generation_prompt=add_generation_prompt)
  special = re.compile(_names(tokenizer))
  marked_messages = [_mark_all(message, special) for message in messages]
  marked_tools = [_mark_all(tool, special) for tool in tools]
  risky = [i for i, message in enumerate(messages)
           if marked_messages[i] != message]
  named = risky or marked_tools != list(tools)
  learnt_marks = (not add_generation_prompt
                  and marks_generation(tokenizer.chat_template))
  if not named and not learnt_marks:
    return [Piece(text)]
  marked = render_text(marked_messages, tokenizer, tools=marked_tools,
                       add_generation_prompt=add_generation_prompt,
                       mark_generation=learnt_marks)
  pieces = _told_apart(marked)
  if pieces is None or "".join(piece.text for piece in pieces) != text:
    if not named:
      raise ConfigError("the checkpoint's chat template looks into what its "
                        "{% generation %} blocks wrote, so what is learnt "
                        "cannot be told; take the blocks out of it.")
    place = f"message {risky[0] + 1}" if risky else "a tool's schema"
    name = special.search(str(messages[risky[0]] if risky else tools))[0]
    raise ConfigError(
        f"{place} has {name!r} in it, the name of a special token, and the "
        "checkpoint's chat template does not let it be told apart from the "
        "token itself; take it out of the message.")
  return pieces


def _told_apart(marked: str) -> list[Piece] | None:
  """Text with marks as pieces; None where a mark has lost its fellow."""
  pieces = []
  plain = learnt = False
  for part in re.split(f"([{_ALL_MARKS}])", marked):
    if part in (_BEGIN, _END):
      if plain == (part == _BEGIN):
        return None
      plain = not plain
    elif part in (GENERATION_BEGIN, GENERATION_END):
      if plain or learnt == (part == GENERATION_BEGIN):
        return None
      learnt = not learnt
    elif part:
      pieces.append(Piece(part, plain, learnt))
  return None if plain or learnt else pieces


def _mark_all(value: Any, special: re.Pattern[str]) -> Any:
  """A message or schema with its texts marked that have such a name in them."""
  if isinstance(value, str):
    return _mark(value) if special.search(value) else value
  if isinstance(value, Mapping):
    return {_mark_all(key, special): item if key in ("role", "type")
            else _mark_all(item, special) for key, item in value.items()}
  if isinstance(value, (list, tuple)):
    return [_mark_all(item, special) for item in value]
  return value


def _mark(content: str) -> str:
  """Marks within the spaces at both ends, which templates may take off."""
  core = content.strip()
  start = content.index(core)
  return (content[:start] + _BEGIN + core + _END
          + content[start + len(core):])


def _cut(pieces: list[Piece], length: int
         ) -> tuple[list[Piece], list[Piece]]:
  """The first `length` characters of `pieces`, and the rest."""
  first: list[Piece] = []
  for i, piece in enumerate(pieces):
    if length < len(piece.text):
      return (first + [piece._replace(text=piece.text[:length])],
              [piece._replace(text=piece.text[length:]), *pieces[i + 1:]])
    first.append(piece)
    length -= len(piece.text)
  return first, []


def _encode(pieces: list[Piece], tokenizer: Tokenizer) -> list[int]:
  """Ids of `pieces`; text that only special tokens part is encoded whole."""
  if not any(piece.plain for piece in pieces):
    return tokenizer.encode("".join(piece.text for piece in pieces),
                            allow_special=True)
  names = re.compile(f"({_names(tokenizer)})")
  ids: list[int] = []
  waiting = ""
  for text, plain, _ in pieces:
    for part in [text] if plain else names.split(text):
      if plain or part not in tokenizer.special_tokens:
        waiting += part
        continue
      ids += tokenizer.encode_text(waiting) if waiting else []
      ids.append(tokenizer.special_tokens[part])
      waiting = ""
  return ids + (tokenizer.encode_text(waiting) if waiting else [])
