"""The loss mask from the command line: in colour, and as a page."""

import html
import json
import re

import pytest

from experiments import view_conversations
from llm_jax.config import TokenizerConfig
from llm_jax.tokenizer.bpe import train_bpe

CALL = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
MESSAGES = [{"role": "user", "content": "two <b>words</b>"},
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "content": "three"},
            {"role": "assistant", "content": "four five"}]
TRAINED = '<|tool_call|>f{"x": 1}<|end|>four five<|end|>'


@pytest.fixture
def flags(tmp_path):
  """A run's directory with a vocabulary, and conversations."""
  train_bpe(["two words three four five"] * 4, TokenizerConfig(
      vocab_size=280)).save(tmp_path / "run" / "tokenizer")
  rows = [{"messages": MESSAGES}, {"messages": [
      MESSAGES[0], {"role": "assistant", "content": "six"}]}]
  (tmp_path / "chats.jsonl").write_text("\n".join(map(json.dumps, rows)))
  return [f"--tokenizer={tmp_path}/run", "--data.validation_fraction=0",
          f"--data.path={tmp_path}/chats.jsonl"]


def test_colours_and_page(flags, tmp_path, command):
  page = tmp_path / "new" / "mask.html"
  code, told, errors = command(view_conversations, *flags, f"--html={page}")
  assert code == 0, errors
  parts = re.findall(r"\x1b\[48;5;(\d+);38;5;16m(.*?)\x1b\[0m", told)
  assert "".join(t for colour, t in parts if colour == "157") == (
      TRAINED + "six<|end|>")
  assert re.search(r"chats.jsonl:1: (\d+) tokens, (\d+) trained \(", told)
  text = page.read_text()
  shown = re.findall(r'<span style="background:#b6ecb6;border[^"]*" '
                     r'title="[^"]*, trained">(.*?)</span>', text, re.DOTALL)
  assert html.unescape("".join(shown)) == TRAINED + "six<|end|>"
  assert "<b>words" not in text and text.count("<section>") == 2
  assert "LEGEND" not in text and "SECTIONS" not in text
  code, told, _ = command(view_conversations, *flags, "--count=1")
  assert code == 0 and "chats.jsonl:2" not in told


def test_mistakes(flags, tmp_path, command):
  for more, expected in (
      (["--data.template=gemma"], "data.template=gemma needs <bos>"),
      (["--data.path=" + str(tmp_path / "none.jsonl")], "does not exist"),
      (["--data.mixture=a:1"], "name one source with --data.path"),
      (["--count=0"], "count is 0")):
    code, _, errors = command(view_conversations, *flags, *more)
    assert code == 2 and expected in errors, errors
