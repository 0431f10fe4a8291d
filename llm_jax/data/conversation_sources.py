"""What is finetuned on: one or several sources, each with its share.

A source is a file or directory of conversations, those made by procedure, or a
directory of token shards, whose rows are windows of text of which every token
is learnt. So a *mid-training* run, text and conversations side by side, is a
mixture like any other (`configs/midtrain_quickstart.py`).

Each source is packed into rows of its own; `pipeline.mixed_dataset` draws rows
in shares. A share is given, or follows from how many passes over a source are
wanted in the time of one pass over another.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from llm_jax.config import ConfigError, SftDataConfig, require
from llm_jax.data import conversations as conversations_lib
from llm_jax.data import pipeline
from llm_jax.data.conversations import Conversation
from llm_jax.data.mixture import short_names
from llm_jax.data.synthetic import synthetic_conversations
from llm_jax.data.token_shards import TokenShards, read_meta
from llm_jax.tokenizer.protocol import Tokenizer

SYNTHETIC = "synthetic"
Report = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Source:
  """Rows to train on and rows that are held out.

  Attributes:
    name: in metrics and on the console.
    share: of the training rows, from 0 to 1.
    train: rows.
    validation: kind -> rows; none where nothing is held out.
    what: what a row holds, in words.
  """
  name: str
  share: float
  train: pipeline.Rows
  validation: Mapping[str, pipeline.Rows]
  what: str

  def passes(self, num_rows: int) -> float:
    """How often a run of `num_rows` rows reads its training rows."""
    return num_rows * self.share / len(self.train)


def load_sources(config: SftDataConfig, tokenizer: Tokenizer, seq_len: int,
                 seed: int, report: Report = print, **synthetic: Any
                 ) -> list[Source]:
  """Reads, renders and packs every source.

  Args:
    config: which, and what is done with faults and what is too long.
    tokenizer: writes the conversations.
    seq_len: tokens of a row.
    seed: which conversations are held out, and their order in rows.
    report: told what was read, how it was packed and what was left out.
    **synthetic: further arguments of `synthetic_conversations`, such as tools.

  Raises:
    ConfigError: a fault in the data, or a source without training rows.
  """
  parts = config.parts()
  names = ([""] if not config.mixture
           else short_names([path for path, _, _ in parts]))
  read = [_read(path, name, config, tokenizer, seq_len, seed,
                _named(report, name) if name else report, synthetic)
          for name, (path, _, _) in zip(names, parts)]
  kinds = [kind for _, validation, _ in read for kind in validation]
  require(len(set(kinds)) == len(kinds), "data.mixture has two sources whose "
          f"held-out conversations are of one kind ({', '.join(sorted(kinds))}"
          "); rename a file.")
  amounts = [amount * (len(train) if in_passes else 1)
             for (_, amount, in_passes), (train, _, _) in zip(parts, read)]
  return [Source(name or path, amount / sum(amounts), train, validation, what)
          for name, (path, _, _), amount, (train, validation, what)
          in zip(names, parts, amounts, read)]


def load_conversations(path: str, config: SftDataConfig, tokenizer: Tokenizer,
                       seq_len: int, seed: int, *, kind: str = "file",
                       report: Report = print, **synthetic: Any
                       ) -> dict[str, list[Conversation]]:
  """{"train": [...], "validation": [...]} of a file, or made by procedure.

  Args:
    path: a file, directory or glob, or "synthetic".
    config, tokenizer, seq_len, seed, report, synthetic: as `load_sources`.
    kind: of conversations from files.
  """
  if path == SYNTHETIC:
    fits = conversations_lib.fits_in(tokenizer, seq_len)
    return {split: synthetic_conversations(config.synthetic, split, seed,
                                           fits=fits, **synthetic)
            for split in ("train", "validation")}
  def read(path: str) -> Iterator[Conversation]:
    return conversations_lib.read_conversations(
        path, config.errors, form=config.format, paths=config.paths,
        on_error=config.on_error, kind=kind, report=report)
  if not config.validation_path:
    return conversations_lib.split_conversations(
        read(path), seed, config.validation_fraction)
  held_out = list(read(config.validation_path))
  said = {json.dumps(conversation.messages) for conversation in held_out}
  every = list(read(path))
  train = [c for c in every if json.dumps(c.messages) not in said]
  if len(train) < len(every):
    report(f"{len(every) - len(train):,} conversations of {path} are in "
           f"{config.validation_path} too: left out of training")
  return {"train": train, "validation": held_out}


Read = tuple[pipeline.Rows, dict[str, pipeline.Rows], str]


def _read(path: str, name: str, config: SftDataConfig, tokenizer: Tokenizer,
          seq_len: int, seed: int, report: Report,
          synthetic: Mapping[str, Any]) -> Read:
  """(training rows, kind -> held-out rows, what they hold) of one source."""
  if path != SYNTHETIC and read_meta(path) is not None:
    return _windows(path, name, tokenizer, seq_len)
  sides = load_conversations(path, config, tokenizer, seq_len, seed,
                             kind=name or "file", report=report, **synthetic)
  require(bool(sides["train"]), f"{path} has no training conversations; lower "
          "--data.validation_fraction.")
  pack = functools.partial(_pack, config=config, tokenizer=tokenizer,
                           seq_len=seq_len, seed=seed, report=report)
  train = pack(sides["train"])
  kinds = sorted({c.kind for c in sides["validation"]})
  validation = {kind: pack([c for c in sides["validation"] if c.kind == kind])
                for kind in kinds}
  return train, validation, f"{len(sides['train']):,} conversations"


def _pack(chosen: Sequence[Conversation], config: SftDataConfig,
          tokenizer: Tokenizer, seq_len: int, seed: int,
          report: Report) -> pipeline.Rows:
  """Rows of conversations, less those that the template refuses."""
  skips = config.on_error == "skip"
  rendered, places, refused = [], [], []
  for conversation in chosen:
    place = conversation.source or conversation.kind
    try:
      rendered += conversations_lib.render_all([conversation], tokenizer)
      places.append(place)
    except ConfigError as error:
      refused.append(f"{place}: {error}")
      if not skips:
        raise ConfigError(refused[0]) from error
  if refused:
    report(f"left out {len(refused):,} of {len(chosen):,} conversations, which "
           f"cannot be written; the first: {refused[0]}")
  overlong = "skip" if skips and config.overlong == "error" else (
      config.overlong)
  return pipeline.pack_conversations(rendered, seq_len, seed, overlong=overlong,
                                     sources=places, report=report)


def _windows(path: str, name: str, tokenizer: Tokenizer,
             seq_len: int) -> Read:
  """Token shards as a source."""
  shards = TokenShards.open(path, tokenizer)
  validation = {}
  if len(shards.tokens("validation")) > 1:
    validation[name or "text"] = pipeline.WindowRows(
        shards.tokens("validation"), shards.endoftext_id, seq_len)
  return (pipeline.train_windows(shards, seq_len), validation,
          f"{shards.num_tokens('train'):,} tokens of text")


def _named(report: Report, name: str) -> Report:
  return lambda line: report(f"{name}: {line}")
