"""Indexes of other runs, and signatures of documents of any length."""

import dataclasses

import numpy as np
import pytest
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.dedup import MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig

from llm_jax.config import ConfigError
from llm_jax.config_crawl import DedupConfig
from llm_jax.data.crawl import deduplication
from llm_jax.data.crawl.words import word_tokenizer

TEXT = "one two three four five six seven eight nine ten eleven twelve"


class Reader(PipelineStep):
  """One document."""

  type = name = "test"

  def run(self, data=None, rank=0, world_size=1):
    yield Document(TEXT, "1")


def run(config, folder, **settings):
  """How many of one document stay."""
  phases, filters = deduplication.plan(config, Reader, str(folder), 1,
                                       **settings)
  for phase in phases:
    for rank in range(phase.tasks):
      stream = None
      for step in phase.steps:
        stream = step.run(stream, rank, phase.tasks)
      list(stream or ())
  return len(list(filters["minhash"].run(Reader().run(), 0, 1)))


@pytest.fixture(scope="module")
def index(tmp_path_factory):
  folder = tmp_path_factory.mktemp("earlier")
  config = DedupConfig(exact=False, save_index=str(folder / "index"))
  assert run(config, folder / "work") == 1
  return str(folder / "index")


def test_an_index_of_the_same_settings(index, tmp_path):
  assert run(DedupConfig(exact=False, index=index), tmp_path) == 0


@pytest.mark.parametrize("name", ["index", "save_index"])
@pytest.mark.parametrize("change, told", [
    ({"ngrams": 3}, r"ngrams=5 \(here 3\)"),
    ({"hashes": 4}, r"hashes=8 \(here 4\)"),
    ({"buckets": 20}, r"buckets=14 \(here 20\)"),
    ({"seed": 1}, r"seed=0 \(here 1\)"),
    ({"words": "spacy"}, r"words=unicode \(here spacy\)")])
def test_an_index_of_other_settings(index, tmp_path, name, change, told):
  """Without a word, it would never match, or end in an assertion."""
  rest = {key: value for key, value in change.items()
          if key in ("seed", "words")}
  config = dataclasses.replace(
      DedupConfig(exact=False, **{name: index}),
      **{key: value for key, value in change.items() if key not in rest})
  with pytest.raises(ConfigError, match=f"{name}=.*{told}"):
    deduplication.plan(config, Reader, str(tmp_path), 1, **rest)


def test_a_directory_without_an_index_yet(tmp_path):
  (tmp_path / "index").mkdir()
  folder = str(tmp_path / "index")
  config = DedupConfig(exact=False, index=folder, save_index=folder)
  assert run(config, tmp_path / "first") == 1
  assert run(config, tmp_path / "second") == 0


@pytest.mark.parametrize("shingles", [1, 2, 16_384, 16_385, 40_000])
def test_signatures_are_datatroves(tmp_path, shingles):
  """Piece by piece, as all at once."""
  values = np.random.default_rng(shingles).integers(
      0, 2**64, size=(shingles, 1), dtype=np.uint64)
  settings = {"config": MinhashConfig(), "language": word_tokenizer("unicode")}
  ours = deduplication._Signature(str(tmp_path / "a"), **settings)
  theirs = MinhashDedupSignature(str(tmp_path / "b"), **settings)
  assert ours.get_signature(values) == theirs.get_signature(values)
