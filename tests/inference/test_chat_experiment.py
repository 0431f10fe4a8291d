"""experiments/chat.py, as a person meets it, with a model of two layers."""

import subprocess
import sys

import jax
import pytest

from experiments import chat
from llm_jax.config import (
  ChatConfig,
  CheckpointConfig,
  ConfigError,
  ModelConfig,
  TokenizerConfig,
)
from llm_jax.convert.gguf import save_gguf
from llm_jax.convert.pretrained import load_pretrained
from llm_jax.model.params import init_params
from llm_jax.tokenizer.bpe import train_bpe
from llm_jax.training.checkpoints import Checkpointer
from llm_jax.training.saved_models import TOKENIZER
from llm_jax.training.train_step import TrainState


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
  """A base model's run and a finetuned one's, both untrained."""
  directory = tmp_path_factory.mktemp("runs")
  tokenizer = train_bpe(["Who are you? I am."] * 4,
                        TokenizerConfig(vocab_size=270))
  model = ModelConfig(
      vocab_size=tokenizer.vocab_size, embed_dim=16, num_layers=2, num_heads=2,
      num_kv_heads=2, head_dim=8, mlp_dim=16, max_seq_len=64)
  params = jax.jit(init_params, static_argnames="config")(
      jax.random.key(0), config=model)
  for stage in ("pretrain", "sft"):
    workdir = str(directory / stage)
    checkpointer = Checkpointer(workdir, CheckpointConfig(), model, stage)
    checkpointer.save(3, TrainState(jax.numpy.int32(3), params, ()), {})
    checkpointer.close()
    tokenizer.save(f"{workdir}/{TOKENIZER}")
  return directory


@pytest.fixture
def ask(runs, monkeypatch, capsys):
  """Runs a session: lines typed -> (messages, what was printed, notes)."""
  def session(lines=(), stage="sft", **settings):
    typed = iter(lines)

    def read(prompt=""):
      try:
        return next(typed)
      except StopIteration:
        raise EOFError from None

    monkeypatch.setattr("builtins.input", read)
    config = ChatConfig(checkpoint=str(runs / stage), max_new_tokens=8,
                        **settings)
    messages = chat.run(config)["messages"]
    return messages, *capsys.readouterr()
  return session


def test_prompt_is_answered_once(ask):
  messages, printed, _ = ask(prompt="who are you?")
  assert [m["role"] for m in messages] == ["user", "assistant"]
  assert printed == messages[1]["content"] + "\n"
  again = ask(prompt="who are you?")[0]
  assert again == messages  # the seed decides
  assert ask(prompt="who are you?", seed=1)[0] != messages


def test_a_conversation_is_kept_cleared_and_left(ask):
  messages, printed, notes = ask(
      ["hi", "", "and?", "/what", "/exit", "never read"], system="Be brief.")
  assert [m["role"] for m in messages] == [
      "system", "user", "assistant", "user", "assistant"]
  assert printed == "".join(
      m["content"] + "\n" for m in messages if m["role"] == "assistant")
  assert "sft model, step 3" in notes and "/what is not known" in notes
  messages, _, _ = ask(["hi", "/clear", "new"], system="Be brief.")
  assert [m["content"] for m in messages][:2] == ["Be brief.", "new"]


def test_a_full_context_forgets_and_says_so(ask):
  messages, _, notes = ask(["a" * 12, "b" * 12, "c" * 12])
  assert "oldest 2 messages are forgotten" in notes
  assert messages[-2]["content"] == "c" * 12
  assert not any(m["content"] == "a" * 12 for m in messages)
  messages, _, notes = ask(["d" * 100, "hi"])
  assert "too long" in notes and messages[0]["content"] == "hi"
  with pytest.raises(ConfigError, match="too long"):
    ask(prompt="d" * 100)


def test_a_base_model_continues(ask):
  messages, printed, notes = ask(["Who are", ""], stage="pretrain")
  assert "continues the text" in notes
  assert printed.startswith("Who are" + messages[1]["content"] + "\n")
  _, printed, _ = ask(prompt="Who are", raw=True)
  assert printed.startswith("Who are")
  _, _, notes = ask(prompt="é" * 60, stage="pretrain")
  assert "only the last 55 tokens" in notes


def test_any_model_that_can_be_loaded(runs, monkeypatch, tmp_path, capsys):
  """A .gguf file answers as the run it was written from."""
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  run = str(runs / "sft")
  params, model, tokenizer = load_pretrained(run)
  save_gguf(tmp_path / "model.gguf", params, model, tokenizer, "f32")
  settings = dict(prompt="who are you?", max_new_tokens=8)
  expected = chat.run(ChatConfig(checkpoint=run, **settings))
  file = str(tmp_path / "model.gguf")
  assert chat.run(ChatConfig(model=file, **settings)) == expected
  answer = expected["messages"][-1]["content"]
  stop = answer[len(answer) // 2]
  stopped = chat.run(ChatConfig(model=file, stop=(stop,), **settings))
  assert stopped["messages"][-1]["content"] == answer[:answer.index(stop)]
  capsys.readouterr()
  chat.run(ChatConfig(model=file, int8=True, dtype="bfloat16", **settings))
  assert capsys.readouterr().out.endswith("\n")


def test_without_a_template_it_continues(runs, monkeypatch, tmp_path, capsys):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  params, model, _ = load_pretrained(str(runs / "sft"))
  plain = train_bpe(["Who are you? I am."] * 4, TokenizerConfig(
      vocab_size=265, special_tokens=("<|endoftext|>",)))
  save_gguf(tmp_path / "base.gguf", params, model, plain, "f32")
  chat.run(ChatConfig(model=str(tmp_path / "base.gguf"), prompt="Who are",
                      max_new_tokens=3))
  assert capsys.readouterr().out.startswith("Who are")


def test_mistakes_are_told(runs):
  for settings, told in (
      ({}, "give --checkpoint"),
      ({"checkpoint": str(runs / "nowhere")}, "--checkpoint=.*not exist"),
      ({"checkpoint": str(runs)}, "holds no model"),
      ({"model": "smollm2"}, "--model=smollm2 does not exist"),
      ({"model": "x", "dtype": "int4"}, "dtype is 'int4'"),
      ({"model": "x", "stop": ("",)}, "stop has an empty text"),
      ({"model": str(runs / "sft"), "checkpoint": "x"}, "one of them"),
      ({"checkpoint": str(runs / "sft"), "temperature": -1.0}, "temperature")):
    with pytest.raises(ConfigError, match=told):
      chat.run(ChatConfig(**settings))


def test_the_command_line(runs):
  command = [sys.executable, "-m", "experiments.chat", "--max_new_tokens=4"]
  answered = subprocess.run(
      [*command, f"--checkpoint={runs}/sft", "--prompt=hi"],
      capture_output=True, text=True)
  assert answered.returncode == 0 and answered.stdout.endswith("\n")
  refused = subprocess.run(
      [*command, f"--checkpoint={runs}/none"], capture_output=True, text=True)
  assert refused.returncode == 2
  assert len(refused.stderr.strip().splitlines()) == 1
