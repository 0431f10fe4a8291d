"""Norms of gradients and updates: of the whole tree, and of each layer."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def _square_sums(x: jax.Array, axes: tuple[int, ...]) -> jax.Array:
  """Sum of squares over `axes`, in float32 or wider whatever `x` is."""
  wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  return jnp.sum(jnp.square(wide), axes)


def tree_norm(tree: Any) -> jax.Array:
  """Euclidean norm of all numbers of a tree together, at least float32."""
  return jnp.sqrt(sum(
      _square_sums(x, tuple(range(x.ndim))) for x in jax.tree.leaves(tree)))


def layer_norms(prefix: str, tree: Any) -> dict[str, jax.Array]:
  """Norm of each tensor, and of each layer's part of a stacked one.

  Args:
    prefix: of the names, such as "grad_norm".
    tree: shaped as the parameters (or an adapter): `layers` is a list of
      groups, each stacked [repeats, ...].

  Returns:
    name -> scalar, or for stacked tensors name -> [repeats], whose name says
    which layers these are: "grad_norm/layers.0-11.attention.q". It is
    `metrics.numbers` that gives each layer a name of its own.
  """
  found = {}
  first = 0
  groups = tree.get("layers", []) if isinstance(tree, dict) else []
  for group in groups:
    leaves = jax.tree_util.tree_leaves_with_path(group)
    if not leaves:  # an adapter that updates nothing in these layers
      continue
    last = first + leaves[0][1].shape[0] - 1
    for path, x in leaves:
      found[f"{prefix}/layers.{first}-{last}.{_name(path)}"] = jnp.sqrt(
          _square_sums(x, tuple(range(1, x.ndim))))
    first = last + 1
  rest = ({name: x for name, x in tree.items() if name != "layers"}
          if isinstance(tree, dict) else tree)
  for path, x in jax.tree_util.tree_leaves_with_path(rest):
    found[f"{prefix}/{_name(path)}"] = tree_norm(x)
  return found


def _name(path: tuple[Any, ...]) -> str:
  return jax.tree_util.keystr(path, simple=True, separator=".")
