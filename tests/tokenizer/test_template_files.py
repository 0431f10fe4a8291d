"""Templates of families: what each writes, by hand, and what of it is learnt.

`tests/reference/test_template_masks.py` holds the same against transformers.
"""

import pytest

from llm_jax.config import ConfigError, SftDataConfig, TokenizerConfig
from llm_jax.tokenizer import chat
from llm_jax.tokenizer.bpe import train_bpe
from llm_jax.tokenizer.chat import use_template
from llm_jax.tokenizer.jinja_templates import marks_generation
from llm_jax.tokenizer.loading import load_tokenizer
from llm_jax.tokenizer.template_files import read_template
import template_cases as cases

SYSTEM_TEXT = {
    "ours": "Be brief.\nTools: search(query, limit)",
    "qwen": """Be brief.

# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{"type": "function", "function": {"name": "search", "description": "finds \
<b>things</b> & é", "parameters": {"type": "object", "properties": {"query": \
{"type": "string"}, "limit": {"type": "integer"}}, "required": ["query"]}}}
</tools>

For each function call, return a json object with function name and arguments \
within <tool_call></tool_call> XML tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>""",
    "llama3": """You have access to the following functions. To call a \
function, please respond with JSON for a function call. Respond in the format \
{"name": function name, "parameters": dictionary of argument name and its \
value}. Do not use variables.

{
    "type": "function",
    "function": {
        "name": "search",
        "description": "finds <b>things</b> & é",
        "parameters": {
            "type": "object",
            "properties": {
                "query": {
                    "type": "string"
                },
                "limit": {
                    "type": "integer"
                }
            },
            "required": [
                "query"
            ]
        }
    }
}

Be brief."""}
ARGUMENTS = r'{"query": "Zoë' "'" r's \"age\"", "limit": 2}'
# What is learnt stands between « and ».
CALLED_TWICE = {
    "ours": "<|endoftext|><|system|>SYSTEM<|end|><|user|>USER<|end|>"
            "<|assistant|>«CALL<|end|>»<|tool|>RESULT<|end|>"
            "<|assistant|>«CALL<|end|>»<|tool|>RESULT<|end|>"
            "<|assistant|>«ANSWER<|end|>»<|user|>USER<|end|>"
            "<|assistant|>«CALL<|end|>»<|tool|>RESULT<|end|>"
            "<|assistant|>«ANSWER<|end|>»",
    "qwen": "<|im_start|>system\nSYSTEM<|im_end|>\n<|im_start|>user\n"
            "USER<|im_end|>\n<|im_start|>assistant\n«CALL<|im_end|>»\n"
            "<|im_start|>user\nRESULT<|im_end|>\n"
            "<|im_start|>assistant\n«CALL<|im_end|>»\n"
            "<|im_start|>user\nRESULT<|im_end|>\n"
            "<|im_start|>assistant\n«ANSWER<|im_end|>»\n<|im_start|>user\n"
            "USER<|im_end|>\n<|im_start|>assistant\n«CALL<|im_end|>»\n"
            "<|im_start|>user\nRESULT<|im_end|>\n"
            "<|im_start|>assistant\n«ANSWER<|im_end|>»\n",
    "llama3": "<|begin_of_text|>Hsystem:\n\nSYSTEM<|eot_id|>"
              "Huser:\n\nUSER<|eot_id|>Hassistant:\n\n«CALL<|eot_id|>»"
              "Hipython:\n\nRESULT<|eot_id|>Hassistant:\n\n«CALL<|eot_id|>»"
              "Hipython:\n\nRESULT<|eot_id|>Hassistant:\n\n«ANSWER<|eot_id|>»"
              "Huser:\n\nUSER<|eot_id|>Hassistant:\n\n«CALL<|eot_id|>»"
              "Hipython:\n\nRESULT<|eot_id|>Hassistant:\n\n«ANSWER<|eot_id|>»"}
CALLS = {"ours": "<|tool_call|>search" + ARGUMENTS,
         "qwen": '<tool_call>\n{"name": "search", "arguments": ' + ARGUMENTS
                 + "}\n</tool_call>",
         "llama3": '{"name": "search", "parameters": ' + ARGUMENTS + "}"}
RESULTS = {"ours": "Zoë: 36\nMore: none", "llama3": "Zoë: 36\nMore: none",
           "qwen": "<tool_response>\nZoë: 36\nMore: none\n</tool_response>"}
TURNS = {
    "chatml": "<|im_start|>system\nBe brief.<|im_end|>\n"
              + "<|im_start|>user\nUSER<|im_end|>\n"
                "<|im_start|>assistant\n«ANSWER<|im_end|>»\n" * 3,
    "gemma": "<bos><start_of_turn>user\nBe brief.\n\nUSER<end_of_turn>\n"
             "<start_of_turn>model\n«ANSWER<end_of_turn>»\n"
             + "<start_of_turn>user\nUSER<end_of_turn>\n"
               "<start_of_turn>model\n«ANSWER<end_of_turn>»\n" * 2,
    "llama3": "<|begin_of_text|>Hsystem:\n\nBe brief.<|eot_id|>"
              + "Huser:\n\nUSER<|eot_id|>Hassistant:\n\n«ANSWER<|eot_id|>»" * 3}
TURNS["qwen"] = TURNS["chatml"]
TURNS["ours"] = ("<|endoftext|><|system|>Be brief.<|end|>"
                 + "<|user|>USER<|end|><|assistant|>«ANSWER<|end|>»" * 3)


@pytest.fixture
def tokenizer():
  return cases.make_tokenizer()


def spelt_out(text, name):
  for short, long in (
      ("SYSTEM", SYSTEM_TEXT.get(name, "")), ("CALL", CALLS.get(name, "")),
      ("RESULT", RESULTS.get(name, "")), ("USER", cases.USER["content"]),
      ("ANSWER", cases.ANSWER["content"])):
    text = text.replace(short, long)
  for role in ("system", "user", "assistant", "ipython"):
    text = text.replace(f"H{role}:",
                        f"<|start_header_id|>{role}<|end_header_id|>")
  return text


@pytest.mark.parametrize("name, case, golden", [
    *((name, "called twice", text) for name, text in CALLED_TWICE.items()),
    *((name, "turns", text) for name, text in TURNS.items())])
def test_text_and_mask_by_hand(tokenizer, name, case, golden):
  use_template(tokenizer, name)
  ids, mask = chat.render_conversation(*with_tools(case, tokenizer))
  expected_ids, expected_mask = [], []
  for i, part in enumerate(spelt_out(golden, name).replace(
      "»", "«").split("«")):
    part_ids = tokenizer.encode(part, allow_special=True)
    expected_ids += part_ids
    expected_mask += [i % 2] * len(part_ids)
  assert tokenizer.decode(ids) == tokenizer.decode(expected_ids)
  assert ids == expected_ids and mask == expected_mask


def with_tools(case, tokenizer):
  messages, tools = (cases.PLAIN | cases.TOOL_TURNS)[case]
  return messages, tokenizer, tools


@pytest.mark.parametrize("name", cases.NAMES)
def test_an_answer_is_learnt_after_its_prompt_and_comes_back(tokenizer, name):
  use_template(tokenizer, name)
  for messages, tools in cases.cases(name).values():
    ids, mask = chat.render_conversation(messages, tokenizer, tools)
    for number, message in enumerate(messages):
      if message["role"] != "assistant":
        continue
      prompt = chat.render_prompt(messages[:number], tokenizer, tools)
      assert ids[:len(prompt)] == prompt and mask[len(prompt) - 1] == 0
      length = mask[len(prompt):].index(0) if 0 in mask[len(prompt):] else (
          len(ids) - len(prompt))
      *said, stop = ids[len(prompt):len(prompt) + length]
      assert stop in chat.stop_ids(tokenizer)
      assert chat.parse_answer(said, tokenizer) == message


@pytest.mark.parametrize("name", cases.NAMES)
def test_the_template_s_marks_are_what_would_be_learnt_without(tokenizer,
                                                               name):
  """The rule for templates that say nothing gives the same mask."""
  marked = "{#- -#}" + read_template(name)  # as a checkpoint's own
  bare = marked.replace("{%- generation -%}", "").replace(
      "{%- endgeneration -%}", "")
  assert marks_generation(marked) and not marks_generation(bare)
  for messages, tools in cases.cases(name).values():
    tokenizer.chat_template = marked
    expected = chat.render_conversation(messages, tokenizer, tools)
    tokenizer.chat_template = bare
    assert chat.render_conversation(messages, tokenizer, tools) == expected


@pytest.mark.parametrize("name", cases.NAMES)
def test_nobody_writes_special_tokens(tokenizer, name):
  use_template(tokenizer, name)
  special = {i: n for n, i in tokenizer.special_tokens.items()}
  def markup(messages, tools):
    ids, _ = chat.render_conversation(messages, tokenizer, tools)
    return [special[i] for i in ids if i in special]
  attack = "x" + "".join(cases.SPECIAL) + "y"
  messages, tools = [cases.USER, cases.ANSWER], ()
  hostile = [m | {"content": attack} for m in messages]
  assert markup(hostile, tools) == markup(messages, tools)
  if name in cases.WITH_TOOLS:
    call, result = cases.CALL, cases.RESULT
    evil = {"type": "function", "function": {
        "name": attack, "arguments": {attack: [attack]}}}
    schema = {"type": "function", "function": {
        "name": attack, "parameters": {"properties": {attack: {}}}}}
    assert markup([cases.USER, call | {"tool_calls": [evil]},
                   result | {"content": attack}], [schema]) == markup(
                       [cases.USER, call, result], cases.TOOLS)


@pytest.mark.parametrize("name, messages, tools, refusal", [
    ("chatml", [cases.USER], cases.TOOLS, "no form for tools"),
    ("chatml", [cases.USER, cases.CALL], (), "no form for tools"),
    ("gemma", [cases.USER], cases.TOOLS, "no form for tools"),
    ("gemma", [cases.USER, cases.CALL], (), "no form for tools"),
    ("gemma", [cases.USER, cases.USER, cases.ANSWER], (), "take turns"),
    ("llama3", [cases.USER, cases.CALL | {"content": "Hm."}], (),
     "one call or with words"),
    ("llama3", [cases.USER, cases.CALL | {
        "tool_calls": cases.CALL["tool_calls"] * 2}], (), "one call")])
def test_what_a_family_has_no_form_for(tokenizer, name, messages, tools,
                                       refusal):
  use_template(tokenizer, name)
  with pytest.raises(ConfigError, match=f"refuses .*{refusal}"):
    chat.render_conversation(messages, tokenizer, tools)


def test_a_template_is_chosen_and_saved(tokenizer, tmp_path):
  for name in cases.NAMES:
    SftDataConfig(template=name).validate()
  use_template(tokenizer, "chatml")
  tokenizer.save(tmp_path)
  again = load_tokenizer(tmp_path)
  messages, tools = cases.PLAIN["turns"]
  expected = chat.render_conversation(messages, tokenizer, tools)
  assert chat.render_conversation(messages, again, tools) == expected
  use_template(again, "ours")
  assert not chat.has_own_template(again)
  assert chat.render_conversation(messages, again, tools) != expected
  small = train_bpe(["some text"] * 4, TokenizerConfig(vocab_size=266))
  with pytest.raises(ConfigError, match=r"template=gemma needs <bos>, "
                     "<start_of_turn>, <end_of_turn>, which"):
    use_template(small, "gemma")
  with pytest.raises(ConfigError, match="data.template is 'vicuna'"):
    use_template(small, "vicuna")


def test_marks_of_a_template_are_respected(tokenizer):
  """Learnt is what {% generation %} holds, be it less than the answer."""
  tokenizer.chat_template = (
      "{% for m in messages %}<|im_start|>{% if m.role == 'assistant' %}Well: "
      "{% generation %}{{ m.content | trim }}{% endgeneration %}<|im_end|>"
      "{% else %}{{ m.content }}{% endif %}{% endfor %}")
  messages = [cases.USER, {"role": "assistant", "content": "  <|im_end|>é "},
              cases.USER]
  ids, mask = chat.render_conversation(messages, tokenizer)
  assert tokenizer.decode([i for i, m in zip(ids, mask) if m]) == (
      "<|im_end|>é")
  end = tokenizer.special_tokens["<|im_end|>"]
  assert [m for i, m in zip(ids, mask) if i == end] == [0]
  # What looks into the blocks cannot be told apart.
  tokenizer.chat_template = (
      "{% set t %}{% generation %} a {% endgeneration %}{% endset %}"
      "{{ t | trim | length }}")
  with pytest.raises(ConfigError, match="looks into what its"):
    chat.render_conversation([cases.USER, cases.ANSWER], tokenizer)


def test_a_checkpoint_s_calls_are_read_whatever_was_said(tokenizer):
  use_template(tokenizer, "qwen")
  def parsed(text):
    return chat.parse_answer(tokenizer.encode(text), tokenizer)
  def call(name, arguments):
    return {"type": "function", "function": {"name": name,
                                             "arguments": arguments}}
  assert parsed('a <tool_call>{"name": "f"}</tool_call>') == {
      "role": "assistant", "content": "a", "tool_calls": [call("f", {})]}
  assert parsed('<tool_call>\n{"name": "f", "arguments": {"x": ')[
      "tool_calls"] == [call("f", '{"name": "f", "arguments": {"x":')]
  assert parsed('<tool_call>{"name": "f", "arguments": "{\\"x\\": 1}"}'
                "</tool_call>")["tool_calls"] == [call("f", {"x": 1})]
  assert parsed('<tool_call>{"name": "f", "arguments": [1]}</tool_call>')[
      "tool_calls"] == [call("f", "[1]")]
  assert parsed("<tool_call>nonsense</tool_call>")["tool_calls"] == [
      call("", "nonsense")]
  assert parsed(" just words\n") == {"role": "assistant",
                                     "content": " just words\n"}
  use_template(tokenizer, "llama3")
  assert parsed('{"name": "f", "parameters": {"x": 1}}')["tool_calls"] == [
      call("f", {"x": 1})]
  assert parsed('<|python_tag|>{"name": "f", "parameters": {}}')[
      "tool_calls"] == [call("f", {})]
  for text in ('{"name": "f"}', '{"name": 3, "parameters": {}}', "[1]",
               'Sure: {"name": "f", "parameters": {}}'):
    assert parsed(text) == {"role": "assistant", "content": text}
