"""Extraction: the same text as the libraries give, and no page lost to time."""

import os
import signal
import time

import pytest
from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.extractors import Trafilatura
from warc_files import PARAGRAPH, numbered

from llm_jax.config_crawl import ExtractConfig
from llm_jax.config_curate import InputConfig
from llm_jax.data.crawl import extraction, sandbox
from llm_jax.data.crawl.readers import filtered_reader, page_reader
from llm_jax.data.crawl.writing import writer


class Removed(list):
  """What the funnel is told of removed documents."""

  def write(self, document, rank=0):
    self.append((document.id, document.metadata["filter_reason"]))


def extract(pages, **settings):
  """((id, text) of what is left, (id, reason) of the rest, counts)."""
  step = extraction.Extract(ExtractConfig(**settings))
  step.exclusion_writer = removed = Removed()
  documents = [page if isinstance(page, Document)
               else Document(text=page, id=str(i))
               for i, page in enumerate(pages)]
  kept = [(document.id, document.text)
          for document in step.run(iter(documents), 0, 1)]
  counts = {name: int(stat.total) for name, stat in step.stats.stats.items()
            if name != "doc_len"}
  return kept, list(removed), counts


@pytest.fixture
def worker(monkeypatch):
  """Replaces the extractor by a function of the page, as a crash test."""
  def put(function):
    monkeypatch.setattr(extraction, "extractor", lambda name: function)
  return put


def sites():
  """Pages with what surrounds an article."""
  for i in range(12):
    words = " ".join(f"word{i}x{j}" for j in range(30))
    yield (f"<html><head><title>{i}</title><script>var a = {i};</script></head>"
           f"<body><nav><ul>{'<li><a href=/>Home</a>' * 5}</ul></nav><main>"
           f"<article><h1>On lighthouses {i}</h1><p>{PARAGRAPH}{words}.</p>"
           f"<p>Ünïcode: été, маяк, 灯台. {words}, again.</p></article></main>"
           f"<footer>All rights reserved {i}</footer></body></html>")


def test_text_is_that_of_datatroves_extractor():
  kept, removed, counts = extract(sites())
  theirs = Trafilatura(deduplicate=False)
  assert [text for _, text in kept] == [theirs.extract(page)
                                        for page in sites()]
  assert len(kept) == 12 and not removed and not counts
  assert "маяк" in kept[0][1] and "All rights" not in kept[0][1]


def test_a_page_does_not_hang_on_those_before_it():
  """trafilatura's table of segments would drop the third copy of a page."""
  page = next(sites())
  kept, removed, _ = extract([page] * 6)
  assert len({text for _, text in kept}) == 1 and len(kept) == 6
  theirs = Trafilatura()  # which has it
  texts = [theirs.extract(page) for _ in range(6)]
  assert texts[0] == kept[0][1] and not texts[-1]


def test_resiliparse():
  from resiliparse.extract.html2text import extract_plain_text
  kept, removed, _ = extract(sites(), extractor="resiliparse")
  assert len(kept) == 12 and not removed
  for (_, text), page in zip(kept, sites()):
    assert "On lighthouses" in text and "All rights" not in text
    assert set(text.split()) <= set(extract_plain_text(page).split())


def test_reasons_and_order(worker):
  def function(text):
    if text == "raise":
      raise RecursionError("too deep")
    if text == "memory":
      return " " * 10**13
    if text == "segv":
      os.kill(os.getpid(), signal.SIGSEGV)
    if text == "slow":
      time.sleep(0.4)
    return text.upper() if text != "none" else " "
  worker(function)
  pages = ["a", "raise", "slow", "b", "memory", "none", "c", "segv", "d", "e",
           "slow", "slow", "f"]
  kept, removed, counts = extract(pages, timeout_s=0.1, retry_timeout_s=10)
  assert kept == [("0", "A"), ("2", "SLOW"), ("3", "B"), ("6", "C"),
                  ("8", "D"), ("9", "E"), ("10", "SLOW"), ("11", "SLOW"),
                  ("12", "F")]
  assert sorted(removed) == [("1", "error"), ("4", "memory"), ("5", "empty"),
                             ("7", "error")]
  assert counts["slow"] >= 3 and counts["restarts"] >= 5


def test_what_cannot_be_read_is_given_up_alone(worker):
  def function(text):
    if text == "forever":
      time.sleep(1000)
    return text
  worker(function)
  pages = ["a", "forever", *"bcdefg", "forever", *"hijkl"]
  kept, removed, counts = extract(pages, timeout_s=0.2, retry_timeout_s=0.8)
  assert "".join(text for _, text in kept) == "abcdefghijkl"
  assert removed == [("1", "timeout"), ("8", "timeout")]
  assert counts["slow"] >= 2


def test_without_a_second_try(worker):
  def function(text):
    time.sleep(1000 if text == "slow" else 0)
    return text
  worker(function)
  kept, removed, _ = extract(["a", "slow", "b"], timeout_s=0.8,
                             retry_timeout_s=0)
  assert [text for _, text in kept] == ["a", "b"]
  assert removed == [("1", "timeout")]


@pytest.mark.parametrize("retry_timeout_s", [0, 10])
def test_a_page_may_fail_for_what_was_before_it(worker, retry_timeout_s):
  """It is tried in a child that has nothing behind it, unless that is off."""
  read = []

  def function(text):
    read.append(text)
    if text == "picky" and len(read) > 1:
      raise MemoryError
    return text
  worker(function)
  kept, removed, _ = extract(["a", "picky", "b"], timeout_s=10,
                             retry_timeout_s=retry_timeout_s)
  assert [text for _, text in kept] == (
      ["a", "picky", "b"] if retry_timeout_s else ["a", "b"])
  assert removed == ([] if retry_timeout_s else [("1", "memory")])


def test_pages_behind_a_slow_one_go_on_meanwhile(worker):
  """They are extracted while it is tried again, and wait for it in order."""
  def function(text):
    time.sleep(1.2 if text == "slow" else 0)
    return f"{text} {os.getpid()}"
  worker(function)
  kept, _, counts = extract(["a", "slow", *"bcdefghij"], timeout_s=0.6)
  children = [text.split()[1] for _, text in kept]
  assert [text.split()[0] for _, text in kept] == ["a", "slow", *"bcdefghij"]
  assert children[0] == children[1]  # it went on where it was
  assert len(set(children[2:])) == 1 and children[2] != children[0]
  assert counts == {"slow": 1, "restarts": 1}


def test_output_does_not_hang_on_the_speed_of_the_machine(worker):
  quick, _, counts = extract(sites())
  assert not counts

  def function(text):
    time.sleep(0.03)
    return extraction.trafilatura_text(text)

  worker(function)
  slow, _, counts = extract(sites(), timeout_s=0.01)
  assert counts["slow"] >= 1
  assert slow == quick


def test_a_long_pause_of_the_parent_is_no_ones_fault(worker):
  worker(str.upper)
  step = extraction.Extract(ExtractConfig(timeout_s=0.6, retry_timeout_s=0))
  documents = (Document(text=f"x{i}", id=str(i)) for i in range(12))
  kept = []
  for document in step.run(documents, 0, 1):
    if len(kept) == 2:
      time.sleep(1.0)
    kept.append(document.text)
  assert kept == [f"X{i}" for i in range(12)]
  assert "slow" not in step.stats.stats


def test_children_are_renewed_and_end(worker, monkeypatch):
  monkeypatch.setattr(extraction, "_PAGES_OF_A_CHILD", 3)
  worker(lambda text: f"{text} {os.getpid()}")
  kept, _, _ = extract([str(i) for i in range(20)])
  assert [text.split()[0] for _, text in kept] == [str(i) for i in range(20)]
  children = {int(text.split()[1]) for _, text in kept}
  assert len(children) == 7
  for child in children:
    with pytest.raises(ProcessLookupError):
      os.kill(child, 0)


def test_pages_larger_than_any_pipe(worker):
  worker(lambda text: text[::-1])
  pages = [str(i) * 3_000_000 for i in range(8)] + ["ab"]
  kept, removed, _ = extract(pages)
  assert [text for _, text in kept] == [page[::-1] for page in pages]


def test_text_that_is_no_html_passes(worker):
  worker(str.upper)
  plain = Document(text="<plain>", id="p",
                   metadata={"content_type": "text/plain"})
  page = Document(text="page", id="h", metadata={"content_type": "text/html"})
  kept, _, _ = extract([plain, page])
  assert kept == [("p", "<plain>"), ("h", "PAGE")]
  assert plain.metadata == page.metadata == {}


def test_a_child_ends_with_its_parent():
  child = sandbox.Sandbox(str.upper, 1 << 28, 10)
  child.send("é\ud800")
  assert child.receive(None) == (sandbox.OK, "É?")
  os.close(child._write)
  os.waitpid(child._pid, 0)  # hangs if it does not


def test_in_worker_processes_of_datatrove(tmp_path):
  """Its workers are daemons, which may have no children of multiprocessing."""
  for i in range(4):
    (tmp_path / f"{i}.warc.gz").write_bytes(numbered(5)[0])
  reader = page_reader(InputConfig(), str(tmp_path), "x")
  executor = LocalPipelineExecutor(
      [reader, extraction.Extract(ExtractConfig()),
       writer(str(tmp_path / "out"), "${rank}")],
      tasks=4, workers=2, logging_dir=str(tmp_path / "logs"))
  executor.run()
  found = [list(filtered_reader(str(tmp_path / "out")).run(None, rank, 4))
           for rank in range(4)]
  assert [len(part) for part in found] == [5] * 4
  assert found[0][0].text.startswith(PARAGRAPH.strip())
  assert not any("<p>" in document.text for document in found[3])
