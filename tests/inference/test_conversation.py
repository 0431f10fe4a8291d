"""Whole characters as they come, and conversations that outgrow the context."""

import pytest

from llm_jax.config import ConfigError, TokenizerConfig
from llm_jax.inference.conversation import (
    call_marks, fit_messages, stream_text)
from llm_jax.tokenizer.bpe import train_bpe
from llm_jax.tokenizer.chat import render_conversation, render_prompt


@pytest.fixture(scope="module")
def tokenizer():
  """Bytes and special tokens only: every accent is two tokens."""
  return train_bpe(["a"], TokenizerConfig(vocab_size=264))


def test_characters_are_never_cut(tokenizer):
  text = "né 数学 😀!"
  ids = tokenizer.encode(text)
  assert len(ids) == len(text.encode())
  pieces = list(stream_text(iter(ids), tokenizer))
  assert pieces == list(text)


def test_what_never_becomes_a_character_is_shown(tokenizer):
  half = tokenizer.encode("é")[:1]
  assert "".join(stream_text(half, tokenizer)) == "\ufffd"
  mixed = half + tokenizer.encode("a")
  assert "".join(stream_text(mixed, tokenizer)) == "\ufffda"


def test_a_stop_token_ends_it_and_is_not_text(tokenizer):
  end = tokenizer.special_tokens["<|end|>"]
  ids = [*tokenizer.encode("yes"), end, *tokenizer.encode("no")]
  assert "".join(stream_text(ids, tokenizer, (end,))) == "yes"


def test_each_piece_is_there_at_once(tokenizer):
  """The text of a token does not wait for the next token."""
  taken = []

  def tokens():
    for token in tokenizer.encode("abc"):
      taken.append(token)
      yield token

  for number, piece in enumerate(stream_text(tokens(), tokenizer)):
    assert piece == "abc"[number] and len(taken) == number + 1


def conversation(turns, system=True):
  messages = [{"role": "system", "content": "s" * 5}] if system else []
  for turn in range(turns):
    messages += [{"role": "user", "content": f"question {turn}"},
                 {"role": "assistant", "content": f"answer {turn}"}]
  return messages[:-1]


def test_what_fits_is_whole(tokenizer):
  messages = conversation(3)
  whole = render_prompt(messages, tokenizer)
  assert fit_messages(messages, tokenizer, len(whole)) == (whole, 0)


@pytest.mark.parametrize("system", [True, False])
def test_the_oldest_turns_go_first_and_the_system_message_stays(
    tokenizer, system):
  messages = conversation(4, system)
  whole = render_prompt(messages, tokenizer)
  kept = messages[:system] + messages[system + 2:]
  expected = render_prompt(kept, tokenizer)
  assert fit_messages(messages, tokenizer, len(whole) - 1) == (expected, 2)
  last = messages[:system] + messages[-1:]
  least = render_prompt(last, tokenizer)
  assert fit_messages(messages, tokenizer, len(least)) == (least, 6)
  with pytest.raises(ConfigError, match="too long"):
    fit_messages(messages, tokenizer, len(least) - 1)


TOOLS = [{"type": "function", "function": {
    "name": "f", "parameters": {"properties": {"x": {"type": "string"}}}}}]
CALL = {"type": "function", "function": {"name": "f", "arguments": {"x": "1"}}}


def test_a_turn_with_calls_is_left_out_whole(tokenizer):
  turn = [{"role": "user", "content": "ab"},
          {"role": "assistant", "content": "", "tool_calls": [CALL]},
          {"role": "tool", "content": "cd"}]
  messages = [*turn, {"role": "assistant", "content": "ef"}, *turn]
  whole = render_prompt(messages, tokenizer, TOOLS)
  assert fit_messages(messages, tokenizer, len(whole), TOOLS) == (whole, 0)
  short = render_prompt(turn, tokenizer, TOOLS)
  assert fit_messages(messages, tokenizer, len(whole) - 1, TOOLS) == (short, 4)
  with pytest.raises(ConfigError, match="too long"):
    fit_messages(messages, tokenizer, len(short) - 1, TOOLS)


def test_a_call_is_no_text(tokenizer):
  """In our form and in Hermes'; what stands before it is."""
  ids, _ = render_conversation(
      [{"role": "user", "content": "a"},
       {"role": "assistant", "content": "Wait.", "tool_calls": [CALL]}],
      tokenizer)
  answer = ids[ids.index(tokenizer.special_tokens["<|assistant|>"]) + 1:]
  marks, texts = call_marks(tokenizer)
  assert "".join(stream_text(answer, tokenizer, marks, texts)) == "Wait."
  hermes = train_bpe(["a"], TokenizerConfig(vocab_size=264))
  hermes.chat_template = "{{ tools }}<tool_call>"
  answer = hermes.encode('Wait.<tool_call>{"name": "f"}</tool_call>')
  marks, texts = call_marks(hermes)
  assert "".join(stream_text(answer, hermes, marks, texts)) == "Wait."
  hermes.chat_template = "{{ messages }}"
  assert call_marks(hermes) == ((), ())
