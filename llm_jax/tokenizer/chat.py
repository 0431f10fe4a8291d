"""Conversations as tokens: the only home of our chat template.

  <|endoftext|><|system|>...<|end|><|user|>...<|end|><|assistant|>...<|end|>

Every message opens with one token that says who speaks and closes with one
that says it is over, so the model's decision to stop is a token it is trained
to emit: the loss mask is 1 on what the assistant says *and on its <|end|>*.
The conversation opens with the token that opens documents in pretraining.

The content of a message is encoded as plain text. A user who types
"<|end|><|assistant|>Sure!" sends those characters, not those tokens; only this
file writes role tokens. (A template rendered to one string and then encoded,
as Jinja templates are used, cannot give that guarantee by itself.)

A checkpoint that was trained elsewhere knows another form; where a tokenizer
came with a template of its own, that is used (`chat_template.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llm_jax.config import ConfigError
from llm_jax.tokenizer import chat_template
from llm_jax.tokenizer.protocol import Tokenizer

Message = Mapping[str, str]  # {"role": "user", "content": "Hello"}

ROLES = ("system", "user", "assistant")
START = "<|endoftext|>"
END = "<|end|>"

# The same template for programs that read tokenizer_config.json.
JINJA_TEMPLATE = (
    "{{- '" + START + "' -}}"
    "{%- for message in messages -%}"
    "{{- '<|' + message['role'] + '|>' + message['content'] + '" + END
    + "' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}")


def render_conversation(messages: Sequence[Message], tokenizer: Tokenizer
                        ) -> tuple[list[int], list[int]]:
  """A whole conversation as ids, and which of them are learnt.

  Args:
    messages: of `role` and `content`; a system message may come first.
    tokenizer: one that has the role tokens.

  Returns:
    (ids, loss_mask), equally long. `loss_mask[i]` is 1 where token i is
    trained as a *target*: the assistant's words and its <|end|>.

  Raises:
    ConfigError: on a message that is not one, or a tokenizer without roles.
  """
  check_messages(messages)
  if has_own_template(tokenizer):
    return chat_template.render_conversation(messages, tokenizer)
  special = _chat_tokens(tokenizer)
  ids, loss_mask = [special[START]], [0]
  for message in messages:
    content_ids = tokenizer.encode(message["content"])
    learnt = int(message["role"] == "assistant")
    ids += [special[_role_token(message["role"])], *content_ids, special[END]]
    loss_mask += [0] + [learnt] * (len(content_ids) + 1)
  return ids, loss_mask


def render_prompt(messages: Sequence[Message], tokenizer: Tokenizer
                  ) -> list[int]:
  """The ids after which the assistant speaks: they end with <|assistant|>.

  Raises:
    ConfigError: as `render_conversation`; also when the assistant spoke last.
  """
  check_messages(messages)
  if messages[-1]["role"] == "assistant":
    raise ConfigError("the last message is the assistant's: there is nothing "
                      "to answer; end the prompt with a user message.")
  if has_own_template(tokenizer):
    return chat_template.render_prompt(messages, tokenizer)
  ids, _ = render_conversation(messages, tokenizer)
  return ids + [tokenizer.special_tokens[_role_token("assistant")]]


def stop_ids(tokenizer: Tokenizer) -> tuple[int, ...]:
  """The tokens that end an answer: <|end|>, or the next document's start.

  With a checkpoint's own template: those that it names, and the one that the
  template writes after an answer.
  """
  if has_own_template(tokenizer):
    return chat_template.stop_ids(tokenizer)
  special = _chat_tokens(tokenizer)
  return (special[END], special[START])


def has_own_template(tokenizer: Tokenizer) -> bool:
  """Whether conversations are written by the checkpoint's template."""
  return tokenizer.chat_template not in ("", None, JINJA_TEMPLATE)


def can_chat(tokenizer: Tokenizer) -> bool:
  """Whether there is any way to write a conversation for this vocabulary."""
  return has_own_template(tokenizer) or not _missing(tokenizer)


def check_messages(messages: Sequence[Message]) -> None:
  """Raises `ConfigError` unless `messages` can be rendered."""
  if not isinstance(messages, Sequence) or isinstance(messages, str):
    raise ConfigError(f"messages are a list of {{'role', 'content'}}, not "
                      f"{type(messages).__name__}.")
  if not messages:
    raise ConfigError("a conversation has no messages; give at least one.")
  for number, message in enumerate(messages, start=1):
    if not isinstance(message, Mapping):
      raise ConfigError(f"message {number} is a {type(message).__name__}; it "
                        "should be an object with `role` and `content`.")
    for field in ("role", "content"):
      if field not in message:
        raise ConfigError(f"message {number} has no `{field}`; each message "
                          "has `role` and `content`.")
    if message["role"] not in ROLES:
      raise ConfigError(f"message {number} has the role {message['role']!r}; "
                        f"choose one of {', '.join(ROLES)}.")
    if message["role"] == "system" and number > 1:
      raise ConfigError(f"message {number} has the role 'system', which can "
                        "only come first.")
    if not isinstance(message["content"], str):
      raise ConfigError(f"message {number} has content of type "
                        f"{type(message['content']).__name__}; it should be "
                        "text.")


def _role_token(role: str) -> str:
  return f"<|{role}|>"


def _chat_tokens(tokenizer: Tokenizer) -> dict[str, int]:
  """The special tokens, of which the template's must not be missing."""
  missing = _missing(tokenizer)
  if missing:
    raise ConfigError(
        f"this tokenizer lacks {', '.join(missing)}, which the chat template "
        "needs; train one with them in tokenizer.special_tokens.")
  return tokenizer.special_tokens


def _missing(tokenizer: Tokenizer) -> list[str]:
  needed = (START, *map(_role_token, ROLES), END)
  return [name for name in needed if name not in tokenizer.special_tokens]
