"""Checkpoints by Orbax: asynchronous, atomic, restorable onto another mesh.

A checkpoint is a directory `<workdir>/checkpoints/<step>/` of five items:

  params     the model's tensors: all that chat, evaluation and export read;
             with optimizer.ema_decay their average
  optimizer  step, optimiser state, extra; then also the parameters themselves
  data       the data iterator's state: the next batch's index
  loop       what else the stage's loop needs (a plateau's patience, ...)
  config     stage and model configuration, as JSON

so `saved_models.load_params(dir)` needs nothing but the directory. Of a LoRA
run `params` is the adapter, and `config` says to which model (`adapters.py`). A
save is written beside its final name and renamed when it is whole; one that was
cut short is not seen. `integrity.py` finds those whose files were altered
later; a run goes on from the one before (docs/surviving.md).
"""

from __future__ import annotations

from collections.abc import Mapping
import threading
from typing import Any

from etils import epath
import jax
from jax.experimental import multihost_utils
import optax
import orbax.checkpoint as ocp

from llm_jax.config import CheckpointConfig, ModelConfig, require
from llm_jax.config_tree import from_dict, to_dict
from llm_jax.training import integrity
from llm_jax.training.adapters import Adapter
from llm_jax.training.checkpoint_items import (
    abstract_on_mesh, check_items, differences, items_of, state_of)
from llm_jax.training.saved_models import CHECKPOINTS
from llm_jax.training.train_step import (
    Carried, TrainState, new_train_state, state_shardings)

_ITEMS = ("params", "optimizer", "data", "loop", "config")


class Checkpointer:
  """Saves and restores the state of one run.

  Args:
    workdir: the run's directory.
    config: how many checkpoints to keep.
    model: the model's configuration, saved with each checkpoint.
    stage: "pretrain", "sft" or "rl", likewise.
    adapter: where the run trains an adapter, what it is and of which model.
  """

  def __init__(self, workdir: str, config: CheckpointConfig,
               model: ModelConfig, stage: str, adapter: Adapter | None = None):
    self.adapter = adapter
    self._directory = epath.Path(workdir).resolve() / CHECKPOINTS
    self._model, self._stage = model, stage
    self._saving: int | None = None  # the step whose save is under way
    self._failure = ""  # of the last save, in words
    self._watcher: threading.Thread | None = None
    integrity.quieten_orbax()
    if jax.process_index() == 0:
      integrity.remove_partial(self._directory)
    self._manager = ocp.CheckpointManager(
        self._directory, options=ocp.CheckpointManagerOptions(
            max_to_keep=config.keep, create=True,
            single_host_load_and_broadcast=jax.process_count() > 1,
            async_options=ocp.options.AsyncOptions(
                post_finalization_callback=self._write_checksums,
                # Else a directory that cannot be made holds up the exit.
                create_directories_asynchronously=False)))

  def _write_checksums(self) -> None:
    """Called by Orbax in process 0, in the background, before the renaming."""
    integrity.write_checksums(
        integrity.partial(self._directory, self._saving))

  def latest_step(self) -> int | None:
    """Step of the newest checkpoint, or None."""
    return self._manager.latest_step()

  def newest_whole(self) -> int | None:
    """Step of the newest undamaged checkpoint, or None where there is none.

    Newer ones that are damaged are told, and renamed to `<step>.damaged`, so
    that nobody loads or counts them again.

    Raises:
      ConfigError: there are checkpoints, and all are damaged.
    """
    steps = self._manager.all_steps()
    step = integrity.newest_whole(self._directory, steps, _ITEMS)
    if steps and step != max(steps):
      self._reread()
    return step

  def _reread(self) -> None:
    """Lists the directory again, the same list in every process."""
    if jax.process_count() > 1:
      multihost_utils.sync_global_devices("checkpoints changed")
    self._manager.reload()

  def save(self, step: int, state: TrainState, data: dict[str, Any],
           loop: dict[str, Any] | None = None) -> None:
    """Starts to save; returns once the state may be changed (donated).

    A save that fails, as on a full disk, is told, and training goes on; `close`
    raises where it was the last.

    Args:
      step: steps done, the checkpoint's name.
      state: the train state.
      data: JSON state of the data iterator.
      loop: JSON state of the stage's loop.
    """
    self.wait()
    if step in self._manager.all_steps():
      return
    self._saving, self._failure = step, ""
    params, optimizer = items_of(state)
    items = ocp.args.Composite(
        params=ocp.args.StandardSave(params),
        optimizer=ocp.args.StandardSave(optimizer),
        data=ocp.args.JsonSave(data), loop=ocp.args.JsonSave(loop or {}),
        config=ocp.args.JsonSave(self._info()))
    try:
      self._manager.save(step, args=items)
    except Exception as error:
      self._tell(error)
    else:
      self._watcher = threading.Thread(target=self._watch, daemon=True)
      self._watcher.start()

  def _watch(self) -> None:
    """In the background: tells at once of a save that fails on its way."""
    try:
      self._manager.wait_until_finished()
    except Exception as error:
      self._tell(error)

  def _tell(self, error: Exception) -> None:
    """Says why a save failed, and removes what there is of it.

    Any error is taken so: whatever a file system may say, training goes on.
    """
    self._failure = (
        f"the checkpoint of step {self._saving} could not be saved in "
        f"{self._directory}: {integrity.why(error)}"
        f"{integrity.free_space(self._directory)}")
    if jax.process_index() == 0:
      integrity.remove_partial(self._directory)
    print(f"{self._failure}. Training goes on; saving is tried again at the "
          "next interval.", flush=True)

  def wait(self) -> None:
    """Waits for the save under way. If it failed anywhere, all know it then."""
    if self._saving is None:
      return
    if self._watcher is not None:
      self._watcher.join()
    integrity.forget_errors(self._manager)
    self._saving = self._watcher = None
    self._failure = integrity.agreed(self._failure)
    if self._failure:
      if jax.process_index() == 0:  # writes under way may have come after
        integrity.remove_partial(self._directory)
      self._reread()

  def _info(self) -> dict[str, Any]:
    """What the checkpoint is of."""
    info = {"stage": self._stage, "model": to_dict(self._model)}
    if self.adapter is not None:
      info["adapter"] = to_dict(self.adapter)
    return info

  def restore(self, tx: optax.GradientTransformation, *, ema: bool = False,
              carried: Mapping[str, Carried] | None = None
              ) -> tuple[TrainState, dict[str, Any], dict[str, Any]]:
    """(state, data, loop) of the newest checkpoint, on the ambient mesh.

    Args:
      tx: the optimiser of the run.
      ema: whether the run keeps an average of its parameters.
      carried: by name, what else the state carries in `extra`.

    Raises:
      ConfigError: the checkpoint is of another architecture.
    """
    step = self.latest_step()
    saved = self._manager.restore(step, args=ocp.args.Composite(
        config=ocp.args.JsonRestore()))["config"]
    differing = differences(from_dict(ModelConfig, saved["model"]),
                             self._model)
    require(not differing,
            f"the checkpoint in {self._directory / str(step)} is of another "
            f"architecture: model.{', model.'.join(differing)}; use another "
            "--workdir, or the checkpoint's own values.")
    require(saved.get("adapter") == self._info().get("adapter"),
            f"the checkpoint in {self._directory / str(step)} is not of this "
            "adapter: its settings --lora.*, or the model it belongs to, are "
            "others; use another --workdir.")
    lora = self.adapter.lora if self.adapter else None
    abstract = abstract_on_mesh(
        lambda: new_train_state(jax.random.key(0), tx, self._model, lora,
                                ema=ema),
        state_shardings(tx, self._model, lora, ema=ema))
    abstract = abstract.replace(extra={**abstract.extra, **{
        name: abstract_on_mesh(each.make_abstract, each.shardings)
        for name, each in (carried or {}).items()}})
    params, optimizer = items_of(abstract)
    place = self._directory / str(step)
    with ocp.StandardCheckpointer() as checkpointer:
      saved = checkpointer.metadata(place / "optimizer").item_metadata.tree
    check_items(str(place), saved, optimizer)
    restored = self._manager.restore(step, args=ocp.args.Composite(
        params=ocp.args.StandardRestore(params),
        optimizer=ocp.args.StandardRestore(optimizer),
        data=ocp.args.JsonRestore(), loop=ocp.args.JsonRestore()))
    state = state_of(restored["params"], restored["optimizer"])
    return state, restored["data"], restored["loop"]

  def close(self) -> None:
    """Waits for a save under way and frees the manager's threads.

    Raises:
      ConfigError: the last save failed.
    """
    self.wait()
    self._manager.close()
    require(not self._failure, f"{self._failure}; that was the last save, and "
            f"the newest checkpoint is of step {self.latest_step()}: set it "
            "right and start the same command again, which goes on from there.")
