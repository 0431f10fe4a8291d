"""The sample crawl as an experiment: made once, made again when asked for."""

import json

import pytest

from experiments import make_sample_crawl
from llm_jax.config import ConfigError, MakeSampleCrawlConfig


@pytest.mark.slow
def test_a_crawl_is_made_once_for_its_settings(tmp_path, capsys):
  config = MakeSampleCrawlConfig(str(tmp_path / "c"), pages=150, files=3)
  first = make_sample_crawl.run(config)
  assert "150 of 150 pages" in capsys.readouterr().out
  before = {file.name: file.stat().st_mtime_ns
            for file in (tmp_path / "c").iterdir()}
  assert {"crawl-00000.warc.gz", "crawl-00001.warc.gz", "crawl-00002.warc.gz",
          "truth.jsonl.gz", "validation.jsonl", "NOTICE",
          "crawl.json"} == set(before)
  assert "CC BY-SA" in (tmp_path / "c" / "NOTICE").read_text()
  assert sum(first["kinds"].values()) == first["pages"] == 150
  assert make_sample_crawl.run(config) == first
  assert "there already" in capsys.readouterr().out
  assert before == {file.name: file.stat().st_mtime_ns
                    for file in (tmp_path / "c").iterdir()}

  # Of a crawl with other settings nothing is left of this one.
  make_sample_crawl.run(MakeSampleCrawlConfig(str(tmp_path / "c"), pages=100,
                                              files=1))
  assert [file.name for file in (tmp_path / "c").glob("*.warc.gz")] == [
      "crawl-00000.warc.gz"]
  assert json.loads((tmp_path / "c" / "crawl.json").read_text())["config"][
      "files"] == 1


@pytest.mark.parametrize("settings, sentence", [
    ({"pages": 10}, "at least 100"), ({"languages": ("de",)}, "choose of"),
    ({"english_share": 2.0}, "share between 0 and 1")])
def test_mistakes_are_told(tmp_path, settings, sentence):
  with pytest.raises(ConfigError, match=sentence):
    make_sample_crawl.run(MakeSampleCrawlConfig(str(tmp_path), **settings))
