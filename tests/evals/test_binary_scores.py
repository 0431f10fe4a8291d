"""Scores of yes and no, against pairs counted one by one."""

import numpy as np
import pytest

from llm_jax.evals.binary_scores import (
    accuracy, auc, calibration, cross_entropy)


@pytest.mark.parametrize("seed", range(5))
def test_auc_is_the_share_of_pairs_in_order(seed):
  rng = np.random.default_rng(seed)
  scores = rng.integers(0, 6, 40) / 5  # many ties
  positive = rng.uniform(size=40) < 0.3
  positive[:2] = True, False
  pairs = [(a > b) + 0.5 * (a == b) for a in scores[positive]
           for b in scores[~positive]]
  assert auc(scores, positive) == pytest.approx(np.mean(pairs))


def test_auc_at_its_ends():
  yes = np.array([False, False, True, True])
  assert auc(np.array([0.1, 0.2, 0.3, 0.4]), yes) == 1
  assert auc(np.array([0.4, 0.3, 0.2, 0.1]), yes) == 0
  assert auc(np.full(4, 0.7), yes) == 0.5


def test_accuracy_counts_the_threshold_as_yes():
  scores = np.array([0.5, 0.49, 0.9, 0.1])
  assert accuracy(scores, np.array([True, True, False, False])) == 0.5
  assert accuracy(scores, np.array([True, False, True, False])) == 1


def test_cross_entropy_of_soft_labels():
  found = cross_entropy(np.array([0.25, 1.0]), np.array([0.5, 1.0]))
  by_hand = -(0.5 * np.log(0.25) + 0.5 * np.log(0.75)) / 2
  assert found == pytest.approx(by_hand, abs=1e-6)
  assert np.isfinite(cross_entropy(np.array([0.0]), np.array([1.0])))


def test_calibration_by_hand():
  bins = calibration(np.array([0.02, 0.08, 0.55, 1.0]),
                     np.array([0.0, 1.0, 0.5, 1.0]), bins=10)
  assert [(b.low, b.high, b.items) for b in bins] == [
      (0.0, 0.1, 2), (0.5, 0.6, 1), (0.9, 1.0, 1)]
  assert bins[0].mean_score == pytest.approx(0.05)
  assert bins[0].mean_label == 0.5


def test_a_score_that_is_a_probability_is_calibrated():
  rng = np.random.default_rng(0)
  scores = rng.uniform(size=20_000)
  labels = (rng.uniform(size=20_000) < scores).astype(float)
  for found in calibration(scores, labels):
    assert found.mean_score == pytest.approx(found.mean_label, abs=0.04)
