"""A stage counted from outside."""

import gzip
import json
import pathlib

import pytest
from datatrove.data import Document
from datatrove.io import get_datafolder
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters.base_filter import BaseFilter

from llm_jax.data.crawl.tally import Watch


class Words(BaseFilter):
  """Removes short documents, and cuts the first line of the others."""

  name = "words"

  def filter(self, doc):
    if len(doc.text.split()) < 3:
      return False, "short"
    if "spam" in doc.text:
      return False, "spam"
    doc.text = doc.text.partition("\n")[2] or doc.text
    return True


class Pages(PipelineStep):
  """A reader that counts one fault of its own."""

  type, name = "test", "pages"

  def __init__(self, texts):
    super().__init__()
    self.texts, self.faults = texts, []

  def run(self, data=None, rank=0, world_size=1):
    for number, text in enumerate(self.texts):
      yield Document(text, str(number), metadata={
          "url": f"http://a.example/{number}", "file": "a.warc", "offset": 9})
    self.stat_update("truncated", value=2)
    self.faults.append({"reason": "truncated", "file": "a.warc", "offset": 77,
                        "detail": ""})


TEXTS = ["one two", "menu\nthree words here", "buy spam now please",
         "some words without a line", "häß", "menu\nmail joe@example.org now"]


def watch(tmp_path, stage, step, position, **settings):
  return Watch(stage, step, folder=get_datafolder(str(tmp_path)),
               phase="filter-a", position=position, **settings)


def run(tmp_path: pathlib.Path, texts=TEXTS, **settings) -> tuple:
  steps = [watch(tmp_path, "read", Pages(texts), 0, **settings),
           watch(tmp_path, "c4", Words(), 1, changes="lines", **settings)]
  stream = None
  for step in steps:
    stream = step.run(stream, rank=1, world_size=2)
  documents = list(stream)
  tallies = [json.loads(file.read_text()) for file in
             sorted((tmp_path / "tallies/filter-a/00001").iterdir())]
  return documents, tallies


def test_counts(tmp_path):
  documents, (read, c4) = run(tmp_path)
  assert [document.id for document in documents] == ["1", "3", "5"]
  assert read["stage"] == "read" and read["documents_out"] == 6
  assert read["documents_in"] == 0 and read["counts"] == {"truncated": 2}
  assert read["faults"] == [{"reason": "truncated", "file": "a.warc",
                             "offset": 77, "detail": ""}]
  num_bytes = [len(text.encode()) for text in TEXTS]
  assert read["bytes_out"] == c4["bytes_in"] == sum(num_bytes)
  assert (c4["documents_in"], c4["documents_out"]) == (6, 3)
  assert c4["reasons"] == {"short": [2, num_bytes[0] + num_bytes[4]],
                           "spam": [1, num_bytes[2]]}
  assert c4["bytes_out"] == sum(len(d.text.encode()) for d in documents)
  # 16, 25 and 24 characters.
  assert c4["lengths"] == {"4": 3}
  assert c4["seconds"] >= 0 and read["seconds"] >= 0


def test_examples_are_the_same_in_any_order_and_masked(tmp_path):
  _, (_, c4) = run(tmp_path / "a", examples=1)
  _, (_, again) = run(tmp_path / "b", examples=1)
  assert c4["examples"] == again["examples"]
  kinds = [(example["kind"], example["reason"]) for example in c4["examples"]]
  assert kinds == [("changed", ""), ("removed", "short"), ("removed", "spam")]
  assert c4["examples"][0]["text"] == "menu\n"
  many = [f"spam for everyone {i}" for i in range(50)]
  _, (_, first) = run(tmp_path / "c", many, examples=3)
  assert len(first["examples"]) == 3
  orders = [example["order"] for example in first["examples"]]
  assert orders == sorted(orders)
  _, (_, masked) = run(tmp_path / "d", ["spam: write to joe@example.org now"])
  assert masked["examples"][0]["text"] == "spam: write to [EMAIL] now"


@pytest.mark.parametrize("removed", ["examples", "ids", "text"])
def test_removed_documents_are_written_down(tmp_path, removed):
  run(tmp_path, removed=removed)
  file = tmp_path / "removed/c4/filter-a-00001.jsonl.gz"
  assert file.exists() == (removed != "examples")
  if removed != "examples":
    data = file.read_bytes()
    assert data[4:8] == bytes(4)  # no time in the header
    records = [json.loads(line) for line in gzip.decompress(data).splitlines()]
    assert [record["id"] for record in records] == ["0", "2", "4"]
    assert records[1] == {"id": "2", "url": "http://a.example/2",
                          "stage": "c4", "reason": "spam"} | (
        {"text": "buy spam now please"} if removed == "text" else {})


def test_progress_is_written(tmp_path):
  run(tmp_path)
  shown = json.loads((tmp_path / "progress/filter-a/00001.json").read_text())
  assert shown == {"documents": 1, "file": "a.warc", "offset": 9}


def test_replaced_data_is_shown_by_its_mark_only(tmp_path):
  class Replace(BaseFilter):
    name = "replace"

    def filter(self, doc):
      doc.text = doc.text.replace("joe@example.org", "[EMAIL]")
      return True

  step = watch(tmp_path, "pii", Replace(), 0, changes="marks")
  list(step.run(iter([Document("Write to joe@example.org today", "1")])))
  tally = (tmp_path / "tallies/filter-a/00000/00_pii.json").read_text()
  assert "joe@" not in tally
  assert json.loads(tally)["examples"][0]["text"] == "Write to [EMAIL] today"
