"""The learnt score, as the workers of a crawl compute it."""

import subprocess
import sys

import dill
import numpy as np
import pytest
import xxhash
from datatrove.data import Document

from llm_jax.config import ConfigError
from llm_jax.config_crawl import ClassifierConfig
from llm_jax.data.crawl import classifier
from llm_jax.data.crawl.classifier import (
    NgramModel, QualityFilter, load_model, ngram_ids, pad_bags, save_model,
    score)


def by_hand(text, ngrams, buckets):
  """The rows of n-grams with Python's integers, which do not overflow."""
  words = [xxhash.xxh64_intdigest(word.encode()) for word in text.split()]
  rows = []
  for n in range(1, ngrams + 1):
    for i in range(len(words) - n + 1):
      value = words[i]
      for word in words[i + 1:i + n]:
        value = (value * 0x9E3779B97F4A7C15 + word) % 2**64
      rows.append(value % buckets)
  return rows


@pytest.mark.parametrize("ngrams", [1, 2, 3])
def test_the_rows_are_those_of_the_words(ngrams):
  for text in ("the cat sat on the mat", "one", "ein häßlich wort"):
    for buckets in (7, 1000, 65_536):
      assert ngram_ids(text, ngrams, buckets).tolist() == by_hand(
          text, ngrams, buckets)


def test_case_does_not_count_and_order_does():
  assert (ngram_ids("The Cat", 2, 999) == ngram_ids("the cat", 2, 999)).all()
  assert set(ngram_ids("the cat", 2, 1 << 30)) != set(
      ngram_ids("cat the", 2, 1 << 30))
  assert set(ngram_ids("the cat", 1, 1 << 30)) == set(
      ngram_ids("cat the", 1, 1 << 30))


def test_texts_without_words_or_with_half_a_character():
  assert ngram_ids("", 3, 10).tolist() == []
  assert ngram_ids(" \n ", 3, 10).tolist() == []
  assert len(ngram_ids("half \ud800 a pair", 2, 10)) > 3


def test_the_score_is_the_sigmoid_of_a_mean():
  rows = np.array([0.5, -1.0, 4.0], np.float32)
  for ids, logit in (([0, 1], -0.25 + 0.125), ([2, 2, 0], 8.5 / 3 + 0.125),
                     ([], 0.125)):
    assert score(np.array(ids, np.int32), rows, 0.125) == pytest.approx(
        1 / (1 + np.exp(-logit)))
  assert score(np.array([2]), rows * 1e4, 0.0) == 1.0
  assert score(np.array([1]), rows * 1e4, 0.0) == 0.0


def model_of(scores, buckets=1 << 12):
  """A model that gives words the numbers they are said to be worth."""
  table = np.zeros((buckets, 2), np.float32)
  for word, number in scores.items():
    table[ngram_ids(word, 1, buckets)[0]] = number, 1.0
  return NgramModel(table, np.array([2.0, 0.0], np.float32), -1.0, 1)


def test_a_model_is_what_was_saved(tmp_path):
  model = model_of({"good": 3.0})
  save_model(tmp_path / "a", model)
  save_model(tmp_path / "b", model)
  loaded = load_model(tmp_path / "a")
  assert (loaded.table_VD == model.table_VD).all()
  assert (loaded.linear_D == model.linear_D).all()
  assert (loaded.bias, loaded.ngrams) == (-1.0, 1)
  first, second = ((tmp_path / d / "model.npz").read_bytes() for d in "ab")
  assert first == second


def test_documents_below_the_threshold_go(tmp_path):
  save_model(tmp_path, model_of({"good": 3.0, "bad": -3.0}))
  step = QualityFilter(ClassifierConfig(enabled=True, model=str(tmp_path),
                                        threshold=0.5))
  step.check()
  step = dill.loads(dill.dumps(step))  # as an executor hands it to a worker
  texts = ("good", "bad bad good", "good good bad", "")
  documents = [Document(text, str(i)) for i, text in enumerate(texts)]
  kept = list(step.run(iter(documents)))
  assert [d.text for d in kept] == ["good", "good good bad"]
  scores = [d.metadata["quality_score"] for d in documents]
  assert scores == [round(float(1 / (1 + np.exp(-z))), 4)
                    for z in (5.0, -3.0, 1.0, -1.0)]
  assert step.filter(documents[1]) == (False, "low_score")


def test_a_threshold_of_zero_only_scores(tmp_path):
  save_model(tmp_path, model_of({"bad": -30.0}))
  step = QualityFilter(ClassifierConfig(enabled=True, model=str(tmp_path),
                                        threshold=0.0))
  (document,) = step.run(iter([Document("bad", "0")]))
  assert document.metadata["quality_score"] == 0.0


def test_a_model_that_is_none_is_told(tmp_path):
  def check():
    QualityFilter(ClassifierConfig(enabled=True, model=str(tmp_path))).check()
  with pytest.raises(ConfigError, match="has no model.npz"):
    check()
  file = tmp_path / "model.npz"
  file.write_bytes(b"PK\x03\x04 half a file")
  with pytest.raises(ConfigError, match="is not a classifier"):
    check()
  np.savez(file, table=np.zeros((4, 2)))
  with pytest.raises(ConfigError, match="is not a classifier"):
    check()
  save_model(tmp_path, NgramModel(np.zeros((4, 2)), np.zeros(3), 0.0, 1))
  with pytest.raises(ConfigError, match="do not fit"):
    check()


def test_padded_bags_have_few_shapes():
  rng = np.random.default_rng(0)
  shapes = set()
  for _ in range(50):
    bags = [rng.integers(0, 99, rng.integers(0, 40)) for _ in range(
        rng.integers(1, 9))]
    arrays = pad_bags(bags, 8)
    shapes.add(arrays["ids_N"].shape)
    for i, bag in enumerate(bags):
      mine = (arrays["rows_N"] == i) & (arrays["shares_N"] > 0)
      assert sorted(arrays["ids_N"][mine]) == sorted(bag)
      if len(bag):
        assert arrays["shares_N"][mine].sum() == pytest.approx(1)
  assert len(shapes) <= 6


def test_workers_need_no_jax():
  code = ("import sys, llm_jax.data.crawl.classifier; "
          "print([m for m in ('jax', 'flax', 'optax') if m in sys.modules])")
  done = subprocess.run([sys.executable, "-c", code], capture_output=True,
                        text=True, check=True)
  assert done.stdout.strip() == "[]"
  assert classifier.__file__
