"""Traces hold what was sampled, token by token, and mask what was not."""

import jax
import numpy as np
import pytest

from llm_jax.config import ConfigError, SamplingConfig, ToolsConfig
from llm_jax.inference.generate import Samples
from llm_jax.inference.tools import Tool
from llm_jax.rl import traces as traces_lib
from llm_jax.rl.environments.protocol import Problem
from llm_jax.rl.traces import play
from llm_jax.tokenizer.chat import render_conversation, render_prompt, stop_ids
from tiny_policy import Echo, Game, Guessing, make_policy, make_tokenizer

G = 3
ONE = [Problem("What?", "1")]


@pytest.fixture(scope="module")
def tokenizer():
  return make_tokenizer()


@pytest.fixture(scope="module")
def policy(tokenizer):
  return make_policy(tokenizer, max_seq_len=200, by=0.2)


@pytest.fixture
def script(monkeypatch, tokenizer):
  """A sampler that says what the test says; every prompt it was given."""
  asked = []

  def say(*rounds):
    """`rounds[r][n]`: ids that conversation n of round r draws."""
    rounds = iter(rounds)

    def sample(params, prompts, tokenizer, keys_B, sampling, model, *,
               prompt_len, samples_per_prompt=1, num_prompts=0, stats):
      rows = [p for p in prompts for _ in range(samples_per_prompt)]
      asked.append([list(row) for row in rows])
      answers = next(rounds)
      assert len(answers) == len(rows) == len(keys_B)
      assert max(map(len, prompts)) <= prompt_len
      tokens = np.zeros((len(rows), sampling.max_new_tokens), np.int32)
      logprobs = np.zeros(tokens.shape, np.float32)
      for row, ids in enumerate(answers):
        tokens[row, :len(ids)] = ids
        logprobs[row, :len(ids)] = -0.5 - np.arange(len(ids))
      lengths = np.array([len(ids) for ids in answers], np.int32)
      stopped = np.array([ids[-1] in stop_ids(tokenizer) for ids in answers])
      texts = [tokenizer.decode(ids[:-1] if stop else ids)
               for ids, stop in zip(answers, stopped)]
      return Samples(tokens, logprobs, logprobs, tokens * 0, lengths,
                     stopped), texts
    monkeypatch.setattr(traces_lib, "sample_answers", sample)
    return asked
  return say


def look_up(results):
  return Tool("look", "Looks.", {
      "type": "object", "properties": {"what": {"type": "string"}},
      "required": ["what"]}, lambda arguments: results[arguments["what"]])


def call(tokenizer, text):
  return [tokenizer.special_tokens["<|tool_call|>"], *tokenizer.encode(text),
          tokenizer.special_tokens["<|end|>"]]


def said(tokenizer, text):
  return [*tokenizer.encode(text), tokenizer.special_tokens["<|end|>"]]


def run(tokenizer, problems, environment, *, tools=(), row_len=200, new=40,
        samples=1, **options):
  class Model:
    max_seq_len = row_len
  return play(None, problems, environment, tokenizer,
              SamplingConfig(max_new_tokens=new), Model,
              key=jax.random.key(0), row_len=row_len,
              samples_per_prompt=samples, tools=tools, **options)


def sampled(trace):
  return [t for t, m in zip(trace.tokens, trace.mask) if m]


def test_a_tool_is_called_and_read_but_not_trained(script, tokenizer):
  tool = look_up({"a": "<|end|>42"})  # a result cannot end a turn
  rounds = ([call(tokenizer, 'look{"what": "a"}')],
            [said(tokenizer, "It's 42")])
  asked = script(*rounds)
  trace, = run(tokenizer, ONE, Echo(), tools=(tool,))
  assert sampled(trace) == [*rounds[0][0], *rounds[1][0]]
  assert trace.ended == "answered" and trace.completion.stopped
  assert trace.completion.text == "It's 42"
  assert trace.completion.tokens == len(sampled(trace))
  assert [m["role"] for m in trace.completion.messages] == [
      "assistant", "tool", "assistant"]
  # As the conversation would be rendered by whoever trains on its text.
  ids, learnt = render_conversation(
      [*trace.prompt, *trace.completion.messages], tokenizer, (tool.schema,))
  assert trace.tokens == ids and [int(m) for m in trace.mask] == learnt
  assert asked[1][0] == ids[:len(ids) - len(rounds[1][0])]
  expected = [-0.5 - i for part in rounds for i in range(len(part[0]))]
  assert [x for x, m in zip(trace.logprobs, trace.mask) if m] == expected
  assert not any(x for x, m in zip(trace.logprobs, trace.mask) if not m)


def test_what_was_sampled_is_never_cut_anew(script, tokenizer):
  """The same text has many cuts; the one drawn is the one kept."""
  letters = [tokenizer.encode(c)[0] for c in "What is this?"]
  assert letters != tokenizer.encode("What is this?")
  end = tokenizer.special_tokens["<|end|>"]
  script([[*letters, end]], [[*letters, end]], [[*letters, end]])
  trace, = run(tokenizer, ONE, Game())
  assert sampled(trace) == [*letters, end] * 3
  assert trace.completion.text == "What is this?"


def test_an_episode_hears_every_answer(script, tokenizer):
  script([said(tokenizer, "one")], [said(tokenizer, "three")],
         [said(tokenizer, "x")])
  trace, = run(tokenizer, ONE, Game())
  assert trace.ended == "done" and trace.completion.game_reward == 0.75
  assert [m["content"] for m in trace.completion.messages] == [
      "one", "3 long", "three", "5 long", "x", "1 long"]
  ids, learnt = render_conversation(
      [*trace.prompt, *trace.completion.messages[:-1]], tokenizer)
  assert trace.tokens == ids and [int(m) for m in trace.mask] == learnt


def test_rows_go_on_by_themselves(script, tokenizer):
  """One is cut, one has no room, one goes on; each has its own draws."""
  end = tokenizer.special_tokens["<|end|>"]
  cut, long, short = [65] * 40, [65] * 39 + [end], said(tokenizer, "ok")
  asked = script([cut, long, short], [short], [short])
  rows = run(tokenizer, ONE, Game(), samples=G, row_len=100)
  assert [row.ended for row in rows] == ["cut", "context", "done"]
  assert [row.completion.stopped for row in rows] == [False, False, True]
  assert [len(each) for each in asked] == [3, 1, 1]
  assert sampled(rows[0]) == cut and sampled(rows[1]) == long
  assert all(len(row.tokens) <= 100 for row in rows)
  assert rows[0].mask[-1] and rows[1].mask[-1]  # nothing unread behind them
  assert [row.completion.game_reward for row in rows] == [0, 0.25, 0.75]


def test_calls_and_turns_have_an_end(script, tokenizer):
  tool = look_up({"a": "1"})
  again = [call(tokenizer, 'look{"what": "a"}')]
  script(again, again, again, again)
  trace, = run(tokenizer, ONE, Echo(), tools=(tool,), row_len=400,
               limits=ToolsConfig(max_calls=2))
  assert trace.ended == "calls"
  results = [m["content"] for m in trace.completion.messages
             if m["role"] == "tool"]
  assert results[:2] == ["1", "1"] and results[2].startswith("Error: no calls")
  script([said(tokenizer, "a")], [said(tokenizer, "b")])
  trace, = run(tokenizer, ONE, Game(), max_turns=2)
  assert trace.ended == "turns" and trace.completion.game_reward == 0.5


def test_an_episode_that_calls_tools(script, tokenizer):
  tool = look_up({"a": "1"})
  script([call(tokenizer, 'look{"what": "a"}')], [said(tokenizer, "one")],
         [said(tokenizer, "two")], [said(tokenizer, "three")])
  trace, = run(tokenizer, ONE, Game(), tools=(tool,), row_len=400)
  assert trace.ended == "done" and trace.completion.game_reward == 0.75
  assert [m["role"] for m in trace.completion.messages] == [
      "assistant", "tool", "assistant", "user", "assistant", "user",
      "assistant", "user"]


def test_what_cannot_be_played_is_told(script, tokenizer):
  script()
  with pytest.raises(ConfigError, match="room for 1 "):
    run(tokenizer, ONE, Echo(), row_len=41)

  class Moody(Game):
    begun = 0

    def episode(self, problem):
      Moody.begun += 1
      return Guessing(Problem("?" * Moody.begun))

  with pytest.raises(ConfigError, match="two ways"):
    run(tokenizer, ONE, Moody(), samples=2)


@pytest.fixture(scope="module")
def played(policy, tokenizer):
  params, model = policy
  problems = [Problem("?" * n, str(n)) for n in (1, 2, 3)]
  def play_from(first, count):
    return play(params, problems[first:first + count], Game(), tokenizer,
                SamplingConfig(max_new_tokens=8, temperature=0.9), model,
                key=jax.random.key(3), row_len=96, samples_per_prompt=G,
                first_row=first * G)
  return play_from


def test_a_model_plays(played, tokenizer):
  rows = played(0, 3)
  assert {row.ended for row in rows} >= {"done", "cut"}
  stops = stop_ids(tokenizer)
  for row in rows:
    assert len(row.tokens) == len(row.mask) == len(row.logprobs) <= 96
    assert row.tokens[:sum(1 for _ in iter(row.mask.index(True) * [0]))] == (
        render_prompt(row.prompt, tokenizer))
    logprobs = np.array(row.logprobs)
    assert (logprobs[np.array(row.mask)] < 0).all()
    assert not logprobs[~np.array(row.mask)].any()
    ends = sum(t in stops for t in sampled(row))
    answers = [m for m in row.completion.messages if m["role"] == "assistant"]
    assert ends == len(answers) - (row.ended == "cut")


def test_a_row_is_the_same_in_another_batch(played):
  assert [row.tokens for row in played(1, 1)] == [
      row.tokens for row in played(0, 3)[G:2 * G]]
