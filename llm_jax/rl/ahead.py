"""Where the loop gets its rollouts from: made now, or one step ahead.

    on policy   sample 1 | train 1 | sample 2 | train 2 | ...
    ahead       sample 1 | train 1             | train 2             | ...
                         | sample 2 from p(0)  | sample 3 from p(1)  | ...

Ahead, a thread samples the batch of step n + 1 while step n trains, so that
sampling, tools and rewards take no time of their own. It reads a copy of the
parameters from before step n, one step older than those it will train; the loss
knows it from the ratio of the sampler's log-probabilities, and
`Collected.sampled_after` says it (the staleness of Noukhovitch et al. 2024,
"Asynchronous RLHF", is one batch here).

A checkpoint holds the batch that waits, not the older parameters: what was
sampled is saved as it is, so a run that goes on trains on the same bits.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from llm_jax.config import require
from llm_jax.model.params import Params
from llm_jax.rl.collector import Collected

# (params, step, number of the first problem, steps that params have had)
Collect = Callable[[Params, int, int, int], Collected]


class RolloutSource:
  """Gives the batch of each step, in order.

  Args:
    collect: makes a batch.
    ahead: whether it is made one step ahead.
    num_steps: after which nothing more is made.
    waiting: what `state` returned, for a run that goes on.

  Raises:
    ConfigError: `ahead` with several processes, whose threads would meet in
      other orders on their devices.
  """

  def __init__(self, collect: Collect, *, ahead: bool, num_steps: int,
               waiting: dict[str, Any] | None = None):
    require(not ahead or jax.process_count() == 1, "ahead samples in a thread, "
            "which several processes cannot keep in step; leave it off, or run "
            "in one process.")
    self._collect, self._num_steps = collect, num_steps
    self._thread = concurrent.futures.ThreadPoolExecutor(1) if ahead else None
    self._waiting: concurrent.futures.Future[Collected] | None = None
    if waiting:
      self._waiting = concurrent.futures.Future()
      self._waiting.set_result(Collected.from_json(waiting))

  def __enter__(self) -> RolloutSource:
    return self

  def __exit__(self, *exc_info: object) -> None:
    if self._thread is not None:
      self._thread.shutdown()

  def next(self, params: Params, step: int, first_problem: int) -> Collected:
    """The batch that `step` trains on.

    Args:
      params: of step - 1; they may be donated afterwards.
      step: the next one.
      first_problem: of it, where it is not made yet.
    """
    if self._thread is None:
      return self._collect(params, step, first_problem, step - 1)
    if self._waiting is None:
      collected = self._collect(params, step, first_problem, step - 1)
    else:
      collected, self._waiting = self._waiting.result(), None
    if step < self._num_steps:
      copied = jax.block_until_ready(jax.tree.map(jnp.copy, params))
      self._waiting = self._thread.submit(
          self._on_mesh, jax.sharding.get_mesh(), copied, step + 1,
          collected.next_problem, step - 1)
    return collected

  def _on_mesh(self, mesh: jax.sharding.Mesh, params: Params, step: int,
               first_problem: int, sampled_after: int) -> Collected:
    """`collect` in the thread, where no mesh is ambient yet."""
    if mesh.empty:
      return self._collect(params, step, first_problem, sampled_after)
    with jax.set_mesh(mesh):
      return self._collect(params, step, first_problem, sampled_after)

  def state(self) -> dict[str, Any]:
    """What waits to be trained on, as JSON; waits until it is made."""
    return self._waiting.result().to_json() if self._waiting else {}
