"""Copies: exact, near, and of lines."""

import copy
import random

import numpy as np
import pytest
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.text import simplify_text

from llm_jax.config_crawl import DedupConfig
from llm_jax.data.crawl import deduplication
from llm_jax.data.crawl.words import word_tokenizer

EXACT = DedupConfig(minhash=False)
NEAR = DedupConfig(exact=False)
LINES = DedupConfig(exact=False, minhash=False, lines=True)


class Reader(PipelineStep):
  """Documents of each task, from memory."""

  type = name = "test"

  def __init__(self, tasks):
    super().__init__()
    self.tasks = tasks

  def run(self, data=None, rank=0, world_size=1):
    for key, text in self.tasks[rank]:
      yield Document(text, key)


def deduplicate(tasks, config, folder, **settings) -> dict[str, str]:
  """id -> text of what stays."""
  phases, filters = deduplication.plan(
      config, lambda: Reader(tasks), str(folder), len(tasks), **settings)
  for phase in phases:
    for rank in range(phase.tasks):
      stream = None
      for step in copy.deepcopy(phase.steps):
        stream = step.run(stream, rank, phase.tasks)
      list(stream or ())
  kept = {}
  for rank in range(len(tasks)):
    stream = Reader(tasks).run(None, rank, len(tasks))
    for step in copy.deepcopy(list(filters.values())):
      stream = step.run(stream, rank, len(tasks))
    kept |= {document.id: document.text for document in stream}
  return kept


def random_text(rng: random.Random, words: int) -> list[str]:
  """Words that no other text has in this order; letters only."""
  return ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=6))
          for _ in range(words)]


def shingles(text: str, length: int) -> set[tuple[str, ...]]:
  words = word_tokenizer("unicode").word_tokenize(simplify_text(text))
  return {tuple(words[i:i + length]) for i in range(len(words) - length + 1)}


def jaccard(a: str, b: str, length: int = 5) -> float:
  one, other = shingles(a, length), shingles(b, length)
  return len(one & other) / len(one | other)


def with_changes(words: list[str], changes: int, rng: random.Random) -> str:
  words = list(words)
  for place in rng.sample(range(len(words)), changes):
    words[place] = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=6))
  return " ".join(words)


def test_exact_copies_of_any_case_and_spacing(tmp_path):
  tasks = [[("a", "One text.\nAnd more"), ("b", "Another text")], [],
           [("c", "another  TEXT"), ("d", "One text. And\tmore "),
            ("e", "one text, and more"), ("f", "")]]
  kept = deduplicate(tasks, EXACT, tmp_path)
  assert len(kept) == 4 and {"e", "f"} < set(kept)
  assert len({"a", "d"} & set(kept)) == len({"b", "c"} & set(kept)) == 1


def test_near_copies_follow_the_curve(tmp_path):
  """1 - (1 - s^8)^14 of the pairs of similarity s, within chance."""
  rng = random.Random(1)
  pairs = []
  for _ in range(1500):
    words = random_text(rng, 200)
    changed = with_changes(words, rng.randrange(1, 30), rng)
    pairs.append((" ".join(words), changed))
  tasks = [[(f"{i}", pair[0]) for i, pair in enumerate(pairs)],
           [(f"{i}'", pair[1]) for i, pair in enumerate(pairs)]]
  kept = deduplicate(tasks, NEAR, tmp_path)
  similarity = np.array([jaccard(*pair) for pair in pairs])
  found = np.array([f"{i}" not in kept or f"{i}'" not in kept
                    for i in range(len(pairs))])
  expected = deduplication.meeting_probability(similarity, NEAR)
  edges = np.quantile(similarity, np.linspace(0, 1, 9))
  for low, high in zip(edges, edges[1:]):
    inside = (similarity >= low) & (similarity <= high)
    share, chance = found[inside].mean(), expected[inside].mean()
    error = np.sqrt((expected[inside] * (1 - expected[inside])).sum()
                    ) / inside.sum()
    assert abs(share - chance) < 4 * error + 1e-3, (low, high, share, chance)
  # Both ends of the curve were there, and one of each pair stays.
  assert expected.min() < 0.2 and expected.max() > 0.99
  assert all(f"{i}" in kept or f"{i}'" in kept for i in range(len(pairs)))


def test_nothing_unlike_goes(tmp_path):
  """Every removed document is like another: all pairs, by brute force."""
  rng = random.Random(2)
  texts = {}
  for number in range(60):
    words = random_text(rng, 80)
    texts[f"{number}"] = " ".join(words)
    if number % 3 == 0:
      texts[f"{number}'"] = with_changes(words, 1, rng)
    if number % 3 == 1:  # half of it is the same
      texts[f"{number}'"] = " ".join(words[:40] + random_text(rng, 40))
  items = list(texts.items())
  kept = deduplicate([items[0::3], items[1::3], items[2::3]], NEAR, tmp_path)
  gone = set(texts) - set(kept)
  assert len(gone) >= 18
  for key in gone:
    assert max(jaccard(texts[key], texts[other])
               for other in kept) > 0.7, key
  assert not any(int(key.strip("'")) % 3 for key in gone)


@pytest.mark.parametrize("settings, removed", [
    (DedupConfig(exact=False, buckets=2, hashes=64), False),
    (DedupConfig(exact=False, buckets=64, hashes=1), True),
    (DedupConfig(exact=False, ngrams=1), True),
])
def test_bands_and_shingles_are_settings(tmp_path, settings, removed):
  words = random_text(random.Random(3), 100)
  other = with_changes(words, 8, random.Random(4))
  assert 0.4 < jaccard(" ".join(words), other) < 0.7
  kept = deduplicate([[("a", " ".join(words)), ("b", other)]], settings,
                     tmp_path)
  assert (len(kept) == 1) == removed


def test_the_seed_changes_the_hashes(tmp_path):
  rng = random.Random(5)
  tasks = [[]]
  for number in range(40):
    words = random_text(rng, 100)
    tasks[0] += [(f"{number}", " ".join(words)),
                 (f"{number}'", with_changes(words, 5, rng))]
  runs = [set(deduplicate(tasks, NEAR, tmp_path / f"{run}", seed=seed))
          for run, seed in enumerate((0, 0, 1))]
  assert runs[0] == runs[1] != runs[2]


def test_chains_are_one_cluster(tmp_path):
  words = random_text(random.Random(6), 300)
  chain, rng = [" ".join(words)], random.Random(7)
  for _ in range(6):
    chain.append(with_changes(chain[-1].split(), 3, rng))
  kept = deduplicate([[(str(i), text) for i, text in enumerate(chain)]],
                     NEAR, tmp_path)
  assert len(kept) == 1


def test_what_an_earlier_run_had_is_a_copy(tmp_path):
  rng = random.Random(8)
  old = [random_text(rng, 100) for _ in range(5)]
  new = [random_text(rng, 100) for _ in range(5)]
  index = str(tmp_path / "index")
  first = deduplicate([[(f"old{i}", " ".join(w)) for i, w in enumerate(old)]],
                      DedupConfig(exact=False, save_index=index),
                      tmp_path / "first")
  assert len(first) == 5
  tasks = [[(f"again{i}", with_changes(w, 1, rng)) for i, w in enumerate(old)],
           [(f"new{i}", " ".join(w)) for i, w in enumerate(new)]
           + [("new0'", with_changes(new[0], 1, rng))]]
  kept = deduplicate(tasks, DedupConfig(exact=False, index=index,
                                        save_index=index), tmp_path / "second")
  assert len(kept) == 5 and all(key.startswith("new") for key in kept)
  third = deduplicate([[("new1''", with_changes(new[1], 1, rng))]],
                      DedupConfig(exact=False, index=index), tmp_path / "third")
  assert not third


def test_lines_of_earlier_documents_go(tmp_path):
  shared = "Subscribe to our letter for the latest news."
  tasks = [[("a", f"First of all a line of its own.\n{shared}"),
            ("b", f"Second comes another line, its own.\n{shared}\nShare it")],
           [("c", f"{shared}\nShare it\nThird is a line that only c has.")]]
  kept = deduplicate(tasks, LINES, tmp_path)
  assert set(kept) == {"a", "b", "c"}
  assert sum(shared in text for text in kept.values()) == 1
  assert sum("Share it" in text for text in kept.values()) == 2
  for key, own in (("a", "First of all"), ("b", "Second comes"),
                   ("c", "Third is a line")):
    assert own in kept[key]


def test_many_lines_are_no_fault(tmp_path):
  text = "\n".join(f"line {i} of a very long list" for i in range(70_000))
  kept = deduplicate([[("a", text)], [("b", text)]], LINES, tmp_path)
  assert set(kept) >= {"a"} or set(kept) >= {"b"}


def test_all_of_them_together(tmp_path):
  """Positions agree though each filter shifts what comes after it."""
  rng = random.Random(9)
  texts = [random_text(rng, 60) for _ in range(12)]
  line = "A line that all of the documents have in common."
  tasks = [[], []]
  for number, words in enumerate(texts):
    text = " ".join(words)
    tasks[number % 2] += [
        (f"{number}", f"{text}\n{line}"),
        (f"{number}copy", f"{text.upper()}\n{line}"),
        (f"{number}near", f"{with_changes(words, 1, rng)}\n{line}")]
  kept = deduplicate(tasks, DedupConfig(lines=True), tmp_path)
  numbers = sorted(int(key.removesuffix("copy").removesuffix("near"))
                   for key in kept)
  assert numbers == list(range(12))
  assert sum(line in text for text in kept.values()) == 1


@pytest.mark.parametrize("tasks", [
    [[]], [[], []], [[("a", "")]], [[("a", "x")], []],
    [[("a", "a few words")], [("b", "other words")], []]])
def test_next_to_nothing(tmp_path, tasks):
  kept = deduplicate(tasks, DedupConfig(lines=True), tmp_path)
  assert {key: text for key, text in kept.items() if text} == {
      key: text for task in tasks for key, text in task if text}


def test_the_probability_of_the_defaults():
  """The figures of datatrove's documentation."""
  assert deduplication.meeting_probability(0.8, NEAR) == pytest.approx(
      0.924, abs=5e-4)
  assert deduplication.meeting_probability(1.0, NEAR) == 1
