"""The tallies of tasks, added up and held against each other."""

import json

import pytest
from datatrove.data import Document
from datatrove.io import get_datafolder
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters.base_filter import BaseFilter

from llm_jax.config import ConfigError
from llm_jax.data.crawl import funnel as funnel_lib
from llm_jax.data.crawl.funnel import as_json, gather, table
from llm_jax.data.crawl.tally import Watch


class Texts(PipelineStep):
  """A task's share of some texts."""

  type, name = "test", "texts"

  def __init__(self, texts):
    super().__init__()
    self.texts = texts
    self.faults = [{"reason": "truncated", "file": "b.warc", "offset": 9,
                    "detail": ""}]

  def run(self, data=None, rank=0, world_size=1):
    for i, text in list(enumerate(self.texts))[rank::world_size]:
      yield Document(text, f"{i}", metadata={"url": f"http://a.example/{i}"})


class Language(BaseFilter):
  """The first word of a text is its language; "xx" is none."""

  name = "language"

  def filter(self, doc):
    doc.metadata["language"] = doc.text.split()[0]
    self.stat_update("asked")
    return (False, "language_xx") if doc.text.startswith("xx") else True


class Long(BaseFilter):
  """Texts of three words at least."""

  name = "long"

  def filter(self, doc):
    return True if len(doc.text.split()) >= 3 else (False, "short")


TEXTS = [f"{language} {'word ' * n}".strip()
         for n in range(6) for language in ("en", "fr", "xx")]


def curate(workdir, tasks=3, examples=4):
  """Two phases: the second gets what the first let through."""
  folder = get_datafolder(str(workdir))

  def watched(phase, stages):
    return [Watch(name, step, folder=folder, phase=phase, position=i,
                  examples=examples)
            for i, (name, step) in enumerate(stages.items())]

  def through(steps, rank):
    stream = None
    for step in steps:
      stream = step.run(stream, rank, tasks)
    return list(stream)

  for rank in range(tasks):
    kept = through(watched("filter-a", {
        "read": Texts(TEXTS), "language": Language()}), rank)
    (last,) = watched("finish-a", {"exact": Long()})
    list(last.run(iter(kept), rank, tasks))
  (workdir / "config.json").write_text(json.dumps(
      {"examples": examples, "workdir": str(workdir), "seed": 0,
       "executor": {"tasks": tasks}, "curate": {"languages": ["en", "fr"]}}))
  (workdir / "run.json").write_text(json.dumps(
      {"time": "now", "python": "3.11", "packages": {"datatrove": "1"},
       "command": ["curate"]}))
  return workdir


def test_the_sums_are_those_of_one_task(tmp_path):
  split = as_json(gather(str(curate(tmp_path / "three", tasks=3))))
  whole = as_json(gather(str(curate(tmp_path / "one", tasks=1))))
  assert set(split.pop("seconds")) == {"read", "language", "exact"}
  whole.pop("seconds")
  # Each task found the same fault.
  assert split.pop("faults") == 3 * whole.pop("faults")
  assert split == whole
  read, language, exact = split["stages"]
  assert read["documents_in"] == 0 and read["documents_out"] == 18
  assert read["bytes_out"] == sum(map(len, TEXTS))
  assert (language["documents_in"], language["documents_out"]) == (18, 12)
  assert language["counts"] == {"asked": 18}
  assert language["reasons"] == {"language_xx": [6, sum(
      len(text) for text in TEXTS if text.startswith("xx"))]}
  assert language["languages_gone"] == {"xx": language["reasons"][
      "language_xx"]}
  assert exact["languages"] == {
      name: [4, sum(len(t) for t in TEXTS if t.startswith(name)
                    and len(t.split()) > 2)] for name in ("en", "fr")}
  lengths = {}
  for text in TEXTS:
    if not text.startswith("xx") and len(text.split()) > 2:
      power = str(len(f"{len(text):b}") - 1)
      lengths[power] = lengths.get(power, 0) + 1
  assert exact["lengths"] == lengths
  assert split["run"] == {
      "python": "3.11", "packages": {"datatrove": "1"}, "settings": {
          "examples": 4, "seed": 0, "curate": {"languages": ["en", "fr"]}}}


def test_the_examples_are_the_same_however_tasks_are_cut(tmp_path):
  few = [as_json(gather(str(curate(tmp_path / f"{tasks}", tasks, examples=2))))
         for tasks in (1, 2, 6)]
  examples = [[(e["reason"], e["url"], e["text"]) for stage in f["stages"]
               for e in stage["examples"]] for f in few]
  assert examples[0] == examples[1] == examples[2]
  assert [reason for reason, _, _ in examples[0]] == [
      "language_xx"] * 2 + ["short"] * 2


def test_the_table_says_what_the_funnel_does(tmp_path):
  told = table(gather(str(curate(tmp_path))))
  lines = told.splitlines()
  assert [line.split()[0] for line in lines[2:5]] == [
      "read", "language", "exact"]
  assert "66.7%" in lines[3] and "language_xx 6" in lines[3]
  exact = lines[4].split()
  assert exact[1:5] == ["12", "8", "66.7%", "44.4%"]
  assert "language: asked 18" in told and "en 4, fr 4" in told
  assert "truncated in b.warc at 9" in told
  assert len({len(line) for line in lines[1:2]}) == 1
  assert max(map(len, lines)) < 130


def test_the_time_of_phases_is_that_of_all_their_tasks(tmp_path):
  curate(tmp_path)
  assert as_json(gather(str(tmp_path)))["phase_seconds"] == {}
  assert "with reading" not in table(gather(str(tmp_path)))
  for name, seconds in (("a-b.c/00000", 1.5), ("a-b.c/00001", 2.0),
                        ("d/00000", 7.25)):
    file = tmp_path / "seconds" / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(seconds))
  found = gather(str(tmp_path))
  assert list(found.phase_seconds.items()) == [("d", 7.25), ("a-b.c", 3.5)]
  assert "10.8 with reading" in table(found)


def edit(workdir, name, **changes):
  file = workdir / "tallies" / name
  file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize("name, changes, told", [
    ("filter-a/00001/01_language.json", {"documents_in": 5},
     "filter-a/00001 does not add up: read let 6 documents through, and "
     "language got 5"),
    ("filter-a/00001/01_language.json", {"bytes_in": 5}, "got 5"),
    ("filter-a/00002/01_language.json", {"reasons": {"language_xx": [1, 9]}},
     "and gave a reason for 1"),
    ("finish-a/00000/00_exact.json",
     {"documents_in": 3, "documents_out": 3, "reasons": {}},
     "of the dump(s) a, 12 documents were filtered and 9 were finished")])
def test_numbers_that_do_not_add_up_are_refused(tmp_path, name, changes, told):
  curate(tmp_path)
  edit(tmp_path, name, **changes)
  with pytest.raises(ConfigError) as error:
    gather(str(tmp_path))
  assert told in str(error.value)


def test_a_directory_without_tallies(tmp_path):
  with pytest.raises(ConfigError, match="has no tallies"):
    gather(str(tmp_path))
  with pytest.raises(ConfigError, match="has no tallies"):
    gather(str(tmp_path / "nowhere"))


def test_of_very_many_faults_the_first_are_listed(tmp_path):
  curate(tmp_path, tasks=1)
  edit(tmp_path, "filter-a/00000/00_read.json", faults=[
      {"reason": "corrupt_gzip", "file": "a", "offset": i, "detail": "x"}
      for i in reversed(range(2500))])
  found = gather(str(tmp_path))
  assert [f["offset"] for f in found.faults] == list(range(1000))


def test_stages_come_in_their_order():
  assert funnel_lib.STAGES.index("exact") < funnel_lib.STAGES.index("pii")
