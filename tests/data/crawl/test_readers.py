"""Readers: which files, which documents of them, and what is passed over."""

import gzip
import json

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from warc_files import html, numbered, warc

from llm_jax.config import ConfigError
from llm_jax.config_curate import InputConfig
from llm_jax.data.crawl.readers import (
    MAX_FAULTS, filtered_reader, find_inputs, page_reader)
from llm_jax.data.crawl.writing import writer


def read(path, rank=0, tasks=1, dump="dump", **settings):
  """(documents, the reader) of one task."""
  config = InputConfig(paths=(str(path),), **settings)
  reader = page_reader(config, str(path), dump)
  return list(reader.run(None, rank, tasks)), reader


def counts(reader):
  """What was counted, but for the readers' usual."""
  return {name: int(stat.total) for name, stat in reader.stats.stats.items()
          if name not in ("input_files", "documents", "doc_len")}


def texts(documents):
  return [document.text for document in documents]


def write_lines(path, rows):
  """JSON lines, compressed as the suffix says."""
  data = b"".join(orjson.dumps(row) + b"\n" if isinstance(row, dict)
                  else row + b"\n" for row in rows)
  if path.suffix == ".gz":
    data = gzip.compress(data)
  elif path.suffix == ".zst":
    data = pa.Codec("zstd").compress(data, asbytes=True)
  path.write_bytes(data)
  return path


@pytest.fixture
def crawl(tmp_path):
  """Two directories of WARC files, and what else may lie there."""
  for name in ("a", "b"):
    folder = tmp_path / f"CC-MAIN-{name}" / "segment"
    folder.mkdir(parents=True)
    for i in range(3):
      (folder / f"{i}.warc.gz").write_bytes(warc(
          [(f"http://{name}/{i}/{j}", html(f"{name} {i} {j}"))
           for j in range(4)])[0])
    write_lines(folder / "truth.jsonl.gz", [{"text": "not a page"}])
    (folder / "notes.md").write_text("nothing")
  return tmp_path


def test_inputs(crawl):
  inputs = find_inputs(InputConfig(paths=(
      f"{crawl}/CC-MAIN-a", f"{crawl}/CC-MAIN-b/*/*.warc.gz",
      f"{crawl}/CC-MAIN-a/segment/", f"{crawl}/CC-MAIN-b/segment",
      f"{crawl}/CC-MAIN-a/segment/1.warc.gz")))
  assert list(inputs) == ["CC-MAIN-a", "CC-MAIN-b", "segment", "segment-2", "1"]
  assert [len(files) for files in inputs.values()] == [3, 3, 3, 3, 1]
  path, size = inputs["CC-MAIN-a"][1]
  assert path.endswith("segment/1.warc.gz") and size > 500
  # Where there is no crawl, records are what is meant.
  found = find_inputs(InputConfig(paths=(f"{crawl}/*/*/*.jsonl.gz",)))
  assert [len(files) for files in found.values()] == [2]


@pytest.mark.parametrize("path, told", [
    ("nowhere", "does not exist"), ("nowhere/*.warc.gz", "matches no"),
    ("CC-MAIN-a/segment/notes.md", "none of the suffixes"),
    ("empty", "without any")])
def test_a_path_that_cannot_be_meant(crawl, path, told):
  (crawl / "empty").mkdir()
  with pytest.raises(ConfigError, match=told):
    find_inputs(InputConfig(paths=(str(crawl / path),)))


@pytest.mark.parametrize("tasks", [1, 2, 3, 5])
def test_tasks_share_the_files(crawl, tasks):
  parts = [read(crawl / "CC-MAIN-a", rank, tasks)[0] for rank in range(tasks)]
  urls = [document.metadata["url"] for part in parts for document in part]
  assert sorted(urls) == sorted(f"http://a/{i}/{j}" for i in range(3)
                                for j in range(4))
  files = [{document.metadata["file"] for document in part} for part in parts]
  assert sum(map(len, files)) == 3


@pytest.mark.parametrize("suffix, compressed", [(".warc.gz", True),
                                                (".warc", False),
                                                (".warc.gz", False)])
def test_metadata_of_pages(tmp_path, suffix, compressed):
  data, offsets = numbered(5, gzip=compressed)
  path = tmp_path / f"x{suffix}"
  path.write_bytes(data)
  documents, reader = read(path)
  assert [document.metadata["offset"] for document in documents] == offsets
  for i, document in enumerate(documents):
    assert document.metadata["url"] == f"http://example.org/{i}"
    assert document.metadata["file"] == str(path)
    assert document.metadata["dump"] == "dump"
    assert document.metadata["content_type"] == "text/html"
    assert len(document.metadata["date"]) == 20
    assert document.id.startswith("<urn:uuid:")
  assert not counts(reader) and not reader.faults


@pytest.mark.parametrize("compressed", [True, False])
def test_a_file_whose_first_bytes_are_damaged(tmp_path, compressed):
  data, offsets = numbered(5, gzip=compressed)
  path = tmp_path / ("x.warc.gz" if compressed else "x.warc")
  path.write_bytes(b"????" + data[4:])
  documents, reader = read(path)
  assert [document.metadata["offset"] for document in documents] == offsets[1:]
  assert [fault["offset"] for fault in reader.faults] == [0]


def test_a_page_without_id_is_named_by_its_place(tmp_path):
  data, offsets = numbered(3, gzip=False)
  plain = data.replace(b"WARC-Record-ID", b"WARC-Nothing-X")
  (tmp_path / "plain.warc").write_bytes(plain)
  (tmp_path / "one.warc.gz").write_bytes(gzip.compress(plain))
  documents, _ = read(tmp_path)
  assert [document.id for document in documents] == [
      "dump/one.warc.gz@0", *(f"dump/one.warc.gz@0+{offset}"
                              for offset in offsets[1:]),
      *(f"dump/plain.warc@{offset}" for offset in offsets)]


def test_a_crawl_at_an_address(crawl):
  import fsspec
  files = fsspec.filesystem("memory")
  for i in range(2):
    with files.open(f"/bucket/CC-MAIN/{i}.warc.gz", "wb") as stream:
      stream.write(numbered(3)[0])
  path = "memory://bucket/CC-MAIN/*.warc.gz"
  assert list(find_inputs(InputConfig(paths=(path,)))) == ["CC-MAIN"]
  documents, _ = read(path)
  assert [document.metadata["file"] for document in documents[::3]] == [
      f"memory:///bucket/CC-MAIN/{i}.warc.gz" for i in range(2)]


def test_text_of_a_wet_file(tmp_path):
  data, _ = warc([("http://a/", "Première page."), ("http://b/", "Second.")],
                 kind="conversion")
  (tmp_path / "x.warc.wet.gz").write_bytes(data)
  documents, _ = read(tmp_path)
  assert texts(documents) == ["Première page.", "Second."]
  assert documents[0].metadata["content_type"] == "text/plain"


def test_limit_is_of_each_task(crawl):
  from llm_jax.data.crawl.readers import PageReader
  reader = PageReader(InputConfig(), str(crawl / "CC-MAIN-a"), "x", limit=5)
  assert len(list(reader.run(None, 0, 1))) == 5


def test_faults_are_counted_and_some_described(tmp_path):
  write_lines(tmp_path / "x.jsonl", [b"{broken"] * 100 + [{"text": "good"}])
  documents, reader = read(tmp_path)
  assert texts(documents) == ["good"]
  assert counts(reader) == {"bad_json": 100}
  assert len(reader.faults) == MAX_FAULTS
  assert set(reader.faults[3]) == {"reason", "file", "offset", "detail"}
  assert reader.faults[3]["offset"] == 3 * len(b"{broken\n")
  assert reader.faults[3]["file"] == str(tmp_path / "x.jsonl")


def test_pages_that_the_crawler_cut_are_counted_and_no_fault(tmp_path):
  (tmp_path / "x.warc.gz").write_bytes(warc(
      [("http://a/", html("a"))], warc_headers={"WARC-Truncated": "length"})[0])
  documents, reader = read(tmp_path)
  assert len(documents) == 1 and not reader.faults
  assert counts(reader) == {"warc_truncated": 1}


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_json_lines(tmp_path, suffix):
  rows = [
      {"text": "Erste Zeile", "id": 7, "url": "http://a/", "language": "de"},
      {"text": "no \ud83d\ude00 id".encode("utf-16", "surrogatepass").decode(
          "utf-16"), "dump": "CC", "n": 2**60, "tags": ["a", {"b": 1.5}]},
      b"", b"   ",
      b'{"text": "' + b"x" * (1 << 20) + b'"}',  # over the limit
      b'{"text": "half a pair: \\ud83d", "n": 123456789012345678901234567890}',
      b'{"text": "broken', b"[1, 2]", b"null", b"[" * 100_000,
      b'{"text": "latin \xe9"}', {"texts": "another field"}, {"text": None},
      {"text": 5}, {"text": "  "}, {"text": "last", "offset": "mine"}]
  path = write_lines(tmp_path / f"x{suffix}", rows)
  documents, reader = read(path, max_record_mb=0.5)
  assert texts(documents) == ["Erste Zeile", "no 😀 id", "half a pair: \ufffd",
                              "last"]
  assert [document.id for document in documents[:2]] == [
      "7", f"dump/x{suffix}@{len(orjson.dumps(rows[0])) + 1}"]
  assert documents[0].metadata["url"] == "http://a/"
  assert documents[0].metadata["dump"] == "dump"
  assert documents[1].metadata["dump"] == "CC"
  assert documents[1].metadata["tags"] == ["a", {"b": 1.5}]
  assert documents[-1].metadata["offset"] > 1 << 20
  for document in documents:
    assert orjson.loads(orjson.dumps(document.metadata)) == document.metadata
  assert counts(reader) == {"too_large": 1, "bad_json": 4, "not_utf8": 1,
                            "missing_column": 1, "no_text": 3}


def test_html_in_records(tmp_path):
  path = write_lines(tmp_path / "x.jsonl", [{"page": "<p>x</p>"}])
  documents, _ = read(path, text_column="page", html=True)
  assert documents[0].text == "<p>x</p>"
  assert documents[0].metadata["content_type"] == "text/html"


@pytest.mark.parametrize("suffix, reason", [
    (".jsonl.gz", "corrupt_gzip"), (".jsonl.zst", "corrupt_zstd")])
def test_damaged_lines(tmp_path, suffix, reason):
  path = write_lines(tmp_path / f"x{suffix}", [
      {"text": f"{i * i * 7919 % 1000003}"} for i in range(60_000)])
  data = bytearray(path.read_bytes())
  middle = len(data) // 2
  data[middle:middle + 100] = bytes(100)
  if suffix == ".jsonl.gz":  # a member behind the damaged one
    data += gzip.compress(b'{"text": "after"}\n')
  path.write_bytes(bytes(data))
  documents, reader = read(path)
  assert counts(reader)[reason] == 1 and len(documents) < 60_000
  if suffix == ".jsonl.gz":
    assert documents[-1].text == "after" and len(documents) > 1000


def test_lines_that_end_early(tmp_path):
  path = write_lines(tmp_path / "x.jsonl.gz", [
      {"text": f"{i * i * 7919 % 10007}"} for i in range(20_000)])
  path.write_bytes(path.read_bytes()[:-500])
  documents, reader = read(path)
  assert 10_000 < len(documents) < 20_000
  assert counts(reader) == {"truncated": 1}


def test_parquet(tmp_path):
  table = pa.table({
      "text": ["one", None, "three", "x" * 600_000, " "],
      "id": [1, 2, 3, 4, 5], "when": pa.array([0] * 5, pa.timestamp("s")),
      "raw": [b"\xff"] * 5, "score": [0.5, float("nan"), 1, 1, 1]})
  pq.write_table(table, tmp_path / "x.parquet", row_group_size=2)
  documents, reader = read(tmp_path, max_record_mb=0.5)
  assert texts(documents) == ["one", "three"]
  assert documents[1].metadata["offset"] == 2 and documents[1].id == "3"
  assert documents[0].metadata["when"] == "1970-01-01T00:00:00"
  json.dumps(documents[0].metadata)
  assert counts(reader) == {"no_text": 2, "too_large": 1}


def test_damaged_parquet(tmp_path):
  rows = pa.table({"text": [f"{i * i * 7919 % 10007} text" for i in
                            range(40_000)]})
  path = tmp_path / "a.parquet"
  pq.write_table(rows, path, row_group_size=10_000, compression="zstd",
                 use_dictionary=False)
  data = bytearray(path.read_bytes())
  place = pq.ParquetFile(path).metadata.row_group(1).column(0)
  for i in range(place.data_page_offset + 30, place.data_page_offset + 90):
    data[i] ^= 0xff
  path.write_bytes(bytes(data))
  (tmp_path / "b.parquet").write_bytes(bytes(data[:-20]))
  (tmp_path / "c.parquet").write_bytes(b"PAR1" * 3)
  (tmp_path / "d.parquet").write_bytes(b"")
  pq.write_table(pa.table({"texts": ["x"]}), tmp_path / "e.parquet")
  documents, reader = read(tmp_path)
  # Three of the four groups of rows; the other files are lost, or of no use.
  assert len(documents) >= 30_000
  assert texts(documents)[-1] == rows["text"][39_999].as_py()
  assert counts(reader) == {"corrupt_parquet": 4, "missing_column": 1}


def test_a_file_that_vanishes_is_counted(crawl):
  config = InputConfig(paths=(str(crawl / "CC-MAIN-a"),))
  reader = page_reader(config, config.paths[0], "a")
  (crawl / "CC-MAIN-a" / "segment" / "1.warc.gz").unlink()
  assert len(list(reader.run(None, 0, 1))) == 8
  assert counts(reader) == {"unreadable": 1}


def test_what_one_phase_writes_the_next_reads(crawl, tmp_path):
  documents, _ = read(crawl / "CC-MAIN-a")
  folder = str(tmp_path / "filtered")
  for rank in (0, 2):
    assert len(list(writer(folder, "${rank}").run(iter(documents), rank,
                                                  3))) == len(documents)
  parts = [list(filtered_reader(folder).run(None, rank, 3))
           for rank in range(3)]
  assert [len(part) for part in parts] == [12, 0, 12]
  for before, after in zip(documents, parts[2]):
    assert (before.id, before.text) == (after.id, after.text)
    assert before.metadata == after.metadata
