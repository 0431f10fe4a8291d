"""Documents that hold a piece of an evaluation set."""

import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datatrove.data import Document
from datatrove.utils.text import simplify_text

from llm_jax.config import ConfigError
from llm_jax.config_crawl import DecontaminateConfig
from llm_jax.data.crawl import decontamination
from llm_jax.data.crawl.words import word_tokenizer

WORDS = word_tokenizer("unicode")
QUESTION = ("Natalia sold clips to 48 of her friends in April, and then she "
            "sold half as many clips in May. How many did she sell?")
SHORT = "How many legs do four spiders and two ants have?"


def make(tmp_path, *paths, **settings):
  config = DecontaminateConfig(against=tuple(map(str, paths)), **settings)
  phases, step = decontamination.plan(config, str(tmp_path / "index"), WORDS)
  for phase in phases:
    assert phase.tasks == 1
    list(phase.steps[0].run())
  return step


@pytest.fixture
def questions(tmp_path):
  file = tmp_path / "questions.jsonl"
  rows = [{"question": QUESTION, "answer": "72"}, {"question": SHORT},
          {"question": "Yes?"}]
  file.write_text("".join(json.dumps(row) + "\n" for row in rows))
  return file


@pytest.mark.parametrize("text, clean", [
    (f"A page. {QUESTION} And more.", False),
    # 13 words of it, in capitals, with other marks and another number.
    ("she said: CLIPS TO 99 OF HER FRIENDS IN APRIL - AND THEN SHE SOLD (half)",
     False),
    ("her friends in April, and then she sold half as many", True),
    (f"the riddle: {SHORT.upper()}", False),
    ("How many legs do four spiders and two ants count?", True),
    ("Yes? No.", True), ("", True),
])
def test_pieces(tmp_path, questions, text, clean):
  step = make(tmp_path, questions)
  assert step.filter(Document(text, "1")) == (
      True if clean else (False, "contaminated"))


def test_fewer_words_find_more(tmp_path, questions):
  text = "her friends in April, and then she sold half as many"
  assert make(tmp_path, questions, ngrams=8).filter(
      Document(text, "1")) == (False, "contaminated")


def test_all_kinds_of_files(tmp_path):
  (tmp_path / "a.txt").write_text(QUESTION)
  pq.write_table(pa.table({"prompt": [SHORT], "number": [3]}),
                 tmp_path / "b.parquet")
  step = make(tmp_path, tmp_path / "a.txt", tmp_path / "*.parquet")
  for text in (QUESTION, SHORT):
    assert step.filter(Document(f"so {text}", "1")) is not True


def test_against_sets_of_pieces(tmp_path):
  """By brute force, on random texts of few words."""
  rng = random.Random(0)
  def text(length):
    return " ".join(rng.choices(("ja", "nein", "wer", "wo"), k=length))
  held_out = [text(rng.randrange(1, 14)) for _ in range(60)]
  file = tmp_path / "set.jsonl"
  file.write_text("".join(json.dumps({"text": t}) + "\n" for t in held_out))
  step = make(tmp_path, file, ngrams=10)
  padded = []
  for held in held_out:
    words = WORDS.word_tokenize(simplify_text(held))
    if 8 <= len(words) < 10:
      padded.append(f" {' '.join(words)} ")
    padded += [f" {' '.join(words[i:i + 10])} "
               for i in range(len(words) - 9)]
  answers = set()
  for _ in range(2000):
    tried = text(rng.randrange(5, 60))
    wanted = any(piece in f" {tried} " for piece in padded)
    assert (step.filter(Document(tried, "1")) is not True) == wanted
    answers.add(wanted)
  assert answers == {True, False}


def test_nothing_to_do(tmp_path, questions):
  for config in (DecontaminateConfig(),
                 DecontaminateConfig(enabled=False, against=(str(questions),))):
    assert decontamination.plan(config, str(tmp_path), WORDS) == ([], None)


@pytest.mark.parametrize("content, told", [
    (None, "does not exist"), ('{"other": "text"}\n', "set.jsonl"),
    ('{"text": "too short"}\n', "8 words"), ("{broken\n", "set.jsonl"),
])
def test_bad_sets(tmp_path, content, told):
  file = tmp_path / "set.jsonl"
  if content is not None:
    file.write_text(content)
  with pytest.raises(ConfigError, match=told):
    make(tmp_path, file)


def test_all_columns_of_a_parquet_file_are_read(tmp_path):
  rows = [{"question": QUESTION, "answer": SHORT, "id": 1}]
  pq.write_table(pa.Table.from_pylist(rows), tmp_path / "set.parquet")
  config = DecontaminateConfig(against=(str(tmp_path / "set.parquet"),))
  assert list(decontamination.evaluation_texts(config)) == [QUESTION, SHORT]
  (tmp_path / "set.parquet").write_bytes(b"PAR1 and no more")
  with pytest.raises(ConfigError, match="is not a parquet file"):
    list(decontamination.evaluation_texts(config))
  pq.write_table(pa.table({"id": [1]}), tmp_path / "set.parquet")
  with pytest.raises(ConfigError, match="its columns are id"):
    list(decontamination.evaluation_texts(config))
