"""The sampling of one GRPO step, ours against `transformers.generate`.

    python -m benchmarks.rollout
    python -m benchmarks.rollout --weights=bfloat16

16 prompts of 64 tokens with 8 samples each, of 128 tokens at most, from
SmolLM2-135M (the weights of `--model`) at temperature 1. Completions end at
different places, as a policy's do, and at the same on both sides: how long
each may become is drawn once, evenly from 8 to 128, and is a limit of the row
here and a stopping criterion there. Where a row has ended, `transformers` pads
it and computes it on until the last one has.

One process, two cores, two threads each; the two alternate, and medians are
compared. Tokens are those that were wanted. Prints one JSON line and appends a
row to `benchmarks/RESULTS.md`; a ratio above 1 says ours is faster.

`wasted` is the share of the computed steps of rows that nobody wanted.
`of_arithmetic` and `of_bandwidth` are what our decoding needs at the least
(products with the weights, and the weights and keys and values read once a
step), by what a product of matrices and a sum over an array reach in the same
process: the roofline's two sides. Needs the extra `reference`, and
`make models`.
"""

from __future__ import annotations

import dataclasses
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
_PROMPTS = flags.DEFINE_integer("prompts", 16, "P", 1)
_SAMPLES = flags.DEFINE_integer("samples", 8, "G", 1)
_PROMPT_LEN = flags.DEFINE_integer("prompt_len", 64, "tokens of a prompt", 1)
_NEW_TOKENS = flags.DEFINE_integer("new_tokens", 128, "of a completion", 8)
_WEIGHTS = flags.DEFINE_enum("weights", "float32",
                             ["float32", "bfloat16", "int8"], "our weights")
_REPEATS = flags.DEFINE_integer("repeats", 3, "timed calls of each", 1)
_APPEND = flags.DEFINE_bool("append", True, "append to benchmarks/RESULTS.md")

THREADS = 2
SHORTEST = 8
COLUMNS = ("date", "prompts", "samples", "new_tokens", "weights", "ratio",
           "torch_tokens_per_s", "llm_jax_tokens_per_s", "torch_wasted",
           "llm_jax_wasted", "of_arithmetic", "of_bandwidth", "gflop_per_s",
           "gb_per_s", "peak_rss_mb", "repeats", "load_average")


def torch_side(directory: str, prompts: Any, samples: int, limits: Any
               ) -> Callable[[], int]:
  """A call of `transformers.generate`; returns how many tokens it drew."""
  import torch
  import transformers
  transformers.logging.set_verbosity_error()
  torch.set_num_threads(THREADS)
  model = transformers.AutoModelForCausalLM.from_pretrained(
      directory, dtype=torch.float32).eval()
  prompts = torch.tensor(prompts, dtype=torch.long)
  limits_B = torch.tensor(limits)

  class Limits(transformers.StoppingCriteria):
    """A row is done when it has as many tokens as it may."""

    def __call__(self, input_ids, scores, **unused):
      del scores, unused
      return input_ids.shape[1] - prompts.shape[1] >= limits_B

  def generate() -> int:
    with torch.inference_mode():
      out = model.generate(
          prompts, attention_mask=torch.ones_like(prompts), do_sample=True,
          temperature=1.0, top_k=0, top_p=1.0, num_return_sequences=samples,
          max_new_tokens=int(limits.max()), pad_token_id=0, eos_token_id=None,
          stopping_criteria=transformers.StoppingCriteriaList([Limits()]))
    return (out.shape[1] - prompts.shape[1]) * out.shape[0]
  return generate


def jax_side(params: Any, config: Any, prompts: Any, samples: int, limits: Any
             ) -> Callable[[], Any]:
  """A call of our `generate_compacted`; returns its `DecodeStats`."""
  import jax
  from llm_jax.config import SamplingConfig
  from llm_jax.inference.compaction import generate_compacted
  sampling = SamplingConfig(max_new_tokens=int(limits.max()))

  def generate() -> Any:
    drawn, stats = generate_compacted(
        params, prompts.tolist(), jax.random.key(0), sampling, config,
        prompt_len=prompts.shape[1], samples_per_prompt=samples,
        limits_B=limits)
    assert drawn.lengths_B.tolist() == limits.tolist()
    return stats
  return generate


def peaks() -> tuple[float, float]:
  """(FLOP/s of a product of matrices, bytes/s of a sum over an array)."""
  import jax
  import jax.numpy as jnp
  a = jnp.ones((2048, 2048))
  x = jnp.ones(2**27)  # 512 MiB: no cache holds it
  best = []
  for work, argument, amount in (
      (lambda a: a @ a, a, 2 * 2048**3), (jnp.sum, x, x.nbytes)):
    work = jax.jit(work)
    work(argument).block_until_ready()
    times = []
    for _ in range(7):
      start = time.perf_counter()
      work(argument).block_until_ready()
      times.append(time.perf_counter() - start)
    best.append(amount / min(times))
  return best[0], best[1]


def least_work(config: Any, weight_bytes: int, prompt_len: int,
               limits: Any) -> tuple[float, float]:
  """(FLOPs, bytes) that the decoding steps cannot do without."""
  from llm_jax.flops import matmul_parameters
  matrices = matmul_parameters(config)
  steps = [limits > step for step in range(1, int(limits.max()))]
  width = config.num_layers * config.num_heads * config.head_dim
  kept = config.num_layers * config.num_kv_heads * config.head_dim
  itemsize = 2 if config.compute_dtype == "bfloat16" else 4
  flops = read = 0.0
  for step, active in enumerate(steps, start=1):
    rows, length = int(active.sum()), prompt_len + step
    flops += rows * (2 * matrices + 4 * width * length)
    read += weight_bytes + rows * 2 * kept * length * itemsize
  return flops, read


def run() -> dict[str, Any]:
  """Loads both sides, measures them in turn; returns the record."""
  import tempfile

  import jax
  import numpy as np

  from llm_jax.config import SyncConfig
  from llm_jax.convert.pretrained import load_pretrained, save_pretrained
  from llm_jax.rl.weight_sync import sampler_model, weight_sync
  params, config, tokenizer = load_pretrained(_MODEL.value)
  rng = np.random.default_rng(0)
  samples, rows = _SAMPLES.value, _PROMPTS.value * _SAMPLES.value
  prompts = rng.integers(1000, config.vocab_size, (
      _PROMPTS.value, _PROMPT_LEN.value)).astype(np.int32)
  limits = rng.integers(SHORTEST, _NEW_TOKENS.value + 1, rows).astype(np.int32)
  limits[rng.integers(rows)] = _NEW_TOKENS.value
  with tempfile.TemporaryDirectory() as directory:
    save_pretrained(directory + "/model", params, config, tokenizer,
                    format="hf")
    sync = SyncConfig(dtype="" if _WEIGHTS.value == "float32"
                      else _WEIGHTS.value)
    params = weight_sync(config, sync)(params)
    config = sampler_model(config, sync)
    sides = {"torch": torch_side(directory + "/model", prompts, samples,
                                 limits),
             "llm_jax": jax_side(params, config, prompts, samples, limits)}
    theirs, ours = sides["torch"](), sides["llm_jax"]()  # and the warm-up
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(_REPEATS.value):
      for name, generate in sides.items():
        start = time.perf_counter()
        generate()
        times[name].append(time.perf_counter() - start)
  seconds = {name: statistics.median(spent) for name, spent in times.items()}
  weight_bytes = sum(x.nbytes for x in jax.tree.leaves(params))
  flops, read = least_work(config, weight_bytes, _PROMPT_LEN.value, limits)
  flop_rate, byte_rate = peaks()
  tokens, own = int(limits.sum()), seconds["llm_jax"]
  return {
      "benchmark": "rollout", "model": _MODEL.value, "prompts": _PROMPTS.value,
      "samples": samples, "prompt_len": _PROMPT_LEN.value,
      "new_tokens": _NEW_TOKENS.value, "weights": _WEIGHTS.value,
      "ratio": seconds["torch"] / own,
      "torch_tokens_per_s": tokens / seconds["torch"],
      "llm_jax_tokens_per_s": tokens / own,
      "torch_wasted": 1 - (tokens - rows) / (theirs - rows),
      "llm_jax_wasted": ours.wasted,
      "of_arithmetic": flops / own / flop_rate,
      "of_bandwidth": read / own / byte_rate,
      "gflop_per_s": flop_rate / 1e9, "gb_per_s": byte_rate / 1e9,
      "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
      "stats": dataclasses.asdict(ours), "repeats": _REPEATS.value,
      "threads": THREADS,
  } | surroundings()


def main(argv: list[str]) -> None:
  """Runs the benchmark on two cores, whatever the machine has."""
  del argv
  if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
  record = run()
  print(json.dumps(record))
  if _APPEND.value:
    append_row(record, COLUMNS)


if __name__ == "__main__":
  app.run(main)
