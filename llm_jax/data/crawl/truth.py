"""What the stages did to a crawl whose truth is known, in numbers.

`score` compares the truth file of `sample_crawl` with the documents that
`experiments/curate.py` wrote and with its records of what each stage removed
(`--removed=ids`). A stage is judged on the pages that reached it.
"""

from __future__ import annotations

import collections
from typing import Any

from llm_jax.config_crawl import DedupConfig
from llm_jax.data.crawl.deduplication import meeting_probability
from llm_jax.data.crawl.pii import MARKS
from llm_jax.data.crawl.sample_edits import jaccard
from llm_jax.data.crawl.truth_run import ORDER, Run, load

LONG_PAGE = 200  # characters: shorter pages do not tell their language
NEAR = 0.85
# Kinds of pages that hold an article, so whose whole text is known.
_ARTICLES = ("article", "personal", "look_alike_numbers", "near_duplicate",
             "exact_duplicate", "dump_copy")
_CLEAN = ("article", "personal", "look_alike_numbers")
_COPIES = ("exact", "minhash")
_NGRAM = 4  # words in a row that show that a passage is there


def score(truth_path: str, curate_workdir: str) -> dict[str, Any]:
  """Precision and recall of each stage of a run.

  Args:
    truth_path: truth.jsonl.gz of `make_sample_crawl`.
    curate_workdir: workdir of the run, made with `--removed=ids` or `text`.

  Returns:
    Numbers by stage, fit for JSON.

  Raises:
    ConfigError: a file is missing, or the run kept no list of what it removed.
  """
  run = load(truth_path, curate_workdir)
  return {"pages": len(run.truth), "fates": _fates(run),
          "language": _language(run), "spam": _spam(run),
          "near_duplicates": _near(run), "exact_duplicates": _exact(run),
          "pii": _pii(run), "clutter": _clutter(run),
          "articles": _articles(run), "charsets": _charsets(run)}


def _ratio(part: int | float, whole: int | float) -> float | None:
  """A share; None of nothing."""
  return part / whole if whole else None


def _fates(run: Run) -> dict[str, dict[str, int]]:
  """Kind -> where its pages stopped, in the order of the stages."""
  counts: dict[str, collections.Counter] = collections.defaultdict(
      collections.Counter)
  for page in run.truth.values():
    kind = f"fault: {page['fault']}" if page["fault"] else page["kind"]
    counts[kind][run.fate(page)] += 1
  return {kind: {stage: counts[kind][stage] for stage in ORDER
                 if counts[kind][stage]} for kind in sorted(counts)}


def _language(run: Run) -> dict[str, Any]:
  """Of the pages whose language is known and that are long enough."""
  pages = [page for page in run.truth.values()
           if page["kind"] in (*_ARTICLES, "foreign")
           and len(page["text"]) > LONG_PAGE and run.reached(page, "language")]
  accepted = [page for page in pages if run.fate(page) != "language"]
  wanted = [page for page in pages if run.is_wanted(page)]

  def right(page: dict[str, Any]) -> bool:
    # Of pages that a later filter removed, only the decision is known.
    return run.is_wanted(page) and run.languages.get(
        page["id"], page["language"]) == page["language"]

  return {"pages": len(pages),
          "precision": _ratio(sum(map(right, accepted)), len(accepted)),
          "recall": _ratio(sum(map(right, accepted)), len(wanted)),
          "recall_by_language": {
              code: _ratio(sum(right(page) for page in accepted
                               if page["language"] == code),
                           sum(page["language"] == code for page in wanted))
              for code in sorted({page["language"] for page in wanted})}}


def _spam(run: Run) -> dict[str, Any]:
  """By class of spam; precision is over all that was blocked."""
  pages = [page for page in run.truth.values() if run.reached(page, "url")]
  blocked = [page for page in pages if run.fate(page) == "url"]
  classes = sorted({page["kind"] for page in pages
                    if page["kind"].startswith("spam_")})
  of_class = {kind: [page for page in pages if page["kind"] == kind]
              for kind in classes}
  return {
      "blocked": len(blocked),
      "precision": _ratio(sum(page["kind"].startswith("spam_")
                              for page in blocked), len(blocked)),
      "recall": {kind[len("spam_"):]: _ratio(
          sum(run.fate(page) == "url" for page in members), len(members))
          for kind, members in of_class.items()},
      "removed_by_any_stage": {kind[len("spam_"):]: _ratio(
          sum(run.fate(page) != "kept" for page in members), len(members))
          for kind, members in of_class.items()}}


def _compared_in(run: Run, page: dict[str, Any]) -> str:
  """The dump whose pages a page is compared with."""
  return "" if run.scope == "all" else page["file"].rpartition("/")[0]


def _copies(run: Run) -> set[str]:
  """Pages that were compared with another of the same origin."""
  families = collections.defaultdict(set)
  for page in run.truth.values():
    if run.reached(page, "exact"):
      families[page["duplicate_of"] or page["id"],
               _compared_in(run, page)].add(page["id"])
  return {name for family in families.values() if len(family) > 1
          for name in family}


def _pairs(run: Run, kinds: tuple[str, ...]
           ) -> list[tuple[dict[str, Any], dict[str, Any]]]:
  """Copies and what they are copies of, where both came to deduplication and,
  but for copies that another dump has on purpose, are compared there."""
  pairs = []
  for page in run.truth.values():
    if page["kind"] not in kinds:
      continue
    source = run.truth[page["duplicate_of"]]
    if (run.reached(page, "exact") and run.reached(source, "exact")
        and (page["kind"] == "dump_copy"
             or _compared_in(run, page) == _compared_in(run, source))):
      pairs.append((page, source))
  return pairs


def _found(run: Run, pair: tuple[dict[str, Any], dict[str, Any]]) -> bool:
  return any(run.fate(page) in _COPIES for page in pair)


def _near(run: Run) -> dict[str, Any]:
  """Recall by similarity; precision over articles, whose copies are known.

  `theory` is of the similarity of the articles, as planted; `theory_extracted`
  of that of the documents that were compared, which other sites' headings and
  captions make a little less alike.
  """
  pairs, copies = _pairs(run, ("near_duplicate",)), _copies(run)
  removed = [page for page in run.truth.values()
             if page["kind"] in _ARTICLES and run.fate(page) == "minhash"]
  bins = [{"from": low / 100} | _recall(run, [
      pair for pair in pairs
      if low <= 100 * min(pair[0]["jaccard"], 0.9999) < low + 5])
          for low in range(50, 100, 5)]
  return {"pairs": len(pairs), **_recall(run, [
      pair for pair in pairs if pair[0]["jaccard"] >= NEAR], "near_pairs"),
          "removed": len(removed),
          "precision": _ratio(sum(page["id"] in copies for page in removed),
                              len(removed)),
          "bins": [values for values in bins if values["pairs"]]}


def _recall(run: Run, pairs: list[tuple[dict[str, Any], dict[str, Any]]],
            name: str = "pairs") -> dict[str, Any]:
  """Pairs of which one was removed, beside 1-(1-s^hashes)^buckets."""
  bands = DedupConfig(buckets=run.bands[0], hashes=run.bands[1])

  def theory(similarities: list[float]) -> float | None:
    return _ratio(sum(meeting_probability(s, bands) for s in similarities),
                  len(similarities))
  return {name: len(pairs),
          "recall": _ratio(sum(_found(run, pair) for pair in pairs),
                           len(pairs)),
          "theory": theory([copy["jaccard"] for copy, _ in pairs]),
          "theory_extracted": theory([
              jaccard(run.compared[copy["id"]], run.compared[source["id"]])
              for copy, source in pairs])}


def _exact(run: Run) -> dict[str, Any]:
  """Copies of the same text on other hosts, with other surroundings."""
  pairs, copies = _pairs(run, ("exact_duplicate",)), _copies(run)
  across = _pairs(run, ("dump_copy",))
  removed = [page for page in run.truth.values()
             if page["kind"] in _ARTICLES and run.fate(page) == "exact"]
  return {"pairs": len(pairs),
          "recall": _ratio(sum(_found(run, pair) for pair in pairs),
                           len(pairs)),
          "recall_of_exact_stage": _ratio(sum(
              any(run.fate(page) == "exact" for page in pair)
              for pair in pairs), len(pairs)),
          # Found only where the scope is of all dumps.
          "recall_across_dumps": _ratio(sum(
              _found(run, pair) for pair in across), len(across)),
          "precision": _ratio(sum(page["id"] in copies for page in removed),
                              len(removed))}


def _pii(run: Run) -> dict[str, Any]:
  """Planted data in the documents that were kept; marks in all others."""
  planted: collections.Counter = collections.Counter()
  replaced: collections.Counter = collections.Counter()
  missed: list[dict[str, str]] = []
  clean, false, false_pages = 0, 0, []
  for page in run.truth.values():
    document = run.documents.get(page["id"])
    if document is None or page["kind"] not in _ARTICLES:
      continue
    text = document["text"]
    if not page["pii"]:
      number = sum(text.count(mark) for mark in MARKS)
      clean += 1
      false += number
      if number:
        false_pages.append(page["id"])
    for item in page["pii"]:
      before = item["sentence"].partition(item["value"])[0].strip()
      if before not in text:
        continue  # the sentence did not come so far
      planted[item["class"]] += 1
      if item["value"] not in text:
        replaced[item["class"]] += 1
      else:
        missed.append({"class": item["class"], "value": item["value"]})
  return {"planted": planted.total(), "clean_documents": clean,
          "recall": _ratio(replaced.total(), planted.total()),
          "recall_by_class": {name: _ratio(replaced[name], planted[name])
                              for name in sorted(planted)},
          "false_per_1000": _ratio(1000 * false, clean),
          "false_pages": false_pages[:10], "missed": missed[:10]}


def _clutter(run: Run) -> dict[str, Any]:
  """Pages without an article that are gone; articles free of what was around.
  """
  result = {}
  for kind in ("boilerplate", "noise"):
    pages = [page for page in run.truth.values() if page["kind"] == kind]
    gone = collections.Counter(page["detail"] for page in pages
                               if run.fate(page) != "kept")
    of = collections.Counter(page["detail"] for page in pages)
    result[f"{kind}_pages_removed"] = _ratio(gone.total(), of.total())
    result[f"{kind}_by_detail"] = {detail: _ratio(gone[detail], of[detail])
                                   for detail in sorted(of)}
  kept = [page for page in run.truth.values()
          if page["kind"] in _ARTICLES and page["id"] in run.documents]
  free: collections.Counter = collections.Counter()
  of = collections.Counter(page["layout"] for page in kept)
  for page in kept:
    text = run.documents[page["id"]]["text"]
    free[page["layout"]] += not any(line in text
                                    for line in page["boilerplate"])
  result["articles_free_of_boilerplate"] = _ratio(free.total(), len(kept))
  result["free_by_layout"] = {layout: _ratio(free[layout], of[layout])
                              for layout in sorted(of)}
  return result


def _articles(run: Run) -> dict[str, Any]:
  """Articles that survive, and how much of their text."""
  families = collections.defaultdict(set)
  for page in run.truth.values():
    families[page["duplicate_of"] or page["id"]].add(page["id"])
  pages = [page for page in run.truth.values() if page["kind"] in _CLEAN
           and not page["fault"] and run.is_wanted(page)]
  # One of a family of copies stays, and it need not be the first.
  lost: collections.Counter = collections.Counter()
  layouts: collections.Counter = collections.Counter()
  for page in pages:
    fate = run.fate(page)
    if fate in _COPIES and any(member in run.documents
                               for member in families[page["id"]]):
      continue
    if fate != "kept":
      lost[fate] += 1
      layouts[page["layout"]] += 1
  kept = [page for page in pages if page["id"] in run.documents
          and not page["charset_fault"] and not page["pii"]]
  found = total = extra = written = 0
  for page in kept:
    text = run.documents[page["id"]]["text"]
    surviving, characters = coverage(page["text"], text)
    found, total = found + surviving, total + characters
    same, characters = coverage(text, page["text"])
    extra, written = extra + characters - same, written + characters
  return {"pages": len(pages),
          "survive": _ratio(len(pages) - lost.total(), len(pages)),
          "lost_at": {stage: lost[stage] for stage in ORDER if lost[stage]},
          "lost_by_layout": dict(sorted(layouts.items())),
          "characters_survive": _ratio(found, total),
          "characters_of_others": _ratio(extra, written)}


def _charsets(run: Run) -> dict[str, Any]:
  """Pages with a wrong or missing charset whose text came out right."""
  faults = collections.defaultdict(list)
  for page in run.truth.values():
    if page["charset_fault"] and page["id"] in run.documents:
      found, total = coverage(page["text"],
                              run.documents[page["id"]]["text"])
      faults[page["charset_fault"]].append(found >= 0.97 * total)
  return {"pages": sum(map(len, faults.values())),
          "repaired": _ratio(sum(map(sum, faults.values())),
                             sum(map(len, faults.values()))),
          "by_fault": {fault: _ratio(sum(results), len(results))
                       for fault, results in sorted(faults.items())}}


def coverage(text: str, other: str) -> tuple[int, int]:
  """Characters of the words of `text` that `other` has too, and of all.

  A word counts as found where it stands in a run of four that the other text
  has somewhere.
  """
  words, others = text.split(), other.split()
  runs = {tuple(others[i:i + _NGRAM])
          for i in range(max(len(others) - _NGRAM + 1, 1))}
  found = [False] * len(words)
  for i in range(max(len(words) - _NGRAM + 1, 1)):
    if tuple(words[i:i + _NGRAM]) in runs:
      found[i:i + _NGRAM] = [True] * len(words[i:i + _NGRAM])
  return (sum(len(word) for word, there in zip(words, found) if there),
          sum(map(len, words)))
