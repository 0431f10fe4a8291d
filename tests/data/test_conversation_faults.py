"""Bad data: file, line, fault and remedy are told, or counted and passed over.
"""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm_jax.config import ConfigError, DataFault
from llm_jax.data import conversations as lib

GOOD = json.dumps({"messages": [{"role": "user", "content": "Hi"},
                                {"role": "assistant", "content": "Hello"}]})


def messages(*pairs, **fields):
  made = [{"role": role, "content": content} for role, content in pairs]
  made[-1] |= fields
  return json.dumps({"messages": made}).encode()


CALL = {"type": "function", "function": {"name": "f", "arguments": {}}}
# kind of fault -> the line, and words of the sentence on it
FAULTS = {
    "malformed JSON": (b'{"messages": [', "is not JSON", "must be one object"),
    "unknown role": (messages(("user", "x"), ("robot", "y")),
                     "message 2 has the role 'robot'",
                     "choose one of system, user, assistant, tool"),
    "empty assistant turn": (messages(("user", "x"), ("assistant", " \n")),
                             "message 2 is an empty assistant turn",
                             "write the answer or remove the row"),
    "tool result without call": (
        messages(("user", "x"), ("tool", "y"), ("assistant", "z")),
        "message 2 is a tool's result", "or remove the result"),
    "not UTF-8": (GOOD.encode().replace(b"Hello", b"caf\xe9"),
                  "is not UTF-8 at byte offset",
        "--data.errors=replace"),
    "no answer": (messages(("user", "x")), "no message has the role "
                  "'assistant'", "add the answer or remove the row"),
    "unknown format": (b'{"question": "x"}', "its fields (question) are of no "
                       "format known here", "rename them"),
    "tool call": (messages(("user", "x"), ("assistant", ""), tool_calls=[
        {"function": {"name": " ", "arguments": {}}}]),
        "message 2 calls a tool without a name", "name it"),
    "tools": (json.dumps({"messages": json.loads(GOOD)["messages"],
                          "tools": [{"name": 3}]}).encode(),
              "tool 1 is no schema", "it should be"),
}


def file_with(tmp_path, *lines):
  path = tmp_path / "chats.jsonl"
  path.write_bytes(b"\n".join([GOOD.encode(), *lines, GOOD.encode()]))
  return path


@pytest.mark.parametrize("kind", FAULTS)
def test_each_is_told(tmp_path, kind):
  line, *words = FAULTS[kind]
  path = file_with(tmp_path, line)
  with pytest.raises(DataFault) as caught:
    list(lib.read_conversations(str(path), report=lambda line: None))
  assert caught.value.kind == kind
  told = str(caught.value)
  assert f"{path}:2" in told or f"{path} " in told and "(line 2)" in told
  for part in words:
    assert part in told
  assert told.endswith(".") and "\n" not in told


def test_all_are_counted_and_passed_over(tmp_path):
  lines = [line for line, *_ in FAULTS.values()]
  path = file_with(tmp_path, *lines, lines[0], lines[2])
  told = []
  found = list(lib.read_conversations(str(path), on_error="skip",
                                      report=told.append))
  assert [c.source for c in found] == [f"{path}:1", f"{path}:{len(lines) + 4}"]
  assert told[0] == f"{path}: read as messages"
  start = f"{path}: left out {len(lines) + 2} of {len(lines) + 4} rows: "
  assert told[1].startswith(start + "2 malformed JSON, 2 empty assistant turn, "
                            "1 unknown role")
  assert {part.split(" ", 1)[1] for part in
          told[1].removeprefix(start).split(", ")} == set(FAULTS)


def test_encoding_of_one_parquet_row(tmp_path):
  data = pa.array([b"fine", b"caf\xe9", b"good"], pa.binary())
  text = pa.Array.from_buffers(pa.string(), 3, data.buffers())  # unchecked
  table = pa.table({"prompt": text, "response": ["a", "b", "c"]})
  path = tmp_path / "chats.parquet"
  pq.write_table(table, path)
  told = []
  found = list(lib.read_conversations(str(path), on_error="skip",
                                      report=told.append))
  assert [c.source for c in found] == [f"{path} row 1", f"{path} row 3"]
  assert told[1] == f"{path}: left out 1 of 3 rows: 1 not UTF-8"
  with pytest.raises(ConfigError, match="not UTF-8 between rows 1 and 3"):
    list(lib.read_conversations(str(path), report=told.append))
  found = list(lib.read_conversations(str(path), "replace",
                                      report=told.append))
  assert found[1].messages[0]["content"] == "caf\ufffd"


def test_nothing_is_left(tmp_path):
  path = tmp_path / "chats.jsonl"
  path.write_bytes(FAULTS["unknown role"][0])
  with pytest.raises(ConfigError, match="all of its 1 rows were left out; .*"
                     "--data.on_error=stop"):
    list(lib.read_conversations(str(path), on_error="skip",
                                report=lambda line: None))


@pytest.mark.parametrize("line, words", [
    ({"conversations": [{"from": "human", "value": "x"},
                        {"from": "alien", "value": "y"}]},
     "turn 2 is from 'alien'; choose one of human"),
    ({"conversations": [{"from": "human"}]}, "turn 1 has no `from` and"),
    ({"conversations": [{"from": "gpt", "value": 3}]}, "`value` of type int"),
    ({"conversations": [{"from": "function_call", "value": "f()"}]},
     "no JSON"),
    ({"conversations": [{"from": "human", "value": "x"},
                        {"from": "observation", "value": "y"},
                        {"from": "gpt", "value": "z"}]},
     "message 2 is a tool's result"),
    ({"data": ["only a question"]}, "no message has the role 'assistant'"),
    ({"data": ["x", ""]}, "message 2 is an empty assistant turn"),
    ({"instruction": "x", "input": 3, "output": "y"}, "`input` is of type int"),
    ({"instruction": "x", "output": "y", "history": ["a"]}, "`history` has"),
    ({"prompt": {"role": "prompter", "text": "x", "replies": []}},
     "the tree has no answer"),
    ({"prompt": {"role": "human", "text": "x", "replies": []}},
     "has the role 'human'; choose one of prompter, assistant"),
])
def test_faults_of_the_other_formats(tmp_path, line, words):
  path = file_with(tmp_path, json.dumps(line).encode())
  with pytest.raises(DataFault) as caught:
    list(lib.read_conversations(str(path), report=lambda line: None))
  assert str(caught.value).startswith(f"{path}:2: ")
  assert words in str(caught.value)
