"""What every stage does before its first step, in one explicit order."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
from typing import Any

import jax
import optax

from llm_jax.config import (
    ConfigError, ModelConfig, SftConfig, TrainRunConfig, require)
from llm_jax.config_tree import from_dict
from llm_jax.flops import flops_per_token
from llm_jax.model.lora import lora_specs, trained_specs
from llm_jax.model.params import (
    Params, count_params, param_specs, param_table)
from llm_jax.sharding import (
    check_batch, check_context, check_params, check_rules)
from llm_jax.paths import as_path
from llm_jax.training.adapters import Adapter
from llm_jax.training.checkpoints import Checkpointer
from llm_jax.training.optimizers import check_factors
from llm_jax.training.saved_models import (
    CHECKPOINTS, check_architecture, checkpoint_info, load_params,
    saved_steps)
from llm_jax.training.train_step import (
    Carried, TrainState, fresh_state, init_train_state, state_shardings)


def check_run(config: TrainRunConfig, model: ModelConfig, mesh: Any,
              num_rows: int = 0) -> None:
  """Raises `ConfigError` for what would fail only after long work has begun.

  Args:
    config: the stage's settings.
    model: the model, its vocabulary size filled in.
    mesh: the devices.
    num_rows: rows of a global batch, where they are not `config.batch_size`.
  """
  model.validate()
  require(config.seq_len <= model.max_seq_len,
          f"seq_len={config.seq_len} is longer than the model's "
          f"max_seq_len={model.max_seq_len}.")
  check_rules(model.rules)
  check_batch(num_rows or config.batch_size, config.num_microbatches, mesh,
              model.rules)
  check_context(config.seq_len, mesh, model.rules)
  check_params(param_specs(model), mesh, model.rules)
  check_factors(config.optimizer,
                trained_specs(model, getattr(config, "lora", None)))
  if config.init_from and not saved_steps(as_path(config.workdir)):
    check_architecture(config.init_from, model)


def model_of(path: str) -> ModelConfig:
  """Model configuration of the checkpoint at `path`, without its tensors."""
  return from_dict(ModelConfig, checkpoint_info(path)[2]["model"])


@dataclasses.dataclass
class Start:
  """Where a run begins.

  Attributes:
    state: the train state.
    step: steps already done.
    loop: what the stage's loop had saved ({} at step 0).
    origin: "resumed", "init_from" or "scratch".
    frozen: parameters of the model that an adapter is trained for, or None.
  """
  state: TrainState
  step: int
  loop: dict[str, Any]
  origin: str
  frozen: Params | None = None


def adapter_of(config: SftConfig, model: ModelConfig,
               mesh: Any) -> Adapter | None:
  """The adapter that a run trains; None where it trains the whole model.

  A run that goes on keeps the checkpoint that it began from, though `init_from`
  may have been trained further.

  Raises:
    ConfigError: the model has no kernel that `lora.targets` names, or the
      factors cannot be split over the mesh.
  """
  if not config.lora.rank:
    return None
  check_params(lora_specs(model, config.lora), mesh, model.rules)
  workdir = as_path(config.workdir)
  for step in sorted(saved_steps(workdir), reverse=True):
    try:
      saved = checkpoint_info(workdir / CHECKPOINTS / str(step))[2].get(
          "adapter")
    except ConfigError:  # damaged, which is told when it is restored
      continue
    if saved is not None:
      return dataclasses.replace(from_dict(Adapter, saved), lora=config.lora)
  directory, step, _ = checkpoint_info(config.init_from)
  return Adapter(config.lora, str(directory), step)


def start_or_resume(config: TrainRunConfig, model: ModelConfig,
                    tx: optax.GradientTransformation,
                    checkpointer: Checkpointer,
                    carried: Mapping[str, Carried] | None = None) -> Start:
  """The workdir's newest checkpoint; else `init_from`'s parameters; else new.

  Only the first keeps the optimiser state and the place in the data.

  Args:
    config: the stage's settings.
    model: the model.
    tx: the optimiser.
    checkpointer: of `config.workdir`.
    carried: by name, what else the state carries in `extra`, such as a critic.

  Returns:
    The train state and its place, on the ambient mesh.

  Raises:
    ConfigError: a checkpoint is of another architecture, or missing.
  """
  adapter, frozen = checkpointer.adapter, None
  carried = carried or {}
  ema = config.optimizer.ema_decay > 0
  if adapter is not None:
    frozen, _, _ = load_params(
        adapter.base_checkpoint(as_path(config.workdir)))
  if checkpointer.newest_whole() is not None:
    state, data, loop = checkpointer.restore(tx, ema=ema,
                                             carried=carried)
    return Start(state, data["next_batch"], loop, "resumed", frozen)
  if adapter is not None:
    state = init_train_state(jax.random.key(config.seed), tx, model,
                             adapter.lora, ema=ema)
    return Start(_carrying(state, carried, frozen), 0, {}, "init_from", frozen)
  if not config.init_from:
    state = init_train_state(jax.random.key(config.seed), tx, model,
                             ema=ema)
    return Start(_carrying(state, carried, state.params), 0, {}, "scratch")
  check_architecture(config.init_from, model)
  params, _, _ = load_params(config.init_from)
  mesh = jax.sharding.get_abstract_mesh()
  shardings = None if mesh.empty else state_shardings(tx, model, ema=ema)
  def make(params):
    return fresh_state(params, tx, ema=ema)
  state = (jax.jit(make)(params) if shardings is None
           else jax.jit(make, out_shardings=shardings)(params))
  return Start(_carrying(state, carried, params), 0, {}, "init_from")


def _carrying(state: TrainState, carried: Mapping[str, Carried],
              params: Params) -> TrainState:
  """`state` with what else it carries, made from the model's parameters."""
  return state.replace(extra={**state.extra, **{
      name: each.start(params) for name, each in carried.items()}})


def describe(model: ModelConfig, seq_len: int) -> str:
  """The parameter table and operations per token, for the console."""
  rows = param_table(model)
  width = max(len(name) for name, _, _ in rows)
  lines = [f"  {name:<{width}}  {str(shape):>22}  {count:>14,}"
           for name, shape, count in rows]
  lines.append(f"  {'total':<{width}}  {'':>22}  {count_params(model):>14,}")
  lines.append(f"  {flops_per_token(model, seq_len) / 1e6:,.1f} MFLOPs per "
               "token trained")
  return "\n".join(lines)
