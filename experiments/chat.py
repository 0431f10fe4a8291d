"""Talks with a model.

    python -m experiments.chat --checkpoint=runs/quickstart/rl
    python -m experiments.chat --checkpoint=runs/quickstart/sft \\
        --prompt="who are you?"
    python -m experiments.chat --model=smollm2-135m
    python -m experiments.chat --checkpoint=runs/quickstart/sft \\
        --tools.names=python,search

--model takes models that were trained elsewhere: the named one, Hugging Face
folders and names of its hub, .gguf files; each is prompted with its own chat
template. Answers appear as they are written. /clear forgets the conversation,
/exit or Ctrl-D ends it, Ctrl-C stops an answer. A base model (a run of
experiments.pretrain, or one without a chat template) does not answer: it
continues the text it is given.

With --tools.names the model may call tools: the call and its result are shown,
and the model goes on with the result.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from typing import Any

from llm_jax import config_flags
from llm_jax.config import ChatConfig, ConfigError, ToolsConfig, require
from llm_jax.tokenizer.messages import Message

# Where answers may be longer than the context allows for, this share of it is
# kept for the answer before old turns are left out.
_ANSWER_SHARE = 4


class Model:
  """A loaded model, and how it is asked.

  Attributes:
    is_base: whether it continues text rather than answers.
    tools: what it may call.
    description: one line for the person who talks with it.
  """

  def __init__(self, config: ChatConfig):
    """Loads the model; raises `ConfigError` where there is none."""
    import jax
    from absl import logging

    from llm_jax.convert.pretrained import find, load_pretrained
    from llm_jax.model.quantization import quantize_weights
    from llm_jax.model.transformer import unstack_layers
    from llm_jax.tokenizer.chat import can_chat
    from llm_jax.training.saved_models import checkpoint_info
    from llm_jax.workdir import enable_compilation_cache
    # Orbax warns that what is read is read only; nobody who talks needs that.
    logging.set_verbosity(logging.ERROR)
    name = config.checkpoint or config.model
    source = find(name, flag="--checkpoint" if config.checkpoint
                  else "--model")
    self._is_run = source.kind == "run"
    enable_compilation_cache(checkpoint_info(str(source.path))[0]
                             if self._is_run else _user_cache())
    params, self._config, tokenizer = load_pretrained(
        name, dtype=config.dtype, log=_tell)
    require(tokenizer is not None, f"{name} has no tokenizer; put its "
            "tokenizer.json into the folder.")
    self._tokenizer = tokenizer
    self._params = jax.jit(unstack_layers)(params)
    if config.int8:
      self._params = jax.jit(quantize_weights)(self._params)
    self._key = jax.random.key(config.seed)
    self._sampling = config.sampling
    self.is_base = (config.raw or source.stage == "pretrain"
                    or not can_chat(tokenizer))
    self.tools: tuple[Any, ...] = ()
    if config.tools.names:
      from llm_jax.inference.tool_loop import require_tool_calls
      from llm_jax.inference.tools import load_tools
      require(not self.is_base, f"{name} continues text rather than answers, "
              "so it calls no tools; leave out --tools.names.")
      require_tool_calls(tokenizer)
      self.tools = load_tools(config.tools)
    context = self._config.max_seq_len
    if self._is_run:
      _, step, info = checkpoint_info(str(source.path))
      what = f"{info['stage']} model, step {step}"
    else:
      what = f"{os.path.basename(name.rstrip('/'))}{_millions(self._config)}"
    self.description = f"{what}, context of {context} tokens"
    self._room = context - max(1, min(config.max_new_tokens,
                                      context // _ANSWER_SHARE))

  def answer(self, messages: list[Message], number: int, turn: int = 0
             ) -> Generator[str, None, Message]:
    """Streams the answer to a conversation, or the continuation of a text.

    Args:
      messages: the conversation; of a base model's only the last is read.
      number: of the answer, for the random draws.
      turn: how often tools have been called for it.

    Returns:
      A generator of text that returns the message. What a call of a tool is
      written with is no text.

    Raises:
      ConfigError: the last message is too long for the context.
    """
    from llm_jax.inference.conversation import fit_messages
    from llm_jax.tokenizer.chat import stop_ids
    if self.is_base:
      text_ids = self._tokenizer.encode(messages[-1]["content"])
      if len(text_ids) >= self._room:
        _tell(f"only the last {self._room - 1} tokens of the text are read")
        text_ids = text_ids[1 - self._room:]
      return self._stream(self._start(not text_ids) + text_ids,
                          self._text_stops(), number, turn)
    ids, dropped = fit_messages(messages, self._tokenizer, self._room,
                                [tool.schema for tool in self.tools])
    if dropped:
      _tell(f"the context is full: the oldest {dropped} messages are "
            "forgotten")
      system = len(messages) > 0 and messages[0]["role"] == "system"
      del messages[system:system + dropped]
    return self._stream(ids, stop_ids(self._tokenizer), number, turn)

  def _start(self, needed: bool) -> list[int]:
    """What a text begins with; ours begin with the token between documents."""
    if self._is_run:
      return [self._tokenizer.endoftext_id]
    if self._tokenizer.start_token_id is not None:
      return [self._tokenizer.start_token_id]
    return [self._tokenizer.endoftext_id] if needed else []

  def _text_stops(self) -> tuple[int, ...]:
    if self._tokenizer.stop_token_ids:
      return self._tokenizer.stop_token_ids
    try:
      return (self._tokenizer.endoftext_id,)
    except ConfigError:  # such a text ends at its length
      return ()

  def _stream(self, ids: list[int], stops: tuple[int, ...], number: int,
              turn: int) -> Generator[str, None, Message]:
    import dataclasses

    import jax

    from llm_jax.inference.conversation import call_marks, stream_text
    from llm_jax.inference.streaming import stream
    from llm_jax.tokenizer.chat import parse_answer
    room = self._config.max_seq_len - len(ids)
    sampling = dataclasses.replace(
        self._sampling,
        max_new_tokens=min(self._sampling.max_new_tokens, room))
    drawn: list[int] = []

    def kept(token: int) -> int:
      drawn.append(token)
      return token

    key = jax.random.fold_in(self._key, number)
    if turn:
      key = jax.random.fold_in(key, turn)
    tokens = map(kept, stream(self._params, ids, key, sampling, self._config,
                              stop_ids=stops))
    marks, marked = call_marks(self._tokenizer) if self.tools else ((), ())
    text = ""
    for piece in stream_text(tokens, self._tokenizer, stops + marks,
                             sampling.stop + marked):
      yield piece
      text += piece
    if self.tools:
      for _ in tokens:  # of a call
        pass
    ended = drawn[-1] in stops
    if len(drawn) == sampling.max_new_tokens and not ended:
      _tell(f"cut off after {len(drawn)} tokens", end="")
    elif self.tools:
      return parse_answer(drawn[:-1] if ended else drawn, self._tokenizer)
    return {"role": "assistant", "content": text}


def run(config: ChatConfig) -> dict[str, Any]:
  """Answers `prompt` once, or talks until the person leaves.

  Returns:
    {"messages": the conversation}.

  Raises:
    ConfigError: no model; with `prompt`, one that is too long.
  """
  config.validate()
  model = Model(config)
  messages = _opening(config)
  if config.prompt:
    _turn(model, messages, config.prompt, 0, config.tools)
    return {"messages": messages}
  _tell(model.description + (
      "; it continues the text you type." if model.is_base else ".") +
      " /clear forgets, /exit leaves.")
  try:
    import readline  # noqa: F401 - line editing and history for input()
  except ImportError:
    pass
  number = 0
  while (line := _read_line()) is not None:
    command = line.strip()
    if command in ("/exit", "/quit"):
      break
    if command == "/clear":
      messages = _opening(config)
      _tell("forgotten.")
    elif command.startswith("/") and " " not in command:
      _tell(f"{command} is not known; /clear forgets, /exit leaves.")
    elif command or model.is_base:
      try:
        _turn(model, messages, line, number, config.tools)
        number += 1
      except ConfigError as error:
        _tell(str(error))
  return {"messages": messages}


def _turn(model: Model, messages: list[Message], text: str, number: int,
          config: ToolsConfig) -> None:
  """Adds what the user said, and answers with calls until there are none."""
  from llm_jax.inference.tool_loop import calls_of, run_calls
  from llm_jax.tokenizer.chat import call_text
  said = {"role": "user", "content": text}
  messages.append(said)
  left = config.max_calls
  turn = 0
  while True:
    try:
      message = _show(model.answer(messages, number, turn),
                      text if model.is_base else "")
    except ConfigError:
      while messages.pop() is not said:  # nothing of this turn
        pass
      raise
    messages.append(message)
    calls = calls_of(message)
    if not calls:
      return
    if left < 0:  # it was told that none is left
      _tell(f"stopped after {config.max_calls} calls of tools")
      return
    try:
      results = run_calls([(message, left)], model.tools,
                          config.result_characters)[0]
    except KeyboardInterrupt:
      _tell("stopped")
      return
    left -= len(calls)
    for call, result in zip(calls, results):
      print(f"  {call_text(call)}\n  → " +
            result["content"].replace("\n", "\n    "), flush=True)
    messages += results
    turn += 1


def _show(pieces: Generator[str, None, Message], text: str) -> Message:
  """Prints an answer behind `text` as it comes; returns it as a message."""
  print(text, end="", flush=True)
  answer = ""
  message: Message | None = None
  try:
    while True:
      piece = next(pieces)
      print(piece, end="", flush=True)
      answer += piece
  except StopIteration as end:
    message = end.value
  except KeyboardInterrupt:
    _tell("stopped", end="")
  message = message or {"role": "assistant", "content": answer}
  if text or answer or "tool_calls" not in message:
    print(flush=True)
  return message


def _opening(config: ChatConfig) -> list[Message]:
  if not config.system:
    return []
  return [{"role": "system", "content": config.system}]


def _read_line() -> str | None:
  """What the user types; None at the end of the input."""
  while True:
    try:
      return input("> " if sys.stdin.isatty() else "")
    except KeyboardInterrupt:
      _tell("Ctrl-D or /exit leaves.")
    except EOFError:
      print()
      return None
    except UnicodeDecodeError:
      _tell("that line is not UTF-8; type it again.")


def _tell(text: str, end: str = "\n") -> None:
  """A note of the program's own, apart from the model's words."""
  sys.stdout.flush()
  print(f"[{text}]", end=end, file=sys.stderr, flush=True)


def _millions(config: Any) -> str:
  """Its size, to tell models of one name apart."""
  from llm_jax.model.params import count_params
  return f", {count_params(config) / 1e6:.0f} million parameters"


def _user_cache() -> str:
  """A place for compiled programs that belongs to no run of ours."""
  cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
  return os.path.join(os.path.expanduser(cache), "llm_jax", "models")


if __name__ == "__main__":
  config_flags.launch(ChatConfig, run)
