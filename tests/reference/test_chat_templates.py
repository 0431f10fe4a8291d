"""Prompts of checkpoints' templates: the ids of transformers, to the letter."""

import json

import pytest

from llm_jax.config import ConfigError, TokenizerConfig
from llm_jax.tokenizer import chat
from llm_jax.tokenizer.bpe import train_bpe
from llm_jax.tokenizer.loading import load_tokenizer

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.reference

CHATML = """{% for message in messages %}
{% if loop.first and message['role'] != 'system' %}
<|im_start|>system
You help.<|im_end|>
{% endif %}
{{ '<|im_start|>' + message['role'] + '\n' }}
{%- if message['role'] == 'assistant' %}
{%- generation %}{{ message['content'] }}<|im_end|>{% endgeneration %}
{%- else %}{{ message['content'] }}<|im_end|>{% endif %}

{% endfor %}
{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""

LLAMA3_STYLE = """{{- bos_token }}
{%- set date = strftime_now("%d %b %Y") %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start|>system<|stop|>\n\nToday: " + date + "\n" + system_message }}
{{- "<|eot|>" }}
{%- if tools is not none %}{{ tools | tojson(indent=4) }}{%- endif %}
{%- for message in messages %}
    {{- '<|start|>' + message['role'] + '<|stop|>\n\n' }}
    {{- message['content'] | trim + '<|eot|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start|>assistant<|stop|>\n\n' }}
{%- endif %}"""

GEMMA_STYLE = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}
{{ raise_exception('System role not supported') }}{% endif %}
{% for message in messages %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('Roles must alternate') }}
{% endif %}
{% if (message['role'] == 'assistant') %}{% set role = 'model' %}
{% else %}{% set role = message['role'] %}{% endif %}
{{ '<|start|>' + role + '\n' + message['content'] | trim + '<|eot|>\n' }}
{% if loop.index > 50 %}{% break %}{% endif %}
{% endfor %}
{% if add_generation_prompt %}{{'<|start|>model\n'}}{% endif %}"""

NESTED = """{%- macro turn(message) -%}
  <|im_start|>{{ message.role | upper }} {{ message | tojson }}
{%- endmacro -%}
{%- set seen = namespace(count=0) -%}
{%- for message in messages if message.content is string -%}
  {{- turn(message) -}}{%- set seen.count = seen.count + 1 -%}<|im_end|>
{%- endfor -%}
{{- seen.count }}{{ eos_token }}{{ unknown_variable }}
{%- if documents is defined and documents -%} documents {%- endif -%}"""

TEMPLATES = {"ChatML": CHATML, "Llama 3": LLAMA3_STYLE, "Gemma": GEMMA_STYLE,
             "nested": NESTED}
SPECIAL = ("<|im_start|>", "<|im_end|>", "<|start|>", "<|stop|>", "<|eot|>",
           "<s>", "</s>")
USER = {"role": "user", "content": " What's  1234+5?\n"}
ANSWER = {"role": "assistant", "content": "It is \"1239\" & <b>naïve</b> 🙂"}
CONVERSATIONS = {
    "one turn": [USER], "three turns": [USER, ANSWER, USER],
    "system": [{"role": "system", "content": "\tBe brief. "}, USER],
    "empty": [{"role": "user", "content": ""}],
    "names in text": [{"role": "user", "content": "im_start user model <s"}]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  tokenizer = train_bpe(
      ["user assistant system model You help. Be brief: what is it?\n"] * 9,
      TokenizerConfig(vocab_size=300, special_tokens=SPECIAL))
  tokenizer.token_names = {"bos_token": "<s>", "eos_token": "</s>"}
  folder = tmp_path_factory.mktemp("tokenizer")
  tokenizer.save(folder)
  return folder


def both(folder, template, tmp_path):
  """The tokenizer as the two load it, the template in its own file."""
  for file in folder.iterdir():
    (tmp_path / file.name).write_bytes(file.read_bytes())
  (tmp_path / "chat_template.jinja").write_text(template)
  return (load_tokenizer(tmp_path),
          transformers.AutoTokenizer.from_pretrained(tmp_path))


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_ids_are_those_of_transformers(template, conversation, folder,
                                       tmp_path):
  messages = CONVERSATIONS[conversation]
  ours, theirs = both(folder, TEMPLATES[template], tmp_path)
  try:
    expected = list(theirs.apply_chat_template(
        messages, add_generation_prompt=True, return_dict=False))
  except Exception as error:  # the template's own refusal
    assert "not supported" in str(error)
    with pytest.raises(ConfigError, match="System role not supported"):
      chat.render_prompt(messages, ours)
    return
  assert chat.render_prompt(messages, ours) == expected
  assert set(expected) & set(ours.special_tokens.values())


@pytest.mark.parametrize("template", ["ChatML", "Llama 3", "Gemma"])
def test_a_whole_conversation(template, folder, tmp_path):
  """Ids alike; what is learnt is what transformers' {% generation %} marks."""
  ours, theirs = both(folder, TEMPLATES[template], tmp_path)
  messages = [USER, {"role": "assistant", "content": "It is 1239."}, USER,
              {"role": "assistant", "content": "As I said."}]
  ids, mask = chat.render_conversation(messages, ours)
  told = theirs.apply_chat_template(messages, return_dict=True,
                                    return_assistant_tokens_mask=True)
  assert ids == list(told["input_ids"])
  if template == "ChatML":  # the one that marks what is learnt
    assert mask == list(told["assistant_masks"])
  end = "<|im_end|>" if template == "ChatML" else "<|eot|>"
  assert ours.decode([i for i, m in zip(ids, mask) if m]) == (
      f"It is 1239.{end}As I said.{end}")
  assert ours.special_tokens[end] in chat.stop_ids(ours)


def test_what_we_save_they_load(folder, tmp_path):
  ours, _ = both(folder, CHATML, tmp_path)
  ours.stop_token_ids = (7,)
  ours.save(tmp_path / "again")
  theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "again")
  assert theirs.chat_template == CHATML
  assert (theirs.bos_token, theirs.eos_token) == ("<s>", "</s>")
  generation = json.loads(
      (tmp_path / "again" / "generation_config.json").read_text())
  assert generation["eos_token_id"] == [7]
