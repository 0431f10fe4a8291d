"""A checkpoint's own chat template: the Jinja program that came with it.

It is run as `transformers` runs it (the same environment, filters and
functions), in Jinja's sandbox, because it is a program that someone else
wrote. What it makes is text, in which special tokens are spelt by name; so a
user who types "<|im_end|>" could end a turn that is not his. Not here: names
of special tokens *within a message* stay plain text. The ids are those of
`transformers` wherever no message holds such a name.

How: a message with a special token's name in it is rendered with marks around
its content. If the text without the marks is the text that the plain message
gives, the marks say where the content went, and only names outside of it
become tokens. A template that looks into contents so closely that marks
change what it writes is refused for such a message, with a sentence.
"""

from __future__ import annotations

import datetime
import functools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.sandbox

from llm_jax.config import ConfigError
from llm_jax.tokenizer.protocol import Tokenizer

Message = Mapping[str, str]
# Text, and whether special tokens' names in it are only text.
Pieces = list[tuple[str, bool]]

# Marks: characters of a private plane, which no text has.
_BEGIN, _END = "\U000ffff0", "\U000ffff1"


class _Generation(jinja2.ext.Extension):
  """`{% generation %}`, which says what an assistant wrote: written as is."""
  tags = {"generation"}

  def parse(self, parser: Any) -> Any:
    next(parser.stream)
    return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise(message: str) -> NoReturn:
  raise jinja2.TemplateError(message)


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None,
            separators: tuple[str, str] | None = None,
            sort_keys: bool = False) -> str:
  return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent,
                    separators=separators, sort_keys=sort_keys)


@functools.lru_cache(maxsize=16)
def _compiled(template: str) -> jinja2.Template:
  environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
      trim_blocks=True, lstrip_blocks=True,
      extensions=[_Generation, jinja2.ext.loopcontrols])
  environment.filters["tojson"] = _tojson
  environment.globals["raise_exception"] = _raise
  environment.globals["strftime_now"] = (
      lambda form: datetime.datetime.now().strftime(form))
  try:
    return environment.from_string(template)
  except jinja2.TemplateError as error:
    raise ConfigError("the checkpoint's chat template is not a Jinja template "
                      f"({error}); correct its chat_template.") from error


def render_text(messages: Sequence[Message], tokenizer: Tokenizer, *,
                add_generation_prompt: bool) -> str:
  """What the checkpoint's template makes of a conversation.

  Raises:
    ConfigError: the template is broken, or refuses the conversation.
  """
  try:
    return _compiled(tokenizer.chat_template).render(
        messages=[dict(message) for message in messages], tools=None,
        documents=None, add_generation_prompt=add_generation_prompt,
        **tokenizer.token_names)
  except ConfigError:
    raise
  except Exception as error:  # whatever the template's own code may raise
    told = str(error).strip().rstrip(".") or type(error).__name__
    raise ConfigError("the checkpoint's chat template refuses this "
                      f"conversation: {told}.") from error


def render_prompt(messages: Sequence[Message], tokenizer: Tokenizer
                  ) -> list[int]:
  """The ids after which the assistant speaks."""
  return _encode(_pieces(messages, tokenizer, True), tokenizer)


def render_conversation(messages: Sequence[Message], tokenizer: Tokenizer
                        ) -> tuple[list[int], list[int]]:
  """A whole conversation as ids, and which of them are learnt.

  An answer is encoded apart from what stands before it, as it is when it is
  generated. Learnt are its tokens, up to the one that ends the turn.

  Raises:
    ConfigError: the template writes a turn another way once more turns follow,
      so that what was learnt is not what would be asked for.
  """
  pieces = _pieces(messages, tokenizer, False)
  text = "".join(piece for piece, _ in pieces)
  stops = stop_ids(tokenizer)
  ids: list[int] = []
  mask: list[int] = []
  place = 0
  for number, message in enumerate(messages):
    if message["role"] != "assistant":
      continue
    before = render_text(messages[:number], tokenizer,
                         add_generation_prompt=True)
    through = render_text(messages[:number + 1], tokenizer,
                          add_generation_prompt=False)
    if not text.startswith(through) or not through.startswith(before):
      raise ConfigError(
          "the checkpoint's chat template writes answer "
          f"{number + 1} of this conversation differently when it is asked "
          "for and when more follows, so it cannot be trained on; leave out "
          "the turns after it.")
    asked, pieces = _cut(pieces, len(before) - place)
    answer, pieces = _cut(pieces, len(through) - len(before))
    place = len(through)
    asked_ids, answer_ids = (_encode(asked, tokenizer),
                             _encode(answer, tokenizer))
    last = next((i for i, token in enumerate(answer_ids) if token in stops),
                len(answer_ids) - 1)
    ids += asked_ids + answer_ids
    mask += [0] * len(asked_ids) + [int(i <= last)
                                    for i in range(len(answer_ids))]
  rest = _encode(pieces, tokenizer)
  return ids + rest, mask + [0] * len(rest)


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


def _pieces(messages: Sequence[Message], tokenizer: Tokenizer,
            add_generation_prompt: bool) -> Pieces:
  """The rendered conversation, told apart into markup and contents."""
  text = render_text(messages, tokenizer,
                     add_generation_prompt=add_generation_prompt)
  special = re.compile(_names(tokenizer))
  risky = {i for i, message in enumerate(messages)
           if special.search(message["content"])}
  if not risky:
    return [(text, False)]
  marked = render_text(
      [message | {"content": _mark(message["content"])} if i in risky
       else message for i, message in enumerate(map(dict, messages))],
      tokenizer, add_generation_prompt=add_generation_prompt)
  if marked.replace(_BEGIN, "").replace(_END, "") != text:
    name = special.search(messages[min(risky)]["content"])[0]
    raise ConfigError(
        f"message {min(risky) + 1} has {name!r} in it, the name of a special "
        "token, and the checkpoint's chat template does not let it be told "
        "apart from the token itself; take it out of the message.")
  pieces = []
  for piece in re.split(f"({_BEGIN}[^{_BEGIN}{_END}]*{_END})", marked):
    plain = piece.startswith(_BEGIN)
    pieces.append((piece.strip(_BEGIN + _END) if plain else piece, plain))
  return pieces


def _mark(content: str) -> str:
  """Marks within the spaces at both ends, which templates may take off."""
  core = content.strip()
  start = content.index(core)
  return (content[:start] + _BEGIN + core + _END
          + content[start + len(core):])


def _cut(pieces: Pieces, length: int) -> tuple[Pieces, Pieces]:
  """The first `length` characters of `pieces`, and the rest."""
  first: Pieces = []
  for i, (text, plain) in enumerate(pieces):
    if length < len(text):
      return (first + [(text[:length], plain)],
              [(text[length:], plain), *pieces[i + 1:]])
    first.append((text, plain))
    length -= len(text)
  return first, []


def _encode(pieces: Pieces, tokenizer: Tokenizer) -> list[int]:
  """Ids of `pieces`; text that only special tokens part is encoded whole."""
  if not any(plain for _, plain in pieces):
    return tokenizer.encode("".join(text for text, _ in pieces),
                            allow_special=True)
  names = re.compile(f"({_names(tokenizer)})")
  ids: list[int] = []
  waiting = ""
  for text, plain in pieces:
    for part in [text] if plain else names.split(text):
      if plain or part not in tokenizer.special_tokens:
        waiting += part
        continue
      ids += tokenizer.encode_text(waiting) if waiting else []
      ids.append(tokenizer.special_tokens[part])
      waiting = ""
  return ids + (tokenizer.encode_text(waiting) if waiting else [])
