"""Can a name's letters tell to which group it belongs?

If they could, a model might refuse to answer because a name looks odd, and not
because it knows nothing of its bearer. A logistic regression on the names'
character n-grams is trained on four fifths of them and scores the rest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llm_jax.config import require

FOLDS = 5
LONGEST = 4  # characters of an n-gram
LEAST_COUNT = 2
STEPS, LEARNING_RATE, PENALTY = 40, 10.0, 1e-3


def separability(ones: Sequence[str], others: Sequence[str],
                 seed: int = 0) -> float:
  """Cross-validated area under the ROC curve; 0.5: the letters say nothing.

  Args:
    ones: texts of one group, at least 10.
    others: texts of another; of the larger group as many are taken as the
      smaller has.
    seed: which, and the folds.

  Returns:
    The probability that a held-out text of `ones` is given a higher score than
    one of `others`, mean over the folds.

  Raises:
    ConfigError: a group is too small to cross-validate.
  """
  size = min(len(ones), len(others))
  require(size >= 2 * FOLDS, f"{size} names are too few to tell groups apart "
          f"by; give at least {2 * FOLDS} of each.")
  rng = np.random.default_rng(seed)
  texts = [text for group in (ones, others)
           for text in (group[i] for i in rng.permutation(len(group))[:size])]
  labels_N = np.repeat([1.0, 0.0], size)
  counts_ND = ngram_counts(texts)
  kernel_NN = counts_ND @ counts_ND.T
  # As many of each group in each fold.
  folds_N = np.concatenate([rng.permutation(size) % FOLDS for _ in range(2)])
  areas = []
  for fold in range(FOLDS):
    test_N = folds_N == fold
    scores_N = kernel_NN[test_N][:, ~test_N] @ _fit(
        kernel_NN[~test_N][:, ~test_N], labels_N[~test_N])
    areas.append(area_under_curve(scores_N, labels_N[test_N]))
  return float(np.mean(areas))


def ngram_counts(texts: Sequence[str]) -> np.ndarray:
  """float32 [N, D], rows of length one: n-grams of 1 to `LONGEST` characters.

  N-grams that fewer than `LEAST_COUNT` texts have are left out.
  """
  grams = []
  for text in texts:
    marked = f"^{text}$"
    grams.append({marked[i:i + n] for n in range(1, LONGEST + 1)
                  for i in range(len(marked) - n + 1)})
  frequency: dict[str, int] = {}
  for found in grams:
    for gram in sorted(found):
      frequency[gram] = frequency.get(gram, 0) + 1
  column = {gram: i for i, gram in enumerate(
      gram for gram, count in frequency.items() if count >= LEAST_COUNT)}
  counts_ND = np.zeros((len(texts), len(column)), np.float32)
  for row, found in enumerate(grams):
    counts_ND[row, [column[gram] for gram in found if gram in column]] = 1
  norm_N1 = np.linalg.norm(counts_ND, axis=1, keepdims=True)
  return counts_ND / np.maximum(norm_N1, 1e-9)


def area_under_curve(scores_N: np.ndarray, labels_N: np.ndarray) -> float:
  """Share of (one, other) pairs in which the one scores higher; ties half."""
  ones = scores_N[labels_N == 1][:, None]
  others = scores_N[labels_N == 0][None, :]
  return float(np.mean((ones > others) + 0.5 * (ones == others)))


def _fit(kernel_NN: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
  """The shares α_N of the texts in the weights w = Σ α x of least loss.

  L = mean log(1 + exp(-y·w·x)) + ½ λ |w|²,   y = ±1

  The steps are Nesterov's on w, written in α: there are more n-grams than
  texts. The groups are as large as each other, so there is no bias.
  """
  shares_N = ahead_N = np.zeros(len(labels_N), np.float32)
  for step in range(STEPS):
    errors_N = 1 / (1 + np.exp(-kernel_NN @ ahead_N)) - labels_N
    new_N = ahead_N - LEARNING_RATE * (errors_N / len(labels_N)
                                       + PENALTY * ahead_N)
    new_N = new_N.astype(np.float32)
    ahead_N = new_N + np.float32(step / (step + 3)) * (new_N - shares_N)
    shares_N = new_N
  return shares_N
