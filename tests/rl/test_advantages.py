"""Advantages against the same sums written out."""

import jax.numpy as jnp
import numpy as np
import pytest

from llm_jax.rl.advantages import group_advantages


def test_by_hand():
  rewards_PG = jnp.array([[1.0, 0.0, 0.0, 1.0], [3.0, 1.0, 1.0, 1.0]])
  np.testing.assert_allclose(
      group_advantages(rewards_PG, normalize_std=False),
      [[0.5, -0.5, -0.5, 0.5], [1.5, -0.5, -0.5, -0.5]])
  np.testing.assert_allclose(
      group_advantages(rewards_PG),
      [[1, -1, -1, 1], np.array([3, -1, -1, -1]) / np.sqrt(3)], rtol=1e-5)


@pytest.mark.parametrize("normalize_std", [True, False])
def test_a_group_of_equal_rewards_says_nothing(normalize_std):
  rewards_PG = jnp.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
  advantages_PG = group_advantages(rewards_PG, normalize_std=normalize_std)
  np.testing.assert_array_equal(advantages_PG[:2], np.zeros((2, 3)))
  assert advantages_PG[2, 2] > 0 > advantages_PG[2, 0]


def test_wants_groups():
  with pytest.raises(AssertionError):
    group_advantages(jnp.zeros(4))
