"""Muon (Jordan et al. 2024): momentum, each matrix made orthogonal, on a mesh.

Optax has Muon too, and the numbers here are its numbers (a test holds them
against each other). Ours is for the mesh: the Newton-Schulz iterations multiply
a matrix by its own transpose, over and over, and of matrices that lie split
over devices the partitioner gathers the whole stack of layers on every device,
which then all do the same work. Here the stack is dealt out first: each device
gets whole matrices of some layers, works on these alone, and hands the results
back to where the parameters lie. That is one exchange there and one back,
whatever the number of iterations.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
import optax

# c of X <- c0 X + (c1 A + c2 A A) X with A = X Xᵀ, steep at zero: five rounds
# bring singular values from 0.01 to about 1.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5
_EPS = 1e-8
# Who shares the work, in this order: first the axes that parameters are split
# over, then those that hold copies of them.
_AXES = ("expert", "fsdp", "tensor", "data", "context")


class MuonState(NamedTuple):
  """Steps done (int32 scalar) and the average of the gradients."""
  count: jax.Array
  mu: Any


def scale_by_muon(shardings: Any = None, beta: float = 0.95, rms: float = 0.2
                  ) -> optax.GradientTransformation:
  """Nesterov's momentum, then UVᵀ in place of USVᵀ, nearly, in every matrix.

  Args:
    shardings: tree of `PartitionSpec` of what is trained, so that a mesh can
      share the work; None: the partitioner does as it likes.
    beta: decay of the momentum.
    rms: root mean square of an update's elements, about; 0.2 is AdamW's, so
      that both take one learning rate (Liu et al. 2025, arXiv:2502.16982).
  """
  keystr = jax.tree_util.keystr
  specs = {keystr(path): spec for path, spec in
           jax.tree_util.tree_leaves_with_path(
               shardings, is_leaf=lambda x: isinstance(x, PartitionSpec))}

  def init(params):
    return MuonState(jnp.zeros((), jnp.int32),
                     jax.tree.map(jnp.zeros_like, params))

  def update(grads, state, params=None):
    del params
    count = state.count + 1
    mu = jax.tree.map(lambda m, g: beta * m + (1 - beta) * g, state.mu, grads)
    # Both sums of weights are brought to one: that of the average as it will
    # be after the next step, that of this gradient as it is.
    ahead = beta / (1 - beta ** (count + 1))
    now = (1 - beta) / (1 - beta ** count)
    updates = jax.tree_util.tree_map_with_path(
        lambda path, m, g: rms * orthogonalized(
            path, ahead * m + now * g, specs.get(keystr(path))), mu, grads)
    return updates, MuonState(count, mu)
  return optax.GradientTransformation(init, update)


def matrix_axes(path: tuple[Any, ...], ndim: int) -> tuple[int, int]:
  """How a stacked layer tensor is a stack of matrices: [..., rows, columns].

  Heads are flattened into the matrix that they are part of; experts are
  matrices of their own.

  Args:
    path: of the tensor in the parameter tree, or in an adapter's.
    ndim: its number of axes.

  Returns:
    (how many axes number the matrices, how many after them are its rows).
  """
  name, parent = path[-1].key, path[-2].key
  lead = 2 if parent == "moe" and name in ("gate", "up", "down") else 1
  if name == "a":  # of an adapter: whatever goes in, to the rank
    return lead, ndim - lead - 1
  return lead, 2 if name == "o" else 1


def orthogonalized(path: tuple[Any, ...], x: jax.Array,
                   spec: PartitionSpec | None = None) -> jax.Array:
  """`x` with every matrix made nearly orthogonal, times √max(rows, columns).

  The factor gives its elements a root mean square of about one.

  Args:
    path: of the tensor, for `matrix_axes`.
    x: the tensor.
    spec: how it lies over the ambient mesh, and how the result shall lie;
      None: the partitioner may do as it likes.
  """
  lead, num_rows = matrix_axes(path, x.ndim)
  split = lead + num_rows
  rows, columns = math.prod(x.shape[lead:split]), math.prod(x.shape[split:])
  stages = _stages(x.shape[lead - 1], x.ndim, lead - 1, spec)
  padded = x
  if stages:
    ways = math.prod(jax.sharding.get_abstract_mesh().shape[name]
                     for name in _as_tuple(stages[-1][lead - 1]))
    padding = [(0, 0, 0)] * x.ndim
    padding[lead - 1] = (0, -x.shape[lead - 1] % ways, 0)
    padded = jax.lax.pad(x, jnp.zeros((), x.dtype), padding)
  whole = padded
  for stage in stages:
    whole = jax.lax.with_sharding_constraint(whole, stage)
  whole = newton_schulz(whole.reshape(*whole.shape[:lead], rows, columns))
  result = whole.reshape(padded.shape)
  for stage in reversed(stages):  # back by the same way
    result = jax.lax.with_sharding_constraint(result, stage)
  result = jax.lax.slice_in_dim(result, 0, x.shape[lead - 1], axis=lead - 1)
  return math.sqrt(max(rows, columns)) * result


def newton_schulz(x: jax.Array) -> jax.Array:
  """Five rounds of Jordan's quintic iteration on matrices [..., R, C].

  Singular values of the result lie in about 0.7 to 1.2, but for those that
  were below a hundredth of the matrix's norm.
  """
  flip = x.shape[-2] > x.shape[-1]  # the smaller product
  x = x.mT if flip else x
  x /= jnp.linalg.norm(x, axis=(-2, -1), keepdims=True) + _EPS
  c0, c1, c2 = _COEFFICIENTS
  for _ in range(_ROUNDS):
    a = x @ x.mT
    x = c0 * x + (c1 * a + c2 * a @ a) @ x
  return x.mT if flip else x


def _stages(size: int, ndim: int, axis: int,
            spec: PartitionSpec | None) -> list[PartitionSpec]:
  """From `spec` to whole matrices on each device; empty where one works alone.

  One mesh axis at a time moves to the array axis that numbers the matrices,
  which takes an all-to-all within that mesh axis (none where it held copies);
  of all at once, the partitioner would make the whole stack everywhere first.

  Args:
    size: how many matrices are numbered by the axis.
    ndim: axes of the array.
    axis: that axis.
    spec: the layout to begin with.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or spec is None:
    return []
  places = [list(_as_tuple(part)) for part in spec]
  places += [[] for _ in range(ndim - len(places))]
  ways = math.prod(mesh.shape[name] for name in places[axis])
  stages = [places]
  for name in _AXES:
    if (mesh.shape.get(name, 1) > 1 and ways < size
        and name not in places[axis]):
      places = [[other for other in part if other != name] for part in places]
      places[axis].append(name)
      ways *= mesh.shape[name]
      stages.append(places)
  whole = [part if i == axis else [] for i, part in enumerate(places)]
  if whole != places:  # axes that found no work, whose devices repeat it
    stages.append(whole)
  if ways == 1:
    return []
  return [PartitionSpec(*(tuple(part) or None for part in stage))
          for stage in stages]


def _as_tuple(part: Any) -> tuple[str, ...]:
  """An entry of a PartitionSpec, as mesh axes."""
  return part if isinstance(part, tuple) else (part,) if part else ()
