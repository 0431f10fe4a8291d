"""A learnt score of quality, fast enough for a crawl: words in, 0 to 1 out.

FineWeb-Edu (Penedo et al. 2024, section 4) showed what a classifier of
educational value is worth; DCLM (Li et al. 2024) that a bag of n-grams does
well enough as one. This is fastText's (Joulin et al. 2016, arXiv:1607.01759):

  score = sigmoid(b + v · mean of E[hash(g)] over all n-grams g of words)

As v is linear, v · E can be multiplied out once the model is trained, and what
is left is one number for each row of the table: a document's score is the mean
of its n-grams' numbers. That is done here, in NumPy; a worker never imports
JAX. `llm_jax/training/ngram_classifier.py` trains it.
"""

from __future__ import annotations

import dataclasses
import io
import math
import zipfile
from collections.abc import Sequence

import numpy as np
import xxhash
from datatrove.data import Document
from datatrove.pipeline.filters.base_filter import BaseFilter
from etils import epath

from llm_jax.config import ConfigError
from llm_jax.config_crawl import ClassifierConfig
from llm_jax.data.crawl.words import word_tokenizer
from llm_jax.paths import as_path

MODEL_FILE = "model.npz"
# Odd, so that no bit is lost; 64 bits of the golden ratio.
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_DIGITS = 4  # of a score that is written down


@dataclasses.dataclass(frozen=True)
class NgramModel:
  """What training makes.

  Attributes:
    table_VD: a row for each bucket that n-grams are hashed to.
    linear_D: the weights of their mean.
    bias: added to it.
    ngrams: words of the longest n-gram.
  """
  table_VD: np.ndarray
  linear_D: np.ndarray
  bias: float
  ngrams: int

  def ids(self, text: str) -> np.ndarray:
    """The rows of a text's n-grams."""
    return ngram_ids(text, self.ngrams, len(self.table_VD))

  def row_scores(self) -> np.ndarray:
    """What an n-gram of each row adds to the mean, [V]."""
    return self.table_VD @ self.linear_D


def ngram_ids(text: str, ngrams: int, buckets: int) -> np.ndarray:
  """The rows of a text's n-grams, 1 to `ngrams` words long; int32 [N].

  The same on every machine and in every process.

  Args:
    text: any text; letters count as lower case.
    ngrams: words of the longest n-gram.
    buckets: rows that there are.
  """
  words = word_tokenizer("unicode").word_tokenize(text.lower())
  hashes = np.fromiter(
      (xxhash.xxh64_intdigest(word.encode("utf-8", "surrogatepass"))
       for word in words), np.uint64, len(words))
  parts, current = [hashes], hashes
  for n in range(1, min(ngrams, len(words))):
    current = current[:-1] * _MULTIPLIER + hashes[n:]
    parts.append(current)
  return (np.concatenate(parts) % np.uint64(buckets)).astype(np.int32)


def score(ids_N: np.ndarray, row_scores_V: np.ndarray, bias: float) -> float:
  """The score of a text, from the rows of its n-grams."""
  logit = bias
  if len(ids_N):
    logit += float(np.mean(row_scores_V[ids_N], dtype=np.float64))
  # exp of a positive number could overflow.
  if logit >= 0:
    return 1 / (1 + math.exp(-logit))
  return math.exp(logit) / (1 + math.exp(logit))


def save_model(directory: epath.PathLike, model: NgramModel) -> None:
  """Writes `model.npz` into a directory."""
  stream = io.BytesIO()
  np.savez(stream, table=np.asarray(model.table_VD, np.float32),
           linear=np.asarray(model.linear_D, np.float32),
           bias=np.float32(model.bias), ngrams=np.int32(model.ngrams))
  path = as_path(directory)
  path.mkdir(parents=True, exist_ok=True)
  (path / MODEL_FILE).write_bytes(stream.getvalue())


def load_model(directory: epath.PathLike) -> NgramModel:
  """The model in a directory of `experiments.train_quality_classifier`.

  Raises:
    ConfigError: there is none, or it cannot be read.
  """
  file = as_path(directory) / MODEL_FILE
  remedy = ("give the output directory of "
            "experiments.train_quality_classifier.")
  if not file.exists():
    raise ConfigError(f"curate.classifier.model={directory} has no "
                      f"{MODEL_FILE}; {remedy}")
  try:
    with np.load(io.BytesIO(file.read_bytes())) as saved:
      model = NgramModel(saved["table"], saved["linear"], float(saved["bias"]),
                         int(saved["ngrams"]))
  except (ValueError, KeyError, EOFError, OSError,
          zipfile.BadZipFile) as error:
    raise ConfigError(f"{file} is not a classifier ({error}); {remedy}"
                      ) from error
  if (model.table_VD.ndim != 2
      or model.linear_D.shape != model.table_VD.shape[1:]):
    raise ConfigError(f"{file} is not a classifier (its arrays do not fit "
                      f"each other); {remedy}")
  return model


class QualityFilter(BaseFilter):
  """Notes each document's `quality_score`, and removes those below it."""

  name = "quality classifier"

  def __init__(self, config: ClassifierConfig):
    """Takes the stage's settings; the model is read in the worker."""
    super().__init__()
    self._config = config
    self._model: NgramModel | None = None
    self._row_scores: np.ndarray | None = None

  def check(self) -> None:
    """Raises `ConfigError` where the model is missing or cannot be read."""
    load_model(self._config.model)

  def filter(self, doc: Document) -> bool | tuple[bool, str]:
    """Whether the document is good enough; its score goes to its metadata."""
    if self._model is None:
      self._model = load_model(self._config.model)
      self._row_scores = self._model.row_scores()
    found = round(score(self._model.ids(doc.text), self._row_scores,
                        self._model.bias), _DIGITS)
    doc.metadata["quality_score"] = found
    return True if found >= self._config.threshold else (False, "low_score")


def pad_bags(bags: Sequence[np.ndarray], most_bags: int
             ) -> dict[str, np.ndarray]:
  """Bags of n-grams of any sizes as arrays of few different sizes.

  Args:
    bags: ids of each document.
    most_bags: documents of a full batch; the last one may have fewer.

  Returns:
    `ids_N`, `rows_N` (whose n-gram it is) and `shares_N` (one over the size of
    its bag; 0 where it is padding), N a power of two, so that a function of
    them is compiled a few times only.
  """
  sizes = np.array([len(bag) for bag in bags], np.int64)
  total = int(sizes.sum())
  padded = max(1 << max(total - 1, 0).bit_length(), most_bags)
  arrays = {"ids_N": np.zeros(padded, np.int32),
            "rows_N": np.zeros(padded, np.int32),
            "shares_N": np.zeros(padded, np.float32)}
  if total:
    arrays["ids_N"][:total] = np.concatenate(bags)
    arrays["rows_N"][:total] = np.repeat(np.arange(len(bags)), sizes)
    arrays["shares_N"][:total] = np.repeat(1 / np.maximum(sizes, 1), sizes)
  return arrays
