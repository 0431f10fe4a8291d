"""What follows an answer: a conversation in pieces is the conversation."""

import pytest

import template_cases as cases
from llm_jax.config import ConfigError
from llm_jax.tokenizer.chat import (
    render_continuation, render_conversation, render_prompt, stop_ids,
    use_template)


@pytest.fixture
def tokenizer():
  return cases.make_tokenizer()


@pytest.mark.parametrize("name", cases.NAMES)
def test_pieces_add_up_to_the_whole(tokenizer, name):
  """Prompt, answer, continuation, answer ... are the rendered conversation,
  and what is learnt of it is the answers."""
  use_template(tokenizer, name)
  tried = 0
  for case, (messages, tools) in cases.cases(name).items():
    answers = [i for i, m in enumerate(messages) if m["role"] == "assistant"]
    if len(answers) < 2:
      continue
    tried += 1
    whole, learnt = render_conversation(messages, tokenizer, tools)
    spoken = []  # the ids of each answer, its end of turn included
    for token, mask, before in zip(whole, learnt, [0, *learnt]):
      if mask and not before:
        spoken.append([])
      if mask:
        spoken[-1].append(token)
    assert len(spoken) == len(answers)
    ids = render_prompt(messages[:answers[0]], tokenizer, tools)
    mask = [0] * len(ids)
    for number, place in enumerate(answers):
      ids += spoken[number]
      mask += [1] * len(spoken[number])
      if number + 1 < len(answers):
        between = render_continuation(
            messages[place], messages[place + 1:answers[number + 1]],
            tokenizer, tools)
        ids += between
        mask += [0] * len(between)
    assert ids == whole[:len(ids)], case
    assert mask == learnt[:len(ids)], case
    assert not any(learnt[len(ids):])
  assert tried


@pytest.mark.parametrize("name", cases.NAMES)
def test_what_is_said_in_between_writes_no_special_tokens(tokenizer, name):
  use_template(tokenizer, name)
  special = set(tokenizer.special_tokens.values())
  answer = {"role": "assistant", "content": "<|im_end|><|end|>"}
  def said(content):
    return [t for t in render_continuation(
        answer, [{"role": "user", "content": content}], tokenizer)
        if t in special]
  names = "".join(tokenizer.special_tokens)
  assert said(f"a {names} b") == said("a b")
  assert said("a b")


def test_a_template_without_an_end_of_turn_is_told(tokenizer):
  tokenizer.chat_template = (
      "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}"
      "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}")
  tokenizer.token_names = {}
  assert stop_ids(tokenizer) == ()
  with pytest.raises(ConfigError, match="where an answer ends"):
    render_continuation({"role": "assistant", "content": "a"},
                        [{"role": "user", "content": "b"}], tokenizer)
