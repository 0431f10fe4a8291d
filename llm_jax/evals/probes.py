"""A base model as the probes see it: text goes in, its continuation comes out.

Each probe is a file beside this one: `regurgitation.py`, `few_shot.py`,
`prompted_assistant.py`, `hallucination.py`. Each returns a JSON-ready dict
whose "rows" are a table; shares and means in it come with a 95% interval.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from llm_jax.config import ModelConfig, SamplingConfig
from llm_jax.evals.generative import wilson_interval
from llm_jax.inference.completions import generate_texts
from llm_jax.model.params import Params
from llm_jax.tokenizer.protocol import Tokenizer

_Z95 = 1.959964  # two-sided 95% quantile of the normal distribution
_BUCKET = 32  # prompt lengths are rounded up, to compile few programs


@dataclasses.dataclass(frozen=True)
class Continuation:
  """What followed a prompt: tokens, text, and whether it ended by itself."""
  tokens: tuple[int, ...]
  text: str
  stopped: bool


@dataclasses.dataclass(frozen=True)
class BaseModel:
  """A model and how it is asked.

  Attributes:
    params: its parameters.
    config: the model.
    tokenizer: its tokenizer.
    batch_size: prompts at once.
    seed: of the draws.
  """
  params: Params
  config: ModelConfig
  tokenizer: Tokenizer
  batch_size: int = 16
  seed: int = 0

  def encode(self, text: str) -> list[int]:
    """A prompt's tokens: the text as the beginning of a document."""
    start = self.tokenizer.start_token_id
    return [self.tokenizer.endoftext_id if start is None else start,
            *self.tokenizer.encode(text)]

  def continue_all(self, prompts: Sequence[Sequence[int]], max_new_tokens: int,
                   *, temperature: float = 0.0, samples: int = 1,
                   stop: tuple[str, ...] = ()) -> list[list[Continuation]]:
    """`samples` continuations of each prompt.

    The draws of prompt n depend on (seed, n) alone, not on the batch size.

    Args:
      prompts: token lists.
      max_new_tokens: tokens at most.
      temperature: 0 is greedy.
      samples: how many of each prompt.
      stop: texts that end a continuation, beside the end of the document.

    Raises:
      ConfigError: a prompt and its continuation exceed the context.
    """
    sampling = SamplingConfig(temperature=temperature, stop=stop,
                              max_new_tokens=max_new_tokens)
    rows = max(1, self.batch_size // samples)
    found: list[list[Continuation]] = []
    for first in range(0, len(prompts), rows):
      chunk = prompts[first:first + rows]
      longest = max(map(len, prompts))
      room = max(longest, self.config.max_seq_len - max_new_tokens)
      drawn, texts = generate_texts(
          self.params, chunk, self.tokenizer, jax.random.key(self.seed),
          sampling, self.config, samples_per_prompt=samples,
          prompt_len=min(-(-longest // _BUCKET) * _BUCKET, room),
          stop_ids=(self.tokenizer.endoftext_id,),
          first_row=first * samples, num_rows=min(rows, len(prompts)))
      flat = [Continuation(tuple(tokens[:length].tolist()), text, bool(stopped))
              for tokens, length, text, stopped in zip(
                  drawn.tokens_BT, drawn.lengths_B, texts, drawn.stopped_B)]
      found += [flat[i:i + samples] for i in range(0, len(flat), samples)]
    return found


def share(name: str, hits: Sequence[bool]) -> dict[str, float]:
  """{name, name_low, name_high} of the share of `hits`, with its interval."""
  low, high = wilson_interval(sum(map(bool, hits)), len(hits))
  return {name: float(np.mean(hits)), f"{name}_low": low, f"{name}_high": high}


def mean(name: str, values: Sequence[float], most: float = 1.0
         ) -> dict[str, float]:
  """{name, name_low, name_high} of a mean, with its normal interval, of which
  no part is outside of 0 to `most`, as no value is."""
  values_N = np.asarray(values, float)
  centre = float(values_N.mean())
  margin = 0.0
  if values_N.size > 1:
    margin = _Z95 * float(values_N.std(ddof=1)) / math.sqrt(values_N.size)
  return {name: centre, f"{name}_low": max(0.0, centre - margin),
          f"{name}_high": min(most, centre + margin)}


def table(rows: Sequence[dict[str, Any]]) -> str:
  """Rows of one shape as a table for the console; intervals in brackets."""
  def cell(row, name):
    value = row[name]
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    if f"{name}_low" in row:
      text += f" [{row[name + '_low']:.3g}, {row[name + '_high']:.3g}]"
    return text
  names = [n for n in rows[0] if not n.endswith(("_low", "_high"))]
  lines = [names, *([cell(row, name) for name in names] for row in rows)]
  widths = [max(len(line[i]) for line in lines) for i in range(len(names))]
  return "\n".join("  " + "  ".join(
      text.ljust(width) for text, width in zip(line, widths)).rstrip()
                   for line in lines)
