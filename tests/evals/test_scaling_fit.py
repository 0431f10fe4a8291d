"""Scaling laws recovered from runs that were made by known ones."""

import numpy as np
import pytest

from llm_jax.config import ConfigError
from llm_jax.evals.scaling_fit import (
    Estimate, fit_isoflops, fit_loss, parabola)

E, A, B, ALPHA, BETA = 1.6, 40.0, 300.0, 0.34, 0.42


def runs(budgets=(1e12, 4e12, 1.6e13, 6.4e13), sizes=9, noise=0.0, seed=0):
  """(budgets, N, D, L) of runs with C = 6·N·D about each budget's best N."""
  rng = np.random.default_rng(seed)
  best = (ALPHA * A / (BETA * B)) ** (1 / (ALPHA + BETA))
  found = []
  for budget in budgets:
    middle = best * (budget / 6) ** (BETA / (ALPHA + BETA))
    for n in middle * np.geomspace(0.35, 2.9, sizes):
      d = budget / 6 / n
      found.append((budget, n, d, (E + A / n**ALPHA + B / d**BETA)
                    * np.exp(noise * rng.normal())))
  return np.array(found).T


def test_a_parabola_by_hand():
  x = np.array([1.0, 2.0, 3.0, 5.0])
  y = 2 - 3 * x + 0.5 * x**2
  weights = np.array([[1, 1, 1, 1], [2, 0, 1, 3]], np.float64)
  np.testing.assert_allclose(parabola(x, y, weights), [[2, -3, 0.5]] * 2,
                             rtol=1e-9)
  # Where it does not go through the points: as NumPy has it.
  y[2] += 0.3
  np.testing.assert_allclose(parabola(x, y, weights[:1])[0],
                             np.polyfit(x, y, 2)[::-1], rtol=1e-9)


def test_constants_are_recovered_from_exact_runs():
  _, n, d, loss = runs()
  found = fit_loss(n, d, loss, bootstraps=20)
  for got, want in ((found.e, E), (found.a, A), (found.b, B),
                    (found.alpha, ALPHA), (found.beta, BETA),
                    (found.size_exponent, BETA / (ALPHA + BETA))):
    assert got.value == pytest.approx(want, rel=0.01)
  assert found.error < 1e-5
  np.testing.assert_allclose(found.predict(n, d), loss, rtol=1e-4)


@pytest.mark.slow
def test_intervals_hold_the_truth_of_noisy_runs():
  """95% intervals of eight draws: at least seven hold the exponent."""
  held = 0
  for seed in range(8):
    _, n, d, loss = runs(noise=2e-3, seed=seed)
    found = fit_loss(n, d, loss, bootstraps=100)
    low, high = found.size_exponent.low, found.size_exponent.high
    assert low < found.size_exponent.value < high
    held += low <= BETA / (ALPHA + BETA) <= high
  assert held >= 7


def test_isoflop_minima_and_their_laws():
  budgets, n, d, loss = runs(noise=5e-4)
  found = fit_isoflops(budgets, n, d, loss, bootstraps=100)
  assert len(found.curves) == 4
  for curve in found.curves:
    assert curve.inside and curve.share_inside > 0.95
    best = ((ALPHA * A / (BETA * B)) ** (1 / (ALPHA + BETA))
            * (curve.budget / 6) ** (BETA / (ALPHA + BETA)))
    assert curve.parameters.value == pytest.approx(best, rel=0.25)
    assert curve.parameters.low < curve.parameters.value < curve.parameters.high
    # D at the minimum goes with N there.
    assert 6 * curve.parameters.value * curve.tokens.value == pytest.approx(
        curve.budget, rel=0.05)
  assert found.parameters.exponent.value == pytest.approx(
      BETA / (ALPHA + BETA), abs=0.05)
  assert (found.parameters.exponent.value + found.tokens.exponent.value
          == pytest.approx(1, abs=0.02))
  fitted, low, high = found.parameters.band(np.array([1e12, 6.4e13]))
  assert (low < fitted).all() and (fitted < high).all()


def test_a_minimum_outside_of_the_sizes_is_no_minimum():
  budgets, n, d, loss = runs(budgets=(1e12, 4e12))
  kept = (budgets == 4e12) | (n > 1.3 * np.median(n[budgets == 1e12]))
  found = fit_isoflops(budgets[kept], n[kept], d[kept], loss[kept],
                       bootstraps=20)
  assert [curve.inside for curve in found.curves] == [False, True]
  assert np.isnan(found.curves[0].parameters.value)
  assert found.parameters is None  # one point is no line


@pytest.mark.parametrize("change, told", [
    (lambda b, n, d, loss: (b, n, d, np.where(n == n.max(), np.nan, loss)),
     "diverged"),
    (lambda *columns: [column[::3] for column in columns], "3 sizes"),
    (lambda b, n, d, loss: (b, n, d, loss[:-1]), "as many")])
def test_runs_that_no_law_can_be_read_from(change, told):
  with pytest.raises(ConfigError, match=told):
    fit_isoflops(*change(*runs()), bootstraps=20)


def test_too_few_runs_for_five_constants():
  _, n, d, loss = runs()
  with pytest.raises(ConfigError, match="six at least"):
    fit_loss(n[:5], d[:5], loss[:5], bootstraps=20)
  with pytest.raises(ConfigError, match="2 different sizes"):
    fit_loss(np.resize(n[:2], 8), d[:8], loss[:8], bootstraps=20)


def test_an_estimate_leaves_out_what_is_no_number():
  found = Estimate.of(2.0, np.array([1.0, np.nan, 3.0, np.inf]))
  assert found.low == pytest.approx(1.05) and found.high == pytest.approx(2.95)
