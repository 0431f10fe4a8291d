"""A model's own right answers become conversations, also after a kill."""

import dataclasses
import json

import pytest

from experiments import rejection_sample
from llm_jax.config import (
    ConfigError, RejectionSampleConfig, RlDataConfig, SamplingConfig)
from llm_jax.data.conversations import Conversation
from llm_jax.rl.environments.sums import SumsEnvironment
from llm_jax.rl.rejection import choose
from test_rl_resume import make_model


def sample(text, reward=1.0, tokens=3, valid=True):
  return {"messages": [{"role": "user", "content": "?"},
                       {"role": "assistant", "content": text}],
          "reward": reward, "correct": reward, "tokens": tokens,
          "valid": valid}


def test_choosing():
  group = [sample("a", 0.5), sample("b", 1.0, 9), sample("c", 2.0, 7),
           sample("b", 1.0, 9), sample("d", 1.0, 2), sample("e", valid=False)]

  def texts(*settings):
    return [s["messages"][-1]["content"] for s in choose(group, *settings)]

  assert texts(1.0, 9, "first") == ["b", "c", "d"]
  assert texts(1.0, 2, "shortest") == ["d", "c"]
  assert texts(1.0, 1, "best") == ["c"] and texts(3.0, 1, "best") == []
  assert texts(0.0, 9, "first") == ["a", "b", "c", "d"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
  directory = tmp_path_factory.mktemp("rejection")
  make_model(directory)
  return directory / "first"


@pytest.fixture(autouse=True)
def varied_rewards(monkeypatch):
  """What an untrained model gets varied rewards for."""
  monkeypatch.setattr(SumsEnvironment, "score", lambda self, problem,
                      completion: float(len(completion.text) % 3 == 0))


def config(model, workdir, **changes):
  return dataclasses.replace(RejectionSampleConfig(
      checkpoint=str(model), workdir=str(workdir), problems=12, batch_size=4,
      samples=4, data=RlDataConfig(min_terms=2, max_terms=2),
      sampling=SamplingConfig(max_new_tokens=12)), **changes)


def files(workdir):
  return {name: (workdir / name).read_text() for name in
          ("samples.jsonl", "conversations.jsonl")}


def test_killed_it_goes_on_with_the_next_batch(model, tmp_path, monkeypatch):
  # An untrained model hardly ever stops by itself.
  real = rejection_sample._sample
  monkeypatch.setattr(
      "llm_jax.rl.rejection.choose", lambda group, *rest: choose(
          [{**each, "valid": True} for each in group], *rest))
  whole = rejection_sample.run(config(model, tmp_path / "whole"))
  assert whole["samples"] == 48 and 0 < whole["kept"] < 48
  rows = [json.loads(line) for line in files(
      tmp_path / "whole")["conversations.jsonl"].splitlines()]
  assert len(rows) == whole["kept"]
  for row in rows:
    conversation = Conversation(tuple(row["messages"]))
    assert [m["role"] for m in conversation.messages] == ["user", "assistant"]
    assert len(row["messages"][1]["content"]) % 3 == 0
  killed = tmp_path / "killed"
  rejection_sample.run(config(model, killed, problems=8))
  with open(killed / "samples.jsonl", "a") as stream:
    stream.write('{"step": 4, "groups": [[{"mess')  # while it was written
  asked = []
  monkeypatch.setattr(rejection_sample, "_sample", lambda config, samples, done,
                      batches: (asked.append((done, batches)),
                                real(config, samples, done, batches)))
  assert rejection_sample.run(config(model, killed))["kept"] == whole["kept"]
  assert asked == [(2, 3)] and files(killed) == files(tmp_path / "whole")
  # Another choice of the same samples asks for none.
  again = rejection_sample.run(config(model, killed, per_problem=1))
  assert again["kept"] == again["problems_with_one"] < whole["kept"]
  assert asked == [(2, 3)]
  # Neither do fewer problems, and the others are still there.
  fewer = rejection_sample.run(config(model, killed, problems=8))
  assert fewer["problems"] == 8
  assert rejection_sample.run(config(model, killed))["kept"] == whole["kept"]
  assert asked == [(2, 3)]
  with pytest.raises(ConfigError, match="samples=4, not 5"):
    rejection_sample.run(config(model, killed, samples=5))
  with pytest.raises(ConfigError, match="at_least=7"):
    rejection_sample.run(config(model, killed, at_least=7.0))


@pytest.mark.parametrize("changes, message", [
    ({"checkpoint": ""}, "no model is named"),
    ({"problems": 10}, "not whole batches"), ({"prefer": "longest"}, "prefer"),
    ({"samples": 0}, "samples is 0")])
def test_mistakes(tmp_path, changes, message):
  with pytest.raises(ConfigError, match=message):
    rejection_sample.run(config("somewhere", tmp_path, **changes))
