"""Public formats of conversations, each as its data set has it."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm_jax.config import ConfigError, SftDataConfig
from llm_jax.data import conversations as lib

SCHEMA = {"type": "function", "function": {
    "name": "search", "parameters": {"type": "object", "properties": {
        "query": {"type": "string"}}}}}
CALL = {"type": "function", "function": {
    "name": "search", "arguments": {"query": "Ada"}}}


def turns(*texts):
  """The user's and the assistant's words in turn."""
  return [{"role": ("user", "assistant")[i % 2], "content": text}
          for i, text in enumerate(texts)]


def read(path, **options):
  told = []
  found = list(lib.read_conversations(str(path), report=told.append,
                                      **options))
  return found, told


def read_rows(tmp_path, *rows, **options):
  path = tmp_path / "rows.jsonl"
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  found, told = read(path, **options)
  return [list(c.messages) for c in found], told, found


@pytest.mark.parametrize("row, expected", [
    ({"instruction": "Add.", "input": "1, 2", "output": "3"},
     turns("Add.\n\n1, 2", "3")),
    ({"instruction": "Hi", "input": " ", "output": "Hello", "text": "x"},
     turns("Hi", "Hello")),
    ({"instruction": "Who?", "context": "Ada is 36.", "response": "Ada",
      "category": "qa"}, turns("Who?\n\nAda is 36.", "Ada")),
    ({"prompt": "a", "completion": " b"}, turns("a", " b")),
    ({"prompt": "a", "response": "b"}, turns("a", "b")),
    ({"prompt": turns("a"), "completion": [
        {"role": "assistant", "content": "b"}]}, turns("a", "b")),
    ({"instruction": "c", "output": "d", "system": "Be brief.",
      "history": [["a", "b"]]},
     [{"role": "system", "content": "Be brief."}, *turns("a", "b", "c", "d")]),
])
def test_prompt_and_response_by_their_names(tmp_path, row, expected):
  messages, told, _ = read_rows(tmp_path, row)
  assert messages == [expected]
  assert told == [f"{tmp_path}/rows.jsonl: read as prompt_response"]


def test_ultrachat(tmp_path):
  messages, told, _ = read_rows(
      tmp_path, {"id": "0", "data": ["a", "b", "c", "d"]},
      # Its 200k variant.
      {"prompt": "a", "prompt_id": "1", "messages": turns("a", "b")})
  assert messages == [turns("a", "b", "c", "d"), turns("a", "b")]
  assert [line.split(": read as ")[1] for line in told] == [
      "ultrachat", "messages"]


def test_sharegpt_with_tools_in_turns_of_their_own(tmp_path):
  rows = {"system": "Be brief.", "tools": json.dumps([SCHEMA]),
          "conversations": [
              {"from": "human", "value": "Who is Ada?"},
              {"from": "gpt", "value": "Let me see."},
              {"from": "function_call", "value": json.dumps(
                  {"name": "search", "arguments": {"query": "Ada"}})},
              {"from": "observation", "value": "nobody"},
              {"from": "gpt", "value": "Nobody."}]}
  messages, told, (conversation,) = read_rows(tmp_path, rows)
  assert messages == [[
      {"role": "system", "content": "Be brief."},
      {"role": "user", "content": "Who is Ada?"},
      {"role": "assistant", "content": "Let me see.", "tool_calls": [CALL]},
      {"role": "tool", "content": "nobody"},
      {"role": "assistant", "content": "Nobody."}]]
  assert conversation.tools == (SCHEMA,)
  assert told[0].endswith("sharegpt")


def test_sharegpt_with_tools_as_hermes_writes_them(tmp_path):
  call = '{"name": "search", "arguments": {"query": "Ada"}}'
  rows = {"conversations": [
      {"from": "human", "value": "x"},
      {"from": "gpt", "value": f"<tool_call>\n{call}\n</tool_call>\n"
                               f"<tool_call>\n{call}\n</tool_call>"},
      {"from": "tool", "value": "<tool_response>\n1\n</tool_response>\n"
                                "<tool_response>\n2\n</tool_response>"},
      {"from": "gpt", "value": "y"}]}
  messages, _, _ = read_rows(tmp_path, rows)
  assert messages == [[
      {"role": "user", "content": "x"},
      {"role": "assistant", "content": "", "tool_calls": [CALL, CALL]},
      {"role": "tool", "content": "1"}, {"role": "tool", "content": "2"},
      {"role": "assistant", "content": "y"}]]


def said(role, text, *replies, **fields):
  return {"role": role, "text": text, "replies": list(replies), **fields}


TREE = {"message_tree_id": "t", "tree_state": "ready_for_export",
        "prompt": said(
            "prompter", "q",
            said("assistant", "worse", rank=1),
            said("assistant", "best",
                 said("prompter", "unranked"),
                 said("prompter", "thanks", said("assistant", "welcome"),
                      rank=0), rank=0),
            said("assistant", "gone", said("prompter", "x", said(
                "assistant", "y")), rank=2, deleted=True),
            said("assistant", "never ranked"))}


def test_openassistant_trees(tmp_path):
  messages, told, found = read_rows(tmp_path, TREE)
  assert messages == [turns("q", "best", "thanks", "welcome")]
  assert told[0].endswith("read as openassistant")
  messages, _, found = read_rows(tmp_path, TREE, paths="all")
  assert sorted(messages, key=str) == sorted([
      turns("q", "worse"), turns("q", "best", "thanks", "welcome"),
      turns("q", "best"), turns("q", "never ranked")], key=str)
  assert len({c.source for c in found}) == 4
  assert all(f"{tmp_path}/rows.jsonl:1 path " in c.source for c in found)


def test_paths_of_one_tree_are_on_one_side():
  def path(i, j):
    return lib.Conversation(tuple(turns(f"q{i}", f"a{j}")),
                            source=f"x.jsonl:{i} path {j}")
  sides = lib.split_conversations(
      (path(i, j) for i in range(200) for j in range(4)), 0, 0.2)
  roots = {side: {c.messages[0]["content"] for c in found}
           for side, found in sides.items()}
  assert not roots["train"] & roots["validation"]
  assert len(sides["validation"]) == 4 * len(roots["validation"]) > 0


def flat(message, parent, rows):
  row = {key: message.get(key) for key in ("role", "text", "rank", "deleted")}
  rows.append(row | {"message_id": message["text"], "parent_id": parent})
  for reply in message["replies"]:
    flat(reply, message["text"], rows)
  return rows


@pytest.mark.parametrize("parquet", [False, True])
def test_openassistant_one_message_a_row(tmp_path, parquet):
  rows = flat(TREE["prompt"], None, [])
  rows += flat(said("prompter", "q2", said("assistant", "a2")), None, [])
  rows = rows[::-1]  # children may stand before their parents
  if parquet:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    found, _ = read(path)
  else:
    _, _, found = read_rows(tmp_path, *rows)
  assert {str(list(c.messages)) for c in found} == {
      str(turns("q", "best", "thanks", "welcome")), str(turns("q2", "a2"))}


def test_messages_with_tools_from_parquet(tmp_path):
  """A column has one type: fields that others have are null, or JSON text."""
  other = {"type": "function", "function": {
      "name": "python", "arguments": {"code": "1"}}}
  rows = [{"messages": [
      {"role": "user", "content": "x"},
      {"role": "assistant", "content": None, "tool_calls": [call]},
      {"role": "tool", "content": "r", "tool_call_id": None},
      {"role": "assistant", "content": "y", "tool_calls": None}],
      "tools": json.dumps([SCHEMA])} for call in (CALL, other)]
  path = tmp_path / "rows.parquet"
  pq.write_table(pa.Table.from_pylist(rows), path)
  found, _ = read(path)
  assert [c.messages[1]["tool_calls"] for c in found] == [[CALL], [other]]
  assert found[0].messages[3] == {"role": "assistant", "content": "y"}
  assert found[0].tools == (SCHEMA,)
  rows = [{"messages": json.loads(json.dumps(rows[0]["messages"]))}]
  rows[0]["messages"][1]["tool_calls"] = json.dumps([CALL])
  pq.write_table(pa.Table.from_pylist(rows), path)
  assert read(path)[0][0].messages[1]["tool_calls"] == [CALL]


def test_compressed_files(tmp_path):
  with gzip.open(tmp_path / "a.jsonl.gz", "wt") as stream:
    stream.write(json.dumps({"messages": turns("a", "b")}))
  found, _ = read(tmp_path)
  assert list(found[0].messages) == turns("a", "b")


def test_a_format_may_be_set(tmp_path):
  row = {"messages": turns("a", "b"), "prompt": "c", "completion": "d"}
  assert read_rows(tmp_path, row)[0] == [turns("a", "b")]
  assert read_rows(tmp_path, row, form="prompt_response")[0] == [
      turns("c", "d")]
  with pytest.raises(ConfigError, match=r"rows.jsonl:1: its fields \(messages"
                     r", prompt, completion\) are not those of "
                     "--data.format=sharegpt"):
    read_rows(tmp_path, row, form="sharegpt")
  for form in ("auto", *lib.READERS):
    SftDataConfig(format=form).validate()
  with pytest.raises(ConfigError, match="data.format is 'alpaca'"):
    SftDataConfig(format="alpaca").validate()
