"""Ids and loss masks of every template of ours: those of transformers.

`apply_chat_template(..., return_assistant_tokens_mask=True)` gives 1 to the
tokens that the template's `{% generation %}` blocks hold.
"""

import pathlib
import sys

import pytest

from llm_jax.tokenizer import chat
from llm_jax.tokenizer.chat import use_template
from llm_jax.tokenizer.loading import load_tokenizer

sys.path.append(str(pathlib.Path(__file__).parents[1] / "tokenizer"))
import template_cases as cases  # noqa: E402

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.reference


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
  """template -> (ours, theirs)."""
  made = {}
  for name in cases.NAMES:
    folder = tmp_path_factory.mktemp(name)
    tokenizer = cases.make_tokenizer()
    use_template(tokenizer, name)
    tokenizer.save(folder)
    made[name] = (load_tokenizer(folder),
                  transformers.AutoTokenizer.from_pretrained(folder))
  return made


@pytest.mark.parametrize("name", cases.NAMES)
def test_ids_and_mask(name, loaded):
  ours, theirs = loaded[name]
  learnt = 0
  for case, (messages, tools) in cases.cases(name).items():
    told = theirs.apply_chat_template(
        messages, tools=list(tools) or None, return_dict=True,
        return_assistant_tokens_mask=True)
    ids, mask = chat.render_conversation(messages, ours, tools)
    assert ids == list(told["input_ids"]), case
    assert mask == list(told["assistant_masks"]), case
    learnt += sum(mask)
  assert learnt > 100


@pytest.mark.parametrize("name", cases.NAMES)
def test_prompts(name, loaded):
  ours, theirs = loaded[name]
  for case, (messages, tools) in cases.cases(name).items():
    for end, message in enumerate(messages, start=1):
      if message["role"] not in ("user", "tool"):
        continue
      expected = theirs.apply_chat_template(
          messages[:end], tools=list(tools) or None,
          add_generation_prompt=True, return_dict=False)
      assert chat.render_prompt(messages[:end], ours, tools) == list(
          expected), (case, end)
