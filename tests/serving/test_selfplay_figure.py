"""Figures of self-play: one seed with intervals, several with their band."""

import json

import numpy as np
import pytest

from experiments import view_selfplay
from llm_jax.config import ConfigError, SelfplayConfig, ViewSelfplayConfig
from llm_jax.run_record import write_json
from llm_jax.serving.selfplay_figure import curve_of

TEACHER = "depth 2, 20% random"


def stage(elos, batch_size):
  curve = [{"step": 10 * i, "elo": elo, "elo_low": elo - 9, "elo_high": elo + 8,
            "elo_sampled": elo - 50, "elo_sampled_low": elo - 61,
            "elo_sampled_high": elo - 41} for i, elo in enumerate(elos)]
  return {"curve": curve, "batch_size": batch_size, "num_steps": 20}


def write_run(workdir, seed, shift, **settings):
  """A finished run's two files, as experiments.selfplay writes them."""
  import dataclasses
  workdir.mkdir()
  match = {"elo": 110.0 + shift, "low": 95.0, "high": 126.0}
  config = dataclasses.asdict(SelfplayConfig(workdir=str(workdir), seed=seed))
  write_json(workdir / "config.json", config | settings)
  write_json(workdir / "selfplay.json", {
      "teacher": TEACHER,
      "imitation": stage([-200 + shift, 80 + shift, 100 + shift], 256),
      "improvement": stage([100 + shift, 250 + shift, 300 + shift], 512),
      "matches": [
          {"player": "self-play, greedy", "opponent": TEACHER} | match,
          {"player": "depth 4", "opponent": TEACHER} | match]})
  return str(workdir)


@pytest.mark.parametrize("kind", ["elo", "elo_sampled"])
def test_one_seed_has_its_intervals_and_several_their_range(kind):
  stages = [stage(np.array([-200, 80, 100]) + shift, 256)
            for shift in (-5, 40, 10)]
  values = np.array([[p[kind] for p in each["curve"]] for each in stages])
  one = curve_of(stages[:1], kind)
  assert one["mean"] == values[0].tolist()
  assert one["least"] == [p[f"{kind}_low"] for p in stages[0]["curve"]]
  assert one["most"] == [p[f"{kind}_high"] for p in stages[0]["curve"]]
  several = curve_of(stages, kind)
  assert several["step"] == [0, 10, 20]
  np.testing.assert_allclose(several["mean"], values.mean(0))
  assert several["least"] == values.min(0).tolist()
  assert several["most"] == values.max(0).tolist()


def test_seeds_are_drawn_and_told(tmp_path, capsys):
  workdirs = tuple(write_run(tmp_path / f"run{seed}", seed, shift)
                   for seed, shift in ((0, 0.0), (3, 25.0)))
  view_selfplay.run(ViewSelfplayConfig(
      workdirs=workdirs, output=f"{tmp_path}/figures/both"))
  told = capsys.readouterr().out
  assert (f"self-play, greedy against {TEACHER}: +110 [+95, +126], +135 [+95, "
          "+126]") in told
  drawn = (tmp_path / "figures" / "both.svg").read_text()
  assert "(2 seeds)" in drawn and "depth 4" in drawn and TEACHER in drawn
  data = json.loads((tmp_path / "figures" / "both.json").read_text())
  assert [each["seed"] for each in data["seeds"]] == [0, 3]
  assert [each["matches"][0]["elo"] for each in data["seeds"]] == [110, 135]
  # A seed that also searched has matches that others lack.
  searched = write_run(tmp_path / "searched", 5, 9.0, search={"simulations": 4})
  report = json.loads((tmp_path / "searched" / "selfplay.json").read_text())
  report["matches"].insert(0, report["matches"][0] | {"opponent": "itself"})
  write_json(tmp_path / "searched" / "selfplay.json", report)
  view_selfplay.run(ViewSelfplayConfig(
      workdirs=(searched, *workdirs), output=f"{tmp_path}/three"))
  told = capsys.readouterr().out
  assert "+119 [+95, +126], +110" in told and "itself" not in told
  view_selfplay.run(ViewSelfplayConfig(
      workdirs=workdirs[:1], output=f"{tmp_path}/one"))
  assert "95% bands" in (tmp_path / "one.svg").read_text()


def test_runs_of_other_settings_or_the_same_seed_are_refused(tmp_path):
  first = write_run(tmp_path / "first", 0, 0.0)
  same = write_run(tmp_path / "same", 0, 5.0)
  other = write_run(tmp_path / "other", 1, 5.0, match={"pairs": 3})
  (tmp_path / "running").mkdir()
  for second, message in ((same, "has seed 0, as an earlier one"),
                          (other, "other settings of match"),
                          (f"{tmp_path}/running", "has no selfplay.json")):
    with pytest.raises(ConfigError, match=message):
      view_selfplay.run(ViewSelfplayConfig(
          workdirs=(first, second), output=f"{tmp_path}/figure"))
  assert not list(tmp_path.glob("figure*"))


@pytest.mark.parametrize("config, message", [
    (ViewSelfplayConfig(), "workdirs is empty"),
    (ViewSelfplayConfig(workdirs=("a",), output="a.svg"), "without its ending"),
    (ViewSelfplayConfig(workdirs=("a",), output=""), "stands for two files")])
def test_what_cannot_be_drawn_is_told(config, message):
  with pytest.raises(ConfigError, match=message):
    view_selfplay.run(config)


def test_without_matplotlib_it_is_told_first(tmp_path, monkeypatch):
  from experiments import view_rollouts
  from llm_jax.config import ViewRolloutsConfig
  monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
  with pytest.raises(ConfigError, match="plots"):
    view_selfplay.run(ViewSelfplayConfig(workdirs=(f"{tmp_path}/none",)))
  with pytest.raises(ConfigError, match="plots"):
    view_rollouts.run(ViewRolloutsConfig(workdirs=(f"{tmp_path}/none",),
                                         svg=f"{tmp_path}/curves.svg"))
