"""experiments/chat.py with tools, and a model that calls one."""

import jax
import pytest

from experiments import chat
from llm_jax.config import (
    ChatConfig, CheckpointConfig, ConfigError, TokenizerConfig, ToolsConfig)
from llm_jax.convert.gguf import save_gguf
from llm_jax.tokenizer.bpe import train_bpe
from llm_jax.training.checkpoints import Checkpointer
from llm_jax.training.saved_models import TOKENIZER
from llm_jax.training.train_step import TrainState
from lookups import FOUND, LETTERS, look_tool, looked_up

TABLE = dict(zip(LETTERS, reversed(FOUND)))
TOOLS = ToolsConfig(names=("calculator",))


@pytest.fixture(scope="module")
def run(caller, tmp_path_factory):
  workdir = str(tmp_path_factory.mktemp("caller"))
  checkpointer = Checkpointer(workdir, CheckpointConfig(), caller.config,
                              "sft")
  checkpointer.save(1, TrainState(jax.numpy.int32(1), caller.params, ()), {})
  checkpointer.close()
  caller.tokenizer.save(f"{workdir}/{TOKENIZER}")
  return workdir


@pytest.fixture
def ask(run, monkeypatch, capsys):
  """Lines typed -> (messages, what was printed, notes)."""
  def session(lines=(), tool=None, **settings):
    typed = iter(lines)

    def read(prompt=""):
      try:
        return next(typed)
      except StopIteration:
        raise EOFError from None

    monkeypatch.setattr("builtins.input", read)
    monkeypatch.setattr("llm_jax.inference.tools.load_tools",
                        lambda config: (tool or look_tool(TABLE),))
    config = ChatConfig(**{
        "checkpoint": run, "max_new_tokens": 24, "temperature": 0.0,
        "tools": TOOLS, **settings})
    return chat.run(config)["messages"], *capsys.readouterr()
  return session


def test_the_call_and_its_result_are_seen(ask):
  messages, printed, _ = ask(prompt="b")
  assert messages == looked_up("b", TABLE)
  assert printed == f'  look{{"k": "b"}}\n  → {TABLE["b"]}\n{TABLE["b"]}\n'


def test_it_is_asked_again(ask):
  messages, printed, _ = ask(["b", "/clear", "a"])
  assert messages == looked_up("a", TABLE)
  assert printed.count("look{") == 2


def test_calls_have_an_end(ask, monkeypatch):
  """A model that never stops calling is stopped."""
  from llm_jax.tokenizer import chat as template
  (call,) = looked_up("b", TABLE)[1]["tool_calls"]
  monkeypatch.setattr(template, "parse_answer", lambda ids, tokenizer: {
      "role": "assistant", "content": "", "tool_calls": [call]})
  tools = ToolsConfig(names=("calculator",), max_calls=2)
  messages, printed, notes = ask(prompt="b", tools=tools)
  assert "stopped after 2 calls of tools" in notes
  assert printed.count(f"→ {TABLE['b']}\n") == 2
  assert "no calls are left" in messages[-2]["content"]
  assert messages[-1]["tool_calls"] == [call]


def test_an_answer_cut_short_calls_nothing(ask):
  messages, printed, notes = ask(prompt="b", max_new_tokens=4)
  assert "cut off after 4 tokens" in notes and "→" not in printed
  assert messages[-1] == {"role": "assistant", "content": ""}


def test_a_context_that_is_full_is_told(ask):
  """The turn is taken back, and the person can go on."""
  long = look_tool(dict.fromkeys(TABLE, "long " * 40))
  messages, _, notes = ask(["b"], tool=long)
  assert "the message is too long" in notes
  assert messages == []


def test_mistakes_are_told(run, caller, tmp_path, monkeypatch):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

  def told(match, **settings):
    with pytest.raises(ConfigError, match=match):
      chat.run(ChatConfig(**{"checkpoint": run, "prompt": "b", "tools": TOOLS,
                             **settings}))

  told("--raw continues a text", raw=True)
  told("may cut a call", stop=("x",))
  told("choose one of python", tools=ToolsConfig(names=("php",)))
  plain = train_bpe(["ab ab"], TokenizerConfig(vocab_size=263, special_tokens=(
      "<|endoftext|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>",
      "<|end|>")))
  save_gguf(tmp_path / "m.gguf", caller.params, caller.config, plain, "f32")
  told("no way to write a call", checkpoint="",
       model=str(tmp_path / "m.gguf"))
