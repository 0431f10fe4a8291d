"""How a train state lies in a checkpoint, and which run it belongs to.

The item `params` is all that chat, evaluation, export and `--init_from` read.
Of a run with `optimizer.ema_decay` it is the average of the parameters, so that
no reader need know of averages. The parameters themselves, with which only the
run goes on, then lie with the optimiser.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

from llm_jax.config import ModelConfig, require
from llm_jax.config_tree import to_dict
from llm_jax.training.train_step import TrainState


def items_of(state: TrainState) -> tuple[Any, dict[str, Any]]:
  """The items `params` and `optimizer` of a state."""
  optimizer = {"step": state.step, "opt_state": state.opt_state,
               "extra": {name: value for name, value in state.extra.items()
                         if name != "ema"}}
  if "ema" in state.extra:
    optimizer["trained"] = state.params
  return state.averaged, optimizer


def state_of(params: Any, optimizer: Mapping[str, Any]) -> TrainState:
  """The state whose items these are."""
  optimizer = dict(optimizer)
  if (trained := optimizer.pop("trained", None)) is not None:
    optimizer["extra"] = {**optimizer["extra"], "ema": params}
    params = trained
  return TrainState(params=params, **optimizer)


def check_items(place: str, saved: Mapping[str, Any],
                wanted: Mapping[str, Any]) -> None:
  """Raises `ConfigError` where an item `optimizer` is not what a run goes on
  with.

  Args:
    place: the checkpoint, for the message.
    saved: its tree.
    wanted: the tree of the run's own.
  """
  has, needs = ("trained" in tree for tree in (saved, wanted))
  require(has == needs, f"the checkpoint in {place} holds "
          f"{'an' if has else 'no'} average of the parameters; set "
          f"--optimizer.ema_decay {'above' if has else 'to'} 0, as it was, or "
          "choose another --workdir.")
  missing = set(wanted["extra"]) - set(saved.get("extra") or {})
  require(not missing, f"the checkpoint in {place} was saved by an older "
          f"version, without {', '.join(sorted(missing))} of the train state; "
          "begin a new run from it with --init_from and another --workdir.")
  surplus = set(saved.get("extra") or {}) - set(wanted["extra"])
  require(not surplus, f"the checkpoint in {place} also has "
          f"{', '.join(sorted(surplus))} in its train state, which this run "
          "has no use for; use the settings that it was saved with, or begin "
          "a new run with --init_from and another --workdir.")


def differences(saved: ModelConfig, wanted: ModelConfig) -> list[str]:
  """`field (saved, wanted)` of each part of the architecture that differs.

  How a model is run (sharding, remat, compute dtype) is not its architecture.
  """
  saved, wanted = (_without_dispatch(to_dict(c)) for c in (saved, wanted))
  how_it_runs = ("rules", "attention", "context_attention", "remat",
                 "scan_layers", "compute_dtype", "cache_dtype",
                 "mup_base_dim")
  return [f"{name} ({saved[name]} there, {value} here)"
          for name, value in wanted.items()
          if saved[name] != value and name not in how_it_runs]


def reaching_as_far(saved: ModelConfig, wanted: ModelConfig) -> ModelConfig:
  """`saved` with the context of `wanted`: rotary positions have no weights, so
  that a model can be trained further with others (learned ones have a row
  each)."""
  if not saved.position == wanted.position == "rope":
    return saved
  return dataclasses.replace(
      saved, max_seq_len=wanted.max_seq_len, rope_theta=wanted.rope_theta,
      rope_local_theta=wanted.rope_local_theta,
      rope_scaling=wanted.rope_scaling)


def _without_dispatch(model: dict[str, Any]) -> dict[str, Any]:
  """How tokens reach their experts is not what the experts are."""
  return {**model, "moe": {name: value for name, value in model["moe"].items()
                           if name not in ("dispatch", "capacity_factor")}}


def abstract_on_mesh(make: Callable[[], Any], specs: Any) -> Any:
  """Shapes, dtypes and shardings on the ambient mesh of what `make()` gives.

  Args:
    make: a function without arguments; it is not run.
    specs: a tree of `PartitionSpec` like its result.
  """
  mesh = jax.sharding.get_mesh()

  def leaf(x, spec):
    sharding = (jax.sharding.SingleDeviceSharding(jax.devices()[0])
                if mesh.empty else NamedSharding(mesh, spec))
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
  return jax.tree.map(leaf, jax.eval_shape(make), specs,
                      is_leaf=lambda x: isinstance(x, PartitionSpec))
