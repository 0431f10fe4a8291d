"""Normalisations by hand, against NumPy, and added up over microbatches."""

import jax.numpy as jnp
import numpy as np
import pytest

from llm_jax.config import ConfigError
from llm_jax.rl.token_weights import normalization_weights
import objective_oracles as oracles

NORMALIZATIONS = ("response", "token", "constant")


def test_by_hand():
  mask_BT = jnp.array([[0, 1, 1, 1, 1], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]])
  for name, rows, denominator in (
      ("token", [[0, 1, 1, 1, 1], [0, 0, 1, 0, 0], [0] * 5], 5),
      ("response", [[0, .25, .25, .25, .25], [0, 0, 1, 0, 0], [0] * 5], 2),
      ("constant", [[0, 1, 1, 1, 1], [0, 0, 1, 0, 0], [0] * 5], 2 * 9)):
    weights_BT, total = normalization_weights(mask_BT, name, 9)
    np.testing.assert_allclose(weights_BT, rows)
    assert total == denominator
  with pytest.raises(ConfigError, match="sequence"):
    normalization_weights(mask_BT, "sequence", 9)


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_the_oracles_and_of_parts_the_whole(name):
  mask = oracles.ragged(0)["mask"]
  weights_BT, total = normalization_weights(jnp.asarray(mask), name, 9)
  expected, denominator = oracles.weights(mask, name, 9)
  np.testing.assert_allclose(weights_BT, expected, rtol=1e-6)
  assert total == denominator
  parts = [normalization_weights(jnp.asarray(mask[i:i + 2]), name, 9)
           for i in (0, 2, 4)]
  np.testing.assert_allclose(np.concatenate([w for w, _ in parts]), expected,
                             rtol=1e-6)
  assert sum(float(d) for _, d in parts) == denominator
