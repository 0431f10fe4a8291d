"""The stages against a crawl whose truth is known."""

import dataclasses

import pytest

from configs import curate_sample
from experiments import curate, make_sample_crawl, score_crawl
from llm_jax.config import MakeSampleCrawlConfig, ScoreCrawlConfig
from llm_jax.config_crawl import DecontaminateConfig
from llm_jax.config_curate import ExecutorConfig, InputConfig


def scores_of(folder, pages, files, workers):
  """Makes a crawl, runs all stages as configs/curate_sample.py, scores it."""
  crawl, workdir = str(folder / "crawl"), str(folder / "curate")
  made = make_sample_crawl.run(MakeSampleCrawlConfig(crawl, pages=pages,
                                                     files=files))
  config = curate_sample.get_config()
  curate.run(dataclasses.replace(
      config, input=InputConfig(paths=(f"{crawl}/*.warc.gz",)),
      curate=dataclasses.replace(config.curate, decontaminate=(
          DecontaminateConfig(against=(f"{crawl}/validation.jsonl",)))),
      executor=ExecutorConfig(workers=workers), workdir=workdir))
  return made, score_crawl.run(ScoreCrawlConfig(f"{crawl}/truth.jsonl.gz",
                                                workdir))


def test_a_small_crawl(tmp_path, capsys):
  """Every stage does what it is for; numbers are small, so bounds are wide."""
  made, scores = scores_of(tmp_path, 600, 2, 1)
  printed = capsys.readouterr().out
  assert scores["pages"] == made["pages"] == 600
  assert scores["language"]["precision"] >= 0.97
  assert scores["language"]["recall"] >= 0.97
  assert scores["spam"]["precision"] == 1.0
  assert scores["spam"]["recall"]["listed"] == 1.0
  assert scores["spam"]["recall"]["subdomain"] == 1.0
  assert scores["spam"]["recall"]["unlisted_words"] == 1.0
  assert scores["near_duplicates"]["recall"] >= 0.85
  assert scores["near_duplicates"]["precision"] >= 0.95
  assert scores["exact_duplicates"]["recall"] == 1.0
  assert scores["pii"]["planted"] > 30 and scores["pii"]["recall"] >= 0.95
  assert scores["pii"]["false_per_1000"] <= 5
  assert scores["clutter"]["boilerplate_pages_removed"] >= 0.93
  assert scores["clutter"]["articles_free_of_boilerplate"] >= 0.9
  assert scores["articles"]["characters_survive"] >= 0.97
  assert scores["articles"]["survive"] >= 0.93
  assert scores["charsets"]["repaired"] >= 0.9
  # A corrupt member costs no other page.
  assert all(set(fates) == {"lost"} or "lost" not in fates
             for fates in scores["fates"].values())
  assert "where pages stopped" in printed


@pytest.mark.slow
def test_what_is_promised_of_twenty_thousand_pages(tmp_path):
  made, scores = scores_of(tmp_path, 20_000, 8, 0)
  assert score_crawl.broken_promises(scores) == []
  assert made["pages"] == 20_000
  # Four standard errors of a share, of some 130 pairs of a bin.
  for b in scores["near_duplicates"]["bins"]:
    assert abs(b["recall"] - b["theory_extracted"]) < 0.17, b
  assert scores["spam"]["recall"] == {
      "listed": 1.0, "subdomain": 1.0, "unlisted_words": 1.0,
      # No list and no word can know them.
      "look_alike": 0.0, "unlisted": 0.0}
