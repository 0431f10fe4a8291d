"""Conversations from files, and mistakes in them with file and line."""

import json

from byte_tokenizer import ByteTokenizer
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm_jax.config import ConfigError
from llm_jax.data import conversations as lib

TURNS = [{"role": "system", "content": "Be brief."},
         {"role": "user", "content": "Hello"},
         {"role": "assistant", "content": "Hi."}]


def _read(path):
  return list(lib.read_conversations(str(path)))


def test_jsonl_of_both_forms(tmp_path):
  (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, [
      {"messages": [{**TURNS[0], "name": "x"}, *TURNS[1:]], "id": 1},
      {"prompt": "2 + 2?", "response": "4"}])))
  first, second = _read(tmp_path)
  assert list(first.messages) == TURNS
  assert second.messages == ({"role": "user", "content": "2 + 2?"},
                             {"role": "assistant", "content": "4"})
  assert second.source.endswith("a.jsonl:2")


def test_parquet_of_both_forms(tmp_path):
  pq.write_table(pa.table({"messages": [TURNS, TURNS[1:]], "id": [1, 2]}),
                 tmp_path / "a.parquet")
  pq.write_table(pa.table({"prompt": ["a"], "response": ["b"], "x": [1]}),
                 tmp_path / "b.parquet")
  read = _read(tmp_path)
  assert [len(c.messages) for c in read] == [3, 2, 2]
  assert list(read[0].messages) == TURNS
  assert read[2].messages[1]["content"] == "b"


@pytest.mark.parametrize("row, expected", [
    ({"prompt": "a"}, "its fields (prompt) are of no format known here: "
                      "`messages`, `conversations` (ShareGPT), "),
    ({"prompt": "a", "response": None}, "`response` is of type NoneType"),
    ({"messages": "hello"}, "messages are a list"),
    ({"messages": []}, "has no messages"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "the role 'robot'"),
    ({"messages": [{"role": "user"}]}, "message 1 has no `content`"),
    ({"messages": [TURNS[1]]}, "no message has the role 'assistant'"),
    ([1, 2], "is a JSON list")])
def test_mistakes_name_file_and_line(tmp_path, row, expected):
  path = tmp_path / "chat.jsonl"
  path.write_text(json.dumps({"messages": TURNS}) + "\n" + json.dumps(row))
  with pytest.raises(ConfigError) as caught:
    _read(path)
  assert f"{path}:2" in str(caught.value)
  assert expected in str(caught.value)


def test_no_conversations(tmp_path):
  (tmp_path / "a.jsonl").write_text("\n")
  with pytest.raises(ConfigError, match="has no conversations"):
    _read(tmp_path / "a.jsonl")
  (tmp_path / "a.txt").write_text("x")
  with pytest.raises(ConfigError, match="none of the suffixes .jsonl"):
    _read(tmp_path / "a.txt")


def test_split_by_content():
  made = [lib.single_turn(f"q{i}", f"a{i}") for i in range(500)]
  sides = lib.split_conversations(made, 0, 0.1)
  assert len(sides["train"]) + len(sides["validation"]) == 500
  assert 20 < len(sides["validation"]) < 90
  again = lib.split_conversations(reversed(made), 0, 0.1)
  assert again["validation"] == sides["validation"][::-1]
  assert lib.split_conversations(made, 0, 0.0)["validation"] == []


def test_rendering_ends_answers_and_masks_the_rest():
  tokenizer = ByteTokenizer()
  (ids, mask), = lib.render_all([lib.single_turn("Hello", "Hi.")], tokenizer)
  assert tokenizer.decode(ids) == (
      "<|endoftext|><|user|>Hello<|end|><|assistant|>Hi.<|end|>")
  assert tokenizer.decode(ids[mask]) == "Hi.<|end|>"
  assert ids.dtype == np.int32
  fits = lib.fits_in(tokenizer, len(ids))
  assert fits(lib.single_turn("Hello", "Hi."))
  assert not fits(lib.single_turn("Hello", "Hi.."))
