"""Advantages by hand, and against the same sums written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_jax.config import ObjectiveConfig
from llm_jax.rl import advantages
import objective_oracles as oracles

REWARDS = jnp.array([[1.0, 0.0, 0.0, 1.0], [3.0, 1.0, 1.0, 1.0]])


def close(actual, expected, **kwargs):
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6, **kwargs)


def test_groups_by_hand():
  close(advantages.group_advantages(REWARDS, normalize_std=False),
        [[0.5, -0.5, -0.5, 0.5], [1.5, -0.5, -0.5, -0.5]])
  close(advantages.group_advantages(REWARDS, epsilon=0.0),
        [np.array([1, -1, -1, 1]) * np.sqrt(3) / 2,
         [1.5, -0.5, -0.5, -0.5]])
  # ε is added to the std, here of 1.
  close(advantages.group_advantages(REWARDS, epsilon=1.0)[1],
        [0.75, -0.25, -0.25, -0.25])


def test_leave_one_out_by_hand():
  close(advantages.leave_one_out_advantages(REWARDS),
        [[2 / 3, -2 / 3, -2 / 3, 2 / 3], [2, -2 / 3, -2 / 3, -2 / 3]])


def test_batch_by_hand():
  close(advantages.batch_advantages(REWARDS),
        [[0, -1, -1, 0], [2, 0, 0, 0]])
  # Squares add up to 6; over 7, and the root.
  close(advantages.batch_advantages(REWARDS, normalize_std=True, epsilon=0.0),
        np.array([[0, -1, -1, 0], [2, 0, 0, 0]]) / np.sqrt(6 / 7))


@pytest.mark.parametrize("seed", [0, 1])
def test_of_samples_are_the_oracles(seed):
  with jax.enable_x64(True):
    rng = np.random.default_rng(seed)
    rewards = rng.normal(size=(4, 5))
    valid = rng.random((4, 5)) < 0.7
    valid[0] = [True, False, False, False, False]
    group, rloo, batch = (np.zeros((4, 5)) for _ in range(3))
    for p, g in zip(*np.nonzero(valid)):
      mine = rewards[p][valid[p]]
      others = [rewards[p, i] for i in range(5) if valid[p, i] and i != g]
      spread = mine.std(ddof=1) if mine.size > 1 else 0.0
      group[p, g] = (rewards[p, g] - mine.mean()) / (spread + 1e-4)
      rloo[p, g] = rewards[p, g] - np.mean(others) if others else 0
      batch[p, g] = ((rewards[p, g] - rewards[valid].mean())
                     / (rewards[valid].std(ddof=1) + 1e-4))
    for kind, expected in (("group", group), ("rloo", rloo), ("batch", batch)):
      found = advantages.sample_advantages(
          jnp.asarray(rewards), valid, ObjectiveConfig(advantages=kind))
      np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("normalize_std", [True, False])
def test_a_group_of_equal_rewards_says_nothing(normalize_std):
  rewards_PG = jnp.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
  found_PG = advantages.group_advantages(rewards_PG,
                                         normalize_std=normalize_std)
  np.testing.assert_array_equal(found_PG[:2], np.zeros((2, 3)))
  assert found_PG[2, 2] > 0 > found_PG[2, 0]


def test_wants_groups():
  with pytest.raises(AssertionError):
    advantages.group_advantages(jnp.zeros(4))


def test_gae_by_hand():
  """γ = 1/2, λ = 1/2; a tool speaks between two turns of the second row."""
  nan = np.nan
  rewards = jnp.array([[0.0, 0.0, 8.0], [2.0, nan, 4.0]])
  values = jnp.array([[1.0, 2.0, 4.0], [1.0, nan, 2.0]])
  mask = jnp.array([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
  found, returns = advantages.generalized_advantages(
      rewards, values, mask, discount=0.5, trace=0.5)
  # Row 0: δ = 0 + 1 - 1, 0 + 2 - 2, 8 - 4. Row 1: δ = 2 + 1 - 1, 4 - 2.
  close(found, [[0.25, 1, 4], [2.5, 0, 2]])
  close(returns, [[1.25, 3, 8], [3.5, 0, 4]])


@pytest.mark.parametrize("discount, trace", [(1.0, 1.0), (0.9, 0.8), (1.0, 0)])
def test_gae_is_the_oracles(discount, trace):
  with jax.enable_x64(True):
    e = oracles.ragged(2)
    rewards, values, mask = e["adv"], e["ref"], e["mask"]
    found = advantages.generalized_advantages(
        jnp.asarray(rewards), values, mask.astype(float), discount=discount,
        trace=trace)
    for mine, expected in zip(found, oracles.gae(rewards, values, mask,
                                                 discount, trace)):
      np.testing.assert_allclose(mine, expected, rtol=1e-10, atol=1e-12)


def test_gae_to_the_end_is_the_reward_to_come():
  """With λ = γ = 1 values cancel: returns are sums of rewards."""
  e = oracles.ragged(3)
  mask = e["mask"].astype(np.float32)
  rewards = np.where(e["mask"], e["adv"], 0).astype(np.float32)
  _, returns = advantages.generalized_advantages(
      jnp.asarray(rewards), jnp.asarray(e["ref"], jnp.float32), mask,
      discount=1.0, trace=1.0)
  to_come = np.cumsum(rewards[:, ::-1], axis=1)[:, ::-1]
  np.testing.assert_allclose(returns, to_come * mask, atol=1e-5)


def test_whitened_tokens():
  e = oracles.ragged(4)
  found = advantages.whiten(jnp.asarray(e["adv"], jnp.float32), e["mask"])
  kept = np.asarray(found)[e["mask"]]
  np.testing.assert_allclose([kept.mean(), kept.std(ddof=1)], [0, 1],
                             atol=1e-3)
  np.testing.assert_array_equal(np.asarray(found)[~e["mask"]], 0)
