"""Labelled texts: read, refused, split."""

import json

import pytest

from llm_jax.config import ConfigError
from llm_jax.data.labelled import Labelled, read_labelled, split_labelled


def write(tmp_path, *records, name="labels.jsonl"):
  file = tmp_path / name
  file.write_text("".join(json.dumps(r) + "\n" for r in records))
  return str(file)


def read(path):
  return read_labelled(path, "text", "label")


def test_json_and_parquet_say_the_same(tmp_path):
  import pyarrow
  import pyarrow.parquet
  records = [{"text": "a b", "label": 1}, {"text": "c", "label": 0.25},
             {"text": "d", "label": True}]
  path = write(tmp_path, *records)
  found = read(path)
  assert [(e.text, e.label) for e in found] == [
      ("a b", 1.0), ("c", 0.25), ("d", 1.0)]
  assert found[1].source == f"{path}:2"
  pyarrow.parquet.write_table(
      pyarrow.table({"words": [r["text"] for r in records],
                     "grade": [float(r["label"]) for r in records]}),
      tmp_path / "l.parquet")
  other = read_labelled(str(tmp_path / "l.parquet"), "words", "grade")
  assert [(e.text, e.label) for e in other] == [
      (e.text, e.label) for e in found]


@pytest.mark.parametrize("record, told", [
    ({"text": "a", "label": 5}, "labels.jsonl:2: `label` is 5; it must be a "
     "number from 0"),
    ({"text": "a", "label": -0.1}, "divide grades by the best one"),
    ({"text": "a", "label": "good"}, "`label` is 'good'"),
    ({"text": "a", "label": None}, "`label` is missing"),
    ({"text": "a", "label": float("nan")}, "`label` is nan"),
    ({"text": "", "label": 1}, "`text` is ''; it must be a text"),
    ({"text": 7, "label": 1}, "`text` is 7"),
    ({"text": "a"}, "lacks the field 'text' and 'label'; its fields are text")])
def test_what_is_no_label_is_told_with_its_line(tmp_path, record, told):
  path = write(tmp_path, {"text": "fine", "label": 1}, record)
  with pytest.raises(ConfigError) as error:
    read(path)
  assert told in str(error.value)


def test_no_text_at_all(tmp_path):
  with pytest.raises(ConfigError, match="has no labelled texts"):
    read(write(tmp_path))


def examples(labels):
  return [Labelled(f"text {i}", label, "") for i, label in enumerate(labels)]


def test_the_split_is_by_content():
  every = examples([i % 2 for i in range(200)])
  train, held_out = split_labelled(every, 0, 0.2)
  assert len(train) + len(held_out) == 200 and 20 < len(held_out) < 60
  assert split_labelled(every, 0, 0.2) == (train, held_out)
  assert set(split_labelled(every[::-1], 0, 0.2)[1]) == set(held_out)
  assert split_labelled(every, 1, 0.2)[1] != held_out


@pytest.mark.parametrize("labels, told", [
    ([1.0] * 50, "none of the labels below 0.5"),
    ([0.2] * 50, "none of the labels from 0.5 up"),
    ([1.0] + [0.0] * 50, "documents have no labels from 0.5 up; label more")])
def test_one_kind_alone_cannot_be_learnt(labels, told):
  with pytest.raises(ConfigError) as error:
    split_labelled(examples(labels), 0, 0.2)
  assert told in str(error.value)
