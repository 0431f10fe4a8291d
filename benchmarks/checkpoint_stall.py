"""How much saving holds training up.

    python -m benchmarks.checkpoint_stall

Trains a model of some 80 MB, whose step takes a tenth of a second or so, with
the parts of `experiments.pretrain`: the train step, `Checkpointer`. In turn,
stretches of steps without a save and stretches at whose beginning one is made:
the state is 3 × 80 MB (parameters and two moments). Reports, as medians,

* `step_s`: a step while nothing is saved;
* `blocked_s`: what `Checkpointer.save` takes in the loop, until the state may
  be changed again; the rest of a save goes on in the background;
* `first_slow_s`, `slowed_s`: by how much the step after a save is longer, and
  all steps until it is whole together, in seconds;
* `save_s`: from the call to the checkpoint's being whole;
* `whole_s`: what saving takes where the loop waits for it;
* `stall_share`: (blocked_s + slowed_s) / whole_s.

Prints one JSON line and appends a row to `benchmarks/RESULTS.md`. On a CPU the
background works on the cores that train, so that `slowed_s` is the work's own
cost; with an accelerator they are others.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pathlib
import statistics
import tempfile
import time
from typing import Any

from absl import app
from absl import flags
from absl import logging

from benchmarks.results import append_row, surroundings
from llm_jax.host_memory import keep_freed_memory

_STEPS = flags.DEFINE_integer("steps", 12, "steps of a stretch", 2)
_REPEATS = flags.DEFINE_integer("repeats", 9, "stretches of each kind", 3)
_DIRECTORY = flags.DEFINE_string("directory", "", "where to save; empty: a "
                                 "temporary directory")
_APPEND = flags.DEFINE_bool("append", True, "append to benchmarks/RESULTS.md")

COLUMNS = ("date", "megabytes", "step_s", "blocked_s", "first_slow_s",
           "slowed_s", "save_s", "whole_s", "stall_share", "steps", "repeats",
           "load_average")


@dataclasses.dataclass
class Training:
  """A train step, its state and a batch that it takes again and again."""
  step_fn: Any
  state: Any
  batch: dict[str, Any]
  model: Any

  def step(self) -> float:
    """Seconds of one step, waited for."""
    import jax
    began = time.perf_counter()
    self.state, metrics = self.step_fn(self.state, None, self.batch)
    jax.block_until_ready((self.state, metrics))
    return time.perf_counter() - began


def make_training() -> Training:
  """A model of 20 M parameters, of which a step on few tokens is quick."""
  import jax
  import numpy as np
  from llm_jax.config import LossConfig, ModelConfig, OptimizerConfig
  from llm_jax.training.losses import language_model_loss
  from llm_jax.training.optimizers import make_optimizer
  from llm_jax.training.train_step import init_train_state, train_step
  model = ModelConfig(vocab_size=4096, embed_dim=512, num_layers=6, num_heads=8,
                      num_kv_heads=8, head_dim=64, mlp_dim=1536, max_seq_len=64)
  tx = make_optimizer(OptimizerConfig(), 1000)
  loss_fn = functools.partial(language_model_loss, config=model,
                              loss=LossConfig())
  shape = (2, 64)
  tokens = np.random.default_rng(0).integers(0, 4096, shape, np.int32)
  batch = {"tokens": tokens, "targets": np.roll(tokens, -1, 1),
           "loss_mask": np.ones(shape, np.float32),
           "segment_ids": np.ones(shape, np.int32),
           "positions": np.tile(np.arange(64, dtype=np.int32), (2, 1))}
  step_fn = jax.jit(functools.partial(train_step, loss_fn=loss_fn, tx=tx),
                    donate_argnums=0)
  return Training(step_fn, init_train_state(jax.random.key(0), tx, model),
                  batch, model)


def run(num_steps: int, repeats: int, directory: str) -> dict[str, Any]:
  """Measures, and returns the record."""
  import jax
  from llm_jax.config import CheckpointConfig
  from llm_jax.training.checkpoints import Checkpointer
  from llm_jax.training.saved_models import CHECKPOINTS
  training = make_training()
  saver = Checkpointer(directory, CheckpointConfig(keep=1), training.model,
                       "pretrain")
  place = pathlib.Path(directory) / CHECKPOINTS
  for _ in range(3):
    training.step()
  done = 0
  found: dict[str, list[float]] = {name: [] for name in (
      "step_s", "blocked_s", "first_slow_s", "slowed_s", "save_s", "whole_s")}

  def save():
    nonlocal done
    done += 1
    began = time.perf_counter()
    saver.save(done, training.state, {"next_batch": done})
    return began, time.perf_counter() - began

  def is_whole():
    return (place / str(done)).exists()

  save()
  saver.wait()
  for _ in range(repeats):
    calm = statistics.median(training.step() for _ in range(num_steps))
    began, blocked = save()
    times = []
    while not is_whole():  # asked between steps: `save_s` is that coarse
      times.append(training.step())
    found["save_s"].append(time.perf_counter() - began)
    found["step_s"].append(calm)
    found["blocked_s"].append(blocked)
    found["first_slow_s"].append(times[0] - calm if times else 0.0)
    found["slowed_s"].append(sum(times) - calm * len(times))
    saver.wait()
    began, _ = save()
    saver.wait()
    found["whole_s"].append(time.perf_counter() - began)
  saver.close()
  medians = {name: statistics.median(values) for name, values in found.items()}
  size = sum(x.nbytes for x in jax.tree.leaves(training.state.params))
  return {"benchmark": "checkpoint_stall", "megabytes": size / 1e6, **medians,
          "stall_share": (medians["blocked_s"] + medians["slowed_s"])
          / medians["whole_s"], "steps": num_steps,
          "repeats": repeats} | surroundings()


def main(argv: list[str]) -> None:
  """Runs the benchmark on two cores, whatever the machine has."""
  del argv
  if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
  keep_freed_memory()
  logging.set_verbosity(logging.WARNING)
  with tempfile.TemporaryDirectory() as directory:
    record = run(_STEPS.value, _REPEATS.value, _DIRECTORY.value or directory)
  print(json.dumps(record))
  if _APPEND.value:
    append_row(record, COLUMNS)


if __name__ == "__main__":
  app.run(main)
