"""Heads other than the next token's: one number for each position.

A model with such a head has all that the language model has but its `head`, and
`score`: a projection of the last hidden state, which begins at zero.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from llm_jax.config import ModelConfig
from llm_jax.model.params import ParamSpec, Params, param_specs
from llm_jax.model.transformer import backbone


def score_specs(config: ModelConfig) -> Params:
  """Tree of `ParamSpec` of a model with the head `score`."""
  specs = {name: value for name, value in param_specs(config).items()
           if name != "head"}
  return specs | {"score": {
      "kernel": ParamSpec((config.embed_dim,), ("embed",), fill=0.0),
      "bias": ParamSpec((), (), fill=0.0)}}


def with_score_head(params: Params) -> Params:
  """A language model's parameters, with the new head in place of its own.

  The other tensors are handed on, not copied. Scores are 0 at first.

  Args:
    params: of a language model.
  """
  scale = params["final_norm"]["scale"]
  score = {"kernel": jnp.zeros_like(scale), "bias": jnp.zeros((), scale.dtype)}
  return {**{name: value for name, value in params.items() if name != "head"},
          "score": score}


def scores(params: Params, tokens_BT: jax.Array,
           config: ModelConfig) -> jax.Array:
  """w · hidden + b after each token, [B, T], float32 or wider."""
  hidden_BTD, _, _ = backbone(params, tokens_BT, config)
  with jax.named_scope("score"):
    wide = jnp.promote_types(hidden_BTD.dtype, jnp.float32)
    kernel_D = params["score"]["kernel"].astype(hidden_BTD.dtype)
    return jnp.einsum("btd,d->bt", hidden_BTD, kernel_D,
                      preferred_element_type=wide) + params["score"]["bias"]
