"""Generation, ours against `transformers`', on two CPU cores.

    python -m benchmarks.generate --batch_size=1
    python -m benchmarks.generate --batch_size=16 --weights=int8

SmolLM2-135M (the weights of `--model`; their values do not matter for speed):
prompts of 64 tokens, 64 greedy tokens each, float32 on their side; on ours
float32, bfloat16 or int8 weights. One process, two cores, two threads each; the
two alternate, so that whatever else the machine does falls on both. First
tokens of the two are compared. Time to the first token is that of a whole call
for one token; tokens per second are those after it. Prints one JSON line and
appends a row to `benchmarks/RESULTS.md`; a ratio above 1 says ours is faster.

`step_mb` is what our compiled call holds, arguments and temporaries, beside
`weights_mb`. `read_gb_s` is the weights' bytes by the time of a step, to be
held against what the machine's memory gives. Needs the extra `reference`, and
`make models`.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

from absl import app
from absl import flags

from benchmarks.results import append_row, surroundings

_MODEL = flags.DEFINE_string("model", "smollm2-135m", "what is loaded")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 1, "prompts", 1)
_WEIGHTS = flags.DEFINE_enum("weights", "float32",
                             ["float32", "bfloat16", "int8"], "our weights")
_CACHE = flags.DEFINE_enum("cache", "", ["", "float32", "bfloat16", "int8"],
                           "our keys and values; empty: as the activations")
_REPEATS = flags.DEFINE_integer("repeats", 5, "timed calls of each", 3)
_APPEND = flags.DEFINE_bool("append", True, "append to benchmarks/RESULTS.md")

THREADS = 2
PROMPT, NEW = 64, 64
COLUMNS = ("date", "batch_size", "weights", "cache", "ratio", "ratio_first",
           "torch_tokens_per_s", "llm_jax_tokens_per_s", "torch_first_ms",
           "llm_jax_first_ms", "weights_mb", "step_mb", "read_gb_s",
           "peak_rss_mb", "agree", "repeats", "load_average")

# A call for so many tokens, which returns them as lists.
Generate = Callable[[int], list[list[int]]]


def torch_side(directory: str, prompts: Any) -> Generate:
  """`transformers.generate` on the exported weights."""
  import torch
  import transformers
  transformers.logging.set_verbosity_error()
  torch.set_num_threads(THREADS)
  model = transformers.AutoModelForCausalLM.from_pretrained(
      directory, dtype=torch.float32).eval()
  prompts = torch.tensor(prompts, dtype=torch.long)

  def generate(num_tokens: int) -> list[list[int]]:
    with torch.inference_mode():
      out = model.generate(
          prompts, attention_mask=torch.ones_like(prompts), do_sample=False,
          min_new_tokens=num_tokens, max_new_tokens=num_tokens,
          pad_token_id=0)
    return out[:, PROMPT:].tolist()
  return generate


def jax_side(params: Any, config: Any, prompts: Any
             ) -> tuple[Generate, dict[str, float]]:
  """Our `generate`, and the bytes of what it holds."""
  import jax
  import jax.numpy as jnp
  import numpy as np

  from llm_jax.config import SamplingConfig
  from llm_jax.inference.generate import generate
  lengths_B = np.full(len(prompts), PROMPT, np.int32)
  key = jax.random.key(0)
  compiled = {
      count: jax.jit(functools.partial(
          generate, config=config,
          sampling=SamplingConfig(temperature=0.0, max_new_tokens=count))
      ).lower(params, prompts, lengths_B, key).compile()
      for count in (1, NEW)}
  memory = compiled[NEW].memory_analysis()
  weights = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(params))

  def call(num_tokens: int) -> list[list[int]]:
    samples = compiled[num_tokens](params, jnp.asarray(prompts), lengths_B,
                                   key)
    return np.asarray(samples.tokens_BT).tolist()
  return call, {"weights_mb": weights / 1e6,
                "step_mb": (memory.argument_size_in_bytes
                            + memory.temp_size_in_bytes) / 1e6}


def measure(sides: dict[str, Generate], repeats: int
            ) -> dict[str, dict[str, float]]:
  """Median seconds to the first token, and of each one after it."""
  times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
  for _ in range(repeats):
    for name, generate in sides.items():
      spent = []
      for count in (1, NEW):
        start = time.perf_counter()
        generate(count)
        spent.append(time.perf_counter() - start)
      times[name].append((spent[0], (spent[1] - spent[0]) / (NEW - 1)))
  return {name: {"first": statistics.median(first for first, _ in pairs),
                 "step": statistics.median(step for _, step in pairs)}
          for name, pairs in times.items()}


def run(model: str, batch_size: int, weights: str, cache: str,
        repeats: int) -> dict[str, Any]:
  """Loads both sides, compares their tokens, measures; returns the record."""
  import tempfile

  import jax
  import numpy as np

  from llm_jax.convert.pretrained import load_pretrained, save_pretrained
  from llm_jax.model.quantization import quantize_weights
  from llm_jax.model.transformer import unstack_layers
  params, config, tokenizer = load_pretrained(model)
  prompts = np.random.default_rng(0).integers(
      1000, config.vocab_size, (batch_size, PROMPT)).astype(np.int32)
  with tempfile.TemporaryDirectory() as directory:
    save_pretrained(directory + "/model", params, config, tokenizer,
                    format="hf")
    theirs = torch_side(directory + "/model", prompts)
    params = jax.jit(unstack_layers, donate_argnums=0)(params)
    if weights == "int8":
      params = jax.jit(quantize_weights)(params)
    elif weights == "bfloat16":
      params = jax.tree.map(lambda x: x.astype(weights), params)
      config = dataclasses.replace(config, compute_dtype=weights,
                                   param_dtype=weights)
    config = dataclasses.replace(config, cache_dtype=cache)
    ours, sizes = jax_side(params, config, prompts)
    # The warm-up too. Beside a rounding a near-tie may fall either way.
    pairs = list(zip(theirs(NEW), ours(NEW), strict=True))
    theirs(1), ours(1)
    agree = np.mean([a == b for x, y in pairs for a, b in zip(x, y)])
    times = measure({"torch": theirs, "llm_jax": ours}, repeats)
  peer, own = times["torch"], times["llm_jax"]
  return {
      "benchmark": "generate", "model": model, "batch_size": batch_size,
      "weights": weights, "cache": cache or config.compute_dtype,
      "ratio": peer["step"] / own["step"],
      "ratio_first": peer["first"] / own["first"],
      "torch_tokens_per_s": batch_size / peer["step"],
      "llm_jax_tokens_per_s": batch_size / own["step"],
      "torch_first_ms": 1e3 * peer["first"],
      "llm_jax_first_ms": 1e3 * own["first"], **sizes,
      "read_gb_s": sizes["weights_mb"] / own["step"] / 1e3,
      "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
      "agree": float(agree), "repeats": repeats, "threads": THREADS,
  } | surroundings()


def main(argv: list[str]) -> None:
  """Runs the benchmark on two cores, whatever the machine has."""
  del argv
  if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
  record = run(_MODEL.value, _BATCH_SIZE.value, _WEIGHTS.value, _CACHE.value,
               _REPEATS.value)
  print(json.dumps(record))
  if _APPEND.value:
    append_row(record, COLUMNS)


if __name__ == "__main__":
  app.run(main)
