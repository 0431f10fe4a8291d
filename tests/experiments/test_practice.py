"""Imitation, practice and the control: each seed apart, each once."""

import dataclasses
import json

import pytest

from experiments import practice
from llm_jax.config import (
    ConfigError, DemonstrateConfig, LoggingConfig, OptimizerConfig,
    PracticeConfig, RlConfig, RlDataConfig, SamplingConfig, SftConfig)
from test_rl_resume import make_model

DATA = RlDataConfig(min_terms=2, max_terms=3, eval_problems=8)
_QUIET = LoggingConfig(every=1, tensorboard=False)


def config(workdir, **changes):
  return dataclasses.replace(PracticeConfig(
      workdir=str(workdir), seeds=(0, 5),
      demonstrate=DemonstrateConfig(data=DATA, count=80),
      sft=SftConfig(init_from=str(workdir.parent / "first"), num_steps=2,
                    batch_size=8, seq_len=64, logging=_QUIET,
                    optimizer=OptimizerConfig(warmup_steps=1)),
      rl=RlConfig(data=DATA, num_steps=2, batch_size=2, group_size=4,
                  seq_len=64, sampling=SamplingConfig(max_new_tokens=8),
                  logging=_QUIET, optimizer=OptimizerConfig(warmup_steps=1))),
      **changes)


@pytest.mark.slow
def test_two_seeds(tmp_path, capsys):
  pytest.importorskip("matplotlib")
  make_model(tmp_path)
  place = tmp_path / "practice"
  settings = config(place, figure=str(tmp_path / "curves.svg"))
  report = practice.run(settings)
  assert json.loads((place / "practice.json").read_text()) == report
  assert [row["seed"] for row in report["rows"]] == [0, 5]
  for row in report["rows"]:
    assert row["problems"] == 8 and row["sft_steps"] == row["rl_steps"] == 2
    # 2 steps of 2 · 4 rows, and a third of that for sampling them.
    assert row["sft_continued_steps"] == 3
    assert row["gain_over_control"] == row["rl"] - row["sft_continued"]
  drawn = json.loads((tmp_path / "curves.json").read_text())
  assert drawn["panels"]["accuracy"]["practice"]["step"] == [0, 2]
  assert set(drawn["levels"]) == {"as much more imitation"}
  def text(*parts):
    return place.joinpath(*parts, "conversations.jsonl").read_text()
  # Nobody imitates what another seed, or the control, does.
  made = {text(f"seed{seed}", *parts, "demonstrations") for seed in (0, 5)
          for parts in ((), ("further",))}
  assert len(made) == 4
  capsys.readouterr()
  assert practice.run(settings) == report
  assert capsys.readouterr().out.count("finished already") == 6


@pytest.mark.parametrize("changes, message", [
    ({"seeds": ()}, "seeds is"), ({"seeds": (1, 1)}, "different numbers"),
    ({"figure": "x.png"}, "end in .svg"),
    ({"demonstrate": DemonstrateConfig()}, "pose different problems")])
def test_mistakes(tmp_path, changes, message):
  with pytest.raises(ConfigError, match=message):
    practice.run(config(tmp_path / "practice", **changes))


def test_practice_that_has_no_room_is_told_before_imitation(tmp_path):
  make_model(tmp_path)
  settings = config(tmp_path / "practice")
  with pytest.raises(ConfigError, match="the problem .* leaves room for 1;"):
    practice.run(dataclasses.replace(settings, rl=dataclasses.replace(
        settings.rl, seq_len=9)))
  assert not (tmp_path / "practice" / "seed0").exists()


def test_other_held_out_problems_are_the_same_task(tmp_path):
  settings = config(tmp_path / "practice")
  def checked(**changes):
    dataclasses.replace(settings, rl=dataclasses.replace(
        settings.rl, data=dataclasses.replace(DATA, **changes))).validate()

  checked(eval_problems=4, workers=5)
  for changes in ({"max_terms": 4}, {"path": "gym:chain_sum"}):
    with pytest.raises(ConfigError, match="pose different problems"):
      checked(**changes)
