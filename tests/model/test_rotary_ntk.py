"""A larger base in place of the frequencies' own, by hand."""

import dataclasses

import numpy as np
import pytest

from llm_jax.config import ConfigError, ModelConfig, RopeScaling
from llm_jax.convert import hf_config
from llm_jax.model.rotary import rotary_frequencies

NTK = RopeScaling("ntk", factor=4.0)


def test_ntk_is_dynamic_ntk_at_a_fixed_length():
  """transformers' `dynamic`: base · (s·T/T0 - (s - 1))^(d/(d-2)), at T = 4·T0
  with s = 1."""
  dim, base, length, original, s = 32, 10_000.0, 8192, 2048, 1.0
  theta = base * (s * length / original - (s - 1)) ** (dim / (dim - 2))
  wanted = [theta ** (-2 * i / dim) for i in range(dim // 2)]
  np.testing.assert_allclose(rotary_frequencies(dim, base, NTK, length), wanted,
                             rtol=1e-5)


def test_the_fastest_pair_stays_and_the_slowest_is_divided():
  plain = rotary_frequencies(64, 10_000.0, RopeScaling(), 0)
  ratio = plain / rotary_frequencies(64, 10_000.0, NTK, 0)
  np.testing.assert_allclose([ratio[0], ratio[-1]], [1.0, 4.0], rtol=1e-5)
  assert np.all(np.diff(ratio) > 0)


def test_a_single_pair_is_refused():
  with pytest.raises(ConfigError, match="more than one pair"):
    rotary_frequencies(2, 10_000.0, NTK, 0)


def test_it_is_exported_as_its_base():
  model = ModelConfig(vocab_size=64, tie_embeddings=False, rope_scaling=NTK)
  _, fields = hf_config.write_config(model)
  again = hf_config.read_config(fields, "config.json")
  assert again.rope_scaling.kind == "none"
  for config in (again, dataclasses.replace(model, max_seq_len=512)):
    np.testing.assert_allclose(
        rotary_frequencies(32, config.rope_theta, config.rope_scaling, 0),
        rotary_frequencies(32, model.rope_theta, NTK, 0), rtol=1e-6)
