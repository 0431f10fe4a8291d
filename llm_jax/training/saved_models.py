"""Models in the directories of runs: found, loaded, written.

What lies there is told in `checkpoints.py`. A model needs of it the parameters,
the config and the tokenizer beside the checkpoints, and nothing of the
optimiser.
"""

from __future__ import annotations

from typing import Any

from etils import epath
import jax
import orbax.checkpoint as ocp

from llm_jax.config import ConfigError, ModelConfig, require
from llm_jax.config_tree import from_dict, to_dict
from llm_jax.model.lora import merge, trained_specs
from llm_jax.model.params import (
    Params, init_tensors, param_shardings, tensor_shardings)
from llm_jax.tokenizer.loading import load_tokenizer
from llm_jax.tokenizer.protocol import Tokenizer
from llm_jax.training import integrity
from llm_jax.training.adapters import Adapter
from llm_jax.training.checkpoint_items import (
    abstract_on_mesh, differences, reaching_as_far)

CHECKPOINTS = "checkpoints"
TOKENIZER = "tokenizer"
_OR_CONVERT = (", or what `python -m experiments.convert --format=orbax` makes "
               "of another model")


def saved_steps(workdir: epath.PathLike) -> list[int]:
  """Steps of the whole checkpoints of a run; [] where there is none."""
  directory = epath.Path(workdir) / CHECKPOINTS
  return ocp.utils.checkpoint_steps(directory) if directory.is_dir() else []


def checkpoint_info(path: str) -> tuple[epath.Path, int, dict[str, Any]]:
  """Finds the newest checkpoint of a run.

  Args:
    path: a run's directory, its `checkpoints` directory, or one step's.

  Returns:
    (the run's directory, step, {"stage": str, "model": dict}).

  Raises:
    ConfigError: there is none, or it is damaged.
  """
  directory = epath.Path(path).expanduser().resolve()
  if not directory.exists():
    raise ConfigError(f"there is no checkpoint at {path}: no such directory; "
                      f"give the --workdir of a training run{_OR_CONVERT}.")
  if directory.name == CHECKPOINTS:
    directory = directory.parent
  step = None
  if directory.name.isdigit() and directory.parent.name == CHECKPOINTS:
    step, directory = int(directory.name), directory.parent.parent
  steps = saved_steps(directory)
  if not steps or (step is not None and step not in steps):
    raise ConfigError(f"there is no finished checkpoint in {path}; give the "
                      "--workdir of a training run that has saved one"
                      f"{_OR_CONVERT}.")
  step = max(steps) if step is None else step
  _require_whole(directory, step, ("config",))
  with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as checkpointer:
    info = checkpointer.restore(directory / CHECKPOINTS / str(step) / "config")
  return directory, step, info


def _require_whole(directory: epath.Path, step: int,
                   items: tuple[str, ...]) -> None:
  """Raises `ConfigError` where items of a checkpoint are damaged."""
  checkpoints = directory / CHECKPOINTS
  damage = integrity.find_damage(checkpoints / str(step), items)
  if not damage:
    return
  whole = next((other for other in sorted(saved_steps(directory), reverse=True)
                if other != step and not integrity.find_damage(
                    checkpoints / str(other), ("params", "config"))), None)
  raise ConfigError(
      f"the checkpoint {checkpoints / str(step)} is damaged: {damage}; "
      + ("no other one there is whole." if whole is None else
         f"{checkpoints / str(whole)} is whole: name that one."))


def check_architecture(path: str, model: ModelConfig) -> None:
  """Raises `ConfigError` unless the parameters at `path` fit `model`."""
  saved = from_dict(ModelConfig, checkpoint_info(path)[2]["model"])
  differing = differences(reaching_as_far(saved, model), model)
  require(not differing,
          f"init_from={path} is of another architecture: model."
          f"{', model.'.join(differing)}; set these to the checkpoint's.")


def load_params(path: str) -> tuple[Params, ModelConfig, Tokenizer]:
  """Loads a model from a run's directory, onto the ambient mesh if any.

  What a LoRA run trained comes merged into the model it started from.

  Args:
    path: a run's directory (newest checkpoint), or one checkpoint's.

  Returns:
    (params, model config, tokenizer).

  Raises:
    ConfigError: there is no such checkpoint, it is damaged, or it is an adapter
      whose model is gone.
  """
  directory, _, info = checkpoint_info(path)
  params, adapter, config = _load_saved(path)
  if "adapter" in info:
    base, _, _ = load_params(adapter.base_checkpoint(directory))
    mesh = jax.sharding.get_abstract_mesh()
    shardings = {} if mesh.empty else {
        "out_shardings": param_shardings(config)}
    params = jax.jit(merge, static_argnums=2, donate_argnums=0, **shardings)(
        base, params, adapter.lora)
  return params, config, load_tokenizer(str(directory / TOKENIZER))


def load_adapter(path: str) -> tuple[Params, Adapter, ModelConfig]:
  """Loads what a LoRA run trained, without the model that it belongs to.

  Args:
    path: a run's directory (newest checkpoint), or one checkpoint's.

  Returns:
    (the factors, what they are and of which model, that model's config).

  Raises:
    ConfigError: there is no such checkpoint, or it is no adapter.
  """
  require("adapter" in checkpoint_info(path)[2], f"{path} holds a whole model "
          "and no adapter; give a run of experiments.sft with --lora.rank.")
  return _load_saved(path)


def _load_saved(path: str) -> tuple[Params, Adapter, ModelConfig]:
  """The item `params` of a checkpoint: a model's, or an adapter's."""
  directory, step, info = checkpoint_info(path)
  config = from_dict(ModelConfig, info["model"])
  adapter = from_dict(Adapter, info.get("adapter", {}))
  specs = trained_specs(config, adapter.lora)
  abstract = abstract_on_mesh(
      lambda: init_tensors(jax.random.key(0), specs, config.param_dtype),
      tensor_shardings(specs, config.rules))
  _require_whole(directory, step, ("params",))
  with ocp.StandardCheckpointer() as checkpointer:
    params = checkpointer.restore(
        directory / CHECKPOINTS / str(step) / "params", abstract)
  return params, adapter, config


def keep_tokenizer(workdir: epath.PathLike, tokenizer: Tokenizer) -> None:
  """Writes a run's tokenizer beside its checkpoints; of processes, the first.

  They share the directory: one would read what another is half way through.
  """
  if jax.process_index() == 0:
    tokenizer.save(epath.Path(workdir) / TOKENIZER)


def save_params(directory: str, params: Params, config: ModelConfig,
                tokenizer: Tokenizer, stage: str) -> None:
  """Writes what `load_params`, `--init_from` and `--checkpoint` read.

  Args:
    directory: becomes a run's directory, of a checkpoint at step 0.
    params: the model's tensors, stacked.
    config: the model.
    tokenizer: its tokenizer.
    stage: "pretrain", "sft" or "rl": what the model is.
  """
  path = epath.Path(directory).resolve()
  keep_tokenizer(path, tokenizer)
  checkpoints = path / CHECKPOINTS
  options = ocp.CheckpointManagerOptions(
      async_options=ocp.options.AsyncOptions(
          post_finalization_callback=lambda: integrity.write_checksums(
              integrity.partial(checkpoints, 0))))
  with ocp.CheckpointManager(checkpoints, options=options) as manager:
    manager.save(0, args=ocp.args.Composite(
        params=ocp.args.StandardSave(params),
        config=ocp.args.JsonSave({"stage": stage, "model": to_dict(config)})))
