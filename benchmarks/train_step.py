"""One train step, ours against PyTorch's, on two CPU cores.

    python -m benchmarks.train_step --shape=l6d384
    python -m benchmarks.train_step --shape=l4d128

Both sides are the same GPT-2 in float32 (the weights are copied, the losses of
the first steps compared), without dropout, on the same tokens, with AdamW on
all parameters: `transformers`' GPT-2 with scaled-dot-product attention and
`torch.optim.AdamW(fused=True)`, not compiled, and `llm_jax`'s `train_step`
under `jit`. One process, two cores, two threads each; the two alternate, so
that whatever else the machine does falls on both. Prints one JSON line and
appends a row to `benchmarks/RESULTS.md`; a ratio above 1 says ours is faster.

Wall time is what a user waits for; processor time (all threads) is disturbed
less by a busy machine. There, OpenMP's threads also spin while they wait for
cores that others hold, which makes PyTorch look many times slower than it is:
set OMP_WAIT_POLICY=passive. Both sides run with freed memory kept
(`llm_jax/host_memory.py`), as our experiments do, unless the environment has
LLM_JAX_KEEP_FREED=0. Needs the extra `reference`.

Memory is measured first, each side in a process of its own: what is resident at
most in eight steps after the warm-up, less what was when the libraries had been
imported and knew their devices; so weights, moments, gradients and activations
all count, and freed memory is given back (`malloc_trim`) before the eight.
`--memory_only` stops there.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

from absl import app
from absl import flags

from benchmarks.peak_memory import in_child
from benchmarks.results import append_row, surroundings
from llm_jax.host_memory import keep_freed_memory

_SHAPE = flags.DEFINE_enum("shape", "l6d384", ["l6d384", "l4d128"],
                           "L6 D384 H6 V4096 T256 B8, or L4 D128 H4 ... B16")
_REPEATS = flags.DEFINE_integer("repeats", 11, "timed steps of each", 7)
_APPEND = flags.DEFINE_bool("append", True, "append to benchmarks/RESULTS.md")
_SIDE = flags.DEFINE_enum("side", "", ["", "torch", "llm_jax"],
                          "measure this side's memory, in this process")
_MEMORY_ONLY = flags.DEFINE_bool("memory_only", False, "no times")
_CHUNK = flags.DEFINE_integer("chunk", 0, "--loss.chunk of our side", 0)

THREADS = 2
COLUMNS = ("date", "shape", "ratio", "ratio_cpu_time", "torch_ms",
           "llm_jax_ms", "llm_jax_tokens_per_s", "llm_jax_temp_mb",
           "torch_peak_mb", "llm_jax_peak_mb", "ratio_peak",
           "keeps_freed", "repeats", "threads", "omp_wait_policy",
           "load_average")
ADAMW = dict(lr=3e-4, b1=0.9, b2=0.95, eps=1e-8, weight_decay=0.1)


@dataclasses.dataclass(frozen=True)
class Shape:
  """A GPT-2 and a batch."""
  num_layers: int
  embed_dim: int
  num_heads: int
  batch_size: int
  vocab_size: int = 4096
  seq_len: int = 256


SHAPES = {"l6d384": Shape(6, 384, 6, 8), "l4d128": Shape(4, 128, 4, 16)}


def torch_side(shape: Shape, tokens: Any) -> tuple[Callable[[], float], Any]:
  """(a function that does one step and returns its loss, the model)."""
  import torch
  import transformers
  transformers.logging.set_verbosity_error()
  torch.set_num_threads(THREADS)
  torch.manual_seed(0)
  model = transformers.GPT2LMHeadModel(transformers.GPT2Config(
      vocab_size=shape.vocab_size, n_positions=shape.seq_len,
      n_embd=shape.embed_dim, n_layer=shape.num_layers,
      n_head=shape.num_heads, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
      use_cache=False, attn_implementation="sdpa")).train()
  optimizer = torch.optim.AdamW(
      model.parameters(), lr=ADAMW["lr"], betas=(ADAMW["b1"], ADAMW["b2"]),
      eps=ADAMW["eps"], weight_decay=ADAMW["weight_decay"], fused=True)
  tokens = torch.tensor(tokens, dtype=torch.long)
  inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()

  def step() -> float:
    logits = model(inputs).logits
    loss = torch.nn.functional.cross_entropy(
        logits.view(-1, shape.vocab_size), targets.view(-1))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss.item()

  return step, model


def params_from_torch(model: Any, shape: Shape) -> dict[str, Any]:
  """The GPT-2's weights as our tree; its Conv1D kernels are [in, out]."""
  import numpy as np
  weights = {name.removeprefix("transformer."): w.detach().numpy().copy()
             for name, w in model.named_parameters()}
  d, n = shape.embed_dim, shape.num_heads
  h = d // n

  def stack(name, *new_shape):
    layers = [weights[f"h.{i}.{name}"] for i in range(shape.num_layers)]
    return np.stack(layers).reshape(shape.num_layers, *new_shape)

  def norm(name):
    return {"scale": stack(name + ".weight", d),
            "bias": stack(name + ".bias", d)}

  qkv_LD3NH = stack("attn.c_attn.weight", d, 3, n, h)
  qkv_bias_L3NH = stack("attn.c_attn.bias", 3, n, h)
  attention = {"o": stack("attn.c_proj.weight", n, h, d),
               "o_bias": stack("attn.c_proj.bias", d)}
  for i, name in enumerate("qkv"):
    attention[name] = qkv_LD3NH[:, :, i]
    attention[name + "_bias"] = qkv_bias_L3NH[:, i]
  mlp = {"up": stack("mlp.c_fc.weight", d, 4 * d),
         "up_bias": stack("mlp.c_fc.bias", 4 * d),
         "down": stack("mlp.c_proj.weight", 4 * d, d),
         "down_bias": stack("mlp.c_proj.bias", d)}
  return {"embed": {"tokens": weights["wte.weight"],
                    "positions": weights["wpe.weight"]},
          "layers": [{"attention_norm": norm("ln_1"), "attention": attention,
                      "mlp_norm": norm("ln_2"), "mlp": mlp}],
          "final_norm": {"scale": weights["ln_f.weight"],
                         "bias": weights["ln_f.bias"]}}


def jax_side(shape: Shape, tokens: Any, params: dict[str, Any]
             ) -> tuple[Callable[[], float], Any]:
  """(a function that does one step and returns its loss, the executable)."""
  import jax
  import jax.numpy as jnp
  import optax

  from llm_jax.config import LossConfig
  from llm_jax.training.losses import language_model_loss
  from llm_jax.training.train_step import fresh_state, train_step
  config = model_config(shape)
  tx = optax.adamw(ADAMW["lr"], b1=ADAMW["b1"], b2=ADAMW["b2"],
                   eps=ADAMW["eps"], weight_decay=ADAMW["weight_decay"])
  params = jax.tree.map(jnp.asarray, params)
  state = jax.jit(lambda params: fresh_state(params, tx))(params)
  inputs, targets = jnp.asarray(tokens[:, :-1]), jnp.asarray(tokens[:, 1:])
  # Whole rows of one document, as on the other side: no mask, no positions.
  batch = {"tokens": inputs, "targets": targets, "segment_ids": None,
           "positions": None, "loss_mask": jnp.ones(targets.shape)}
  compiled = jax.jit(
      functools.partial(
          train_step, tx=tx,
          loss_fn=functools.partial(language_model_loss, config=config,
                                    loss=LossConfig(_CHUNK.value))),
      donate_argnums=0).lower(state, {}, batch).compile()
  held = [state]

  def step() -> float:
    held[0], metrics = compiled(held[0], {}, batch)
    return float(metrics["loss"])

  return step, compiled


def peak_memory(side: str, shape: Shape) -> dict[str, float]:
  """Peak memory of one side's steps, in this process; see the top."""
  import ctypes
  from benchmarks.peak_memory import peak, reset_peak
  if side == "torch":
    import torch
    import transformers
    transformers.GPT2LMHeadModel  # noqa: B018 - imported when it is asked for
    torch.set_num_threads(THREADS)
    torch.ones((8, 8)) @ torch.ones((8, 8))
  else:
    import jax
    import llm_jax.training.train_step  # noqa: F401
    jax.block_until_ready(jax.jit(lambda x: x @ x)(jax.numpy.ones((8, 8))))
  before = reset_peak()
  tokens = make_tokens(shape)
  if side == "torch":
    step, model = torch_side(shape, tokens)
  else:
    step, compiled = jax_side(shape, tokens, random_params(shape))
  for _ in range(2):
    step()
  ctypes.CDLL(None).malloc_trim(0)
  reset_peak()
  for _ in range(8):
    step()
  return {"peak_mb": (peak() - before) / 1e6}


def make_tokens(shape: Shape) -> Any:
  """Random ids [B, T + 1]."""
  import numpy as np
  return np.random.default_rng(0).integers(
      0, shape.vocab_size, (shape.batch_size, shape.seq_len + 1)
      ).astype(np.int32)


def random_params(shape: Shape) -> Any:
  """Weights for a side that is compared with nothing."""
  import jax
  from llm_jax.model.params import init_params
  return init_params(jax.random.key(0), model_config(shape))


def model_config(shape: Shape) -> Any:
  """Our description of the GPT-2."""
  from llm_jax.config import ModelConfig
  return ModelConfig(
      vocab_size=shape.vocab_size, embed_dim=shape.embed_dim,
      num_layers=shape.num_layers, num_heads=shape.num_heads,
      num_kv_heads=shape.num_heads,
      head_dim=shape.embed_dim // shape.num_heads,
      mlp_dim=4 * shape.embed_dim, max_seq_len=shape.seq_len,
      norm="layernorm", position="learned", mlp="gelu", use_bias=True,
      scan_layers=False)


def measure(sides: dict[str, Callable[[], float]], repeats: int
            ) -> dict[str, dict[str, float]]:
  """Median wall and CPU milliseconds of each side, run in turn."""
  times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
  for _ in range(repeats):
    for name, step in sides.items():
      wall, cpu = time.perf_counter(), time.process_time()
      step()
      times[name].append((time.perf_counter() - wall,
                          time.process_time() - cpu))
  return {name: {"wall_ms": 1e3 * statistics.median(w for w, _ in pairs),
                 "cpu_ms": 1e3 * statistics.median(c for _, c in pairs)}
          for name, pairs in times.items()}


def run(shape_name: str, repeats: int) -> dict[str, Any]:
  """Builds both sides, checks that they agree, measures, returns the record.

  Raises:
    AssertionError: the first losses differ, so the two are not one model.
  """
  import numpy as np
  shape = SHAPES[shape_name]
  peaks = {side: in_child(
      "benchmarks.train_step", f"--side={side}", f"--shape={shape_name}",
      f"--chunk={_CHUNK.value}")["peak_mb"] for side in ("torch", "llm_jax")}
  memory = {f"{side}_peak_mb": found for side, found in peaks.items()}
  memory["ratio_peak"] = peaks["torch"] / peaks["llm_jax"]
  if _MEMORY_ONLY.value:
    return memory
  tokens = make_tokens(shape)
  torch_step, model = torch_side(shape, tokens)
  jax_step, compiled = jax_side(shape, tokens, params_from_torch(model, shape))
  # These steps are the warm-up too.
  losses = [(torch_step(), jax_step()) for _ in range(3)]
  for theirs, ours in losses:
    np.testing.assert_allclose(ours, theirs, rtol=2e-4)
  times = measure({"torch": torch_step, "llm_jax": jax_step}, repeats)
  tokens_per_step = shape.batch_size * shape.seq_len
  return {
      "benchmark": "train_step", "shape": shape_name,
      "ratio": times["torch"]["wall_ms"] / times["llm_jax"]["wall_ms"],
      "ratio_cpu_time": times["torch"]["cpu_ms"] / times["llm_jax"]["cpu_ms"],
      "torch_ms": times["torch"]["wall_ms"],
      "llm_jax_ms": times["llm_jax"]["wall_ms"],
      "llm_jax_tokens_per_s":
          1e3 * tokens_per_step / times["llm_jax"]["wall_ms"],
      "llm_jax_temp_mb": compiled.memory_analysis().temp_size_in_bytes / 1e6,
      "loss_torch": losses[-1][0], "loss_llm_jax": losses[-1][1],
      "repeats": repeats, "threads": THREADS,
      "keeps_freed": os.environ.get("LLM_JAX_KEEP_FREED") != "0",
  } | memory | surroundings()


def main(argv: list[str]) -> None:
  """Runs the benchmark on two cores, whatever the machine has."""
  del argv
  if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
  keep_freed_memory()
  if _SIDE.value:
    print(json.dumps(peak_memory(_SIDE.value, SHAPES[_SHAPE.value])))
    return
  record = run(_SHAPE.value, _REPEATS.value)
  print(json.dumps(record))
  if _APPEND.value and not _MEMORY_ONLY.value:
    append_row(record, COLUMNS)


if __name__ == "__main__":
  app.run(main)
