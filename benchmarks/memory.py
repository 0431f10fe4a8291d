"""Peak memory of the loss and of attention, with and without their whole.

    python -m benchmarks.memory

Value and gradient, float32, each in a process of its own:

* the next-token loss of 4,096 tokens over a vocabulary of 131,072: logits
  whole, in chunks of 256 tokens (`--loss.chunk`), and by 16 parts of the
  vocabulary (`--loss.vocab_parts`);
* causal attention at 8,192 tokens (8 heads of 64): the formula, which holds
  [T, T], and blockwise.

`temp` is what the compiled program says that it needs beside its arguments and
results; `peak` is what the process's resident memory grew by while it ran. The
losses and gradients of the ways are compared first. Prints one JSON line for
each and appends rows to `benchmarks/RESULTS.md`.
"""

from __future__ import annotations

import json
from typing import Any

from absl import app
from absl import flags

from benchmarks.peak_memory import in_child, peak, reset_peak
from benchmarks.results import append_row, surroundings

_WAY = flags.DEFINE_string("way", "", "measure this one, in this process")
_APPEND = flags.DEFINE_bool("append", True, "append to benchmarks/RESULTS.md")

V, T, D = 131_072, 4_096, 512
LONG, HEADS, HEAD_DIM = 8_192, 8, 64
WAYS = {"loss": ("whole", "chunk=256", "vocab_parts=16"),
        "attention": ("reference", "blockwise")}
COLUMNS = ("date", "what", "way", "temp_mb", "peak_mb", "whole_over_this_temp",
           "whole_over_this_peak", "load_average")


def loss_work(way: str) -> tuple[Any, tuple[Any, ...]]:
  """(function of its arguments, those) of the loss."""
  import jax
  import jax.numpy as jnp
  from llm_jax.config import LossConfig, ModelConfig
  from llm_jax.model.transformer import unembed
  from llm_jax.training.chunked_loss import chunked_loss
  from llm_jax.training.losses import next_token_loss
  from llm_jax.training.vocab_chunked_loss import vocab_chunked_loss
  config = ModelConfig(vocab_size=V, embed_dim=D)
  name, _, number = way.partition("=")
  loss = LossConfig(**({name: int(number)} if number else {}))

  def value(table_VD, hidden_BTD, targets_BT):
    params, mask = {"embed": {"tokens": table_VD}}, jnp.ones((1, T))
    if loss.chunk:
      return chunked_loss(params, hidden_BTD, targets_BT, mask, config,
                          chunk=loss.chunk)[0]
    if loss.vocab_parts:
      return vocab_chunked_loss(params, hidden_BTD, targets_BT, mask, config,
                                parts=loss.vocab_parts)[0]
    return next_token_loss(unembed(params, hidden_BTD, config), targets_BT,
                           mask)[0]
  keys = jax.random.split(jax.random.key(0), 3)
  return jax.value_and_grad(value, (0, 1)), (
      0.05 * jax.random.normal(keys[0], (V, D)),
      jax.random.normal(keys[1], (1, T, D)),
      jax.random.randint(keys[2], (1, T), 0, V))


def attention_work(way: str) -> tuple[Any, tuple[Any, ...]]:
  """(function of its arguments, those) of attention."""
  import jax
  import jax.numpy as jnp
  from llm_jax.model.attention import self_attention

  def value(q, k, v):
    return jnp.sum(jnp.square(self_attention(q, k, v, kind=way)))
  keys = jax.random.split(jax.random.key(0), 3)
  return jax.value_and_grad(value, (0, 1, 2)), tuple(
      jax.random.normal(key, (1, LONG, HEADS, HEAD_DIM)) for key in keys)


def measure(what: str, way: str) -> dict[str, Any]:
  """Runs one way in this process."""
  import jax
  import numpy as np
  function, arguments = {"loss": loss_work, "attention": attention_work}[what](
      way)
  compiled = jax.jit(function).lower(*arguments).compile()
  jax.block_until_ready(arguments)
  before = reset_peak()
  value, gradients = jax.block_until_ready(compiled(*arguments))
  grown = peak() - before
  norms = [float(np.linalg.norm(np.asarray(g, np.float64).ravel()))
           for g in gradients]
  return {"benchmark": "memory", "what": what, "way": way,
          "temp_mb": compiled.memory_analysis().temp_size_in_bytes / 1e6,
          "peak_mb": grown / 1e6, "value": float(value), "norms": norms}


def main(argv: list[str]) -> None:
  """All ways, each in a child."""
  del argv
  if _WAY.value:
    print(json.dumps(measure(*_WAY.value.split(":"))))
    return
  for what, ways in WAYS.items():
    records = [in_child("benchmarks.memory", f"--way={what}:{way}")
               for way in ways]
    whole = records[0]
    for record in records:
      for name in ("value", "norms"):
        _compare(whole[name], record[name], f"{what} {record['way']}")
      record |= surroundings() | {
          f"whole_over_this_{name}": whole[f"{name}_mb"] / record[f"{name}_mb"]
          for name in ("temp", "peak")}
      print(json.dumps(record), flush=True)
      if _APPEND.value:
        append_row(record, COLUMNS)


def _compare(whole: Any, found: Any, name: str) -> None:
  """Raises `AssertionError` where a way computes something else."""
  import numpy as np
  np.testing.assert_allclose(found, whole, rtol=2e-4, err_msg=name)


if __name__ == "__main__":
  app.run(main)
