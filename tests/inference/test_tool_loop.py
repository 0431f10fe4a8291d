"""The loop of tools: a model that really calls, and answers of every fault."""

import json
import threading

import jax
import numpy as np
import pytest

from llm_jax.config import ConfigError, SamplingConfig, TokenizerConfig
from llm_jax.inference import tool_loop
from llm_jax.inference.generate import Samples
from llm_jax.inference.tool_loop import answer_all, run_all
from llm_jax.inference.tools import Tool
from llm_jax.tokenizer.bpe import train_bpe
from llm_jax.tokenizer.chat import stop_ids
from lookups import FOUND, LETTERS, look_tool, looked_up

GREEDY = SamplingConfig(temperature=0.0, max_new_tokens=24)


def user(text):
  return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def table():
  return dict(zip(LETTERS, reversed(FOUND)))


@pytest.fixture
def ask(caller, table):
  """Conversations -> outcomes, of the model that was trained to call."""
  def run(conversations, sampling=GREEDY, tools=(), batch_size=6, max_calls=4,
          key=0):
    return run_all(caller.params, conversations, tools or (look_tool(table),),
                   caller.tokenizer, sampling, caller.config,
                   key=jax.random.key(key), batch_size=batch_size,
                   max_calls=max_calls)
  return run


def test_a_trained_model_calls_and_uses_the_results(ask, table):
  """All in one batch, and again in a batch with other results."""
  for found in (table, dict(zip(LETTERS, FOUND))):
    outcomes = ask([user(letter) for letter in LETTERS],
                   tools=(look_tool(found),))
    for letter, outcome in zip(LETTERS, outcomes):
      assert outcome.messages == looked_up(letter, found)[1:]
      assert (outcome.status, outcome.calls) == (tool_loop.ANSWERED, 1)


@pytest.mark.slow
def test_draws_depend_on_the_number_and_round_alone(ask):
  """At a temperature at which answers differ, in batches of any size."""
  hot = SamplingConfig(temperature=2.0, max_new_tokens=24)
  conversations = [user(letter) for letter in "aabbcc"]
  results = [[o.messages for o in ask(conversations, hot, batch_size=size)]
             for size in (4, 6)]
  assert results[0] == results[1]
  # Equal questions are drawn apart, and other keys draw otherwise.
  assert any(results[0][i] != results[0][i + 1] for i in (0, 2, 4))
  assert results[0] != [o.messages for o in ask(conversations, hot, key=1)]


def test_an_answer_that_is_cut_calls_nothing(ask):
  made = []
  tool = look_tool({})
  tool = Tool(tool.name, tool.description, tool.parameters, made.append)
  short = SamplingConfig(temperature=0.0, max_new_tokens=3)
  (outcome,) = ask([user("b")], short, (tool,))
  assert outcome.status == tool_loop.CUT and len(outcome.messages) == 1
  assert not made and outcome.calls == 0


def test_a_full_context_ends_the_conversation(ask, table):
  """At once, where the question is too long; or behind a long result."""
  long = {letter: "long " * 40 for letter in table}
  outcomes = ask([user("no " * 80), user("b")], tools=(look_tool(long),))
  assert [(o.status, o.calls) for o in outcomes] == [
      (tool_loop.CONTEXT, 0), (tool_loop.CONTEXT, 1)]
  assert outcomes[0].messages == []
  assert [m["role"] for m in outcomes[1].messages] == ["assistant", "tool"]


@pytest.fixture
def script(caller, monkeypatch):
  """Runs the loop with answers that are given, not generated.

  Here what a model might write is the matter, not how it is drawn.
  """
  def run(*answers, tools=None, max_calls=3, result_characters=200,
          batch_size=2, keys_seen=None):
    left = [list(each) for each in answers]
    end = stop_ids(caller.tokenizer)[0]

    def generate(params, prompts, keys, sampling, model, **options):
      # Conversations are told apart by their user's message.
      rows = []
      for prompt, key in zip(prompts, jax.random.key_data(keys)):
        text = caller.tokenizer.decode(prompt)
        number = int(text.partition("conversation ")[2].partition("<")[0])
        if keys_seen is not None:
          turn = len(answers[number]) - len(left[number])
          keys_seen[number, turn] = key.tolist()
        rows.append([*caller.tokenizer.encode(
            left[number].pop(0), allow_special=True), end])
      lengths_B = np.array([len(row) for row in rows])
      tokens_BT = np.zeros((len(rows), lengths_B.max()), np.int32)
      for row, ids in zip(tokens_BT, rows):
        row[:len(ids)] = ids
      return Samples(tokens_BT, None, None, None, lengths_B,
                     np.ones(len(rows), bool))

    monkeypatch.setattr(tool_loop, "generate_tokens", generate)
    echo = Tool("echo", "Says it again.", {
        "type": "object", "required": ["text"],
        "properties": {"text": {"type": "string"}}},
        lambda arguments: arguments["text"])
    model = caller.config.__class__(max_seq_len=4096)
    return run_all(
        None, [user(f"conversation {n}") for n in range(len(answers))],
        (echo,) if tools is None else tools, caller.tokenizer, GREEDY, model,
        key=jax.random.key(0), batch_size=batch_size, max_calls=max_calls,
        result_characters=result_characters)
  return run


def call(name, arguments):
  return f"<|tool_call|>{name}{arguments}"


def echo(text):
  return call("echo", json.dumps({"text": text}))


@pytest.mark.parametrize("written, told", [
    (echo("hello"), "hello"), (echo(""), ""),
    (call("eco", '{"text": "x"}'),
     "Error: there is no tool 'eco'; there are: echo."),
    (call("", ""), "Error: there is no tool ''; there are: echo."),
    (call("echo", "(text)"), "Error: there is no tool 'echo(text)'; "),
    (call("echo", '{"text": "x"'), "Error: the arguments of echo are not a "
     'JSON object like {"text": "..."}.'),
    (call("echo", ""), "are not a JSON object"),
    (call("echo", "{" * 999), "are not a JSON object"),
    (call("echo", "{}"), "Error: echo needs the argument 'text'."),
    (call("echo", '{"text": "x", "loud": true}'),
     "Error: echo has no argument 'loud'; it takes text."),
    (call("echo", '{"text": 3}'),
     "Error: the argument 'text' of echo should be text."),
    (echo("x" * 999), "x" * 199 + "…"),
    (call("n" * 999, "{}"), "Error: there is no tool 'nnnn"),
])
def test_every_fault_is_a_result_that_can_be_read(script, written, told):
  (outcome,) = script([written, "Done."])
  assistant, result, last = outcome.messages
  assert assistant["tool_calls"] and result["role"] == "tool"
  assert result["content"].startswith(told) or told in result["content"]
  assert len(result["content"]) <= 200
  assert last == {"role": "assistant", "content": "Done."}
  assert outcome.status == tool_loop.ANSWERED


def test_results_are_in_the_order_of_the_calls(script):
  """Whichever is ready first."""
  gate = threading.Event()

  def run(arguments):
    if arguments["n"] == "0":
      assert gate.wait(10)
    else:
      gate.set()
    return arguments["n"]

  tool = Tool("f", "", {"properties": {"n": {"type": "string"}}}, run)
  (outcome, other) = script(
      ["".join(call("f", json.dumps({"n": str(n)})) for n in range(3)), "x"],
      ["y"], tools=(tool,))
  assert [m["content"] for m in outcome.messages[1:4]] == ["0", "1", "2"]
  assert [m["name"] for m in outcome.messages[1:4]] == ["f"] * 3
  assert other.messages == [{"role": "assistant", "content": "y"}]


def test_a_key_for_each_conversation_and_round(script):
  """Whatever the batches are, and whoever has ended before."""
  seen = []
  for batch_size in (1, 2, 9):
    seen.append({})
    script(["a"], [echo("b"), "c"], [echo("d"), echo("e"), "f"],
           batch_size=batch_size, keys_seen=seen[-1])
  assert seen[0] == seen[1] == seen[2]
  assert sorted(seen[0]) == [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)]
  assert len(set(map(tuple, seen[0].values()))) == 6


def test_calls_have_an_end(script):
  """Those beyond are refused; who calls on after that is not asked again."""
  many = echo("a") + echo("b")
  obeys, insists, exact = script(
      [many, many, "Done."], [many, many, many, "never asked"],
      [many, echo("c"), "Done."])
  refused = "Error: no calls are left; answer with what you have."
  assert [m["content"] for m in obeys.messages if m["role"] == "tool"] == [
      "a", "b", "a", refused]
  assert (obeys.status, obeys.calls) == (tool_loop.ANSWERED, 3)
  assert (insists.status, insists.calls) == (tool_loop.CALLS, 3)
  assert [m["role"] for m in insists.messages[-3:]] == [
      "assistant", "tool", "tool"]
  assert (exact.status, exact.calls) == (tool_loop.ANSWERED, 3)
  (none,) = script([many, "Done."], max_calls=0)
  assert [m["content"] for m in none.messages[1:3]] == [refused] * 2


def test_a_tool_that_fails_is_told_and_a_missing_one_is_raised(script):
  def broken(arguments):
    raise OSError("the service is away")

  def absent(arguments):
    raise ConfigError("there is no sandbox")

  (outcome,) = script([call("f", "{}"), "Sorry."],
                      tools=(Tool("f", "", {}, broken),))
  assert outcome.messages[1]["content"] == (
      "Error: f failed (OSError: the service is away).")
  with pytest.raises(ConfigError, match="no sandbox"):
    script([call("f", "{}"), ""], tools=(Tool("f", "", {}, absent),))


def test_mistakes_are_told(caller):
  def run(tokenizer=caller.tokenizer, sampling=GREEDY, conversation=None):
    answer_all(caller.params, [conversation or user("b")],
               (look_tool({}),), tokenizer, sampling, caller.config,
               key=jax.random.key(0), batch_size=1, max_calls=1)

  before_tools = train_bpe(["ab"], TokenizerConfig(vocab_size=262,
                                                   special_tokens=(
      "<|endoftext|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>",
      "<|end|>")))
  with pytest.raises(ConfigError, match="no way to write a call"):
    run(before_tools)
  with pytest.raises(ConfigError, match="sampling.stop holds texts"):
    run(sampling=SamplingConfig(stop=("x",)))
  with pytest.raises(ConfigError, match="no room for a prompt"):
    run(sampling=SamplingConfig(max_new_tokens=999))
  with pytest.raises(ConfigError, match="the last message is the assistant's"):
    run(conversation=[*user("b"), {"role": "assistant", "content": "a"}])


def test_no_conversations(ask):
  assert ask([]) == []
