"""Training an adapter: what its checkpoints say, and its loss.

A run with `lora.rank` saves its adapter alone and remembers the model that the
adapter belongs to: the run's directory and the step of its checkpoint. To load
such a run (`saved_models.load_params`) is to load that model and merge the
adapter into it, so that whoever reads a checkpoint need not know of LoRA; and
the model may be an adapter's run itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from etils import epath
import jax

from llm_jax.config import ConfigError, LoraConfig, ModelConfig, setting
from llm_jax.flops import flops_per_token, matmul_parameters
from llm_jax.model.lora import attach, count_lora, merge
from llm_jax.model.params import count_params, param_shardings
from llm_jax.training.losses import Aux, LossFn


@dataclasses.dataclass(frozen=True)
class Adapter:
  """What a checkpoint says of the adapter that it holds."""
  lora: LoraConfig = setting(LoraConfig(), "rank, scale, targets")
  base: str = setting("", "directory of the frozen model's run")
  base_step: int = setting(0, "step of its checkpoint")

  def base_checkpoint(self, directory: epath.Path) -> str:
    """The frozen model's checkpoint, for `load_params`.

    Args:
      directory: of the adapter's run. Where the base is no more at its place,
        it is sought beside this and within: runs may have been moved together.

    Raises:
      ConfigError: it is in none of these places.
    """
    base = epath.Path(self.base)
    for place in (base, directory.parent / base.name,
                  directory / "base" / base.name):
      checkpoint = place / "checkpoints" / str(self.base_step)
      if checkpoint.exists():
        return str(checkpoint)
    raise ConfigError(
        f"{directory} holds an adapter to the model of {self.base}, step "
        f"{self.base_step}, which is not there; put that run back in its "
        f"place, or beside {directory}.")


def adapter_loss(params: Any, frozen: Any, batch: dict[str, jax.Array],
                 step: jax.Array, *, loss_fn: LossFn, lora: LoraConfig
                 ) -> tuple[jax.Array, Aux]:
  """`loss_fn` of the frozen model with an adapter, as a function of the latter.

  What `loss_fn` finds in its own `frozen` is `reference`, the model without the
  adapter: where training began, for a KL to it.

  Args:
    params: the adapter.
    frozen: the model's parameters.
    batch: as `loss_fn` takes it.
    step: likewise.
    loss_fn: the loss of a whole model.
    lora: rank and scale.
  """
  return loss_fn(attach(frozen, params, lora), {"reference": frozen}, batch,
                 step)


def merged(frozen: Any, model: ModelConfig, lora: LoraConfig
           ) -> Callable[[Any], Any]:
  """What makes a whole model of what is trained, on the ambient mesh.

  Args:
    frozen: the model that an adapter is trained for; None: the whole model is
      trained, and the function gives back what it is given.
    model: its config.
    lora: rank and scale.
  """
  if frozen is None:
    return lambda params: params
  mesh = jax.sharding.get_abstract_mesh()
  shardings = {} if mesh.empty else {"out_shardings": param_shardings(model)}
  merge_in = jax.jit(merge, static_argnums=2, **shardings)
  return lambda adapter: merge_in(frozen, adapter, lora)


def adapter_flops_per_token(model: ModelConfig, lora: LoraConfig,
                            seq_len: int) -> float:
  """Operations of a training step per token: `flops_per_token`, less the
  gradients of the frozen weights, and with the factors' products."""
  return (flops_per_token(model, seq_len) - 2.0 * matmul_parameters(model)
          + 6.0 * count_lora(model, lora))


def describe_adapter(model: ModelConfig, adapter: Adapter) -> str:
  """What is trained, in a line for the console."""
  trained, total = count_lora(model, adapter.lora), count_params(model)
  return (f"lora: {trained:,} parameters trained, {trained / total:.1%} of the "
          f"{total:,} of {adapter.base} (step {adapter.base_step}), which are "
          f"frozen; rank {adapter.lora.rank}, updates times "
          f"{adapter.lora.scale:g}")
