"""LoRA: a frozen model and a small update of low rank (Hu et al. 2021).

    W' = W + s · A·B        A [in, r], B [r, out], r « in, out

(arXiv:2106.09685, section 4.1). Only A and B are trained, so gradients and the
optimiser's moments are theirs alone. An *adapter* is a tree of its own, shaped
as the parameters but with `{"a", "b"}` in place of each kernel that is updated
and without the rest: `lora_specs` describes it as `param_specs` does a model,
and initial values, shardings, counts and checkpoints follow from that.

`attach` puts kernels and factors side by side, as `LowRank` leaves, in a tree
that every function of the model takes. A projection then is x·W + s·(x·A)·B:
neither W' nor its gradient, which are as large as W, ever exist. `merge` makes
W' once, after which the model costs what it did before.

Experts of a mixture are not updated: their products are ragged, and each
expert would need factors of its own.
"""

from __future__ import annotations

import math
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from llm_jax.config import LoraConfig, ModelConfig, require
from llm_jax.model.params import (
    Params, ParamSpec, init_tensors, is_spec, param_specs)

_FACTORS = {"a", "b"}


@flax.struct.dataclass
class LowRank:
  """A kernel W and its update s·A·B, which stands for their sum.

  Attributes:
    kernel: [...inputs, ...outputs], an array or an `Int8`.
    a: [...inputs, r].
    b: [r, ...outputs].
    scale: s.

  All three may be stacked on one more leading axis.
  """
  kernel: Any
  a: jax.Array
  b: jax.Array
  scale: float = flax.struct.field(pytree_node=False)

  @property
  def shape(self) -> tuple[int, ...]:
    """Of the kernel."""
    return self.kernel.shape

  @property
  def ndim(self) -> int:
    """Of the kernel."""
    return self.kernel.ndim

  def astype(self, dtype: Any) -> jax.Array:
    """W + s·A·B, made whole in `dtype`; the sum is taken in float32."""
    wide = jnp.promote_types(dtype, jnp.float32)
    stacked = self.a.ndim + self.b.ndim - 2 - self.kernel.ndim
    rank = self.kernel.ndim  # the name of the axis that is summed over
    inputs = list(range(self.a.ndim - 1))
    outputs = list(range(self.a.ndim - 1, self.kernel.ndim))
    update = jnp.einsum(self.a.astype(wide), [*inputs, rank],
                        self.b.astype(wide),
                        [*inputs[:stacked], rank, *outputs],
                        [*inputs, *outputs])
    return (self.kernel.astype(wide) + self.scale * update).astype(dtype)

  def equations(self, equation: str) -> tuple[str, str]:
    """Einsums of x·A and (x·A)·B in place of x·W's, such as "btd,dnh->btnh"."""
    x_axes, kernel_axes, out_axes = equation.replace("->", ",").split(",")
    split = self.a.ndim - 1
    inputs, outputs = kernel_axes[:split], kernel_axes[split:]
    return f"{x_axes},{inputs}z->btz", f"btz,z{outputs}->{out_axes}"


def lora_specs(model: ModelConfig, lora: LoraConfig) -> Params:
  """Tree of `ParamSpec` of an adapter.

  A is normal with the variance of PEFT's Kaiming-uniform values, 1/(3·inputs);
  B is zero, so that training begins at the frozen model. Both are split over a
  mesh as the axes of their kernel are, and float32 whatever the model's dtype.

  Args:
    model: the frozen model.
    lora: rank and targets.

  Raises:
    ConfigError: no kernel of the model is among the targets.
  """
  lora.validate()
  specs = _factors_of(param_specs(model), lora, "")
  require(bool(jax.tree.leaves(specs, is_leaf=is_spec)),
          f"lora.targets={','.join(lora.targets)} names no kernel of this "
          "model (those of experts are not updated); choose among the kernels "
          "of the parameter table.")
  return specs


def _factors_of(specs: Any, lora: LoraConfig, name: str) -> Any:
  """`specs` with kernels replaced by their factors, and no other leaves."""
  if isinstance(specs, list):
    return [_factors_of(group, lora, name) for group in specs]
  if is_spec(specs):
    stacked = specs.axes[0] == "layers"
    split = stacked + (2 if name == "o" else 1)  # a head's output has two axes
    lead, rank = specs.shape[:stacked], lora.rank
    std = 1 / math.sqrt(3 * math.prod(specs.shape[stacked:split]))
    return {"a": ParamSpec((*specs.shape[:split], rank),
                           (*specs.axes[:split], "low_rank"), std,
                           dtype="float32"),
            "b": ParamSpec((*lead, rank, *specs.shape[split:]),
                           (*specs.axes[:stacked], "low_rank",
                            *specs.axes[split:]), fill=0.0, dtype="float32")}
  found = {}
  for key, value in specs.items():
    if is_spec(value):
      target = name if key == "kernel" else key  # the head's has no other name
      if target in lora.targets and "experts" not in value.axes:
        found[key] = _factors_of(value, lora, target)
    elif inner := _factors_of(value, lora, key):
      found[key] = inner
  return found


def trained_specs(model: ModelConfig, lora: LoraConfig | None) -> Params:
  """Specs of what training changes: an adapter, or all of the model."""
  if lora is None or not lora.rank:
    return param_specs(model)
  return lora_specs(model, lora)


def init_lora(key: jax.Array, model: ModelConfig, lora: LoraConfig) -> Params:
  """A new adapter, float32; see `lora_specs`."""
  return init_tensors(key, lora_specs(model, lora), "float32")


def attach(params: Params, adapter: Params, lora: LoraConfig) -> Params:
  """`params` with `LowRank` leaves where the adapter has factors.

  Args:
    params: the frozen model, its layers stacked.
    adapter: shaped as `lora_specs`.
    lora: gives the scale.
  """
  return _join(params, adapter, lambda kernel, factors: LowRank(
      kernel, factors["a"], factors["b"], lora.scale))


def merge(params: Params, adapter: Params, lora: LoraConfig) -> Params:
  """`params` with W + s·A·B for each kernel W that the adapter updates.

  The sum is taken in float32 and stored in the kernel's dtype. Under `jit`,
  donate `params`: all but the updated kernels is then handed through.
  """
  def whole(kernel, factors):
    return LowRank(kernel, factors["a"], factors["b"],
                   lora.scale).astype(kernel.dtype)
  return _join(params, adapter, whole)


def _join(params: Any, adapter: Any, make: Any) -> Any:
  """`params` with `make(kernel, factors)` wherever the adapter has factors."""
  if isinstance(adapter, dict) and adapter.keys() == _FACTORS:
    return make(params, adapter)
  if isinstance(adapter, dict):
    return {**params, **{name: _join(params[name], inner, make)
                         for name, inner in adapter.items()}}
  return [_join(group, inner, make)
          for group, inner in zip(params, adapter, strict=True)]


def count_lora(model: ModelConfig, lora: LoraConfig) -> int:
  """Number of trained parameters: all factors' elements."""
  return sum(math.prod(spec.shape) for spec in
             jax.tree.leaves(lora_specs(model, lora), is_leaf=is_spec))
