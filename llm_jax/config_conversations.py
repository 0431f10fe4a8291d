"""Settings of conversations from files: what is read, and how it is written.

`config.py` hands all of them on: import settings from there.
"""

from __future__ import annotations

import dataclasses
import math

from llm_jax.config_chat import SyntheticChatConfig
from llm_jax.config_parts import require, require_choice, setting


@dataclasses.dataclass(frozen=True)
class SftDataConfig:
  """Conversations."""
  path: str = setting("synthetic", "'synthetic', or a .jsonl or .parquet file, "
                      "directory or glob of conversations")
  mixture: tuple[str, ...] = setting(
      (), "instead of path: several sources, each as path takes it or a "
      "directory of token shards, as PATH:WEIGHT, the weights being their "
      "shares of the rows, or all as PATH:PASSESx, passes over each in the "
      "time of one over an x1 source")
  format: str = setting("auto", "auto (by the fields of a row) | messages | "
                        "sharegpt | ultrachat | openassistant | "
                        "prompt_response")
  paths: str = setting("best", "best | all: which paths of a tree of messages "
                       "are read (OpenAssistant)")
  on_error: str = setting("stop", "stop | skip: a row with a fault is left "
                          "out and counted")
  errors: str = setting("strict", "strict | replace: bytes that are not UTF-8")
  validation_fraction: float = setting(0.02, "held out of the user's own file")
  validation_path: str = setting("", "conversations that are held out "
                                 "instead, beside path")
  overlong: str = setting("error", "error | trim | skip: a conversation longer "
                          "than seq_len is cut after its last answer that "
                          "fits, or left out; on_error=skip leaves it out too")
  template: str = setting("", "ours | chatml | qwen | llama3 | gemma: how "
                          "conversations are written; empty: the "
                          "checkpoint's own, else ours")
  synthetic: SyntheticChatConfig = setting(SyntheticChatConfig(), "the mix")

  def parts(self) -> tuple[tuple[str, float, bool], ...]:
    """(path, amount, whether that is passes) of each source.

    Raises:
      ConfigError: an entry that is neither PATH:WEIGHT nor PATH:PASSESx, a path
        named twice, or both kinds of amounts.
    """
    if not self.mixture:
      return ((self.path, 1.0, False),)
    found = []
    for entry in self.mixture:
      path, _, amount = entry.rpartition(":")
      passes = amount.endswith("x")
      try:
        found.append((path, float(amount.removesuffix("x")), passes))
      except ValueError:
        found.append(("", 0.0, passes))
      require(bool(found[-1][0]) and 0 < found[-1][1] < math.inf,
              f"data.mixture has {entry!r}; each entry is PATH:WEIGHT, such as "
              "chats.jsonl:0.7, or PATH:PASSESx, such as chats.jsonl:3x.")
    paths = [path for path, _, _ in found]
    require(len(set(paths)) == len(paths), "data.mixture names a path twice; "
            "name each once.")
    require(len({passes for _, _, passes in found}) == 1, "data.mixture has "
            "weights and passes (3x); give all sources the one or the other.")
    return tuple(found)

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    for name, choices in (
        ("format", ("auto", "messages", "sharegpt", "ultrachat",
                    "openassistant", "prompt_response")),
        ("paths", ("best", "all")), ("on_error", ("stop", "skip")),
        ("errors", ("strict", "replace")),
        ("overlong", ("error", "trim", "skip")),
        ("template", ("", "ours", "chatml", "qwen", "llama3", "gemma"))):
      require_choice(f"data.{name}", getattr(self, name), choices)
    self.parts()
    require(not self.validation_path or not self.mixture
            and self.path != "synthetic", "data.validation_path goes with one "
            "data.path of files; leave it out, or give no mixture.")


@dataclasses.dataclass(frozen=True)
class ViewConversationsConfig:
  """experiments/view_conversations.py"""
  data: SftDataConfig = setting(SftDataConfig(), "conversations")
  tokenizer: str = setting("runs/quickstart/tokenizer", "vocabulary: a "
                           "directory or file as tokenize_corpus takes it, a "
                           "run, or a named model such as smollm2-135m")
  count: int = setting(3, "conversations that are shown, of those to train on")
  seq_len: int = setting(2048, "tokens at most, as in training")
  html: str = setting("", "also write a page, to this file")
  seed: int = setting(0, "decides which conversations are held out")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    self.data.validate()
    for name in ("count", "seq_len"):
      require(getattr(self, name) > 0,
              f"{name} is {getattr(self, name)}; it must be positive.")
    require(not self.data.mixture, "data.mixture is for training; name one "
            "source with --data.path.")
