"""The weights of the policy as its sampler wants them.

Training and sampling want their weights otherwise. Training splits them over
all devices and gathers each layer when it comes to it (FSDP), which pays where
a layer has a batch of long rows to work on; sampling reads all of them for one
token of each row. So the sampler may have rules of its own over the same mesh,
and weights of fewer bytes. They are made from the trained ones on the devices,
in one compiled program, once a step.

With other weights the sampler is another policy: a token's importance ratio is
not 1 on the first step. `objective.importance_cap` corrects for that (Yao et
al. 2025, "Your Efficient RL Framework Secretly Brings You Off-Policy RL
Training").
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax

from llm_jax.config import ModelConfig, SyncConfig
from llm_jax.model.params import Params, param_shardings, param_specs
from llm_jax.model.quantization import quantize_weights
from llm_jax.model.transformer import unstack_layers
from llm_jax.sharding import check_params


def sampler_model(model: ModelConfig, sync: SyncConfig) -> ModelConfig:
  """The config that the sampler's weights go with."""
  if sync.own_rules:
    model = dataclasses.replace(model, rules=sync.rules)
  if sync.dtype == "bfloat16":
    model = dataclasses.replace(model, param_dtype="bfloat16",
                                compute_dtype="bfloat16")
  return model


def weight_sync(model: ModelConfig, sync: SyncConfig
                ) -> Callable[[Params], Params]:
  """From trained parameters to the sampler's, under the ambient mesh.

  Args:
    model: the model that is trained.
    sync: dtype and rules.

  Returns:
    A function of parameters as `init_params` makes them. What it returns is
    unstacked, as decoding wants it. The parameters themselves stay.

  Raises:
    ConfigError: the mesh does not divide a tensor as the rules say.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if sync.own_rules and not mesh.empty:
    check_params(param_specs(sampler_model(model, sync)), mesh, sync.rules)
  return functools.partial(_to_sampler, model=model, sync=sync)


def to_sampler(params: Params, model: ModelConfig, sync: SyncConfig) -> Params:
  """What `weight_sync` compiles; traceable."""
  if sync.dtype == "bfloat16":  # before they travel: half the bytes
    params = jax.tree.map(lambda x: x.astype(sync.dtype), params)
  if sync.own_rules and not jax.sharding.get_abstract_mesh().empty:
    params = jax.lax.with_sharding_constraint(
        params, param_shardings(sampler_model(model, sync)))
  params = unstack_layers(params)
  return quantize_weights(params) if sync.dtype == "int8" else params


_to_sampler = jax.jit(to_sampler, static_argnames=("model", "sync"))
