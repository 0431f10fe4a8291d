"""Conversations as tokens: the only home of our chat template.

  <|endoftext|><|system|>...<|end|><|user|>...<|end|><|assistant|>...<|end|>

Every message opens with one token that says who speaks and closes with one
that says it is over, so the model's decision to stop is a token it is trained
to emit: the loss mask is 1 on what the assistant says *and on its <|end|>*.
The conversation opens with the token that opens documents in pretraining.

An assistant that has tools is told so in the system message, in one line, and
calls one by a token, the tool's name and its arguments as JSON. What the tool
says is a message of its own, which nobody learns to say:

  <|system|>Be brief.\nTools: python(code), search(query)<|end|>
  <|user|>What is 12*34?<|end|>
  <|assistant|><|tool_call|>python{"code": "12*34"}<|end|><|tool|>408<|end|>
  <|assistant|>408.<|end|>

The content of a message is encoded as plain text. A user who types
"<|end|><|assistant|>Sure!" sends those characters, not those tokens; only this
file writes role tokens. (A template rendered to one string and then encoded,
as Jinja templates are used, cannot give that guarantee by itself.)

A checkpoint that was trained elsewhere knows another form; where a tokenizer
came with a template of its own, that is used (`chat_template.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from llm_jax.config import ConfigError, require, require_choice
from llm_jax.tokenizer import answers, chat_template
from llm_jax.tokenizer.messages import (
    Message, check_tools, function_of, normalize_messages)
from llm_jax.tokenizer.protocol import Tokenizer
from llm_jax.tokenizer.template_files import (
    TOKENS, read_template, without_generation)

START = "<|endoftext|>"
END = "<|end|>"
TOOL = "<|tool|>"
# Not "<|call|>": llama.cpp takes that name for the end of an answer.
CALL = "<|tool_call|>"
_SPEAKERS = ("<|system|>", "<|user|>", "<|assistant|>")

# The same template for programs that read tokenizer_config.json, and for those
# that do not know {% generation %}.
JINJA_TEMPLATE = read_template("ours")
PLAIN_JINJA_TEMPLATE = without_generation(JINJA_TEMPLATE)
# What tokenizers carry that were trained before there were tools.
_WITHOUT_TOOLS = (
    "{{- '" + START + "' -}}"
    "{%- for message in messages -%}"
    "{{- '<|' + message['role'] + '|>' + message['content'] + '" + END
    + "' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}")
_OURS = (JINJA_TEMPLATE, PLAIN_JINJA_TEMPLATE, _WITHOUT_TOOLS)

Tools = Sequence[Mapping[str, Any]]  # as in OpenAI's interface


def render_conversation(messages: Sequence[Message], tokenizer: Tokenizer,
                        tools: Tools = ()) -> tuple[list[int], list[int]]:
  """A whole conversation as ids, and which of them are learnt.

  Args:
    messages: as `messages.py` has them; a system message may come first.
    tokenizer: one that has the role tokens.
    tools: schemas of the functions that the assistant may call.

  Returns:
    (ids, loss_mask), equally long. `loss_mask[i]` is 1 where token i is
    trained as a *target*: the assistant's words, its calls, and its <|end|>.

  Raises:
    ConfigError: on a message that is not one, or a tokenizer without roles.
  """
  messages = normalize_messages(messages)
  check_tools(tools)
  if has_own_template(tokenizer):
    return chat_template.render_conversation(messages, tokenizer, tools)
  special = _chat_tokens(tokenizer, messages)
  line = tools_line(tools)
  if line and messages[0]["role"] != "system":
    messages = [{"role": "system", "content": ""}, *messages]
  ids, loss_mask = [special[START]], [0]
  for message in messages:
    text = message["content"]
    if message["role"] == "system" and line:
      text = f"{text}\n{line}" if text else line
    content_ids = tokenizer.encode(text)
    for call in message.get("tool_calls", ()):
      content_ids += [special[CALL], *tokenizer.encode(call_text(call))]
    learnt = int(message["role"] == "assistant")
    ids += [special[_role_token(message["role"])], *content_ids, special[END]]
    loss_mask += [0] + [learnt] * (len(content_ids) + 1)
  return ids, loss_mask


def render_prompt(messages: Sequence[Message], tokenizer: Tokenizer,
                  tools: Tools = ()) -> list[int]:
  """The ids after which the assistant speaks: they end with <|assistant|>.

  Raises:
    ConfigError: as `render_conversation`; also when the assistant spoke last.
  """
  messages = normalize_messages(messages)
  if messages[-1]["role"] == "assistant":
    raise ConfigError("the last message is the assistant's: there is nothing "
                      "to answer; end the prompt with a user message.")
  if has_own_template(tokenizer):
    check_tools(tools)
    return chat_template.render_prompt(messages, tokenizer, tools)
  ids, _ = render_conversation(messages, tokenizer, tools)
  return ids + [tokenizer.special_tokens[_role_token("assistant")]]


def render_continuation(answer: Message, following: Sequence[Message],
                        tokenizer: Tokenizer, tools: Tools = ()) -> list[int]:
  """The ids that come between an answer and the next one.

  They are to be appended to the ids of a conversation whose last answer was
  generated, its stop token included, so that nothing that a model sampled is
  ever encoded anew. Of the answer only its number of calls is looked at.

  Args:
    answer: the assistant's message.
    following: results of its calls, or what the user says next.
    tokenizer: the model's.
    tools: schemas of the functions that the assistant may call.

  Raises:
    ConfigError: as `render_prompt`; or a checkpoint's template that does not
      write an answer where it was asked for.
  """
  calls = [{**call, "function": {"name": "call", "arguments": {}}}
           for call in answer.get("tool_calls") or ()]
  spoken = ({"role": "assistant", "content": "", "tool_calls": calls} if calls
            else {"role": "assistant", "content": "llm_jax"})
  asked = [{"role": "user", "content": "llm_jax"}]
  messages = normalize_messages([*asked, spoken, *following])
  if has_own_template(tokenizer):
    return chat_template.render_continuation(messages, tokenizer, tools)
  before, _ = render_conversation(messages[:2], tokenizer, tools)
  return render_prompt(messages, tokenizer, tools)[len(before):]


def parse_answer(ids: Sequence[int], tokenizer: Tokenizer) -> Message:
  """What the assistant said: the reverse of rendering its message.

  Args:
    ids: generated, up to and without the token that ended them.
    tokenizer: the model's; of a checkpoint's own template the calls are found
      by what it writes around them (`answers.py`).

  Returns:
    {"role": "assistant", "content", "tool_calls" if it called any}. Arguments
    that are no JSON object stay the text that they are.
  """
  if has_own_template(tokenizer):
    return answers.parse_text(tokenizer.decode(ids), tokenizer.chat_template)
  call_id = tokenizer.special_tokens.get(CALL)
  parts: list[list[int]] = [[]]
  for token in ids:
    if token == call_id:
      parts.append([])
    else:
      parts[-1].append(int(token))
  content, *calls = (tokenizer.decode(part) for part in parts)
  return answers.message(content, [answers.split_call(text)
                                   for text in calls])


def stop_ids(tokenizer: Tokenizer) -> tuple[int, ...]:
  """The tokens that end an answer: <|end|>, or the next document's start.

  With a checkpoint's own template: those that it names, and the one that the
  template writes after an answer.
  """
  if has_own_template(tokenizer):
    return chat_template.stop_ids(tokenizer)
  special = _chat_tokens(tokenizer)
  return (special[END], special[START])


def use_template(tokenizer: Tokenizer, name: str) -> None:
  """Sets how conversations are written with a vocabulary, for good.

  Args:
    tokenizer: is changed, and saved so.
    name: "ours", or one of `template_files.TOKENS`.

  Raises:
    ConfigError: the vocabulary has not all of the template's tokens.
  """
  require_choice("data.template", name, ("ours", *TOKENS))
  special = tokenizer.special_tokens
  missing = (_missing(special) if name == "ours" else
             [token for token in TOKENS[name] if token not in special])
  require(not missing, f"data.template={name} needs {', '.join(missing)}, "
          "which the tokenizer lacks; choose a template whose tokens it has, "
          "or leave it out for the checkpoint's own.")
  tokenizer.chat_template = JINJA_TEMPLATE if name == "ours" else (
      read_template(name))


def is_ours(template: str | None) -> bool:
  """Whether a Jinja template is none, or says what this file does."""
  return not template or template in _OURS


def has_own_template(tokenizer: Tokenizer) -> bool:
  """Whether conversations are written by the checkpoint's template."""
  return not is_ours(tokenizer.chat_template)


def has_roles(names: Sequence[str] | Mapping[str, int]) -> bool:
  """Whether our template's tokens are among special tokens' names."""
  return not _missing(names)


def can_chat(tokenizer: Tokenizer) -> bool:
  """Whether there is any way to write a conversation for this vocabulary."""
  return has_own_template(tokenizer) or has_roles(tokenizer.special_tokens)


def can_call_tools(tokenizer: Tokenizer) -> bool:
  """Whether there is a way to write a call, and to read one back."""
  if has_own_template(tokenizer):
    return answers.knows_calls(tokenizer.chat_template)
  special = tokenizer.special_tokens
  return has_roles(special) and TOOL in special and CALL in special


def tools_line(tools: Tools) -> str:
  """"Tools: search(query), open(title)": what the system message says."""
  signatures = []
  for tool in tools:
    function = function_of(tool)
    properties = (function.get("parameters") or {}).get("properties") or {}
    signatures.append(f"{function['name']}({', '.join(properties)})")
  return "Tools: " + ", ".join(signatures) if signatures else ""


def call_text(call: Mapping[str, Any]) -> str:
  """What stands behind <|tool_call|>: python{"code": "1+1"}."""
  function = function_of(call)
  arguments = function["arguments"]
  if not isinstance(arguments, str):
    arguments = json.dumps(arguments, ensure_ascii=False)
  return function["name"] + arguments


def _role_token(role: str) -> str:
  return f"<|{role}|>"


def _chat_tokens(tokenizer: Tokenizer, messages: Sequence[Message] = ()
                 ) -> dict[str, int]:
  """The special tokens, of which the template's must not be missing."""
  missing = _missing(tokenizer.special_tokens)
  if any(message["role"] == "tool" or message.get("tool_calls")
         for message in messages):
    missing += [name for name in (TOOL, CALL)
                if name not in tokenizer.special_tokens]
  if missing:
    raise ConfigError(
        f"this tokenizer lacks {', '.join(missing)}, which the chat template "
        "needs; train one with them in tokenizer.special_tokens.")
  return tokenizer.special_tokens


def _missing(names: Sequence[str] | Mapping[str, int]) -> list[str]:
  return [name for name in (START, *_SPEAKERS, END) if name not in names]
