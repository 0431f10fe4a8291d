"""The recipe of DeepSeek-R1 at its smallest, and what it is made of."""

import dataclasses
import json
import os

import pytest

from experiments import convert, r1
from llm_jax.config import (
    ConfigError, ConvertConfig, DemonstrateConfig, LoggingConfig, ModelConfig,
    OptimizerConfig, R1Config, RejectionSampleConfig, RewardsConfig, RlConfig,
    RlDataConfig, SamplingConfig, SftConfig)
from test_rl_resume import make_model

_QUIET = LoggingConfig(every=1, tensorboard=False)
_SAMPLING = SamplingConfig(max_new_tokens=14)
_RL = RlConfig(num_steps=2, batch_size=4, group_size=4, seq_len=64,
               eval_every=1, sampling=_SAMPLING, logging=_QUIET,
               rewards=RewardsConfig(names=("correct:1", "stated:0.1")),
               optimizer=OptimizerConfig(learning_rate=1e-5, warmup_steps=1))


def config(workdir, **changes):
  sft = SftConfig(
      num_steps=200, batch_size=8, seq_len=64, eval_every=0, logging=_QUIET,
      optimizer=OptimizerConfig(name="muon", learning_rate=1e-2,
                                warmup_steps=5))
  return dataclasses.replace(R1Config(
      workdir=str(workdir), vocab_size=272,
      model=ModelConfig(embed_dim=32, num_layers=1, num_heads=2,
                        num_kv_heads=2, head_dim=16, mlp_dim=48,
                        max_seq_len=64),
      problems=RlDataConfig(min_terms=2, max_terms=3, eval_problems=8),
      worked=DemonstrateConfig(styles=("at_once:1",), count=600), base=sft,
      demonstrate=DemonstrateConfig(styles=("at_once:1",), count=100),
      sft=dataclasses.replace(sft, num_steps=2), rl=_RL,
      rejection=RejectionSampleConfig(problems=8, batch_size=8, samples=4,
                                sampling=_SAMPLING, first_batch=1000),
      sft_again=dataclasses.replace(sft, num_steps=2), rl_again=_RL), **changes)


def test_each_stage_is_of_the_recipe(tmp_path):
  stages = r1.stages_of(config(tmp_path / "r1", seed=3))
  place = str(tmp_path / "r1")
  assert stages.base.init_from == f"{place}/untrained"
  assert (stages.base.workdir == stages.sft.init_from
          == stages.sft_again.init_from == f"{place}/base")
  assert stages.rl.init_from == stages.control.init_from == f"{place}/sft"
  assert stages.rl_again.init_from == f"{place}/sft_again"
  assert stages.rejection.checkpoint == f"{place}/rl"
  assert stages.sft_again.data.path == f"{place}/kept/conversations.jsonl"
  # The control is the same but for its rewards, and its place.
  assert dataclasses.replace(
      stages.control, shuffle_rewards="", workdir=stages.rl.workdir
  ) == stages.rl
  for stage in (stages.base, stages.demonstrate, stages.sft, stages.rl,
                stages.rejection, stages.sft_again, stages.rl_again,
                stages.control):
    assert stage.seed == 3
  for stage in (stages.worked, stages.demonstrate, stages.rl,
                stages.rejection, stages.rl_again):
    assert stage.data == config(tmp_path).problems
  given = r1.stages_of(config(tmp_path, init_from="runs/x"))
  assert given.base is None and given.sft_again.init_from == "runs/x"
  assert r1.stages_of(config(tmp_path, control=False)).control is None


@pytest.mark.parametrize("changes, message", [
    ({"workdir": ""}, "workdir is empty"),
    ({"rl": dataclasses.replace(_RL, data=RlDataConfig(max_terms=9))},
     "rl.data is set"),
    ({"rl_again": dataclasses.replace(_RL, shuffle_rewards="group")},
     "the control has it by itself"),
    ({"rl_again": dataclasses.replace(_RL, group_size=1)}, "group_size is 1"),
    ({"vocab_size": 0}, "vocab_size is 0")])
def test_mistakes_are_told_before_anything_is_run(tmp_path, changes, message):
  with pytest.raises(ConfigError, match=message):
    r1.run(dataclasses.replace(config(tmp_path / "r1"), **changes))
  assert not (tmp_path / "r1").exists()


@pytest.mark.slow
def test_the_whole_recipe(tmp_path, capsys):
  """All stages at their smallest; a second start does nothing again."""
  place = tmp_path / "r1"
  report = r1.run(config(place))
  assert json.loads((place / "r1.json").read_text()) == report
  assert [row["stage"] for row in report["stages"]] == [
      "finetuned on the cold start", "rewarded",
      "finetuned on its right answers", "rewarded again",
      "control: rewards by lot"]
  assert set(report["changes"]) == {"rl", "rl_again", "control"}
  assert report["kept"]["samples"] == 32 and report["kept"]["kept"] > 0
  assert len(report["examples"]) == 6
  assert report["examples"][0]["said"][0]["text"]
  page = (place / "r1.html").read_text()
  assert "rewarded again" in page and "rl_again/rollouts.html" in page
  for stage in ("rl", "rl_again", "control"):
    assert (place / stage / "rollouts.html").exists()
  # The control's rewards are those of its samples, by lot.
  control = json.loads((place / "control" / "config.json").read_text())
  assert control["shuffle_rewards"] == "batch"
  capsys.readouterr()
  assert r1.run(config(place)) == report
  told = capsys.readouterr().out
  assert told.count("finished already") == 6
  assert told.count("written already") == 2
  # Answers of a model that has been trained anew since are refused.
  later = (place / "kept" / "samples.jsonl").stat().st_mtime + 60
  os.utime(place / "rl" / "results.json", (later, later))
  with pytest.raises(ConfigError, match="of an earlier model"):
    r1.check_order(r1.stages_of(config(place)))


def test_problems_that_have_no_room_are_told_before_the_base_is_trained(
    tmp_path):
  cramped = dataclasses.replace(_RL, seq_len=_SAMPLING.max_new_tokens + 2)
  with pytest.raises(ConfigError, match="the problem .* leaves room for 2;"):
    r1.run(config(tmp_path / "r1", rl=cramped))
  assert not (tmp_path / "r1" / "base").exists()


def test_room_is_looked_at_also_in_a_model_of_another_format(tmp_path):
  """It is converted first, as finetuning would."""
  make_model(tmp_path)
  convert.run(ConvertConfig(source=str(tmp_path / "first"),
                            output=str(tmp_path / "folder")))
  cramped = dataclasses.replace(_RL, seq_len=_SAMPLING.max_new_tokens + 2)
  with pytest.raises(ConfigError, match="the problem .* leaves room for 2;"):
    r1.run(config(tmp_path / "r1", init_from=str(tmp_path / "folder"),
                  rl=cramped))
  assert (tmp_path / "r1" / "sft" / "base").exists()
  assert not (tmp_path / "r1" / "sft" / "checkpoints").exists()
