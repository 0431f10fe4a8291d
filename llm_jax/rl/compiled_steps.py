"""The programs of a run of reinforcement learning, for `scaling/compiled.py`.

    train     an optimiser step on the rollouts
    sync      the sampler's weights, of those that are trained
    start     prompts read, once for all samples of each, and the first tokens
    resume    tokens drawn on, when the cache is as long as it becomes
    compact   rows that go on, moved to a cache of that length

They are the functions that `experiments.rl` runs, for a step in which no row
ends before its time and every prompt is as long as there is room for: no step
needs more. What lies on a device beside a program's own arguments, such as the
optimiser's state while answers are sampled, is counted by `beside`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from llm_jax.config import ModelConfig, RlConfig
from llm_jax.inference.compaction import (
    compact_rows, segment_tokens)
from llm_jax.inference.generate import Decoding, resume, start
from llm_jax.rl.critic import CRITIC, carried_critic
from llm_jax.rl.policy_step import make_policy_step
from llm_jax.rl.rollouts import prompt_slots
from llm_jax.rl.weight_sync import sampler_model, to_sampler
from llm_jax.scaling.compiled import (
    Program, sampler_params, shaped, shaped_cache, shaped_params, shaped_rows)
from llm_jax.scaling.workload import (
    Workload, cache_bytes, serve_workload, train_workload)
from llm_jax.training.memory_estimate import MemoryEstimate, estimate_memory
from llm_jax.training.optimizers import make_optimizer
from llm_jax.training.train_step import new_train_state, state_shardings

_FIELDS = ("tokens", "targets", "loss_mask", "sampler_logprobs",
           "old_logprobs", "advantages")
_CRITIC_FIELDS = ("values", "returns")
_STOP_IDS = (0,)  # which token it is does not matter to the program


@dataclasses.dataclass(frozen=True)
class _Run:
  """A run, and the sizes of its sampling.

  Attributes:
    config: its settings.
    model: the model that is trained.
    mesh: the devices.
    sampler: the model as it samples.
    ways: parts that the mesh splits a batch into.
    prompts: P, filled up to what the mesh divides.
    rows: P·G.
    slots: for a prompt.
    segment: tokens drawn between two looks at which rows are done.
    longest: slots of the longest cache.
    by_rows: `config` with the rows of an optimiser step for prompts, as other
      stages count them.
    fields: arrays of a batch, [B, T] each.
    optimizer: of the policy.
    estimate: of the training step's memory.
  """
  config: RlConfig
  model: ModelConfig
  mesh: Any

  @property
  def sampler(self) -> ModelConfig:
    return sampler_model(self.model, self.config.sync)

  @property
  def ways(self) -> int:
    return math.prod(self.mesh.shape[a] for a in self.sampler.rules.batch)

  @property
  def prompts(self) -> int:
    return -(-self.config.batch_size // self.ways) * self.ways

  @property
  def rows(self) -> int:
    return self.prompts * self.config.group_size

  @property
  def slots(self) -> int:
    return prompt_slots(self.config, self.model)

  @property
  def segment(self) -> int:
    return segment_tokens(self.config.sampling.max_new_tokens)

  @property
  def longest(self) -> int:
    return self.slots + self.config.sampling.max_new_tokens

  @property
  def by_rows(self) -> RlConfig:
    return dataclasses.replace(
        self.config,
        batch_size=self.config.batch_size * self.config.group_size
        // self.config.minibatches)

  @property
  def fields(self) -> tuple[str, ...]:
    return _FIELDS + (_CRITIC_FIELDS if self.config.objective.needs_critic
                      else ())

  @property
  def optimizer(self) -> Any:
    return make_optimizer(self.config.optimizer, self.config.policy_steps,
                          self.model, self.config.lora)

  @property
  def estimate(self) -> MemoryEstimate:
    found = estimate_memory(self.by_rows, self.model, self.mesh,
                            self.optimizer)
    # It counts the five arrays of a batch of other stages.
    return dataclasses.replace(found,
                               batch=found.batch * len(self.fields) // 5)


def program_of(name: str, config: RlConfig, model: ModelConfig, mesh: Any
               ) -> Program:
  """One of the run's programs.

  Args:
    name: train, sync, start, resume or compact.
    config: the run.
    model: the model that is trained.
    mesh: of `make_mesh`.
  """
  return {"train": _train, "sync": _sync, "start": _start, "resume": _resume,
          "compact": _compact}[name](_Run(config, model, mesh))


def account(name: str, config: RlConfig, model: ModelConfig, mesh: Any
            ) -> tuple[Workload, MemoryEstimate | None]:
  """(what a program has to do, memory estimated without compiling: of the
  training step, where the policy is all that it holds)."""
  run = _Run(config, model, mesh)
  if name == "train":
    estimate = run.estimate
    work = train_workload(run.by_rows, model, estimate, mesh)
    more = (config.lora.rank or config.objective.needs_critic
            or config.objective.needs_reference)
    return work, None if more else estimate
  served = functools.partial(serve_workload, model=run.sampler, mesh=mesh)
  if name == "start":
    return (served("prefill", rows=run.prompts, slots=run.slots)
            + served("decode", rows=run.rows, slots=run.slots + run.segment)
            * (run.segment - 1)), None
  if name == "resume":
    return served("decode", rows=run.rows,
                  slots=run.longest) * run.segment, None
  moved = (2 * cache_bytes(run.sampler, run.rows, run.longest, mesh)
           if name == "compact" else
           _device_bytes(shaped_params(model, mesh))
           + _device_bytes(_weights(run)))
  return Workload(0.0, 0.0, moved), None


def beside(name: str, config: RlConfig, model: ModelConfig, mesh: Any) -> int:
  """Bytes of one device that a program finds taken by what is not its own."""
  run = _Run(config, model, mesh)
  weights = _device_bytes(_weights(run))
  if name == "train":  # while which the next answers are sampled
    return weights if config.ahead else 0
  state = _device_bytes(_state(run))
  params = _device_bytes(shaped_params(model, mesh))
  if config.lora.rank:  # the frozen model, and one with the adapter merged in
    state += 2 * params
  elif config.objective.needs_reference:
    state += params
  return state + {"sync": -params, "start": 0, "resume": 0,
                  "compact": weights}[name]


def _device_bytes(tree: Any) -> int:
  """Of one device's parts of shaped arrays."""
  return sum(math.prod(x.sharding.shard_shape(x.shape))
             * jnp.dtype(x.dtype).itemsize for x in jax.tree.leaves(tree))


# --- training ----------------------------------------------------------------


def _state(run: _Run) -> Any:
  """The policy's train state, with the critic's where there is one."""
  config, model = run.config, run.model
  lora = config.lora if config.lora.rank else None
  ema, tx = config.optimizer.ema_decay > 0, run.optimizer
  state = shaped(
      jax.eval_shape(lambda: new_train_state(
          jax.random.key(0), tx, model, lora, ema=ema)),
      state_shardings(tx, model, lora, ema=ema), run.mesh)
  carried = carried_critic(config, model)
  if CRITIC not in carried:
    return state
  critic = carried[CRITIC]
  return state.replace(extra={**state.extra, CRITIC: shaped(
      jax.eval_shape(critic.make_abstract), critic.shardings, run.mesh)})


def _train(run):
  config, model, mesh = run.config, run.model, run.mesh
  shape = (run.by_rows.batch_size, config.seq_len)
  batch = {name: shaped_rows(
      shape, jnp.int32 if name in ("tokens", "targets") else jnp.float32,
      model.rules, mesh) for name in run.fields}
  frozen = None
  if config.lora.rank or config.objective.needs_reference:
    frozen = shaped_params(model, mesh)
  if not config.lora.rank:
    frozen = {"reference": frozen}
  return Program(make_policy_step(run.optimizer, config, model),
                 (_state(run), frozen, batch), (0,), math.prod(shape))


# --- sampling ----------------------------------------------------------------


def _weights(run: _Run) -> Any:
  return sampler_params(run.sampler, run.mesh,
                        int8=run.config.sync.dtype == "int8")


def _whole(shape: tuple[int, ...], dtype: Any, mesh: Any
           ) -> jax.ShapeDtypeStruct:
  """An array that comes from the host, the same on all devices."""
  return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(
      mesh, PartitionSpec()))


def _keys(run: _Run) -> jax.ShapeDtypeStruct:
  keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), run.rows))
  return _whole(keys.shape, keys.dtype, run.mesh)


def _decoding(run: _Run, slots: int) -> Decoding:
  """Rows in the middle of their completions."""
  rows, rules, mesh = (run.rows,), run.sampler.rules, run.mesh
  return Decoding(_whole((), jnp.int32, mesh),
                  shaped_rows(rows, jnp.int32, rules, mesh),
                  shaped_rows(rows, bool, rules, mesh),
                  shaped_cache(run.rows, slots, run.sampler, mesh), None)


def _sync(run):
  step = functools.partial(to_sampler, model=run.model, sync=run.config.sync)
  return Program(step, (shaped_params(run.model, run.mesh),), (), 0)


def _start(run):
  sampling, sampler, mesh = run.config.sampling, run.sampler, run.mesh
  def step(params, prompts_BT, lengths_P, keys_B, limits_B):
    return start(params, prompts_BT, lengths_P, keys_B, sampling, sampler,
                 cache_len=run.slots + run.segment, columns=run.segment,
                 stop_ids=_STOP_IDS, limits_B=limits_B,
                 samples_per_prompt=run.config.group_size)
  return Program(
      step, (_weights(run), _whole((run.prompts, run.slots), jnp.int32, mesh),
             _whole((run.prompts,), jnp.int32, mesh), _keys(run),
             _whole((run.rows,), jnp.int32, mesh)), (),
      run.prompts * run.slots + run.rows * (run.segment - 1))


def _resume(run):
  sampling, sampler, mesh = run.config.sampling, run.sampler, run.mesh
  def step(params, state, lengths_B, keys_B, end, limits_B):
    return resume(params, state, lengths_B, keys_B, end, sampling, sampler,
                  columns=run.segment, stop_ids=_STOP_IDS, limits_B=limits_B)
  row = _whole((run.rows,), jnp.int32, mesh)
  return Program(step, (_weights(run), _decoding(run, run.longest), row,
                        _keys(run), _whole((), jnp.int32, mesh), row), (1,),
                 run.rows * run.segment)


def _compact(run):
  mesh, row = run.mesh, _whole((run.rows,), jnp.int32, run.mesh)
  step = functools.partial(compact_rows, slots=run.longest)
  segments = -(-run.config.sampling.max_new_tokens // run.segment)
  before = _decoding(run, run.slots + run.segment * max(1, segments - 1))
  chosen = _whole((run.ways, run.rows // run.ways), jnp.int32, mesh)
  return Program(step, (before, row, _keys(run), row, chosen,
                        _whole((run.rows,), bool, mesh)), (), 0)
