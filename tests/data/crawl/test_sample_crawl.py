"""The sample crawl: same bytes each time, true to its truth, readable."""

import collections
import dataclasses
import gzip
import hashlib
import html
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
from warcio.archiveiterator import ArchiveIterator

from llm_jax.config import MakeSampleCrawlConfig
from llm_jax.data.crawl import sample_crawl, sample_plan
from llm_jax.data.crawl.sample_edits import jaccard

ROOT = pathlib.Path(__file__).parents[3]
CONFIG = MakeSampleCrawlConfig(pages=400, files=2)


def digests(folder):
  return {str(file.relative_to(folder)): hashlib.sha256(
      file.read_bytes()).hexdigest()
          for file in sorted(folder.rglob("*")) if file.is_file()}


def truth_of(folder):
  with gzip.open(folder / "truth.jsonl.gz", "rt", encoding="utf-8") as lines:
    return [json.loads(line) for line in lines]


def pages_of(folder, pattern="*.warc.gz"):
  """Record id -> (record headers, HTTP headers, body), of whole members."""
  found = {}
  for file in sorted(folder.glob(pattern)):
    data = file.read_bytes()
    # Members begin with a header without name and time.
    starts = [match.start() for match in re.finditer(
        rb"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", data)] + [len(data)]
    for start, end in zip(starts, starts[1:]):
      member = file.with_suffix(".one")
      member.write_bytes(data[start:end])
      try:
        with open(member, "rb") as stream:
          for record in ArchiveIterator(stream, check_digests="raise"):
            if record.rec_type == "response":
              found[record.rec_headers["WARC-Record-ID"]] = (
                  record.rec_headers, record.http_headers,
                  record.content_stream().read())
      except Exception:  # a fault that was planted: see below
        pass
      member.unlink()
  return found


@pytest.fixture(scope="module")
def crawl(tmp_path_factory):
  folder = tmp_path_factory.mktemp("crawl")
  counts = sample_crawl.make(dataclasses.replace(CONFIG, output=str(folder)))
  return folder, counts, truth_of(folder), pages_of(folder)


@pytest.mark.slow
def test_another_process_makes_the_same_bytes(crawl, tmp_path):
  subprocess.run(
      [sys.executable, "-c", "import sys\n"
       "from llm_jax.config import MakeSampleCrawlConfig\n"
       "from llm_jax.data.crawl import sample_crawl\n"
       f"sample_crawl.make(MakeSampleCrawlConfig({str(tmp_path)!r}, pages=400, "
       "files=2))"], check=True, cwd=ROOT,
      env=os.environ | {"PYTHONHASHSEED": "17"})
  assert digests(tmp_path) == digests(crawl[0])


def test_every_page_is_in_the_truth(crawl):
  folder, counts, truth, pages = crawl
  assert counts["pages"] == len(truth) == 400
  assert len({page["id"] for page in truth}) == 400
  broken = {page["id"] for page in truth if page["fault"]}
  assert {page["fault"] for page in truth} == {"", "corrupt", "short"}
  assert set(pages) >= {page["id"] for page in truth} - broken
  for page in truth:
    if page["id"] not in broken:
      headers, http, body = pages[page["id"]]
      assert headers["WARC-Target-URI"] == page["url"]
      assert len(body) == int(http.get_header("Content-Length"))
      assert (headers.get_header("WARC-Truncated") == "length") == (
          page["kind"] == "truncated")
  assert {page["kind"] for page in truth} == {
      "article", *sample_plan.SHARES}


def test_the_text_is_on_the_page(crawl):
  _, _, truth, pages = crawl
  for page in truth:
    if page["fault"] or page["kind"] in ("truncated", "noise", "boilerplate"):
      continue
    encoding = ("cp1252" if page["charset_fault"].startswith("windows")
                else "utf-8")
    body = html.unescape(re.sub(r"<[^>]*>", "", pages[page["id"]][2].decode(
        encoding)))
    for line in page["text"].split("\n"):
      assert line in body, page["kind"]


def test_charsets_are_wrong_as_it_says(crawl):
  _, _, truth, pages = crawl
  seen = collections.Counter()
  for page in truth:
    if page["charset_fault"]:
      _, http, body = pages[page["id"]]
      declared = (http.get_header("Content-Type") + str(body[:400])).lower()
      seen[page["charset_fault"]] += 1
      assert {"windows_1252_as_utf8": "utf-8" in declared,
              "windows_1252_undeclared": "charset" not in declared,
              "utf8_undeclared": "charset" not in declared,
              "utf8_as_latin1": "iso-8859-1" in declared,
              }[page["charset_fault"]]
  assert seen


def test_copies_are_as_near_as_it_says(crawl):
  by_id = {page["id"]: page for page in crawl[2]}
  copies = [page for page in by_id.values() if page["duplicate_of"]]
  assert len(copies) > 20
  for page in copies:
    source = by_id[page["duplicate_of"]]
    assert source["kind"] == "article" and not source["duplicate_of"]
    assert page["jaccard"] == jaccard(page["text"], source["text"])
    assert (page["jaccard"] == 1) == (page["kind"] == "exact_duplicate")
    assert page["url"] != source["url"]


def test_planted_data_is_in_the_text(crawl):
  pages = [page for page in crawl[2] if page["pii"]]
  assert len(pages) > 10
  assert all(item["value"] in item["sentence"] and item["sentence"]
             in page["text"] for page in pages for item in page["pii"])
  assert {page["kind"] for page in pages} == {"personal"}


def test_held_out_articles_are_on_no_page(crawl):
  folder, counts, truth, pages = crawl
  with open(folder / "validation.jsonl", encoding="utf-8") as lines:
    held_out = [json.loads(line)["text"] for line in lines]
  assert len(held_out) == counts["held_out"] > 150
  everything = " ".join(html.unescape(re.sub(r"<[^>]*>", "", body.decode(
      "utf-8", "replace"))) for _, _, body in pages.values())
  everything = " ".join(everything.split())
  for text in held_out:
    assert " ".join(text.split())[:60] not in everything


def test_another_seed_and_two_dumps(tmp_path, crawl):
  """Other pages, other articles held out; copies of the first dump's pages."""
  counts = sample_crawl.make(MakeSampleCrawlConfig(
      str(tmp_path), pages=300, files=1, dumps=2, seed=1))
  assert (tmp_path / "validation.jsonl").read_bytes() != (
      crawl[0] / "validation.jsonl").read_bytes()
  assert truth_of(tmp_path)[0]["id"] != crawl[2][0]["id"]
  assert counts["files"] == 2
  truth = {page["id"]: page for page in truth_of(tmp_path)}
  copies = [page for page in truth.values() if page["kind"] == "dump_copy"]
  assert copies
  for page in copies:
    source = truth[page["duplicate_of"]]
    assert (source["file"], page["file"]) == (
        "dump-00/crawl-00000.warc.gz", "dump-01/crawl-00000.warc.gz")
    assert source["url"] == page["url"] and source["text"] == page["text"]
  assert set(pages_of(tmp_path, "dump-*/*.warc.gz")) >= {
      page["id"] for page in truth.values() if not page["fault"]}
