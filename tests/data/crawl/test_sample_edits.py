"""Near copies are as near as they are said to be."""

import random

import numpy as np
import pytest
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig, MinhashDedupSignature)

from llm_jax.data.crawl import sample_edits
from llm_jax.data.crawl.words import word_tokenizer

WORDS = [f"{a}{b}" for a in ("ka", "lo", "mi", "ru", "te", "va")
         for b in ("n", "st", "ri", "do", "lem", "mar", "go")]


def text(rng, words=240):
  return [" ".join(rng.choices(WORDS, k=words // 3)) + "." for _ in range(3)]


def test_jaccard_by_hand():
  # Six words have two shingles; one word at the end leaves one of them.
  assert sample_edits.jaccard("a b c d e f", "a b c d e x") == 1 / 3
  assert sample_edits.jaccard("a b c d e f", "A b, c d e f!") == 1.0
  assert sample_edits.jaccard("a b c d e", "f g h i j") == 0.0


@pytest.mark.parametrize("target", [0.5, 0.7, 0.9, 0.97])
def test_the_target_is_reached_and_hardly_passed(target):
  rng = random.Random(0)
  reached = []
  for _ in range(20):
    paragraphs = text(rng)
    edited, similarity = sample_edits.edit(paragraphs, target, WORDS, rng)
    assert similarity == sample_edits.jaccard("\n".join(paragraphs),
                                              "\n".join(edited))
    assert len(edited) == len(paragraphs)
    reached.append(similarity)
  assert max(reached) <= target
  # One edit of 240 words changes it by 0.04 at most.
  assert np.mean(reached) > target - 0.04


def test_minhash_agrees():
  """The share of equal minima of many hash functions is the same number."""
  config = MinhashConfig(n_grams=sample_edits.NGRAMS, num_buckets=50,
                         hashes_per_bucket=20)
  step = MinhashDedupSignature("/nowhere", config,
                               language=word_tokenizer("unicode"))
  rng = random.Random(1)
  paragraphs = text(rng, 600)
  for target in (0.6, 0.9):
    edited, similarity = sample_edits.edit(paragraphs, target, WORDS, rng)
    one, other = (np.concatenate([np.asarray(bucket) for bucket in
                                  step.get_signature(step.get_shingles(
                                      "\n".join(lines)))])
                  for lines in (paragraphs, edited))
    # A thousand functions: a standard error of 0.016.
    assert np.mean(one == other) == pytest.approx(similarity, abs=0.06)
