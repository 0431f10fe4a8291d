"""Twenty training steps of a tiny model over any mesh; also as a program.

    python twenty_steps.py HOST:PORT PROCESS float64 CASE CASE ...

is one of two processes, and prints a JSON line of each case's losses.
"""

import dataclasses
import functools
import json
import sys

import jax
import numpy as np

from llm_jax import distributed
from llm_jax.config import (
    DistributedConfig, MeshConfig, ModelConfig, MoeConfig, OptimizerConfig)
from llm_jax.sharding import global_batch, make_mesh, process_rows
from llm_jax.training.losses import language_model_loss
from llm_jax.training.optimizers import make_optimizer
from llm_jax.training.train_step import init_train_state, train_step

STEPS = 20
B, T, V = 16, 32, 64
DENSE = ModelConfig(
    vocab_size=V, embed_dim=32, num_layers=2, num_heads=4, num_kv_heads=2,
    head_dim=8, mlp_dim=64, max_seq_len=T, qk_norm="head", init_std=0.1,
    layer_pattern=("local", "global"), window=12)
EXPERTS = dataclasses.replace(
    DENSE, layer_pattern=("global",),
    moe=MoeConfig(num_experts=8, mlp_dim=32, balance_coef=0.01))


@dataclasses.dataclass(frozen=True)
class Case:
  """What is trained, and over which devices."""
  mesh: MeshConfig
  model: ModelConfig = DENSE
  optimizer: str = "adamw"
  num_microbatches: int = 1


ALONE = MeshConfig(data=1)
CASES = {
    "dp8": Case(MeshConfig(data=8)),
    "fsdp8": Case(MeshConfig(data=1, fsdp=8)),
    "fsdp4_tp2": Case(MeshConfig(data=1, fsdp=4, tensor=2)),
    "fsdp2_tp2_context2": Case(
        MeshConfig(data=1, fsdp=2, tensor=2, context=2)),
    "expert4_dp2": Case(MeshConfig(data=2, expert=4), EXPERTS),
    "dcn2_fsdp4": Case(MeshConfig(data=1, fsdp=4, dcn_data=2)),
    "accumulated": Case(MeshConfig(data=2, fsdp=2, tensor=2),
                        num_microbatches=2),
    "muon": Case(MeshConfig(data=1, fsdp=4, tensor=2), optimizer="muon"),
}


def batch_of(step):
  """Packed documents with positions that restart, and ragged loss masks."""
  rng = np.random.default_rng([7, step])
  tokens = rng.integers(V // 2, size=(B, T + 1)) ** 2 % V  # learnable
  begins = rng.random((B, T)) < 0.12
  segments = np.cumsum(begins, axis=1)
  first = np.maximum.accumulate(np.where(begins, np.arange(T), 0), axis=1)
  mask = rng.random((B, T)) < rng.random((B, 1))
  return {"tokens": tokens[:, :-1].astype(np.int32),
          "targets": tokens[:, 1:].astype(np.int32),
          "loss_mask": mask.astype(np.float32),
          "segment_ids": segments.astype(np.int32),
          "positions": (np.arange(T) - first).astype(np.int32)}


def losses_of(case, dtype, steps=STEPS, devices=None):
  """The loss of each step; float64 wants `jax.enable_x64`."""
  model = dataclasses.replace(case.model, compute_dtype=dtype,
                              param_dtype=dtype)
  optimizer = OptimizerConfig(name=case.optimizer, warmup_steps=5,
                              learning_rate=1e-2)
  tx = make_optimizer(optimizer, steps)
  step_fn = jax.jit(functools.partial(
      train_step, loss_fn=functools.partial(language_model_loss, config=model),
      tx=tx, num_microbatches=case.num_microbatches), donate_argnums=0)
  mesh = make_mesh(case.mesh, devices)
  found = []
  with jax.set_mesh(mesh):
    state = init_train_state(jax.random.key(0), tx, model)
    rows = process_rows(mesh, model.rules, B)
    for step in range(steps):
      batch = {name: x[rows] for name, x in batch_of(step).items()}
      state, metrics = step_fn(state, None,
                               global_batch(batch, mesh, model.rules))
      found.append(metrics["loss"])
  return np.array([float(loss) for loss in found])


if __name__ == "__main__":
  address, process, dtype, *names = sys.argv[1:]
  distributed.start(DistributedConfig(address, 2, int(process)))
  jax.config.update("jax_numpy_rank_promotion", "raise")
  with jax.enable_x64(dtype == "float64"):
    for name in names:
      print(json.dumps({"case": name, "losses": losses_of(
          CASES[name], dtype).tolist()}), flush=True)
