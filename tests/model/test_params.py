"""Parameters: public counts, shapes, initial values, shardings."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_jax.config import ConfigError, ModelConfig
from llm_jax.model import presets
from llm_jax.model.params import (
    ParamSpec, count_params, init_params, is_spec, param_shardings,
    param_specs, param_table)

TINY = ModelConfig(vocab_size=50, embed_dim=32, num_layers=3, num_heads=4,
                   num_kv_heads=2, head_dim=8, mlp_dim=48, max_seq_len=16)


# Sizes that the models' authors, or their model cards, state.
@pytest.mark.parametrize("name,count", [
    ("GPT2_124M", 124_439_808), ("GPT2_355M", 354_823_168),
    ("GPT2_774M", 774_030_080), ("GPT2_1558M", 1_557_611_200),
    ("LLAMA2_7B", 6_738_415_616), ("LLAMA3_8B", 8_030_261_248)])
def test_public_sizes(name, count):
  config = getattr(presets, name)
  config.validate()
  assert count_params(config) == count
  assert sum(n for _, _, n in param_table(config)) == count


@pytest.mark.parametrize("changes", [
    {}, {"position": "learned", "norm": "layernorm", "use_bias": True,
         "mlp": "gelu"},
    {"qk_norm": "head", "tie_embeddings": False, "mlp": "relu2"},
    {"use_bias": True, "param_dtype": "bfloat16"}])
def test_arrays_are_as_specified(changes):
  config = dataclasses.replace(TINY, **changes)
  specs = param_specs(config)
  params = init_params(jax.random.key(0), config)
  shardings = param_shardings(config)
  assert jax.tree.structure(params) == jax.tree.structure(
      specs, is_leaf=is_spec)

  def check(spec, x, sharding):
    assert x.shape == spec.shape and x.dtype == config.param_dtype
    assert len(sharding) == x.ndim
    if spec.fill is not None:
      assert np.all(np.asarray(x, np.float32) == spec.fill)
    else:
      # A normal's sample deviation is off by σ/√(2n); six of these are never.
      np.testing.assert_allclose(
          np.std(np.asarray(x, np.float64)), spec.std,
          rtol=6 / math.sqrt(2 * x.size) + 0.01)
  jax.tree.map(check, specs, params, shardings, is_leaf=is_spec)
  assert count_params(config) == sum(x.size for x in jax.tree.leaves(params))


def test_what_writes_to_the_stream_starts_smaller():
  layer = param_specs(TINY)["layers"][0]
  assert layer["attention"]["o"].std == layer["mlp"]["down"].std
  np.testing.assert_allclose(layer["mlp"]["down"].std,
                             layer["mlp"]["up"].std / math.sqrt(2 * 3))


def test_a_tensor_depends_on_key_and_path_only():
  wider = dataclasses.replace(TINY, qk_norm="head", use_bias=True,
                              position="learned", tie_embeddings=False)
  params = init_params(jax.random.key(3), TINY)
  same = init_params(jax.random.key(3), TINY)
  other = init_params(jax.random.key(4), TINY)
  more = init_params(jax.random.key(3), wider)
  jax.tree.map(np.testing.assert_array_equal, params, same)
  q = params["layers"][0]["attention"]["q"]
  assert not np.array_equal(q, other["layers"][0]["attention"]["q"])
  np.testing.assert_array_equal(q, more["layers"][0]["attention"]["q"])
  np.testing.assert_array_equal(params["embed"]["tokens"],
                                more["embed"]["tokens"])
  # Equal shapes have different values: the path is in the key.
  assert not np.array_equal(params["layers"][0]["attention"]["k"],
                            params["layers"][0]["attention"]["v"])


def test_initial_values_are_pinned():
  """Python's own hash() differs between processes; a seed must not."""
  q = init_params(jax.random.key(0), TINY)["layers"][0]["attention"]["q"]
  np.testing.assert_allclose(q[0, 0, 0, :3], [0.001079, -0.020436, -0.038705],
                             atol=2e-6)


def test_a_spec_names_every_axis():
  with pytest.raises(ValueError, match="one name per axis"):
    ParamSpec((2, 3), ("embed",))


def test_parts_that_do_not_fit_are_named():
  for changes, told in (({"num_heads": 3}, "num_heads=3"),
                        ({"vocab_size": 0}, "vocab_size"),
                        ({"head_dim": 7}, "head_dim=7"),
                        ({"mlp": "swish"}, "swish")):
    with pytest.raises(ConfigError, match=told):
      init_params(jax.random.key(0), dataclasses.replace(TINY, **changes))
  assert jnp.dtype(TINY.param_dtype) == jnp.float32
