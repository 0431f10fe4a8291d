"""Scores of a small run that was made up, against numbers counted by hand."""

import gzip
import json

import pytest

from experiments import score_crawl
from llm_jax.config import ConfigError, ScoreCrawlConfig
from llm_jax.data.crawl import truth

LONG = "Some words of an article that goes on for a while, as they do. " * 5


def page(name, kind, **changes):
  return {"id": name, "url": f"http://{name}/", "file": "f", "kind": kind,
          "detail": "", "layout": "blog", "language": "en", "text": LONG,
          "articles": [], "pii": [], "duplicate_of": None, "jaccard": None,
          "fault": "", "charset_fault": "", "boilerplate": []} | changes


def write_lines(path, records):
  path.parent.mkdir(parents=True, exist_ok=True)
  with gzip.open(path, "wt", encoding="utf-8") as stream:
    for record in records:
      stream.write(json.dumps(record) + "\n")


@pytest.fixture
def run(tmp_path):
  """Makes the files of a run, and returns its scores."""
  def make(pages, kept, removed=(), languages=(), wanted=("en", "fr"),
           scope="dump"):
    write_lines(tmp_path / "truth.jsonl.gz", pages)
    write_lines(tmp_path / "w" / "documents" / "en" / "all-00000.jsonl.gz",
                [{"id": name, "text": text, "language": "en"}
                 for name, text in kept.items()])
    write_lines(tmp_path / "w" / "filtered" / "all" / "00000.jsonl.gz",
                [{"id": name, "text": kept.get(name, LONG),
                  "language": dict(languages).get(name, "en")}
                 for name in [*kept, *(name for name, stage in removed
                                       if stage in ("exact", "minhash"))]])
    stages = {}
    for name, stage in removed:
      stages.setdefault(stage, []).append(
          {"id": name, "url": "", "stage": stage, "reason": "r"})
    for stage, records in stages.items():
      write_lines(tmp_path / "w" / "removed" / stage / "filter-00000.jsonl.gz",
                  records)
    (tmp_path / "w" / "config.json").write_text(json.dumps({
        "removed": "ids", "curate": {"languages": list(wanted), "dedup": {
            "buckets": 14, "hashes": 8, "scope": scope}}}))
    return truth.score(str(tmp_path / "truth.jsonl.gz"), str(tmp_path / "w"))
  return make


def test_language(run):
  pages = [page("a", "article"), page("b", "article", language="fr"),
           page("c", "article"), page("d", "foreign", language="de"),
           page("e", "foreign", language="de"),
           page("short", "foreign", language="de", text="kurz"),
           page("blocked", "article")]
  scores = run(pages, {"a": LONG, "b": LONG, "d": LONG, "short": "kurz"},
               [("c", "language"), ("e", "language"), ("blocked", "url")],
               {"b": "fr"})["language"]
  # Accepted are a, b and d, of which d should not have been; c should have.
  assert scores["pages"] == 5
  assert scores["precision"] == pytest.approx(2 / 3)
  assert scores["recall"] == pytest.approx(2 / 3)
  assert scores["recall_by_language"] == {"en": 0.5, "fr": 1.0}


def test_a_wrong_language_is_not_right(run):
  scores = run([page("a", "article"), page("b", "article")],
               {"a": LONG, "b": LONG}, languages={"b": "fr"})
  assert scores["language"]["precision"] == 0.5


def test_spam(run):
  pages = [page("a", "article"), page("s1", "spam_listed"),
           page("s2", "spam_listed"), page("s3", "spam_look_alike"),
           page("b", "article")]
  scores = run(pages, {"b": LONG}, [("s1", "url"), ("s3", "c4"), ("a", "url"),
                                    ("s2", "language")])["spam"]
  assert scores["precision"] == 0.5
  assert scores["recall"] == {"listed": 0.5, "look_alike": 0.0}
  assert scores["removed_by_any_stage"] == {"listed": 1.0, "look_alike": 1.0}


def test_near_copies(run):
  def copy(name, of, jaccard):
    return page(name, "near_duplicate", duplicate_of=of, jaccard=jaccard)
  pages = [page(name, "article") for name in "abcdx"] + [
      copy("a2", "a", 0.9), copy("b2", "b", 0.86), copy("c2", "c", 0.55),
      copy("d2", "d", 0.95)]
  scores = run(pages, {name: LONG for name in ("a", "b", "b2", "c2")},
               # Either may stay. x is no copy; d never came so far.
               [("a2", "minhash"), ("c", "minhash"), ("x", "minhash"),
                ("d", "c4"), ("d2", "c4")])["near_duplicates"]
  assert (scores["pairs"], scores["near_pairs"]) == (3, 2)
  assert scores["recall"] == 0.5
  assert scores["precision"] == pytest.approx(2 / 3)
  assert [(b["from"], b["pairs"], b["recall"]) for b in scores["bins"]] == [
      (0.55, 1, 1.0), (0.85, 1, 0.0), (0.9, 1, 1.0)]
  assert scores["bins"][1]["theory"] == pytest.approx(
      1 - (1 - 0.86**8)**14)
  # What was compared is the same text.
  assert {b["theory_extracted"] for b in scores["bins"]} == {1.0}


def test_exact_copies_and_survival(run):
  pages = [page("a", "article"), page("b", "article"), page("c", "article"),
           page("a2", "exact_duplicate", duplicate_of="a", jaccard=1.0),
           page("c2", "dump_copy", duplicate_of="c", jaccard=1.0),
           page("x", "article", fault="corrupt")]
  scores = run(pages, {"a2": LONG, "c": LONG[:len(LONG) // 2], "c2": LONG},
               [("a", "exact"), ("b", "fineweb")])
  assert scores["exact_duplicates"]["recall"] == 1.0
  assert scores["exact_duplicates"]["precision"] == 1.0
  assert scores["exact_duplicates"]["recall_across_dumps"] == 0.0
  # a is there as a2, b is lost, x could not be read.
  articles = scores["articles"]
  assert articles["pages"] == 3
  assert articles["survive"] == pytest.approx(2 / 3)
  assert articles["lost_at"] == {"fineweb": 1}
  assert scores["fates"]["fault: corrupt"] == {"lost": 1}


def test_copies_in_different_dumps_are_compared_in_all_of_them_only(run):
  pages = [page("a", "article", file="dump-00/f"),
           page("a2", "near_duplicate", file="dump-01/f", duplicate_of="a",
                jaccard=0.9)]
  for scope, recall in (("dump", None), ("all", 0.0)):
    scores = run(pages, {"a": LONG, "a2": LONG}, scope=scope)
    assert scores["near_duplicates"]["recall"] == recall


def test_personal_data(run):
  def planted(name, value):
    sentence = f"Write to {value} soon."
    return page(name, "personal", text=f"{LONG} {sentence}", pii=[
        {"class": "email", "value": value, "sentence": sentence}])
  pages = [planted("a", "x@y.org"), planted("b", "u@v.org"),
           planted("c", "g@h.org"), page("d", "article"), page("e", "article")]
  scores = run(pages, {
      "a": f"{LONG} Write to [EMAIL] soon.",
      "b": f"{LONG} Write to u@v.org soon.",
      "c": LONG,  # the sentence was lost before
      "d": f"{LONG} [PHONE] and [IP]", "e": LONG})["pii"]
  assert scores["planted"] == 2 and scores["recall"] == 0.5
  assert scores["missed"] == [{"class": "email", "value": "u@v.org"}]
  assert scores["clean_documents"] == 2 and scores["false_per_1000"] == 1000
  assert scores["false_pages"] == ["d"]


def test_clutter_and_charsets(run):
  pages = [page("a", "boilerplate", detail="login", text=""),
           page("b", "boilerplate", detail="login", text=""),
           page("n", "noise", detail="log", text=""),
           page("c", "article", boilerplate=["Cookies!"]),
           page("d", "article", boilerplate=["Cookies!"], layout="plain"),
           page("e", "article", charset_fault="utf8_as_latin1",
                text=LONG + "café étude " * 9)]
  scores = run(pages, {"b": "Log in", "c": LONG, "d": f"{LONG} Cookies!",
                       "e": LONG + "cafÃ© Ã©tude " * 9},
               [("a", "gopher_quality"), ("n", "language")])
  assert scores["clutter"]["boilerplate_pages_removed"] == 0.5
  assert scores["clutter"]["noise_pages_removed"] == 1.0
  assert scores["clutter"]["free_by_layout"] == {"blog": 1.0, "plain": 0.0}
  assert scores["charsets"] == {"pages": 1, "repaired": 0.0, "by_fault": {
      "utf8_as_latin1": 0.0}}


def test_coverage():
  assert truth.coverage("aa bb cc dd ee", "x aa bb cc dd y") == (8, 10)
  assert truth.coverage("aa bb cc dd", "aa bb dd cc") == (0, 8)
  assert truth.coverage("", "aa") == (0, 0)
  assert truth.coverage("aa", "aa") == (2, 2)


def test_the_table_names_what_is_not_reached(run, tmp_path, capsys):
  run([page("a", "article"), page("b", "article"),
       page("n", "boilerplate", detail="login", text="")],
      {"a": LONG, "n": "Log in"}, [("b", "url")])
  config = ScoreCrawlConfig(str(tmp_path / "truth.jsonl.gz"),
                            str(tmp_path / "w"))
  scores = score_crawl.run(config)
  printed = capsys.readouterr().out
  lines = [line for line in printed.splitlines() if "NOT REACHED" in line]
  assert any("spam hosts: precision" in line for line in lines)
  assert any("pages of boilerplate" in line for line in lines)
  assert not any("characters of articles" in line for line in lines)
  assert len(lines) == len(score_crawl.broken_promises(scores))
  assert json.loads((tmp_path / "w" / "score.json").read_text()) == scores


def test_mistakes_are_told(run, tmp_path):
  run([page("a", "article")], {"a": LONG})
  with pytest.raises(ConfigError, match="cannot be read"):
    truth.score(str(tmp_path / "no.jsonl.gz"), str(tmp_path / "w"))
  with pytest.raises(ConfigError, match="does not exist"):
    truth.score(str(tmp_path / "truth.jsonl.gz"), str(tmp_path / "nowhere"))
  config = json.loads((tmp_path / "w" / "config.json").read_text())
  (tmp_path / "w" / "config.json").write_text(
      json.dumps(config | {"removed": "examples"}))
  with pytest.raises(ConfigError, match="--removed=ids"):
    truth.score(str(tmp_path / "truth.jsonl.gz"), str(tmp_path / "w"))
