"""Documents as they are written: the same bytes whenever it is done."""

import gzip
import json
import pathlib
import time

import dill
import pyarrow.parquet as pq
import pytest
from datatrove.data import Document

from llm_jax.data.crawl.writing import writer

DOCUMENTS = [
    Document("first text\nof two lines", "1", metadata={
        "url": "http://a.example/", "language": "en", "language_score": 0.9,
        "file": "x.warc.gz", "offset": 7, "topic": "rivers"}),
    Document("h\udce9las", "2", metadata={"language": "fr"}),
    Document("日本", "3", metadata={"language": "ja", "quality_score": 0.25}),
]


def write(folder: pathlib.Path, **settings) -> dict[str, bytes]:
  step = dill.loads(dill.dumps(writer(str(folder), "${language}/${rank}",
                                      **settings)))
  copies = [Document(d.text, d.id, metadata=dict(d.metadata))
            for d in DOCUMENTS]
  assert list(step.run(iter(copies), rank=3)) == copies
  return {str(file.relative_to(folder)): file.read_bytes()
          for file in sorted(folder.rglob("*.*"))}


@pytest.mark.parametrize("kind", ["jsonl.gz", "parquet"])
def test_the_same_bytes_at_another_time(tmp_path, monkeypatch, kind):
  first = write(tmp_path / "a", kind=kind)
  monkeypatch.setattr(time, "time", lambda: 4e9)
  assert write(tmp_path / "b", kind=kind) == first
  # Parquet files are numbered, as they are split at 5 GB.
  name = {"jsonl.gz": "00003.jsonl.gz", "parquet": "000_00003.parquet"}[kind]
  assert list(first) == [f"{language}/{name}"
                         for language in ("en", "fr", "ja")]


def test_json_lines_hold_all_that_is_known(tmp_path):
  files = write(tmp_path)
  assert json.loads(gzip.decompress(files["en/00003.jsonl.gz"])) == {
      "text": "first text\nof two lines", "id": "1",
      "url": "http://a.example/", "language": "en", "language_score": 0.9,
      "file": "x.warc.gz", "offset": 7, "topic": "rivers"}
  # Half a character is no text.
  assert json.loads(gzip.decompress(
      files["fr/00003.jsonl.gz"]))["text"] == "h\ufffdlas"


def test_what_only_stages_want_is_left_out(tmp_path):
  record = json.loads(gzip.decompress(
      write(tmp_path, all_fields=False)["en/00003.jsonl.gz"]))
  assert set(record) == {"text", "id", "url", "language", "language_score",
                         "topic"}


def test_parquet_has_the_same_columns_for_all(tmp_path):
  write(tmp_path, kind="parquet")
  rows = [pq.read_table(file).to_pylist()[0]
          for file in sorted(tmp_path.rglob("*.parquet"))]
  assert [row["text"] for row in rows] == [
      "first text\nof two lines", "h\ufffdlas", "日本"]
  assert rows[0]["url"] == "http://a.example/" and rows[1]["url"] is None
  assert rows[2]["quality_score"] == 0.25
