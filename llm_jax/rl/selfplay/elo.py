"""Strength in Elo, from the scores of paired games.

A player who scores s on average is 400 · log10(s / (1 - s)) stronger (Elo 1978,
"The Rating of Chessplayers", with the logistic curve that is in use): 100 Elo
are 64% of the points, 200 are 76%.

The two games of a pair begin alike, so they are not independent; pairs are.
Intervals are therefore of resampled pairs.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from llm_jax.config import require


@dataclasses.dataclass(frozen=True)
class EloDifference:
  """How much stronger one player is than another.

  Attributes:
    elo: the difference.
    low: of the 95% interval.
    high: likewise.
    score: share of the points, a draw being half of one.
    games: that were played.
    won: share of the games.
    drawn: likewise.
  """
  elo: float
  low: float
  high: float
  score: float
  games: int
  won: float
  drawn: float

  def told(self) -> str:
    """In words, for the console."""
    return (f"{self.elo:+.0f} Elo (95%: {self.low:+.0f} to {self.high:+.0f}), "
            f"{self.score:.1%} of the points in {self.games} games "
            f"({self.won:.1%} won, {self.drawn:.1%} drawn)")


def elo_of_score(score: float, games: int) -> float:
  """400 · log10(s / (1 - s)).

  Who won all of so many games is counted as having drawn one of them, and who
  lost all likewise, since the true difference is finite.
  """
  least = 0.5 / games
  score = min(max(score, least), 1 - least)
  return 400 * math.log10(score / (1 - score))


def elo_difference(points_P2: np.ndarray, bootstraps: int,
                   seed: int = 0) -> EloDifference:
  """Elo of paired games with a 95% interval over resampled pairs.

  Args:
    points_P2: 1, ½ or 0 of the player in both games of each pair.
    bootstraps: resamples.
    seed: of the resampling.

  Raises:
    ConfigError: fewer than two pairs.
  """
  points_P2 = np.asarray(points_P2, float)
  require(points_P2.ndim == 2 and len(points_P2) >= 2,
          f"points of shape {points_P2.shape} are not two pairs of games or "
          "more.")
  pairs_P = points_P2.mean(axis=1)
  rng, P = np.random.default_rng(seed), len(points_P2)
  # How often each value of a pair is drawn is all that a resample's mean needs.
  pair_values, counts = np.unique(pairs_P, return_counts=True)
  drawn = rng.multinomial(P, counts / P, size=bootstraps)
  low, high = np.quantile(drawn @ pair_values / P, (0.025, 0.975))
  score = float(pairs_P.mean())
  elo, low, high = (elo_of_score(float(s), points_P2.size)
                    for s in (score, low, high))
  return EloDifference(elo, low, high, score, points_P2.size,
                       float((points_P2 == 1).mean()),
                       float((points_P2 == 0.5).mean()))
