"""Scaling laws fitted to finished runs: isoFLOP minima, and L(N, D).

A run is three numbers: N parameters (without embeddings), D tokens that it was
trained on, and L, its loss on held-out text. Hoffmann et al. 2022
(arXiv:2203.15556) read laws from many of them in two ways that are here:
approach 2, the minima of parabolas through the runs of one budget of
operations, and approach 3, a formula for all runs at once.

Intervals are percentiles of the same fit to runs drawn with replacement
(Efron's bootstrap). They tell how much hangs on single runs, and not what
other data, another tokenizer or another learning rate would have given.

Everything is in float64, whatever JAX is set to.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from llm_jax.config import require

_LEVELS = (2.5, 97.5)  # percentiles that enclose 95%
_HUBER = 1e-3  # Hoffmann et al., appendix D.3
_AT_ONCE = 256  # fits of one call, so that one program serves all
_STEPS = 300
_OFFSETS = (0.05, 0.2, 0.6)
_EXPONENTS = (0.2, 0.5, 1.0)
_SECOND_BEST = 3  # other optima that each resample is tried from


@dataclasses.dataclass(frozen=True)
class Estimate:
  """A number with the 95% interval of its resamples."""
  value: float
  low: float
  high: float

  @classmethod
  def of(cls, value: float, draws: np.ndarray) -> Estimate:
    """With the percentiles of `draws` [S], of which those finite count."""
    draws = np.asarray(draws, np.float64)
    draws = draws[np.isfinite(draws)]
    if not draws.size:
      return cls(float(value), float("nan"), float("nan"))
    low, high = np.percentile(draws, _LEVELS)
    return cls(float(value), float(low), float(high))


# --- approach 2: isoFLOP curves ----------------------------------------------


@dataclasses.dataclass(frozen=True)
class IsoflopCurve:
  """L ≈ c₀ + c₁·x + c₂·x², x = log N, through the runs of one budget.

  Attributes:
    budget: operations of each run (C).
    coefficients: c₀, c₁, c₂.
    low, high: smallest and largest N of the runs.
    inside: the parabola has a minimum, between those two. Otherwise the rest
      is not a number, and no law is fitted to it.
    parameters: N at the minimum.
    tokens: D there, log D being interpolated between the runs.
    loss: L there.
    share_inside: share of the resamples that have a minimum inside; the
      intervals are of these alone.
  """
  budget: float
  coefficients: tuple[float, float, float]
  low: float
  high: float
  inside: bool
  parameters: Estimate
  tokens: Estimate
  loss: Estimate
  share_inside: float


@dataclasses.dataclass(frozen=True)
class PowerLaw:
  """y = coefficient · C^exponent.

  Attributes:
    coefficient: as fitted to the minima.
    exponent: with its interval.
    draws: [S, 2] log coefficient and exponent of each resample.
  """
  coefficient: float
  exponent: Estimate
  draws: np.ndarray

  def band(self, budgets_C: np.ndarray) -> tuple[np.ndarray, ...]:
    """y [C] at some budgets: fitted, low and high end of the interval."""
    logs_C = np.log(np.asarray(budgets_C, np.float64))
    low_C, high_C = np.percentile(
        self.draws[:, :1] + self.draws[:, 1:] * logs_C[None], _LEVELS, axis=0)
    return (self.coefficient * np.exp(self.exponent.value * logs_C),
            np.exp(low_C), np.exp(high_C))


@dataclasses.dataclass(frozen=True)
class IsoflopFit:
  """Curves of all budgets, and laws of their minima (None below two)."""
  curves: tuple[IsoflopCurve, ...]
  parameters: PowerLaw | None
  tokens: PowerLaw | None


def parabola(x_R: np.ndarray, y_R: np.ndarray,
             weights_SR: np.ndarray) -> np.ndarray:
  """c₀, c₁, c₂ [S, 3] that minimise Σ w·(c₀ + c₁·x + c₂·x² - y)².

  Args:
    x_R, y_R: points.
    weights_SR: their weights in each of S fits; each has three x at least.
  """
  middle, scale = x_R.mean(), np.ptp(x_R) or 1.0
  powers_R3 = ((x_R - middle) / scale)[:, None] ** np.arange(3)
  matrix_S33 = np.einsum("sr,ri,rj->sij", weights_SR, powers_R3, powers_R3)
  right_S3 = np.einsum("sr,ri,r->si", weights_SR, powers_R3, y_R)
  c0, c1, c2 = np.linalg.solve(matrix_S33, right_S3[..., None])[..., 0].T
  c1, c2 = c1 / scale, c2 / scale**2
  return np.stack([c0 - c1 * middle + c2 * middle**2, c1 - 2 * c2 * middle,
                   c2], axis=1)


def fit_isoflops(budgets: Sequence[float], parameters: Sequence[float],
                 tokens: Sequence[float], losses: Sequence[float], *,
                 bootstraps: int = 1000, seed: int = 0) -> IsoflopFit:
  """Approach 2 of Hoffmann et al.: minima of parabolas, and their power laws.

  In a resample the runs of each budget are drawn with replacement, at least
  three different sizes of each, all parabolas fitted anew, and then the laws.
  The laws are least squares in log C. Runs of different budgets need not have
  the same sizes.

  Args:
    budgets, parameters, tokens, losses: C, N, D and L of each run.
    bootstraps: resamples (S).
    seed: of the resampling.

  Raises:
    ConfigError: numbers that are not finite and positive, or a budget with
      fewer than four sizes, through which a parabola always goes.
  """
  budgets_R, sizes_R, tokens_R, losses_R = _checked(
      budgets=budgets, parameters=parameters, tokens=tokens, losses=losses)
  rng, curves, minima_CS, needed_CS = np.random.default_rng(seed), [], [], []
  for budget in np.unique(budgets_R):
    here = budgets_R == budget
    x_R, y_R, log_tokens_R = (np.log(sizes_R[here]), losses_R[here],
                              np.log(tokens_R[here]))
    distinct = len(np.unique(x_R))
    require(distinct >= 4, f"the budget of {budget:.3g} FLOPs has {distinct} "
            "sizes; a parabola goes through any three, so train four at "
            "least (more depths, a higher max_epochs).")
    counts_SR = np.concatenate([
        np.ones((1, len(x_R))), _resamples(rng, x_R, bootstraps, 3)])
    c_S3 = parabola(x_R, y_R, counts_SR)
    with np.errstate(divide="ignore", invalid="ignore"):
      best_S = -c_S3[:, 1] / (2 * c_S3[:, 2])
    best_S = np.where((c_S3[:, 2] > 0) & (best_S >= x_R.min())
                      & (best_S <= x_R.max()), best_S, np.nan)
    order = np.argsort(x_R)
    needed_S = np.interp(best_S, x_R[order], log_tokens_R[order])
    loss_S = c_S3[:, 0] + c_S3[:, 1] * best_S + c_S3[:, 2] * best_S**2
    inside = bool(np.isfinite(best_S[0]))
    if not inside:  # resamples that have one would be a choice of runs
      best_S = np.full_like(best_S, np.nan)
    curves.append(IsoflopCurve(
        float(budget), tuple(map(float, c_S3[0])), float(np.exp(x_R.min())),
        float(np.exp(x_R.max())), inside,
        *(Estimate.of(values[0], values[1:] if inside else [])
          for values in (np.exp(best_S), np.exp(needed_S), loss_S)),
        float(np.isfinite(best_S[1:]).mean())))
    minima_CS.append(best_S)
    needed_CS.append(np.where(np.isfinite(best_S), needed_S, np.nan))
  logs_C = np.log(np.unique(budgets_R))
  return IsoflopFit(tuple(curves), _power_law(logs_C, np.array(minima_CS)),
                    _power_law(logs_C, np.array(needed_CS)))


def _resamples(rng: np.random.Generator, x_R: np.ndarray, number: int,
               distinct: int) -> np.ndarray:
  """[S, R] how often each run is drawn; `distinct` values of x at least."""
  counts_SR = []
  while len(counts_SR) < number:
    drawn = rng.integers(len(x_R), size=len(x_R))
    if len(np.unique(x_R[drawn])) >= distinct:
      counts_SR.append(np.bincount(drawn, minlength=len(x_R)))
  return np.array(counts_SR, np.float64)


def _power_law(logs_C: np.ndarray, values_CS: np.ndarray) -> PowerLaw | None:
  """Least squares of log y on log C; column 0 is of the runs themselves."""
  lines_S2 = np.full((values_CS.shape[1], 2), np.nan)
  for s, values_C in enumerate(values_CS.T):
    known = np.isfinite(values_C)
    if known.sum() >= 2:
      lines_S2[s] = np.polyfit(logs_C[known], values_C[known], 1)[::-1]
  if not np.isfinite(lines_S2[0]).all():
    return None
  draws_S2 = lines_S2[1:][np.isfinite(lines_S2[1:]).all(axis=1)]
  return PowerLaw(float(np.exp(lines_S2[0, 0])),
                  Estimate.of(lines_S2[0, 1], draws_S2[:, 1]), draws_S2)


# --- approach 3: L(N, D) ------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class LossFit:
  """L(N, D) = E + A / N^alpha + B / D^beta.

  Attributes:
    e, a, b, alpha, beta: the constants, in the losses' unit.
    size_exponent: beta / (alpha + beta): N_opt ∝ C^it where C ∝ N·D.
    error: root mean square of log L - log of the prediction, over the runs.
    draws: [S, 5] e, a, b, alpha, beta of each resample.
  """
  e: Estimate
  a: Estimate
  b: Estimate
  alpha: Estimate
  beta: Estimate
  size_exponent: Estimate
  error: float
  draws: np.ndarray

  def predict(self, parameters: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """L at N and D, arrays of one shape."""
    return (self.e.value + self.a.value / parameters**self.alpha.value
            + self.b.value / tokens**self.beta.value)


def fit_loss(parameters: Sequence[float], tokens: Sequence[float],
             losses: Sequence[float], *, bootstraps: int = 1000,
             seed: int = 0) -> LossFit:
  """Approach 3 of Hoffmann et al.: all constants at once.

  Minimises Σ Huber_δ(log L̂ - log L) with δ = 10⁻³ by L-BFGS from a grid of
  starts and takes the best end. The sum is divided by δ² and N and D are
  counted from their geometric means, since an objective of 10⁻⁵ ends an
  optimiser before its time (Besiroglu et al. 2024, arXiv:2404.10102, on the
  original's intervals). A resample starts at the best ends of all runs.

  Args:
    parameters, tokens, losses: N, D and L of each run.
    bootstraps: resamples (S).
    seed: of the resampling.

  Raises:
    ConfigError: numbers that are not finite and positive, or too few runs for
      five constants.
  """
  sizes_R, tokens_R, losses_R = _checked(
      parameters=parameters, tokens=tokens, losses=losses)
  require(len(losses_R) > 5, f"L(N, D) has five constants and there are "
          f"{len(losses_R)} runs; train six at least.")
  for name, values_R in (("sizes", sizes_R), ("numbers of tokens", tokens_R)):
    require(len(np.unique(values_R)) >= 3, f"the runs have "
            f"{len(np.unique(values_R))} different {name}; an exponent and a "
            "constant need three.")
  x_R, y_R, z_R = (np.log(sizes_R), np.log(tokens_R), np.log(losses_R))
  x_mean, y_mean = x_R.mean(), y_R.mean()
  data = x_R - x_mean, y_R - y_mean, z_R
  scale = losses_R.mean()
  starts = np.array([
      (np.log(scale * a), np.log(scale * b),
       np.log(losses_R.min() * (1 - e)), alpha, beta)
      for a, b, e, alpha, beta in itertools.product(
          _OFFSETS, _OFFSETS, _OFFSETS, _EXPONENTS, _EXPONENTS)])
  ends, errors = _minimise(starts, np.ones((len(starts), len(z_R))), data)
  require(bool(np.isfinite(errors).any()), "no start of the fit of L(N, D) "
          "came to an end; look at the losses of the runs.")
  ranked = ends[np.argsort(np.where(np.isfinite(errors), errors, np.inf))]
  best = ranked[0]
  # Starts that ended elsewhere, as a resample may prefer their optimum.
  others = [end for end in ranked
            if np.isfinite(end).all() and np.abs(end - best).max() > 1e-2]
  tried = np.stack([best, *others[:_SECOND_BEST]])
  rng = np.random.default_rng(seed)
  counts_SR = np.array([np.bincount(rng.integers(len(z_R), size=len(z_R)),
                                    minlength=len(z_R))
                        for _ in range(bootstraps)], np.float64)
  found, errors = _minimise(np.tile(tried, (bootstraps, 1)),
                            np.repeat(counts_SR, len(tried), axis=0), data)
  found = found.reshape(bootstraps, len(tried), 5)
  errors = np.where(np.isfinite(errors), errors, np.inf).reshape(
      bootstraps, len(tried))
  draws_S5 = _constants(found[np.arange(bootstraps), errors.argmin(axis=1)],
                        x_mean, y_mean)
  values = _constants(best[None], x_mean, y_mean)[0]
  e, a, b, alpha, beta = values
  predicted_R = e + a / sizes_R**alpha + b / tokens_R**beta
  return LossFit(
      *(Estimate.of(value, draws)
        for value, draws in zip(values, draws_S5.T)),
      Estimate.of(beta / (alpha + beta),
                  draws_S5[:, 4] / (draws_S5[:, 3] + draws_S5[:, 4])),
      float(np.sqrt(np.mean((np.log(predicted_R) - z_R) ** 2))), draws_S5)


def _constants(theta_S5: np.ndarray, x_mean: float,
               y_mean: float) -> np.ndarray:
  """log A, log B, log E, α, β about the means -> E, A, B, α, β."""
  log_a, log_b, log_e, alpha, beta = theta_S5.T
  with np.errstate(over="ignore"):
    return np.stack([np.exp(log_e), np.exp(log_a + alpha * x_mean),
                     np.exp(log_b + beta * y_mean), alpha, beta], axis=1)


def _huber_sum(theta_5, counts_R, x_R, y_R, z_R):
  """Σ count · Huber_δ(log L̂ - log L) / δ²."""
  log_a, log_b, log_e, alpha, beta = theta_5
  terms_3R = jnp.stack([log_a - alpha * x_R, log_b - beta * y_R,
                        jnp.full_like(x_R, log_e)])
  errors_R = optax.huber_loss(jax.nn.logsumexp(terms_3R, axis=0), z_R,
                             delta=_HUBER)
  return (counts_R * errors_R).sum() / _HUBER**2


def _lbfgs(theta_5, counts_R, x_R, y_R, z_R):
  """The end of L-BFGS from one start, and the objective there."""
  def objective(theta):
    return _huber_sum(theta, counts_R, x_R, y_R, z_R)
  tx = optax.lbfgs()
  value_and_grad = optax.value_and_grad_from_state(objective)

  def step(carry):
    theta, state, i, _ = carry
    value, grad = value_and_grad(theta, state=state)
    updates, state = tx.update(grad, state, theta, value=value, grad=grad,
                               value_fn=objective)
    return (optax.apply_updates(theta, updates), state, i + 1,
            jnp.abs(grad).max())

  def goes_on(carry):
    *_, i, slope = carry
    return (i < _STEPS) & (slope > 1e-6)
  theta, *_ = jax.lax.while_loop(
      goes_on, step, (theta_5, tx.init(theta_5), 0, jnp.inf))
  return theta, objective(theta)


_lbfgs_many = jax.jit(jax.vmap(_lbfgs, in_axes=(0, 0, None, None, None)))


def _minimise(starts_F5: np.ndarray, counts_FR: np.ndarray,
              data: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
  """Ends [F, 5] and objectives [F] of F fits, `_AT_ONCE` at a time."""
  ends, values = [], []
  with jax.enable_x64():
    for first in range(0, len(starts_F5), _AT_ONCE):
      rows = np.arange(first, first + _AT_ONCE) % len(starts_F5)
      end, value = _lbfgs_many(starts_F5[rows], counts_FR[rows], *data)
      ends.append(np.asarray(end))
      values.append(np.asarray(value))
  return (np.concatenate(ends)[:len(starts_F5)],
          np.concatenate(values)[:len(starts_F5)])


def _checked(**values: Sequence[float]) -> list[np.ndarray]:
  """Arrays [R] of one length; raises `ConfigError` for impossible numbers."""
  arrays = [np.asarray(v, np.float64) for v in values.values()]
  require(len({a.shape for a in arrays}) == 1 and arrays[0].ndim == 1
          and arrays[0].size > 0, "a scaling law needs as many "
          f"{', '.join(values)} as runs.")
  for name, array in zip(values, arrays):
    require(bool((np.isfinite(array) & (array > 0)).all()),
            f"the runs' {name} are not all finite and positive; a run that "
            "diverged cannot be part of a scaling law.")
  return arrays
