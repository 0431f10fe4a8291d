"""Talks with a model.

    python -m experiments.chat --checkpoint=runs/quickstart/rl
    python -m experiments.chat --checkpoint=runs/quickstart/sft \\
        --prompt="who are you?"

Answers appear as they are written. /clear forgets the conversation, /exit or
Ctrl-D ends it, Ctrl-C stops an answer. A base model (a run of
experiments.pretrain) does not answer: it continues the text it is given.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

from llm_jax import config_flags
from llm_jax.config import ChatConfig, ConfigError, SamplingConfig, require

# Where answers may be longer than the context allows for, this share of it is
# kept for the answer before old turns are left out.
_ANSWER_SHARE = 4


class Model:
  """A loaded model, and how it is asked.

  Attributes:
    is_base: whether it continues text rather than answers.
    description: one line for the person who talks with it.
  """

  def __init__(self, config: ChatConfig):
    """Loads the checkpoint; raises `ConfigError` where there is none."""
    import jax
    from absl import logging

    from llm_jax.model.transformer import unstack_layers
    from llm_jax.training.checkpoints import checkpoint_info, load_params
    from llm_jax.workdir import enable_compilation_cache
    # Orbax warns that what is read is read only; nobody who talks needs that.
    logging.set_verbosity(logging.ERROR)
    directory, step, info = checkpoint_info(_checkpoint_path(config))
    enable_compilation_cache(directory)
    params, self._config, self._tokenizer = load_params(
        str(directory / "checkpoints" / str(step)))
    self._params = jax.jit(unstack_layers)(params)
    self._key = jax.random.key(config.seed)
    self._sampling = SamplingConfig(config.temperature, config.top_k,
                                    config.top_p, config.max_new_tokens)
    self.is_base = config.raw or info["stage"] == "pretrain"
    context = self._config.max_seq_len
    self.description = (f"{info['stage']} model, step {step}, context of "
                        f"{context} tokens")
    self._room = context - max(1, min(config.max_new_tokens,
                                      context // _ANSWER_SHARE))

  def answer(self, messages: list[dict[str, str]], number: int
             ) -> Iterator[str]:
    """Streams the answer to a conversation, or the continuation of a text.

    Args:
      messages: the conversation; of a base model's only the last is read.
      number: of the answer, for the random draws.

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
      ids = [self._tokenizer.endoftext_id, *text_ids]
      return self._stream(ids, (self._tokenizer.endoftext_id,), number)
    ids, dropped = fit_messages(messages, self._tokenizer, self._room)
    if dropped:
      _tell(f"the context is full: the oldest {dropped} messages are "
            "forgotten")
      system = len(messages) > 0 and messages[0]["role"] == "system"
      del messages[system:system + dropped]
    return self._stream(ids, stop_ids(self._tokenizer), number)

  def _stream(self, ids: list[int], stops: tuple[int, ...],
              number: int) -> Iterator[str]:
    import dataclasses

    import jax

    from llm_jax.inference.conversation import stream_text
    from llm_jax.inference.streaming import stream
    room = self._config.max_seq_len - len(ids)
    sampling = dataclasses.replace(
        self._sampling,
        max_new_tokens=min(self._sampling.max_new_tokens, room))
    drawn: list[int] = []

    def kept(token: int) -> int:
      drawn.append(token)
      return token

    tokens = stream(self._params, ids, jax.random.fold_in(self._key, number),
                    sampling, self._config, stop_ids=stops)
    yield from stream_text(map(kept, tokens), self._tokenizer, stops)
    if drawn[-1] not in stops:
      _tell(f"cut off after {len(drawn)} tokens", end="")


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
    _turn(model, messages, config.prompt, 0)
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
        _turn(model, messages, line, number)
        number += 1
      except ConfigError as error:
        _tell(str(error))
  return {"messages": messages}


def _turn(model: Model, messages: list[dict[str, str]], text: str,
          number: int) -> None:
  """Adds what the user said, prints the answer as it comes, and adds it."""
  messages.append({"role": "user", "content": text})
  try:
    pieces = model.answer(messages, number)
  except ConfigError:
    messages.pop()
    raise
  answer = ""
  if model.is_base:
    print(text, end="", flush=True)
  try:
    for piece in pieces:
      print(piece, end="", flush=True)
      answer += piece
  except KeyboardInterrupt:
    _tell("stopped", end="")
  print(flush=True)
  messages.append({"role": "assistant", "content": answer})


def _opening(config: ChatConfig) -> list[dict[str, str]]:
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


def _checkpoint_path(config: ChatConfig) -> str:
  """The directory that the flags name."""
  if config.model and not os.path.isdir(os.path.expanduser(config.model)):
    raise ConfigError(
        f"--model={config.model} names a model that was trained elsewhere; "
        "such models need to be converted, which this version cannot do yet: "
        "give the directory of a training run with --checkpoint.")
  require(not (config.model and config.checkpoint), "--model and --checkpoint "
          "both name a model; give one of them.")
  path = config.checkpoint or config.model
  require(bool(path), "no model is named; give --checkpoint=RUN, the directory "
          "of a training run, such as runs/quickstart/rl.")
  return path


if __name__ == "__main__":
  config_flags.launch(ChatConfig, run)
