"""How good scores between 0 and 1 are at telling yes from no."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Bin:
  """Items whose scores lie in [low, high): of a calibrated score, the mean
  score is the mean label."""
  low: float
  high: float
  items: int
  mean_score: float
  mean_label: float


def auc(scores: np.ndarray, positive: np.ndarray) -> float:
  """The share of (yes, no) pairs in which the yes scores higher; ties half.

  It is the area under the receiver operating characteristic, by way of ranks
  (Mann and Whitney 1947).

  Args:
    scores: [n].
    positive: [n], bool; some of each.
  """
  _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
  ranks = (np.cumsum(count) - (count - 1) / 2)[place]  # ties share their mean
  yes = int(positive.sum())
  no = len(positive) - yes
  return float((ranks[positive].sum() - yes * (yes + 1) / 2) / (yes * no))


def accuracy(scores: np.ndarray, positive: np.ndarray,
             threshold: float = 0.5) -> float:
  """The share of items that are on their side of the threshold."""
  return float(np.mean((scores >= threshold) == positive))


def cross_entropy(scores: np.ndarray, labels: np.ndarray) -> float:
  """Mean binary cross-entropy in nats; labels may lie between 0 and 1."""
  p = np.clip(scores, 1e-7, 1 - 1e-7)
  return float(-np.mean(labels * np.log(p) + (1 - labels) * np.log(1 - p)))


def calibration(scores: np.ndarray, labels: np.ndarray,
                bins: int = 10) -> list[Bin]:
  """Items by their score, in bins of equal width; empty ones are left out."""
  index = np.minimum((np.asarray(scores) * bins).astype(int), bins - 1)
  found = []
  for i in np.unique(index):
    chosen = index == i
    found.append(Bin(i / bins, (i + 1) / bins, int(chosen.sum()),
                     float(np.mean(scores[chosen])),
                     float(np.mean(labels[chosen]))))
  return found
