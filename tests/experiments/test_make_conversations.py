"""Conversations in files, with the real tools."""

import json
import pathlib

import pytest

from experiments import make_biographies, make_conversations
from llm_jax.config import (
    BiographiesConfig, ConfigError, MakeBiographiesConfig,
    MakeConversationsConfig, SyntheticChatConfig, TokenizerConfig, ToolsConfig)
from llm_jax.config_chat import CHAT_KINDS
from llm_jax.data.biographies import read_people
from llm_jax.data.conversations import read_conversations
from llm_jax.tokenizer.bpe import train_bpe


def synthetic(people, **counts):
  return SyntheticChatConfig(**{**dict.fromkeys(CHAT_KINDS, 0), **counts},
                             people=people, validation=12)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
  directory = str(tmp_path_factory.mktemp("people"))
  make_biographies.run(MakeBiographiesConfig(BiographiesConfig(
      known=40, unlearned=30, invented=40, first_names=40, last_names=60,
      sentences=2, questions=1), directory))
  return directory


def test_what_the_real_tools_say_answers_the_questions(people, tmp_path):
  config = MakeConversationsConfig(
      synthetic(people, facts=20, tool_python=20, tool_search=60),
      ToolsConfig(names=("python", "search"), corpus=f"{people}/search.jsonl"),
      output=str(tmp_path))
  manifest = make_conversations.run(config)
  assert json.loads((tmp_path / "manifest.json").read_text()) == json.loads(
      json.dumps(manifest))
  # No result of a tool was other than was expected.
  for kind in ("tool_python", "tool_search"):
    assert manifest["train"][kind]["dropped"]["answer"] == 0
    assert manifest["train"][kind]["kept"] in (20, 60)
    assert manifest["validation"][kind]["kept"] == 12
  for split, count in (("train", 100), ("validation", 36)):
    assert len(list(read_conversations(str(tmp_path / split)))) == count
    rows = [json.loads(line) for file in (tmp_path / split).iterdir()
            for line in file.open()]
    assert {tool["function"]["name"] for row in rows
            for tool in row.get("tools", ())} == {"python", "search", "open"}
  assert {file.name for file in (tmp_path / "train").iterdir()} == {
      "facts.jsonl", "tool_python.jsonl", "tool_search.jsonl"}
  searched = [json.loads(line) for line in
              (tmp_path / "train" / "tool_search.jsonl").open()]
  calls = {}
  for row in searched:
    names = [message["tool_calls"][0]["function"]["name"]
             for message in row["messages"] if message.get("tool_calls")]
    calls[tuple(names)] = calls.get(tuple(names), 0) + 1
  # Most have to be opened: a hit shows one fact of five.
  assert calls["search", "open"] > calls["search",] > 0 and calls[()] > 5


def test_the_unlearned_are_found_and_the_invented_not(people):
  from llm_jax.inference.tools import load_tools
  search, open_page = load_tools(ToolsConfig(
      names=("search",), corpus=f"{people}/search.jsonl"))
  groups = read_people(people)
  for person in groups.unlearned:
    found = search.run({"query": person.name})
    assert found.startswith(f"{person.name}: ")
    page = open_page.run({"title": person.name})
    assert all(value.lower() in page.lower() for _, value in person.facts)
  for person in groups.invented:
    assert person.name not in search.run({"query": person.name})


def test_conversations_are_as_long_as_the_rows_at_most(people, tmp_path):
  text = (pathlib.Path(people) / "documents.jsonl").read_text()
  tokenizer = train_bpe([text], TokenizerConfig(vocab_size=400))
  tokenizer.save(str(tmp_path / "tokenizer"))
  config = MakeConversationsConfig(
      synthetic(people, multi_turn=30), tokenizer=str(tmp_path / "tokenizer"),
      seq_len=200, output=str(tmp_path / "out"))
  manifest = make_conversations.run(config)
  assert manifest["train"]["multi_turn"]["dropped"]["length"] > 5


@pytest.mark.parametrize("settings, expected", [
    ({"synthetic": synthetic("p", tool_search=1), "tools": ToolsConfig()},
     "synthetic.tool_search needs the tool search; add it to --tools.names"),
    ({"seq_len": 0}, "seq_len is 0"), ({"output": ""}, "output is empty")])
def test_impossible_settings(settings, expected):
  with pytest.raises(ConfigError, match=expected):
    MakeConversationsConfig(**settings).validate()
