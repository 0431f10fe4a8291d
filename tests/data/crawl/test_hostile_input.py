"""What is made to harm is counted with its place; memory stays bounded."""

import gzip
import json
import subprocess
import sys

import hostile
import orjson
import pytest

LIMIT_BYTES = 3 << 29  # 1.5 GiB

# In a process of its own, whose memory is its own.
PROGRAM = """
import json, resource, sys
from llm_jax.config_crawl import ExtractConfig
from llm_jax.config_curate import InputConfig
from llm_jax.data.crawl.extraction import Extract
from llm_jax.data.crawl.readers import page_reader

path, extractor = sys.argv[1:]
reader = page_reader(InputConfig(paths=(path,)), path, "x")
# Seconds enough for what is only large, on a busy machine.
extract = Extract(ExtractConfig(extractor=extractor, timeout_s=5,
                                retry_timeout_s=20))
removed = []

class Writer:
  def write(self, document, rank=0):
    removed.append((document.metadata.get("url"),
                    document.metadata["filter_reason"],
                    document.metadata["offset"]))

extract.exclusion_writer = Writer()
kept = [(document.metadata.get("url"), document.metadata["offset"],
         len(document.text.encode()))
        for document in extract.run(reader.run(None, 0, 1), 0, 1)]
print(json.dumps({
    "kept": kept, "removed": removed, "faults": reader.faults,
    "counts": {name: stat.total for step in (reader, extract)
               for name, stat in step.stats.stats.items()},
    "memory": sum(1024 * resource.getrusage(who).ru_maxrss for who in (
        resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))}))
"""


def run(path, extractor="trafilatura"):
  """What the program prints.

  By way of a shell: Linux counts what a process had before it became another
  program as its own greatest memory, and the tests' process may be large.
  """
  done = subprocess.run(
      ["/bin/sh", "-c", '"$0" "$@"; exit $?', sys.executable, "-c", PROGRAM,
       str(path), extractor], capture_output=True, text=True, timeout=600,
      check=False)
  assert done.returncode == 0, done.stderr[-3000:]
  return json.loads(done.stdout)


def check_crawl(tmp_path, bomb_bytes, extractor):
  data, offsets = hostile.crawl(bomb_bytes)
  (tmp_path / "x.warc.gz").write_bytes(data)
  result = run(tmp_path / "x.warc.gz", extractor)
  assert result["memory"] <= LIMIT_BYTES
  kept = {url: offset for url, offset, _ in result["kept"]}
  removed = {url: offset for url, _, offset in result["removed"]}
  # Every good page is there, and every hostile one is there or accounted for.
  good = {name for name in offsets if name.startswith("good-")}
  assert {url for url in kept if url.startswith("http://good/")} == {
      f"http://good/{name.removeprefix('good-')}" for name in good}
  for name, _ in hostile.pages():
    url = f"http://hostile/{name}"
    assert (url in kept) != (url in removed), name
    assert (kept | removed)[url] == offsets[name]
  assert [(fault["reason"], fault["offset"]) for fault in result["faults"]] == [
      ("too_large", offsets["line_of_50_mb"]),
      ("too_large", offsets["bomb"]), ("corrupt_gzip", offsets["bomb"]),
      ("bad_length", offsets["bomb_that_lies"]),
      ("corrupt_gzip", offsets["bomb_that_lies"]),
      ("bad_header", offsets["bomb_without_header"]),
      ("corrupt_gzip", offsets["bomb_without_header"]),
      ("corrupt_gzip", offsets["broken"]), ("truncated", offsets["cut"])]
  assert result["counts"]["corrupt_gzip"] == 4
  assert result["counts"]["truncated"] == 1
  return result


@pytest.mark.slow
def test_a_hostile_crawl(tmp_path):
  result = check_crawl(tmp_path, hostile.GIB // 4, "trafilatura")
  # No more than a few are lost: not those that are only large or deep.
  assert len(result["removed"]) <= 3, result["removed"]


@pytest.mark.slow
@pytest.mark.parametrize("extractor, bomb_bytes", [
    ("trafilatura", 10 * hostile.GIB), ("resiliparse", hostile.GIB)])
def test_bombs_of_gigabytes(tmp_path, extractor, bomb_bytes):
  check_crawl(tmp_path, bomb_bytes, extractor)


def test_hostile_lines(tmp_path):
  line = orjson.dumps({"text": "good", "url": "http://good/"}) + b"\n"
  bad = [b'{"text": "' + b"x" * 50_000_000 + b'"}\n', b'{"text": ' * 50_000
         + b"\n", b"[" * 1_000_000 + b"\n", b"\xff" * 1000 + b"\n",
         b'{"text": "' + b"\\ud800" * 1000 + b'"}\n', b"\0" * 1_000_000]
  (tmp_path / "a.jsonl").write_bytes(line + b"".join(
      part + line for part in bad[:-1]) + bad[-1])
  (tmp_path / "b.jsonl.gz").write_bytes(
      gzip.compress(line) + hostile.bomb(b"{", hostile.GIB // 4)
      + gzip.compress(line))
  result = run(tmp_path)
  assert result["memory"] <= LIMIT_BYTES
  urls = [url for url, _, _ in result["kept"]]
  assert urls.count("http://good/") == 8
  assert result["counts"]["too_large"] == 2
  assert result["counts"]["bad_json"] == 3
  assert result["counts"]["not_utf8"] == 1
  assert result["counts"]["corrupt_gzip"] == 1
