"""Chat templates run as `transformers` runs them: Jinja, in its sandbox.

The same environment, filters, functions and extension; a sandbox, because a
template is a program that someone else wrote.
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
from llm_jax.tokenizer.messages import Message
from llm_jax.tokenizer.protocol import Tokenizer

# Marks around what `{% generation %}` holds: characters of a private plane,
# which no text has.
GENERATION_BEGIN, GENERATION_END = "\U000ffff2", "\U000ffff3"
_MARKS_WANTED = "llm_jax_marks_generation"


class _Generation(jinja2.ext.Extension):
  """`{% generation %}`, which says what an assistant wrote: written as it is,
  or between marks if they are asked for."""
  tags = {"generation"}

  def parse(self, parser: Any) -> jinja2.nodes.Node:
    """A block whose text goes through `_write`, with a scope of its own."""
    line = next(parser.stream).lineno
    body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
    call = self.call_method("_write", [jinja2.nodes.ContextReference()])
    return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

  def _write(self, context: Any, caller: Any) -> str:
    text = caller()
    if not context.get(_MARKS_WANTED):
      return text
    return GENERATION_BEGIN + text + GENERATION_END


def marks_generation(template: str) -> bool:
  """Whether a template says itself what an assistant wrote."""
  return re.search(r"\{%[-+]?\s*generation\s*[-+]?%\}", template) is not None


def render_text(messages: Sequence[Message], tokenizer: Tokenizer, *,
                tools: Sequence[Mapping[str, Any]] = (),
                add_generation_prompt: bool,
                mark_generation: bool = False) -> str:
  """What the checkpoint's template makes of a conversation.

  Args:
    messages: normalised.
    tokenizer: with a template of its own.
    tools: schemas of functions; none is the same as no argument.
    add_generation_prompt: end with what an answer begins with.
    mark_generation: put marks around what `{% generation %}` holds.

  Raises:
    ConfigError: the template is broken, or refuses the conversation.
  """
  try:
    return _compiled(tokenizer.chat_template).render(
        messages=[dict(message) for message in messages],
        tools=list(tools) or None, documents=None,
        add_generation_prompt=add_generation_prompt,
        **{_MARKS_WANTED: mark_generation}, **tokenizer.token_names)
  except ConfigError:
    raise
  except Exception as error:  # whatever the template's own code may raise
    told = str(error).strip().rstrip(".") or type(error).__name__
    raise ConfigError("the checkpoint's chat template refuses this "
                      f"conversation: {told}.") from error


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
