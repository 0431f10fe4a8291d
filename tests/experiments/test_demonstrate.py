"""experiments/demonstrate.py: shares, sides, and a second start."""

import collections
import dataclasses
import json

import pytest

from experiments import demonstrate
from llm_jax.config import ConfigError, DemonstrateConfig, RlDataConfig
from llm_jax.data.conversations import Conversation
from llm_jax.data.sums import SumProblem, is_held_out
from llm_jax.rl.environments.sums import SumsEnvironment

DATA = RlDataConfig(min_terms=2, max_terms=4, system="Think.")


def config(output, **changes):
  return dataclasses.replace(DemonstrateConfig(
      data=DATA, count=250, styles=("steps:3", "at_once:1"), slips=0.2,
      output=str(output)), **changes)


def rows(output):
  return [json.loads(line) for line in
          (output / "conversations.jsonl").read_text().splitlines()]


def test_demonstrations_are_of_the_training_side(tmp_path):
  manifest = demonstrate.run(config(tmp_path / "d"))
  made = rows(tmp_path / "d")
  assert len(made) == manifest["demonstrations"] == 250
  assert 160 < manifest["styles"]["steps"] < 215
  assert sum(manifest["styles"].values()) == 250
  # A fifth of three quarters slipped.
  assert 0.75 < manifest["right"] < 0.95
  styles = collections.Counter()
  for row in made:
    system, user, assistant = Conversation(tuple(row["messages"])).messages
    assert system["content"] == "Think."
    terms = user["content"].removeprefix("What is ").removesuffix(" modulo 2?")
    assert not is_held_out(SumProblem(tuple(map(int, terms.split("+")))))
    styles["<think>" in assistant["content"]] += 1
  assert styles[True] == manifest["styles"]["steps"]
  # Nor are they, in this order, what is practised with the same seed.
  practised = SumsEnvironment(DATA, 0).train_problems(0, 100)
  asked = [row["messages"][1]["content"] for row in made[:100]]
  assert sum(a == p.prompt for a, p in zip(asked, practised)) < 5


def test_a_second_start_writes_nothing(tmp_path, capsys):
  first = demonstrate.run(config(tmp_path / "d"))
  before = (tmp_path / "d" / "conversations.jsonl").stat().st_mtime_ns
  assert demonstrate.run(config(tmp_path / "d")) == first
  assert "written already" in capsys.readouterr().out
  assert before == (tmp_path / "d" / "conversations.jsonl").stat().st_mtime_ns
  with pytest.raises(ConfigError, match="another slips"):
    demonstrate.run(config(tmp_path / "d", slips=0.0))
  demonstrate.run(config(tmp_path / "again"))
  assert rows(tmp_path / "again") == rows(tmp_path / "d")
  demonstrate.run(config(tmp_path / "other", seed=1))
  assert rows(tmp_path / "other") != rows(tmp_path / "d")


def test_mistakes(tmp_path):
  with pytest.raises(ConfigError, match="count is 0"):
    demonstrate.run(config(tmp_path, count=0))
  with pytest.raises(ConfigError, match="no demonstrations of guess_number"):
    demonstrate.run(config(tmp_path, data=RlDataConfig(
        path="game:guess_number")))
  assert not list(tmp_path.iterdir())
